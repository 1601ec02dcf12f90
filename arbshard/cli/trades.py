"""Finds closed positions in the ledger, for ``arbshard trades``."""

import csv
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import TextIO

import msgspec

from arbshard.ledger.events import PositionClosed, decode_event
from arbshard.ledger.export import iso
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.reader import EVER, EventRow
from arbshard.model.money import BPS, MONEY_CONTEXT, ZERO, plain
from arbshard.model.position import Position


class ClosedTrade(msgspec.Struct, frozen=True):
    """Describes one round trip, with amounts in reporting currency as plain text."""

    position_id: str
    symbol: str
    direction: str
    """Direction of the entry."""
    reason: str
    opened_ms: int
    closed_ms: int
    held_s: float
    quantity: str
    """Base bought at the entry, rounded to eight places."""
    entry_home_price: str
    entry_away_price: str
    notional: str
    trade: str | None
    """Result of the prices, before fees; None where an older program did not record the part of FX."""
    fees: str
    fx: str | None
    """Result of the change of the FX rate while the position was open."""
    pnl: str
    """``trade`` less ``fees`` and with ``fx``."""
    pnl_bps: float | None
    """Result in basis points of the notional; None when nothing was bought."""


def closed_positions(path: Path, symbol: str, last: int, since_ms: int = EVER) -> list[Position]:
    """Return the newest ``last`` positions closed at ``since_ms`` or later, newest first, archived ones too.

    ``symbol`` is a base or a market; empty for all. Raises ``UsageError`` and ``LedgerError``.
    """
    bases = _bases_of(symbol)
    with LedgerHistory(path) as history:
        found = _newest_of(history.live.rows(("PositionClosed",), since_ms), bases, last)
        for archive in history.newest_first():
            if len(found) >= last or archive.header.last_ms < since_ms:
                break
            older = _newest_of(archive.rows(("PositionClosed",), since_ms), bases, last - len(found))
            found += older
    return found


def _newest_of(rows: Iterable[EventRow], bases: frozenset[str], last: int) -> list[Position]:
    newest: deque[Position] = deque(maxlen=last)
    for _, _, _, pair, _, body in rows:
        if bases and pair not in bases:
            continue
        event = decode_event(body)
        assert isinstance(event, PositionClosed), event
        newest.append(event.position)
    return list(reversed(newest))


def trade_row(position: Position) -> ClosedTrade:
    """Return the row of a closed position."""
    assert position.pnl is not None, position.position_id
    pnl_bps = None
    if position.entry_notional:
        pnl_bps = round(float(MONEY_CONTEXT.divide(position.pnl, position.entry_notional) * BPS), 2)
    return ClosedTrade(
        position_id=position.position_id,
        symbol=position.pair,
        direction=position.direction,
        reason=position.reason or "",
        opened_ms=position.opened_ms,
        closed_ms=position.closed_ms,
        held_s=round((position.closed_ms - position.opened_ms) / 1000, 3),
        quantity=_quantity(position),
        entry_home_price=plain(position.entry_home_price),
        entry_away_price=plain(position.entry_away_price),
        notional=plain(position.entry_notional),
        trade=_amount(position.trade_pnl),
        fees=plain(position.fees),
        fx=_amount(position.fx_pnl),
        pnl=plain(position.pnl),
        pnl_bps=pnl_bps,
    )


_CSV_COLUMNS = tuple(
    name.removesuffix("_ms") if name in ("opened_ms", "closed_ms") else name
    for name in ClosedTrade.__struct_fields__
)


def write_csv(target: TextIO, rows: Iterable[ClosedTrade]) -> None:
    """Write ``rows`` below a header; times are ISO 8601 in UTC. Raises ``OSError`` of ``target``."""
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in rows:
        cells = msgspec.structs.asdict(row)
        cells.update(opened_ms=iso(row.opened_ms), closed_ms=iso(row.closed_ms))
        writer.writerow(cells.values())


def _amount(value: Decimal | None) -> str | None:
    return plain(value) if value is not None else None


def _quantity(position: Position) -> str:
    """Return the quantity of a closed position, of which nothing is left: it follows from its notional."""
    price = position.entry_home_price
    if position.direction == "buy_away":
        price = position.entry_away_price * (position.entry_fx.ask if position.entry_fx is not None else ZERO)
    if not price:
        return "0"
    return plain(round(MONEY_CONTEXT.divide(position.entry_notional, price), 8))


def _bases_of(symbol: str) -> frozenset[str]:
    """Return the bases that a name can mean: itself, or what either venue's name of a market begins or ends with."""
    name = symbol.upper()
    return frozenset(one for one in (name, name.removeprefix("KRW-"), name.removesuffix("USDT")) if one)
