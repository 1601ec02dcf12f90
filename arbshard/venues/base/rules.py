"""``AccountRules``: what a venue tells of the rules that hold for an account: fees, limits, rights, ticks. Pure.

The room ``rules`` of a venue's folder implements it; the doctor asks. The rules of the venue's markets stand in the
same room, for the venue's listing.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

import msgspec

from arbshard.model.money import ZERO
from arbshard.venues.base.request import VenueRequest


class Rates(msgspec.Struct, frozen=True):
    """A taker's fees on one market, in basis points."""

    symbol: str
    buy_bps: Decimal
    sell_bps: Decimal
    paid_in: str = ""
    """A coin of its own that fees are paid in (BNB); empty: what is traded."""


class ToldLimit(msgspec.Struct, frozen=True):
    """A rate limit as the venue tells it, beside the one we keep to."""

    window: str
    read_headers: int
    kept: int
    used: int = 0


class Rights(msgspec.Struct, frozen=True):
    """What the key may do. None: the venue does not tell."""

    withdraw: bool | None = None
    trade: bool | None = None
    addresses_listed: bool | None = None
    """Whether the key works from listed addresses only."""
    by_account: bool = False
    """This is what the account may do; what the key may, which can be less, is not told."""


class StatedDigits(NamedTuple):
    """In which digits a venue prints the balances of an account."""

    unit: Decimal = Decimal("1e-8")
    """One of the last digit."""
    is_cut: bool = False
    """Whether the venue keeps more digits than it prints: free and locked are then each less than a unit off."""

    @property
    def off(self) -> Decimal:
        """By how much a printed balance may differ from what the venue keeps."""
        return 2 * self.unit if self.is_cut else ZERO


class Reply(NamedTuple):
    """A good answer."""

    body: bytes
    headers: Mapping[str, str]


class AccountRules(Protocol):
    """Every reader raises ``FrameError`` for an answer of another form."""

    @property
    def fee_coins(self) -> frozenset[str]:
        """Coins of its own in which the venue may take a fee, whatever is traded."""
        ...

    @property
    def stated_digits(self) -> StatedDigits:
        """The digits of the balances that the venue states."""
        ...

    def rates_call(self, symbol: str) -> VenueRequest:
        """Asks for the fees on a market."""
        ...

    def rates_of(self, symbol: str, reply: Reply) -> Rates:
        """A taker's fees."""
        ...

    def limits_call(self, symbol: str) -> VenueRequest:
        """Asks for something that tells the rate limits."""
        ...

    def limits_of(self, reply: Reply) -> tuple[ToldLimit, ...]:
        """Those we keep to."""
        ...

    def rights_call(self) -> VenueRequest | None:
        """Asks what the key may do; None where the venue has no such call."""
        ...

    def rights_of(self, told: Reply | None, account: Reply) -> Rights:
        """What the key may do, by the answer ``told`` to ``rights_call``; without one, by that about the account."""
        ...

    def ticks_calls(self, symbols: Sequence[str]) -> tuple[VenueRequest, ...]:
        """Ask for the ticks of markets; none where the listing has them."""
        ...

    def ticks_of(self, reply: Reply) -> dict[str, Decimal]:
        """Ticks at the price of now, by symbol."""
        ...
