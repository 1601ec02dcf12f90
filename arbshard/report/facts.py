"""Sums up a ledger in one pass, in memory that does not grow with its length. It is pure.

``RunFacts`` receives the events in order; ``build`` makes a report of it. Only what is open is kept individually:
intents without an outcome and positions that are not closed. Everything else is summed up or sampled.
"""

from collections import Counter, deque
from collections.abc import Iterable
from decimal import Decimal

from arbshard.ledger.events import (
    ClosesOrdered,
    CoinConfirmed,
    Deposited,
    DifferenceFound,
    DifferenceResolved,
    EquityMarked,
    Event,
    Halted,
    IntentApproved,
    IntentConcluded,
    IntentRefused,
    LeaderBegan,
    LimitsChanged,
    LimitsScaled,
    OrderExtended,
    OrderReported,
    PairReleased,
    PairSetApart,
    PositionClosed,
    RefusalsCounted,
    Resumed,
    ShardFenced,
    ShardGranted,
    ShardJoined,
    Started,
    Stopped,
    StrayFound,
    StrayGone,
    TransferEnded,
    VenueStateChanged,
)
from arbshard.model.intent import Intent
from arbshard.model.money import BPS, MONEY_CONTEXT, ONE, ZERO, exact, plain
from arbshard.model.order import FINAL_STATES, Fill, Order
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.model.verdict import Severity
from arbshard.report.arrival import edge_at_arrival
from arbshard.report.model import SessionReport, TimelineEntry
from arbshard.report.samples import Downsampler, Reservoir
from arbshard.risk.portfolio.settlement import fee_value

KINDS = (
    *("ClosesOrdered", "CoinConfirmed", "Deposited", "DifferenceFound", "DifferenceResolved", "EquityMarked"),
    *("Halted", "IntentApproved", "IntentConcluded", "IntentRefused", "LeaderBegan", "LimitsChanged"),
    "LimitsScaled",
    *("OrderExtended", "OrderReported", "PairReleased", "PairSetApart", "PositionClosed", "RefusalsCounted"),
    *(
        "Resumed",
        "ShardFenced",
        "ShardGranted",
        "ShardJoined",
        "Started",
        "Stopped",
        "StrayFound",
        "StrayGone",
    ),
    *("TransferEnded", "VenueStateChanged"),
)
"""The kinds of events that ``RunFacts`` counts."""
_SESSIONS_KEPT = 50
_ENTRIES_KEPT = 300
"""How many of the first and of the last entries of the time line are kept, per severity."""
_SYMBOL_BUCKETS = 150
_SAME_EDGE = Decimal("0.01")
_EDGE_STEP = Decimal("1e-9")
"""Edges are ratios; they are rounded to this, in basis points, so that money computed from them has an end."""


class BoundedTimeline:
    """Keeps the first and the last entries of each severity."""

    def __init__(self) -> None:
        self._first: dict[Severity, list[TimelineEntry]] = {}
        self._last: dict[Severity, deque[TimelineEntry]] = {}
        self.left_out = 0

    def add(self, entry: TimelineEntry) -> None:
        """Add one entry."""
        first = self._first.setdefault(entry.severity, [])
        if len(first) < _ENTRIES_KEPT:
            first.append(entry)
            return
        last = self._last.setdefault(entry.severity, deque(maxlen=_ENTRIES_KEPT))
        self.left_out += len(last) == _ENTRIES_KEPT
        last.append(entry)

    def entries(self) -> list[TimelineEntry]:
        """Return the entries that are kept, by time."""
        kept = [*self._first.values(), *self._last.values()]
        return sorted((one for part in kept for one in part), key=lambda one: one.first_ms)


class _OpenIntent:
    """Holds an approved intent without an outcome."""

    def __init__(self, intent: Intent) -> None:
        self.intent = intent
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.filled: set[str] = set()
        self.ended: set[str] = set()
        self.buy_price = ZERO
        """The price that the book promised for the order that buys; 0 while it is not known."""
        for order in (intent.home, intent.away):
            self.orders[order.client_id] = order

    @property
    def buy(self) -> Order:
        return self.intent.home if self.intent.direction == "buy_home" else self.intent.away

    def value_at(self, price: Decimal) -> Decimal:
        """Return the worth of the order that buys, in reporting currency."""
        rate = ONE if self.intent.direction == "buy_home" else self.intent.fx.ask
        return self.buy.quantity * price * rate


class _Entry:
    """Holds the entry of a position that is not closed yet."""

    __slots__ = ("arrived_bps", "decided_bps", "fees", "sent")

    def __init__(
        self, sent: Decimal, decided_bps: Decimal, arrived_bps: Decimal | None, fees: Decimal
    ) -> None:
        self.sent = sent
        self.decided_bps = decided_bps
        self.arrived_bps = arrived_bps
        self.fees = fees


