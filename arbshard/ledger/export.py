"""``arbshard ledger export`` writes what the ledger holds as plain rows, one after the other, in bounded memory.

Amounts are text in plain notation, times ISO 8601 in UTC with their zone. It works while risk writes.
"""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal, NamedTuple, TextIO

import msgspec

from arbshard.ledger.events import (
    Deposited,
    IntentApproved,
    IntentConcluded,
    OrderReported,
    PositionChanged,
    PositionClosed,
    PositionOpened,
    TransferEnded,
)
from arbshard.ledger.file import damaged
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.reader import EVER
from arbshard.model.intent import Intent
from arbshard.model.money import MONEY_CONTEXT, ZERO, plain
from arbshard.model.order import Fill
from arbshard.model.position import Position

What = Literal["fills", "positions", "deposits", "events", "balances", "postings"]
TextFormat = Literal["csv", "jsonl", "json"]
Format = Literal["csv", "jsonl", "json", "parquet"]
ExportValue = str | int | float | None | msgspec.Raw

COLUMNS: dict[What, tuple[str, ...]] = {
    "fills": (
        *("time", "seq", "pair", "venue", "market", "side", "quantity", "price", "value", "quote"),
        *("fee", "fee_currency", "intent_id", "client_id", "fill_id", "position_id", "kind"),
    ),
    "positions": (
        *("position_id", "pair", "direction", "state", "opened", "closed", "reason", "pnl", "fees"),
        *("entry_notional", "entry_home_price", "entry_away_price", "entry_fx_bid", "entry_fx_ask"),
        *("entry_edge_bps", "home_base", "home_quote", "away_base", "away_quote", "other_fees"),
        *("trade_pnl", "fx_pnl", "exit_home_price", "exit_away_price", "exit_fx_bid", "exit_fx_ask", "mark"),
    ),
    "deposits": (
        *("time", "seq", "venue", "currency", "amount", "why", "pair", "reason", "transfer", "value"),
    ),
    "events": ("seq", "time", "kind", "pair", "intent_id", "body"),
    "balances": ("account", "currency", "balance", "changed"),
    "postings": ("seq", "line", "time", "account", "currency", "amount", "balance"),
}
"""The header of each kind of export."""

