"""Computes what a taker gets from one side of a book, before anything is changed. ``matching`` uses it."""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from arbshard.exchanges.accounts.order import Ended, Ticket
from arbshard.exchanges.book import SimSide
from arbshard.exchanges.units import UNIT
from arbshard.model.money import ZERO


class Take(NamedTuple):
    """Describes a part of a level, or all of it."""

    price: Decimal
    size: int
    """Size in units of 1e-8."""

    @property
    def quantity(self) -> Decimal:
        """Return the quantity in base."""
        return amount_of(self.size)


class MatchPlan(NamedTuple):
    """Lists the levels to take, best first, and how the order ends with them; empty when the rest joins the book."""

    takes: tuple[Take, ...]
    ended: Ended

    @property
    def funds(self) -> Decimal:
        """Return what all takes are worth, in quote."""
        return sum((take.price * take.quantity for take in self.takes), ZERO)


def amount_of(units: int) -> Decimal:
    """Return units of 1e-8 as an exact amount."""
    return Decimal(units).scaleb(-8)


def units_of(amount: Decimal) -> int:
    """Return an amount of at most 8 decimals in units of 1e-8."""
    units = amount.scaleb(8)
    whole = int(units)
    assert whole == units, amount
    return whole


def levels(side: SimSide, worst: Decimal | None) -> Iterator[tuple[Decimal, int]]:
    """Yield (price, size in units) of the levels that are no worse for a taker than ``worst``."""
    sign = side.sign
    limit = None if worst is None else units_of(worst) * sign
    for key, size in zip(side.keys, side.sizes, strict=True):
        price = side.ladder.price(key * sign)
        if limit is not None and price * sign > limit:
            return
        yield amount_of(price), size


def plan(ticket: Ticket, side: SimSide, lot: int, share: float = 1.0) -> MatchPlan:
    """Return what ``ticket`` takes from ``side``.

    ``lot`` is in units of 1e-8; ``share`` is the share that it gets of what the book has for it.
    """
    found = (
        _by_funds(ticket, ticket.funds, side, lot) if ticket.funds is not None else _by_quantity(ticket, side)
    )
    if share < 1:
        found = _part_of(found, share, lot)
    if ticket.tif == "post_only" and found.takes:
        return MatchPlan((), "post_only")
    if ticket.tif == "fok" and found.ended not in ("filled", "dust"):
        return MatchPlan((), "fok")
    if found.ended:
        return found
    if ticket.tif == "ioc":
        return MatchPlan(found.takes, "ioc")
    return MatchPlan(found.takes, "no_liquidity" if ticket.kind == "market" else "")


def _part_of(found: MatchPlan, share: float, lot: int) -> MatchPlan:
    """Return the best levels of ``found`` that make up ``share``, in whole lots; the order does not end with them."""
    left = int(sum(take.size for take in found.takes) * share) // lot * lot
    takes: list[Take] = []
    for take in found.takes:
        if not left:
            break
        takes.append(take._replace(size=min(take.size, left)))
        left -= takes[-1].size
    return MatchPlan(tuple(takes), "")


def _by_quantity(ticket: Ticket, side: SimSide) -> MatchPlan:
    assert ticket.quantity is not None, ticket
    left = units_of(ticket.quantity)
    takes: list[Take] = []
    for price, size in levels(side, ticket.price):
        takes.append(Take(price, min(size, left)))
        left -= takes[-1].size
        if not left:
            return MatchPlan(tuple(takes), "filled")
    return MatchPlan(tuple(takes), "")


def _by_funds(ticket: Ticket, funds: Decimal, side: SimSide, lot: int) -> MatchPlan:
    takes: list[Take] = []
    lot_amount = Decimal(lot) / UNIT
    for price, size in levels(side, ticket.price):
        # Whole lots that the rest buys here; // is exact where a division might round up.
        affordable = int(funds // (price * lot_amount)) * lot
        if not affordable:
            return MatchPlan(tuple(takes), "dust")
        take = Take(price, min(size, affordable))
        takes.append(take)
        funds -= price * take.quantity
        if not funds:
            return MatchPlan(tuple(takes), "filled")
    return MatchPlan(tuple(takes), "")
