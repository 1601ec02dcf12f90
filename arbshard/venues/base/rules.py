"""Defines ``AccountRules``: what a venue reports of an account's rules: fees, limits, rights, ticks. Pure.

The module ``rules`` of a venue's folder implements it; the doctor calls it. The same module has the rules of the
venue's markets, for the venue's listing.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

import msgspec

from arbshard.model.money import ZERO
from arbshard.venues.base.request import VenueRequest


class Rates(msgspec.Struct, frozen=True):
    """Holds a taker's fees on one market, in basis points."""

    symbol: str
    buy_bps: Decimal
    sell_bps: Decimal
    paid_in: str = ""
    """A coin of the venue's own in which fees are paid (BNB); empty if they are paid in what is traded."""


class ReportedLimit(msgspec.Struct, frozen=True):
    """Is a rate limit as the venue reports it, beside the one that we keep."""

    window: str
    read_headers: int
    kept: int
    used: int = 0


class Rights(msgspec.Struct, frozen=True):
    """Holds what the key may do. None means that the venue does not report it."""

    withdraw: bool | None = None
    trade: bool | None = None
    addresses_listed: bool | None = None
    """Whether the key works only from listed addresses."""
    by_account: bool = False
    """Whether these are the rights of the account. The key may have fewer, which the venue does not report."""


class StatedDigits(NamedTuple):
    """Describes with how many digits a venue prints the balances of an account."""

    unit: Decimal = Decimal("1e-8")
    """Value of 1 in the last digit."""
    is_cut: bool = False
    """Whether the venue keeps more digits than it prints: free and locked are then each less than a unit off."""

    @property
    def off(self) -> Decimal:
        """Return by how much a printed balance may differ from the one that the venue keeps."""
        return 2 * self.unit if self.is_cut else ZERO


class RulesReply(NamedTuple):
    """Is an answer with a status of success."""

    body: bytes
    headers: Mapping[str, str]


class AccountRules(Protocol):
    """Makes the requests about an account's rules and reads the answers.

    Every reader raises ``FrameError`` for an answer of another form.
    """

    @property
    def fee_coins(self) -> frozenset[str]:
        """Return the coins of its own in which the venue may take a fee, whatever is traded."""
        ...

    @property
    def stated_digits(self) -> StatedDigits:
        """Return the digits of the balances that the venue states."""
        ...

    def rates_call(self, symbol: str) -> VenueRequest:
        """Make the request for the fees on a market."""
        ...

    def rates_of(self, symbol: str, reply: RulesReply) -> Rates:
        """Return a taker's fees."""
        ...

    def limits_call(self, symbol: str) -> VenueRequest:
        """Make a request whose answer reports the rate limits."""
        ...

    def limits_of(self, reply: RulesReply) -> tuple[ReportedLimit, ...]:
        """Return the limits that we keep to."""
        ...

    def rights_call(self) -> VenueRequest | None:
        """Make the request for what the key may do; None where the venue has no such call."""
        ...

    def rights_of(self, key_reply: RulesReply | None, account: RulesReply) -> Rights:
        """Return what the key may do, by the answer to ``rights_call``; without one, by that about the account."""
        ...

    def ticks_calls(self, symbols: Sequence[str]) -> tuple[VenueRequest, ...]:
        """Make the requests for the ticks of markets; none where the listing has them."""
        ...

    def ticks_of(self, reply: RulesReply) -> dict[str, Decimal]:
        """Return the ticks at the current price, by symbol."""
        ...
