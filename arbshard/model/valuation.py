"""What balances are worth in the reporting currency. Pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from arbshard.model.money import ZERO


class Worth(NamedTuple):
    """A sum in reporting currency, and what could not be part of it."""

    amount: Decimal
    unpriced: tuple[str, ...]
    """Currencies held without a mark, sorted: a missing price is never taken as 0 or 1 in silence."""


def worth_of(holdings: Iterable[tuple[str, Decimal]], marks: Mapping[str, Decimal]) -> Worth:
    """The worth of (currency, amount) pairs at ``marks`` (reporting currency per unit; the reporting one is 1)."""
    amount = ZERO
    unpriced: set[str] = set()
    for currency, held in holdings:
        mark = marks.get(currency)
        if mark is not None:
            amount += held * mark
        elif held:
            unpriced.add(currency)
    return Worth(amount, tuple(sorted(unpriced)))
