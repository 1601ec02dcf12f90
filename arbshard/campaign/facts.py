"""Adds up the ledger of a campaign in one pass over its events: exact figures in bounded memory."""

from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import msgspec

from arbshard.errors import LedgerError, UsageError
from arbshard.ledger.events import (
    Event,
    IntentApproved,
    IntentConcluded,
    OrderReported,
    PositionClosed,
    PositionOpened,
)
from arbshard.ledger.history import LedgerHistory
from arbshard.ledger.verify import verify, verify_archive
from arbshard.model.intent import Intent
from arbshard.model.money import BPS, MONEY_CONTEXT, ZERO, use_money_context
from arbshard.model.order import Fill
from arbshard.model.position import Position
from arbshard.report.arrival import edge_at_arrival
from arbshard.risk.portfolio.snapshot import PortfolioCodec

_SAME_BPS = Decimal("0.01")
_DIFFERENCES_KEPT = 5
_KINDS = ("IntentApproved", "OrderReported", "IntentConcluded", "PositionOpened", "PositionClosed")


class TradingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the sums of one ledger, or of several. Money is in reporting currency."""

    entries: int = 0
    """Number of positions that were opened."""
    exits: int = 0
    """Number of positions that were closed."""
    wins: int = 0
    losses: int = 0
    """Number of closed positions whose result is not above 0."""
    pnl: Decimal = ZERO
    fees: Decimal = ZERO
    turnover: Decimal = ZERO
    """Entry notional of all positions that were opened."""
    decided: Decimal = ZERO
    """Worth of the edges at the decision of the entries that filled on both venues."""
    arrived: Decimal = ZERO
    """Worth of the edges at arrival of the same entries."""
    promised: Decimal = ZERO
    """What the last exit of each closed position promised at its decision for the whole round trip."""
    kept: Decimal = ZERO
    """The results of the closed positions that ``promised`` counts."""
    measured: int = 0
    """Number of entries whose edge at arrival is known."""
    same: int = 0
    """Entries among them whose edge at arrival is the edge at the decision, to a hundredth of a basis point."""
    not_finite: tuple[str, ...] = ()
    """Figures that are not finite numbers, a few at most."""
    open: tuple[str, ...] = ()
    """Positions that were not closed, a few at most."""
    open_count: int = 0
    reasons: dict[str, int] = {}
    """Number of closed positions by reason."""
    differences: tuple[str, ...] = ()
    """What ``arbshard ledger verify`` found, a few at most."""
    unreadable: str = ""
    """Why the ledger could not be read to its end."""

    def add(self, other: "TradingFacts") -> "TradingFacts":
        """Return the facts of both ledgers together."""
        return TradingFacts(
            entries=self.entries + other.entries,
            exits=self.exits + other.exits,
            wins=self.wins + other.wins,
            losses=self.losses + other.losses,
            pnl=self.pnl + other.pnl,
            fees=self.fees + other.fees,
            turnover=self.turnover + other.turnover,
            decided=self.decided + other.decided,
            arrived=self.arrived + other.arrived,
            promised=self.promised + other.promised,
            kept=self.kept + other.kept,
            measured=self.measured + other.measured,
            same=self.same + other.same,
            not_finite=self.not_finite + other.not_finite,
            open=self.open + other.open,
            open_count=self.open_count + other.open_count,
            reasons=dict(Counter(self.reasons) + Counter(other.reasons)),
            differences=self.differences + other.differences,
            unreadable=self.unreadable or other.unreadable,
        )


class _Entry(NamedTuple):
    intent: Intent
    arrived_bps: Decimal | None


class FactsTally:
    """Adds up events. What has ended is removed, so memory holds only what is open."""

    def __init__(self) -> None:
        self._entries = self._exits = self._wins = self._losses = self._measured = self._same = 0
        self._pnl = self._fees = self._turnover = ZERO
        self._decided = self._arrived = self._promised = self._kept = ZERO
        self._not_finite: list[str] = []
        self._reasons: Counter[str] = Counter()
        self._intents: dict[str, Intent] = {}
        self._fills: dict[str, list[Fill]] = {}
        self._entry: dict[str, _Entry] = {}
        self._exit_bps: dict[str, float] = {}
        self._open: dict[str, None] = {}

    def add(self, event: Event) -> None:
        """Add the next event."""
        if isinstance(event, IntentApproved):
            intent = event.intent
            self._intents[intent.intent_id] = intent
            self._fills[intent.intent_id] = []
            self._check(f"edge of intent {intent.intent_id}", intent.edge_bps)
        elif isinstance(event, OrderReported):
            for fill in event.fills:
                for name, value in (("price", fill.price), ("quantity", fill.quantity), ("fee", fill.fee)):
                    self._check(f"{name} of fill {fill.fill_id}", value)
            if event.intent_id in self._fills:
                self._fills[event.intent_id] += event.fills
        elif isinstance(event, IntentConcluded):
            self._conclude(event)
        elif isinstance(event, PositionOpened):
            self._opened(event.position)
        elif isinstance(event, PositionClosed):
            self._closed(event.position)

    def _conclude(self, event: IntentConcluded) -> None:
        intent = self._intents.pop(event.intent_id, None)
        fills = self._fills.pop(event.intent_id, [])
        if intent is None or not event.position_id:
            return
        if intent.kind == "exit":
            self._exit_bps[event.position_id] = intent.edge_bps
        else:
            finite = all(
                value.is_finite() for fill in fills for value in (fill.price, fill.quantity, fill.fee)
            )
            arrived = edge_at_arrival(intent, fills, event.other_fees) if finite else None
            self._entry[event.position_id] = _Entry(intent, arrived)

    def _opened(self, position: Position) -> None:
        self._entries += 1
        self._open[position.position_id] = None
        if not self._check(f"notional of {position.position_id}", position.entry_notional):
            return
        self._turnover += position.entry_notional
        entry = self._entry.pop(position.position_id, None)
        if entry is None or entry.arrived_bps is None or not isfinite(entry.intent.edge_bps):
            return
        decided_bps = Decimal(repr(entry.intent.edge_bps))
        self._measured += 1
        self._same += abs(entry.arrived_bps - decided_bps) <= _SAME_BPS
        self._decided += _worth(position.entry_notional, decided_bps)
        self._arrived += _worth(position.entry_notional, entry.arrived_bps)

    def _closed(self, position: Position) -> None:
        name = position.position_id
        self._open.pop(name, None)
        self._exits += 1
        self._reasons[position.reason or ""] += 1
        pnl = position.pnl
        if (
            pnl is None
            or not self._check(f"result of {name}", pnl)
            or not self._check(f"fees of {name}", position.fees)
        ):
            return
        self._pnl += pnl
        self._fees += position.fees
        self._wins += pnl > 0
        self._losses += pnl <= 0
        promised_bps = self._exit_bps.pop(name, None)
        if promised_bps is not None and isfinite(promised_bps) and position.entry_notional.is_finite():
            self._promised += _worth(position.entry_notional, Decimal(repr(promised_bps)))
            self._kept += pnl

    def _check(self, what: str, value: Decimal | float) -> bool:
        if isfinite(value):
            return True
        if len(self._not_finite) < _DIFFERENCES_KEPT:
            self._not_finite.append(f"the {what} is {value}")
        return False

    def facts(self, differences: tuple[str, ...] = (), unreadable: str = "") -> TradingFacts:
        """Return the sums so far."""
        return TradingFacts(
            entries=self._entries,
            exits=self._exits,
            wins=self._wins,
            losses=self._losses,
            pnl=self._pnl,
            fees=self._fees,
            turnover=self._turnover,
            decided=self._decided,
            arrived=self._arrived,
            promised=self._promised,
            kept=self._kept,
            measured=self._measured,
            same=self._same,
            not_finite=tuple(self._not_finite),
            open=tuple(self._open)[:_DIFFERENCES_KEPT],
            open_count=len(self._open),
            reasons=dict(self._reasons),
            differences=differences,
            unreadable=unreadable,
        )


def _worth(notional: Decimal, bps: Decimal) -> Decimal:
    return MONEY_CONTEXT.divide(notional * bps, BPS)


def facts_of(events: Iterable[Event]) -> TradingFacts:
    """Return the sums of ``events``, without recomputing the ledger."""
    tally = FactsTally()
    for event in events:
        tally.add(event)
    return tally.facts()


def read_facts(ledger: Path) -> TradingFacts:
    """Read the ledger and its archives, and let ``verify`` recompute everything."""
    use_money_context()
    tally = FactsTally()
    try:
        with LedgerHistory(ledger) as history:
            for seq, _, _, _, _, body in history.rows(_KINDS):
                tally.add(history.decode(seq, body))
            archives = [archive.path for archive in history.archives()]
    except (LedgerError, UsageError) as error:
        return tally.facts(unreadable=str(error))
    return tally.facts(tuple(_differences(ledger, archives))[:_DIFFERENCES_KEPT])


def _differences(ledger: Path, archives: list[Path]) -> Iterator[str]:
    try:
        for archive in archives:
            yield from verify_archive(archive).differences
        yield from verify(ledger, PortfolioCodec()).differences
    except (LedgerError, ArithmeticError) as error:
        yield f"verify ended with: {error}"
