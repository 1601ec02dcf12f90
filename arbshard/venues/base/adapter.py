"""Defines ``Adapter``: the modules of one venue, by their kinds. ``registry`` has all adapters by name."""

from collections.abc import Callable
from typing import NamedTuple

from arbshard.venues.base.account import AccountVenue
from arbshard.venues.base.diff import DiffVenue
from arbshard.venues.base.exact import DecodeExactly, DecodeTrade
from arbshard.venues.base.fusion import FusedVenue
from arbshard.venues.base.limits import RateLimits
from arbshard.venues.base.market import Venue
from arbshard.venues.base.order_socket import OrderSocket
from arbshard.venues.base.orders import OrderVenue
from arbshard.venues.base.rest import RestBooks
from arbshard.venues.base.rules import AccountRules
from arbshard.venues.base.signing import Signing
from arbshard.venues.base.states import CallOutcome


class Adapter(NamedTuple):
    """Holds what a venue's folder exports."""

    market: Venue
    """Order books by WebSocket, and the listing."""
    rest: RestBooks
    """Order books by REST."""
    orders: OrderVenue
    """Orders by REST."""
    understand: Callable[[int, bytes], CallOutcome]
    """Returns the meaning of an answer whose HTTP status is not a success, by the tables of the module ``states``."""
    account: AccountVenue
    """The private stream, balances and open orders."""
    limits: RateLimits
    rules: AccountRules
    """Fees, limits, rights and ticks as the venue reports them."""
    signing: Signing | None
    """None for a venue that is reached through ccxt, which signs."""
    order_socket: OrderSocket | None = None
    """Orders over a WebSocket; None where the venue takes them over REST only."""
    diff: DiffVenue | None = None
    """Order books kept from their changes; None where the venue has no such stream."""
    fused: FusedVenue | None = None
    """Makes order books of two streams, levels and touches; None where the venue has no such streams."""
    exact_levels: DecodeExactly | None = None
    """The exact numbers of order-book frames; None where they are not kept exactly."""
    exact_trade: DecodeTrade | None = None
    """The trade in a frame of a recording; None where such frames are not known."""

    @property
    def name(self) -> str:
        """Return the venue's name in configuration, markets and the ledger."""
        return self.market.name

    def market_of(self, frame: bytes) -> str | None:
        """Return the market of a frame with a book, changes or a touch; None for any other frame. Never raises."""
        symbol = self.market.route(frame)
        if symbol is None and self.diff is not None:
            symbol = self.diff.route(frame)
        if symbol is None and self.fused is not None:
            touch = self.fused.touch_of(frame)
            symbol = touch.symbol if touch is not None else None
        return symbol