class EdgeSums:
    """Adds up the money of ``EdgeSteps``, and how many entries passed each step."""

    def __init__(self) -> None:
        self.sent_notional = self.filled_notional = ZERO
        self.sent = self.not_filled = self.one_legged = self.arrival = ZERO
        self.exit_fees = self.fx = self.way_out = ZERO
        self.ended = self.filled = self.taken_back = self.won = 0
        self.pnl_of_filled = ZERO
        self.unmeasured = ZERO
        """Result of positions whose entry is not known."""

    def add_missed(self, sent: Decimal, edge: Decimal) -> None:
        """Count an entry that filled nothing."""
        self.ended += 1
        self.sent_notional += sent
        self.sent += edge
        self.not_filled -= edge

    def add_closed(self, position: Position, entry: _Entry) -> None:
        """Count a closed position whose entry is known."""
        assert position.pnl is not None, position.position_id
        self.ended += 1
        self.sent_notional += entry.sent
        promised = _share(entry.sent, entry.decided_bps)
        self.sent += promised
        if entry.arrived_bps is None:
            self.not_filled -= promised
            self.one_legged += position.pnl
            self.taken_back += 1
            return
        notional = position.entry_notional
        decided, arrived = _share(notional, entry.decided_bps), _share(notional, entry.arrived_bps)
        exit_fees, fx = position.fees - entry.fees, position.fx_pnl or ZERO
        self.filled += 1
        self.won += position.pnl > 0
        self.filled_notional += notional
        self.not_filled += decided - promised
        self.arrival += arrived - decided
        self.exit_fees -= exit_fees
        self.fx += fx
        self.way_out += position.pnl - arrived + exit_fees - fx
        self.pnl_of_filled += position.pnl


def _share(notional: Decimal, bps: Decimal) -> Decimal:
    return notional * bps * Decimal("0.0001")


class SymbolFacts:
    """Holds the sums of one symbol, or of all."""

    def __init__(self) -> None:
        self.approved = self.refused = self.entries = self.exits = self.wins = 0
        self.notional = self.pnl = self.fees = self.fx = self.trade = self.not_split = ZERO
        self.results_bps, self.held_s = Reservoir(), Reservoir()
        self.reasons: Counter[str] = Counter()
        self.edges = EdgeSums()
        self.measured = self.arrived_as_decided = 0
        self.realised = Downsampler(_SYMBOL_BUCKETS)

    def add_closed(self, position: Position, entry: _Entry | None) -> None:
        """Count a closed position."""
        pnl = position.pnl
        assert pnl is not None, position.position_id
        self.exits += 1
        self.wins += pnl > 0
        self.notional += position.entry_notional
        self.pnl += pnl
        self.fees += position.fees
        self.fx += position.fx_pnl or ZERO
        if position.trade_pnl is None:
            self.not_split += pnl
        else:
            self.trade += position.trade_pnl
        if position.entry_notional:
            self.results_bps.add(float(MONEY_CONTEXT.divide(pnl, position.entry_notional) * BPS))
        self.held_s.add((position.closed_ms - position.opened_ms) / 1000)
        self.reasons[position.reason or "unknown"] += 1
        self.realised.add(position.closed_ms, float(self.pnl))
        if entry is None:
            self.edges.unmeasured += pnl
            return
        self.edges.add_closed(position, entry)
        if entry.arrived_bps is not None:
            self.measured += 1
            self.arrived_as_decided += abs(entry.arrived_bps - entry.decided_bps) < _SAME_EDGE


