"""Proposes what to do about money and coins that run out, from an ``Inventory``, and writes the lines of status.
Pure.

``arbshard inventory`` and ``collect`` use it.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

import msgspec

from arbshard.model.money import MONEY_CONTEXT, ZERO
from arbshard.model.risk_note import RiskNote
from arbshard.status.model import Problem
from arbshard.wire.inventory import Inventory, InventoryLine

Missing = Mapping[str, int]
"""Entries that were not made for want of a currency, by ``VENUE CURRENCY``."""
_HOUR_MS = 3_600_000
_DIGITS = 2
"""Number of digits to which amounts in proposals are rounded down: they depend on a rate that changes."""
_NAMED = 3


def with_refusals(inventory: Inventory, missing: Missing) -> Inventory:
    """Return ``inventory`` with the refusals that workers have counted."""
    lines = tuple(
        msgspec.structs.replace(line, refused=missing.get(f"{line.venue} {line.currency}", 0))
        for line in inventory.lines
    )
    return msgspec.structs.replace(inventory, lines=lines)


class _Side(NamedTuple):
    """Is one currency on one venue, in its own units."""

    venue: str
    currency: str
    free: Decimal
    wanted: Decimal
    """Amount that is missing for the days to be covered."""
    spare: Decimal
    """Part of the free amount that the days to be covered do not need."""
    why: str
    """Reason why it is wanted, as the end of a sentence; empty where it is not."""


def propose(inventory: Inventory) -> tuple[str, ...]:
    """Return proposals of what to move, a sentence each: only what one venue can spare and the other one will lack.

    Coins and the away venue's money can be moved between the venues; the home venue's money cannot. Where it is in
    the wrong place, the away venue's money is bought or sold for it on the home venue.
    """
    ends = inventory.ends
    prices = _prices(inventory)
    sides = {(line.venue, line.currency): _side(line, inventory) for line in inventory.lines}
    found: list[str] = []
    for (venue, currency), side in sides.items():
        if not side.why or currency == ends.home_quote:
            continue
        other = sides.get((ends.away if venue == ends.home else ends.home, currency))
        amount = _amount(side, other, currency, prices, inventory.transfer_min)
        if amount:
            found.append(f"Move {amount:,f} {currency} to {venue}: {side.why}.")
    found += _money(inventory, sides, prices)
    return tuple(found)


def _money(
    inventory: Inventory, sides: Mapping[tuple[str, str], _Side], prices: Mapping[str, Decimal]
) -> Iterator[str]:
    """Yield proposals that change one venue's money into the other's."""
    ends = inventory.ends
    price = prices.get(ends.away_quote)
    home = sides.get((ends.home, ends.home_quote))
    away = sides.get((ends.away, ends.away_quote))
    if price is None or home is None or away is None:
        return
    there = sides.get((ends.home, ends.away_quote))
    held = there is not None and _amount(away, there, ends.away_quote, prices, inventory.transfer_min)
    if away.why and not held:
        amount = _rounded(min(away.wanted, MONEY_CONTEXT.divide(home.spare, price)))
        if amount * price >= inventory.transfer_min:
            yield (
                f"Buy {amount:,f} {ends.away_quote} on {ends.home} for about {_rounded(amount * price):,f} "
                f"{ends.home_quote} and move them to {ends.away}: {away.why}."
            )
    if home.why:
        amount = _rounded(min(away.spare, MONEY_CONTEXT.divide(home.wanted, price)))
        if amount * price >= inventory.transfer_min:
            yield (
                f"Move {amount:,f} {ends.away_quote} to {ends.home} and sell them there: "
                f"{ends.home_quote} {home.why.removeprefix('it ')}."
            )


def _side(line: InventoryLine, inventory: Inventory) -> _Side:
    use = max(ZERO, -line.per_day) * Decimal(repr(inventory.cover_days))
    wanted, why = ZERO, ""
    if use > line.free:
        wanted = use - line.free
        day = datetime.fromtimestamp(line.runs_out_ms / 1000, UTC).date().isoformat()
        why = f"it runs out on {day} at the present rate" if line.free else "nothing of it is free"
    elif line.refused:
        why = f"{line.refused} entries were not made for want of it"
    return _Side(line.venue, line.currency, line.free, wanted, max(ZERO, line.free - use), why)


def _amount(
    side: _Side, other: _Side | None, currency: str, prices: Mapping[str, Decimal], least: Decimal
) -> Decimal:
    """Return how much to move from ``other`` to ``side``; 0 where it is not worth it.

    What is used up is covered; where entries are refused, both venues get the same amount.
    """
    price = prices.get(currency)
    if other is None or price is None:
        return ZERO
    half = max(ZERO, other.free - side.free) / 2
    amount = _rounded(min(other.spare, side.wanted or half))
    return amount if amount * price >= least else ZERO


def _prices(inventory: Inventory) -> dict[str, Decimal]:
    return {
        line.currency: MONEY_CONTEXT.divide(line.worth, line.have)
        for line in inventory.lines
        if line.worth is not None and line.have
    }


def _rounded(amount: Decimal) -> Decimal:
    """Return ``amount`` rounded down to two digits."""
    if amount <= 0:
        return ZERO
    step = Decimal(1).scaleb(amount.adjusted() - _DIGITS + 1)
    return ((amount / step).to_integral_value(ROUND_FLOOR) * step).normalize()


def line_of_status(note: RiskNote, missing: Missing, now_ms: int) -> str:
    """Return in one line what runs out soon and what entries lack; empty where there is nothing to report."""
    soon = [
        f"{one.currency} on {one.venue} runs out in {max(0, one.runs_out_ms - now_ms) / _HOUR_MS:.0f} h"
        for one in note.runs_out
    ]
    ranked = sorted(missing.items(), key=lambda item: (-item[1], item[0]))
    short = [f"{count} entries were not made for want of {where}" for where, count in ranked if count]
    named = [*soon[:_NAMED], *short[:_NAMED]]
    if not named:
        return ""
    left = len(soon) + len(short) - len(named)
    more = f"; and {left} more" if left else ""
    return f"{'; '.join(named)}{more}: 'arbshard inventory' shows what to move"


def problems_of_transfers(note: RiskNote) -> Iterator[Problem]:
    """Yield a problem for each transfer that should have ended long ago."""
    for one in note.overdue:
        yield Problem(
            "transfer",
            one.transfer_id,
            f"transfer {one.text} was announced {one.age_h:.0f} h ago: {one.amount} has not arrived; say "
            f"'arbshard transfer in {one.transfer_id}' or 'arbshard transfer lost {one.transfer_id}'",
        )