_CONCLUDED_KEPT = 1000
"""Intents that are still known after their end, for executions that are reported late."""
_PRICE_STEP = Decimal("1e-12")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(at_ms: int) -> str:
    """Return a wall time as ISO 8601: ``2026-11-18T12:00:00.123+00:00``. Raises ``OverflowError``."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds")


def rows_of(reader: LedgerHistory, what: What, since_ms: int = EVER) -> Iterator[tuple[ExportValue, ...]]:
    """Yield the rows below ``COLUMNS[what]`` of what was booked at ``since_ms`` or later, and all open positions.

    Raises ``LedgerDamaged`` or ``LedgerError``.
    """
    try:
        match what:
            case "fills":
                yield from _fills(reader, since_ms)
            case "positions":
                yield from _positions(reader, since_ms)
            case "deposits":
                yield from _deposits(reader, since_ms)
            case "events":
                for seq, at_ms, kind, pair, intent_id, body in reader.rows(since_ms=since_ms):
                    yield seq, iso(at_ms), kind, pair, intent_id, msgspec.Raw(body.encode())
            case "balances":
                yield from _balances(reader, since_ms)
            case "postings":
                for at_ms, (seq, line, account, currency, amount, balance) in reader.dated_lines(since_ms):
                    yield seq, line, iso(at_ms), account, currency, amount, balance
    except (ArithmeticError, UnicodeError) as error:  # a time or an amount that cannot be one
        raise damaged(reader.path, f"it holds an invalid time or amount: {error}") from error


def write_rows(
    target: TextIO, columns: Sequence[str], rows: Iterable[tuple[ExportValue, ...]], form: TextFormat
) -> int:
    """Write the rows below a header (csv), one a line (jsonl) or as one array (json). Return the number of rows.

    Raises ``OSError`` when ``target`` cannot be written.
    """
    count = 0
    if form == "csv":
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            count += 1
            writer.writerow([bytes(cell).decode() if isinstance(cell, msgspec.Raw) else cell for cell in row])
        return count
    keys = [f"{json.dumps(column)}:" for column in columns]
    before, between, after = ("[\n", ",\n", "\n]\n") if form == "json" else ("", "\n", "\n")
    target.write(before)
    for row in rows:
        cells = (key + msgspec.json.encode(cell).decode() for key, cell in zip(keys, row, strict=True))
        target.write(f"{between if count else ''}{{{','.join(cells)}}}")
        count += 1
    target.write(after if count or form == "json" else "")
    return count


class _Intents:
    """Knows of each intent whose fills may still come which position it changes, and whether it is an entry."""

    def __init__(self, reader: LedgerHistory) -> None:
        self._reader = reader
        self._known: dict[str, Intent] = {}
        self._concluded: deque[str] = deque()

    def approve(self, seq: int, body: str) -> None:
        event = self._reader.decode(seq, body)
        if not isinstance(event, IntentApproved):
            raise damaged(self._reader.path, f"event {seq} is not of the kind its row says")
        self._known[event.intent.intent_id] = event.intent

    def conclude(self, intent_id: str) -> None:
        self._concluded.append(intent_id)
        if len(self._concluded) > _CONCLUDED_KEPT:
            self._known.pop(self._concluded.popleft(), None)

    def get(self, intent_id: str) -> Intent | None:
        return self._known.get(intent_id)


class _ExitLeg(NamedTuple):
    """What the exits of a position have traded on one venue."""

    quantity: Decimal = ZERO
    value: Decimal = ZERO

    def price(self) -> str | None:
        """Return the average price; None when nothing was traded."""
        if not self.quantity:
            return None
        average = MONEY_CONTEXT.divide(self.value, self.quantity)
        return plain(average.quantize(_PRICE_STEP, ROUND_HALF_EVEN, MONEY_CONTEXT))


class _Exits:
    """Adds up by position what its exits have traded; of closed ones nothing is kept."""

    def __init__(self) -> None:
        self._legs: dict[tuple[str, bool], _ExitLeg] = {}

    def add(self, intent: Intent, fills: Iterable[Fill]) -> None:
        for fill in fills:
            leg = intent.position_id, fill.market == intent.home.market
            known = self._legs.get(leg, _ExitLeg())
            value = known.value + fill.quantity * fill.price
            self._legs[leg] = _ExitLeg(known.quantity + fill.quantity, value)

    def pop_prices(self, position_id: str) -> tuple[str | None, str | None]:
        """Return the average prices at home and away, and forget the position."""
        home, away = (self._legs.pop((position_id, is_home), _ExitLeg()) for is_home in (True, False))
        return home.price(), away.price()


def _fills(reader: LedgerHistory, since_ms: int) -> Iterator[tuple[ExportValue, ...]]:
    intents = _Intents(reader)
    for seq, at_ms, kind, _, intent_id, body in reader.rows(
        ("IntentApproved", "OrderReported", "IntentConcluded")
    ):
        if kind == "IntentApproved":
            intents.approve(seq, body)
        elif kind == "IntentConcluded":
            intents.conclude(intent_id)
        elif at_ms >= since_ms:
            event = reader.decode(seq, body)
            if not isinstance(event, OrderReported):
                raise damaged(reader.path, f"event {seq} is not of the kind its row says")
            intent = intents.get(event.intent_id)
            belongs = (intent.position_id, intent.kind) if intent is not None else ("", "")
            for fill in event.fills:
                market = fill.market
                yield (
                    *(iso(at_ms), seq, event.pair, market.venue, market.symbol, fill.side),
                    *(
                        plain(fill.quantity),
                        plain(fill.price),
                        plain(fill.quantity * fill.price),
                        market.quote,
                    ),
                    *(plain(fill.fee), fill.fee_currency, event.intent_id, fill.client_id, fill.fill_id),
                    *belongs,
                )


def _deposits(reader: LedgerHistory, since_ms: int) -> Iterator[tuple[ExportValue, ...]]:
    """Yield what has changed balances beside trading, and what of transfers has not arrived (with an empty venue)."""
    for seq, at_ms, _, _, _, body in reader.rows(("Deposited", "TransferEnded"), since_ms):
        event = reader.decode(seq, body)
        head = iso(at_ms), seq
        if isinstance(event, Deposited):
            moved = event.venue, event.currency, plain(event.amount), event.why, event.pair, event.reason
            yield *head, *moved, event.transfer, plain(event.value)
        elif isinstance(event, TransferEnded):
            missing = -event.fee - event.lost
            why = "lost" if event.how == "lost" else "fee"
            if missing:
                ended = "", event.currency, plain(missing), why, "", f"transfer {event.how}"
                yield *head, *ended, event.transfer_id, plain(event.value)
        else:
            raise damaged(reader.path, f"event {seq} is not of the kind its row says")


def _positions(reader: LedgerHistory, since_ms: int) -> Iterator[tuple[ExportValue, ...]]:
    """Yield closed positions as they were closed, then those that are still open."""
    open_now: dict[str, Position] = {}
    intents, exits = _Intents(reader), _Exits()
    concluded: IntentConcluded | None = None
    for seq, at_ms, kind, _, intent_id, body in reader.rows(
        (
            *("IntentApproved", "OrderReported", "IntentConcluded"),
            *("PositionOpened", "PositionChanged", "PositionClosed"),
        )
    ):
        if kind == "IntentApproved":
            intents.approve(seq, body)
            continue
        intent = intents.get(intent_id)
        if kind == "OrderReported" and (intent is None or intent.kind != "exit"):
            continue
        event = reader.decode(seq, body)
        match event:
            case OrderReported() if intent is not None:
                exits.add(intent, event.fills)
            case IntentConcluded():
                intents.conclude(intent_id)
                concluded = event
            case PositionOpened() | PositionChanged():
                open_now[event.position.position_id] = event.position
            case PositionClosed():
                open_now.pop(event.position.position_id, None)
                prices = exits.pop_prices(event.position.position_id)
                if at_ms >= since_ms:
                    is_its = concluded is not None and concluded.intent_id == event.intent_id
                    yield _position(event.position, prices, concluded if is_its else None)
            case _:
                raise damaged(reader.path, f"event {seq} is not of the kind its row says")
    for position in open_now.values():
        yield _position(position, (None, None), None)


def _position(
    one: Position, exit_prices: tuple[str | None, str | None], concluded: IntentConcluded | None
) -> tuple[ExportValue, ...]:
    """Return the row. ``concluded``: the end of the intent that closed it; None while it is open."""
    flows, fx = one.flows, one.entry_fx
    last = concluded.fx if concluded is not None else None
    return (
        *(one.position_id, one.pair, one.direction, one.state, iso(one.opened_ms)),
        *(iso(one.closed_ms) if one.closed_ms else None, one.reason, _amount(one.pnl), plain(one.fees)),
        *(plain(one.entry_notional), plain(one.entry_home_price), plain(one.entry_away_price)),
        *(_amount(fx.bid if fx else None), _amount(fx.ask if fx else None), one.entry_edge_bps),
        *(plain(flows.home_base), plain(flows.home_quote), plain(flows.away_base), plain(flows.away_quote)),
        *(plain(one.other_fees), _amount(one.trade_pnl), _amount(one.fx_pnl), *exit_prices),
        *(_amount(last.bid if last else None), _amount(last.ask if last else None)),
        _amount(concluded.mark if concluded is not None else None),
    )


def _balances(reader: LedgerHistory, since_ms: int) -> Iterator[tuple[ExportValue, ...]]:
    """Yield the balance of every account that has changed at ``since_ms`` or later."""
    newest: dict[tuple[str, str], tuple[str, int]] = {}
    for at_ms, (_, _, account, currency, _, balance) in reader.dated_lines(since_ms):
        newest[account, currency] = balance, at_ms
    for (account, currency), (balance, at_ms) in sorted(newest.items()):
        yield account, currency, balance, iso(at_ms)


def _amount(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
