"""Computes by how much a venue's balance and the ledger's may differ before it counts as a difference. Pure."""

from collections.abc import Callable
from decimal import Decimal

from arbshard.config.live import LiveConfig
from arbshard.model.money import MONEY_CONTEXT, ZERO
from arbshard.venues.base.rules import StatedDigits
from arbshard.venues.registry import ADAPTERS

_UNKNOWN = StatedDigits(is_cut=True)
"""These are the digits assumed of a venue that has no folder."""


class Tolerances:
    """Computes the tolerance of each currency, and knows the digits that each venue prints."""

    def __init__(self, live: LiveConfig, price_of: Callable[[str, str], Decimal | None]) -> None:
        """Make the tolerance. ``price_of`` returns the price of a venue's currency in reporting currency, or None."""
        self._live = live
        self._price_of = price_of

    def of(self, venue: str, currency: str) -> Decimal:
        """Return the largest difference that blocks nothing, apart from rounding."""
        asked = self._live.balance_tolerances.get(currency, ZERO)
        worth = self._live.balance_tolerance_worth
        if worth:
            price = self._price_of(venue, currency)
            if price:
                asked = max(asked, MONEY_CONTEXT.divide(worth, price))
        return max(asked, digits_of(venue).off)


def digits_of(venue: str) -> StatedDigits:
    """Return the digits in which ``venue`` prints balances."""
    adapter = ADAPTERS.get(venue)
    return adapter.rules.stated_digits if adapter is not None else _UNKNOWN