class VenueTrading:
    """Adds up the outcomes of the orders at one venue."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.fees = self.slipped = self.expected = ZERO
        self.refusals = 0


class RunFacts:
    """Sums up the events of a ledger, which are added in order."""

    def __init__(self) -> None:
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.mode = ""
        self.currency = ""
        self.all = SymbolFacts()
        self.symbols: dict[str, SymbolFacts] = {}
        self.venues: dict[str, VenueTrading] = {}
        self.refused: Counter[Refusal] = Counter()
        self.transfers = self.unexplained = self.fees_beside = ZERO
        self.equity, self.drawdown = Downsampler(), Downsampler()
        self.realised, self.realised_drawdown = Downsampler(), Downsampler()
        self.unrealised: Decimal | None = None
        self.drawdown_max = ZERO
        self.drawdown_max_ms: int | None = None
        self._peak = ZERO
        self.joined: Counter[int] = Counter()
        self.fenced: Counter[int] = Counter()
        self.sessions: deque[SessionReport] = deque(maxlen=_SESSIONS_KEPT)
        self.session_count = self.cut_off = 0
        self.active_ms = 0
        self._began_ms: int | None = None
        self.timeline = BoundedTimeline()
        self.halts = self.set_apart = self.differences = self.strays = 0
        self._intents: dict[str, _OpenIntent] = {}
        self._entries: dict[str, _Entry] = {}

    @property
    def beside(self) -> Decimal:
        """Return the result that no position brought."""
        return self.transfers + self.unexplained + self.fees_beside

    @property
    def is_running(self) -> bool:
        """Return whether the last session has neither stopped nor been followed by another."""
        return self._began_ms is not None

    def add(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case per kind of event
        """Count one event."""
        before_ms, self.last_ms = self.last_ms, event.at_ms
        if before_ms is None:
            self.first_ms = before_ms = event.at_ms
        match event:
            case IntentApproved():
                self._approved(event.intent)
            case IntentRefused():
                self._refused(event.pair, event.reason, 1, is_entry=event.intent_kind == "entry")
            case RefusalsCounted():
                for symbol, reason, count in event.counts:
                    self._refused(symbol, reason, count, is_entry=True)
            case OrderExtended():
                if (intent := self._intents.get(event.intent_id)) is not None:
                    intent.orders[event.order.client_id] = event.order
            case OrderReported():
                self._reported(event)
            case IntentConcluded():
                self._concluded(event)
            case PositionClosed():
                self._closed(event.position)
            case Deposited():
                self._deposited(event)
            case TransferEnded():
                self.transfers += event.value
                self._mark_realised(event.at_ms)
            case EquityMarked():
                self._marked(event)
            case Started() | Stopped():
                self._session(event, before_ms)
            case ShardJoined():
                self.joined[event.shard] += 1
                if event.epoch > 1:
                    self._note(event, "warn", f"shard {event.shard}", f"incarnation {event.epoch} took over")
            case ShardFenced():
                self.fenced[event.shard] += 1
                self._note(event, "warn", f"shard {event.shard}", f"was fenced: {event.reason}")
            case LeaderBegan():
                self._note(event, "warn", "cluster", f"host {event.host} leads in term {event.term}")
            case ShardGranted():
                self._note(event, "note", f"shard {event.shard}", f"was given to host {event.host}")
            case _:
                self._incident(event)

    def finish(self) -> None:
        """End a session that has not stopped with the last event; call it after that was added."""
        if self._began_ms is not None and self.last_ms is not None:
            self._end_session(self.last_ms, in_order=False)

    def symbol(self, name: str) -> SymbolFacts:
        """Return the sums of a symbol."""
        return self.symbols.setdefault(name, SymbolFacts())

    def _both(self, name: str) -> Iterable[SymbolFacts]:
        return self.symbol(name), self.all

    def _approved(self, intent: Intent) -> None:
        self._intents[intent.intent_id] = _OpenIntent(intent)
        if intent.kind == "entry":
            for facts in self._both(intent.pair):
                facts.approved += 1

    def _refused(self, pair: str, reason: Refusal, count: int, *, is_entry: bool) -> None:
        self.refused[reason] += count
        if is_entry:
            for facts in self._both(pair):
                facts.refused += count

    def _reported(self, event: OrderReported) -> None:
        running = self._intents.get(event.intent_id)
        if running is None or (order := running.orders.get(event.client_id)) is None:
            return
        venue = self.venues.setdefault(order.market.venue, VenueTrading())
        if order is running.buy and event.decision_price:
            running.buy_price = event.decision_price
        for fill in event.fills:
            running.fills.append(fill)
            running.filled.add(fill.client_id)
            venue.fees += fee_value(fill, running.intent.home.market, running.intent.fx)
            if order.role == "leg" and event.decision_price:
                sign = 1 if fill.side == "buy" else -1
                venue.slipped += sign * (fill.price - event.decision_price) * fill.quantity
                venue.expected += event.decision_price * fill.quantity
        if event.state in FINAL_STATES and event.client_id not in running.ended:
            running.ended.add(event.client_id)
            state: str = event.state
            if state in ("EXPIRED", "CANCELED"):
                state = "partial" if event.client_id in running.filled else "unfilled"
            venue.states[state] += 1

    def _concluded(self, event: IntentConcluded) -> None:
        running = self._intents.pop(event.intent_id, None)
        if running is None or running.intent.kind != "entry":
            return
        intent = running.intent
        decided = exact(intent.edge_bps).quantize(_EDGE_STEP)
        sent = running.value_at(running.buy_price or running.buy.limit)
        if not event.position_id:
            for facts in self._both(intent.pair):
                facts.edges.add_missed(sent, _share(sent, decided))
            return
        home = intent.home.market
        fees = sum((fee_value(fill, home, intent.fx) for fill in running.fills), event.other_fees)
        arrived = edge_at_arrival(intent, running.fills, event.other_fees)
        if arrived is not None:
            arrived = arrived.quantize(_EDGE_STEP)
        self._entries[event.position_id] = _Entry(sent, decided, arrived, fees)
        for facts in self._both(intent.pair):
            facts.entries += 1

    def _closed(self, position: Position) -> None:
        entry = self._entries.pop(position.position_id, None)
        for facts in self._both(position.pair):
            facts.add_closed(position, entry)
        self._mark_realised(position.closed_ms)

    def _deposited(self, event: Deposited) -> None:
        match event.why:
            case "fee":
                self.fees_beside += event.value
            case "unexplained":
                self.unexplained += event.value
            case _:
                return
        self._mark_realised(event.at_ms)
        text = f"{plain(event.amount)} {event.currency} were accepted as {event.why}: {event.reason}"
        self._note(event, "note", event.venue, text)

    def _mark_realised(self, at_ms: int) -> None:
        realised = self.all.pnl + self.beside
        self._peak = max(self._peak, realised)
        self.realised.add(at_ms, float(realised))
        self.realised_drawdown.add(at_ms, float(realised - self._peak))
        self._fell(at_ms, self._peak - realised)

    def _marked(self, event: EquityMarked) -> None:
        self.equity.add(event.at_ms, float(event.equity))
        self.unrealised = event.unrealised
        fall = max(ZERO, event.high_water - event.equity)
        self.drawdown.add(event.at_ms, -float(fall))
        self._fell(event.at_ms, fall)

    def _fell(self, at_ms: int, fall: Decimal) -> None:
        if fall > self.drawdown_max:
            self.drawdown_max, self.drawdown_max_ms = fall, at_ms

    def _session(self, event: Started | Stopped, before_ms: int) -> None:
        if isinstance(event, Stopped):
            self._end_session(event.at_ms, in_order=True)
            return
        if self._began_ms is not None:
            self._end_session(before_ms, in_order=False)
            self._note(event, "warn", "risk", "the session before was cut off")
        self.session_count += 1
        self._began_ms = event.at_ms
        self.mode, self.currency = event.mode, event.reporting
        self.sessions.append(
            SessionReport(event.session, event.version, event.mode, event.at_ms, event.at_ms, False)
        )
        self._note(event, "note", "risk", f"session {event.session} began, version {event.version}")

    def _end_session(self, at_ms: int, *, in_order: bool) -> None:
        if self._began_ms is None:
            return
        self.active_ms += max(0, at_ms - self._began_ms)
        self.cut_off += not in_order
        last = self.sessions[-1]
        self.sessions[-1] = SessionReport(
            last.session, last.version, last.mode, last.began_ms, at_ms, in_order
        )
        self._began_ms = None

    def _incident(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case per kind of event
        """Add what happened to the desk itself to the time line."""
        match event:
            case Halted():
                self.halts += 1
                severity: Severity = "stop" if event.level == "stopped" else "warn"
                self._note(event, severity, event.cause, f"entries were halted: {event.reason}")
            case Resumed():
                self._note(event, "note", "operator", f"entries were resumed: {event.reason}")
            case ClosesOrdered():
                self._note(event, "note", event.reason, f"{', '.join(event.pairs)} were ordered to be closed")
            case PairSetApart():
                self.set_apart += 1
                self._note(event, "warn", event.pair, f"was set apart ({event.cause}): {event.reason}")
            case PairReleased():
                self._note(event, "note", event.pair, f"was released: {event.reason}")
            case CoinConfirmed():
                self._note(event, "note", event.pair, f"was confirmed as one coin: {event.reason}")
            case LimitsChanged():
                changed = ", ".join(f"{key} = {value}" for key, value in event.changes)
                self._note(event, "note", event.symbol or "limits", f"limits were changed: {changed}")
            case LimitsScaled():
                text = f"limits were scaled to {plain(event.factor)}: {event.cause}"
                self._note(event, "note", event.symbol or "limits", text)
            case DifferenceFound():
                self.differences += 1
                text = (
                    f"the venue states {plain(event.stated)} {event.currency}, "
                    f"the ledger has {plain(event.booked)}"
                )
                self._note(event, "stop", event.venue, text)
            case DifferenceResolved():
                self._note(event, "note", event.venue, f"the difference of {event.currency} is resolved")
            case StrayFound():
                self.strays += 1
                self._note(event, "warn", event.venue, f"order {event.client_id} belongs to no open intent")
            case StrayGone():
                self._note(event, "note", event.venue, f"order {event.client_id} is no longer open")
            case VenueStateChanged():
                if event.state == "refuses":
                    self.venues.setdefault(event.venue, VenueTrading()).refusals += 1
                where = f"{event.venue} {event.symbol}".strip()
                text = f"{event.state}: {event.why}" if event.why else event.state
                self._note(event, "warn" if event.state == "refuses" else "note", where, text)
            case _:
                pass

    def _note(self, event: Event, severity: Severity, subject: str, text: str) -> None:
        self.timeline.add(TimelineEntry(event.at_ms, event.at_ms, severity, "ledger", subject, text))
