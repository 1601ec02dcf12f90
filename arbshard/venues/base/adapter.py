"""``Adapter``: one venue, with a room for each kind of its words. ``registry`` has all of them by name."""

from collections.abc import Callable
from typing import NamedTuple

from arbshard.venues.base.account import AccountVenue
from arbshard.venues.base.diff import DiffVenue
from arbshard.venues.base.exact import DecodeExactly, DecodeTrade
from arbshard.venues.base.limits import RateLimits
from arbshard.venues.base.market import Venue
from arbshard.venues.base.orders import OrderVenue
from arbshard.venues.base.rest import RestBooks
from arbshard.venues.base.rules import AccountRules
from arbshard.venues.base.signing import Signing
from arbshard.venues.base.states import Said


class Adapter(NamedTuple):
    """What a venue's folder exports."""

    market: Venue
    """Order books by WebSocket, and the listing."""
    rest: RestBooks
    """Order books by REST."""
    orders: OrderVenue
    """Orders by REST."""
    understand: Callable[[int, bytes], Said]
    """What an answer of an HTTP status that is not a success means, by the room ``states``."""
    account: AccountVenue
    """The private stream, balances and open orders."""
    limits: RateLimits
    rules: AccountRules
    """Fees, limits, rights and ticks as the venue tells them."""
    signing: Signing | None
    """None for a venue that is reached through ccxt, which signs."""
    diff: DiffVenue | None = None
    """Order books kept from their changes; None where the venue has no such stream."""
    exact_levels: DecodeExactly | None = None
    """The exact numbers of order-book frames; None where they are not kept exactly."""
    exact_trade: DecodeTrade | None = None
    """The trade in a frame of a recording; None where such frames are not known."""

    @property
    def name(self) -> str:
        """The venue's name in configuration, markets and the ledger."""
        return self.market.name
