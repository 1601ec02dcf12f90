"""Checks the invariants against everything that happens. The virtual processes report to it; it knows the truth from
outside.

It knows when each market last received a frame, and the content of the frame (from the connections themselves); what
the exchanges have executed, and for whom (from their own record); every event as it is stored, every request that
risk accepts, and every decision and fill at the instant it is made. It judges by arithmetic of its own
(``own_books``, ``bounds``, ``exposure``, ``executions``): none of these imports anything of the system that decides
or values, which ``tests/virtual/test_independence.py`` checks. ``audit`` also runs the system's own audits;
``health`` checks what must come true in time.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from arbshard.config import Config
from arbshard.ledger.events import (
    EquityMarked,
    Event,
    IntentApproved,
    IntentConcluded,
    IntentRefused,
    PositionClosed,
    PositionOpened,
    ShardFenced,
    Started,
)
from arbshard.model.intent import Intent
from arbshard.model.order import Order, OrderResult
from arbshard.model.universe import Universe
from arbshard.virtual.bounds import Bounds, MarketFacts
from arbshard.virtual.budgets import Budgets
from arbshard.virtual.clock import VirtualClock
from arbshard.virtual.executions import Execution, Executions, fees_of
from arbshard.virtual.exposure import Exposure, Stated
from arbshard.virtual.frames import Frames
from arbshard.virtual.freshness import Freshness
from arbshard.virtual.own_books import OwnBooks
from arbshard.virtual.settings import ROUNDED, TAG
from arbshard.virtual.tally import OracleCounts
from arbshard.virtual.trace import Trace
from arbshard.virtual.venue_books import Placed, VenueBooks
from arbshard.virtual.worth import Worth
from arbshard.wire.messages import (
    Approved,
    Conclude,
    Hello,
    Noted,
    Refused,
    Reply,
    Report,
    Request,
    Settled,
    decode_reply,
)

ZERO = Decimal(0)
_APPROVED = b"Approved"
_ENDED_KEPT = 4_000
_SILENCE_NS = 1_000_000_000
"""Time in ns after which a supervisor without a beat counts as silent: nothing may be decided then."""
_NOTICED_NS = 400_000_000
"""Largest interval in ns between beats and timers of the virtual processes: a silence may be noticed this late."""


class Decision(NamedTuple):
    """Is a trade that a worker has decided on."""

    base: str
    home: str
    """Symbol of the market at home."""
    away: str
    what: str
    trusts_books: bool
    """Whether the trade is only allowed on fresh books."""
    is_entry: bool
    """Whether the trade is an entry. Entries need young frames; exits may be decided on quiet books."""


class _Accepted(NamedTuple):
    """Is a fill that risk has accepted, under reserve."""

    intent_id: str
    fill_id: str


class Oracle:
    """Records everything that happens and reports each invariant that does not hold."""

    def __init__(self, config: Config, universe: Universe, clock: VirtualClock, trace: Trace) -> None:
        self._clock = clock
        self._trace = trace
        self._is_live = config.mode == "live"
        self.fresh = Freshness(config.data_quality, universe)
        self.frames = Frames()
        self.executions = Executions(fees_of(config))
        facts = {
            leg.market.symbol: MarketFacts(leg.rules.lot, leg.rules.notional_min, leg.rules.quantity_max)
            for leg in universe.legs()
        }
        bounds = self.bounds = Bounds(
            self.frames, facts, self.executions.fees, config.execution, config.data_quality,
            universe.fx.market.symbol, self.differs,
        )  # fmt: skip
        self._printed = ROUNDED if config.sim.faults.rounded_statement.share else ZERO
        self.books = OwnBooks(self.executions, bounds, self.differs, tolerance=self._printed)
        self.venues = VenueBooks(TAG, self.differs, self._printed)
        self.budgets = Budgets(
            config.execution, self.executions, self.books.notional, self.books.naked_before, self.differs
        )
        self.worth = Worth(
            self.books, self.frames, self.executions.fees, {pair.base: pair for pair in universe.pairs},
            universe.fx.market.symbol, self.differs, is_live=self._is_live,
        )  # fmt: skip
        self._exposure = Exposure(config.limits, self.books.notional, self.differs)
        self._accepted: list[_Accepted] = []
        """Fills that were not compared yet with the stored events."""
        self._pids: dict[tuple[int, int], int] = {}
        """Process ids of the incarnations that have joined, by shard and epoch."""
        self._epochs: dict[int, int] = {}
        """Highest epoch with which each shard has joined in this run."""
        self._fences: dict[int, int] = {}
        """Lowest epoch of each shard whose requests are accepted."""
        self.open: OrderedDict[str, tuple[Intent, int]] = OrderedDict()
        """Approved intents without an outcome, by id, and when they were approved (monotonic ns)."""
        self._known: OrderedDict[str, None] = OrderedDict()
        """Ids of intents that the ledger has approved, the newest."""
        self.tally = OracleCounts()
        self.violations: list[str] = []
        self.on_violation: Callable[[], None] = lambda: None
        self.on_execution: Callable[[str, str], None] = lambda _venue, _symbol: None
        """Is called with the venue and the symbol of each execution."""
        self.wallets: Callable[[], dict[tuple[str, str], tuple[Decimal, Decimal]]] | None = None
        """Returns what the venues' wallets hold, free and locked, by venue and currency; None on paper."""
        self.audit_event: Callable[[int, Event], None] = lambda _seq, _event: None
        """Is called with every stored event and its number: the system's own audit."""
        self.owners: Callable[[str], list[int]] = lambda _: []
        """Returns the shards whose newest worker regards a base as its own."""
        self.silent_ns: Callable[[], int] = lambda: 0
        """Returns for how many ns the supervisor has done nothing."""
        self.traded_ns = 0
        """Time at which risk last decided on an intent (monotonic ns)."""

    def differs(self, what: str) -> None:
        """Note that an invariant does not hold."""
        self._trace.note("VIOLATION", what)
        self.violations.append(what)
        self.on_violation()

    def last_cost(self, base: str) -> Decimal | None:
        """Return what the last entry of a pair could cost at most, in KRW; None before the first."""
        return self._exposure.costs.get(base)

    # decisions and fills

    def decided(self, shard: int, epoch: int, decision: Decision) -> None:
        """Judge a worker's decision to trade."""
        base, what = decision.base, decision.what
        self._trace.note("decided", f"{shard}.{epoch} {base} {what}")
        silent_ns = self.silent_ns()
        if silent_ns > _SILENCE_NS + _NOTICED_NS:
            self.differs(
                f"silence: shard {shard}.{epoch} decided on {base} {what} "
                f"though the supervisor is silent for {silent_ns / 1e9:.1f} s"
            )
        for other in self.owners(base):
            if other != shard:
                self.differs(f"owners: shards {shard} and {other} both trade {base}")
        self.bounds.decided(
            base, decision.home, decision.away, self._clock.monotonic_ns(), self._clock.wall_ms()
        )
        if not decision.trusts_books:
            return
        now_ns = self._clock.monotonic_ns()
        fresh, is_entry = self.fresh, decision.is_entry
        found = [
            fresh.objection(fresh.legs[one], now_ns, is_entry=is_entry)
            for one in (decision.home, decision.away)
        ]
        for why in (*found, fresh.fx_objection(now_ns, is_entry=is_entry)):
            if why is not None:
                self.differs(f"stale data: shard {shard}.{epoch} decided on {base} {what} though {why}")

    def order_done(self, result: OrderResult) -> None:
        """Count an order whose result a worker has received."""
        self.tally.orders[result.state] += 1

    # risk

    def executed(self, fill_id: str, execution: Execution) -> None:
        """Note that an exchange has executed an order, in part or whole; its worker may learn of it much later."""
        self.executions.happened(fill_id, execution)
        if not self._is_live:  # a venue executes by its own book, whatever we receive of it
            leg = self.fresh.legs[execution.symbol]
            why = self.fresh.objection(leg, self._clock.monotonic_ns(), is_entry=False)
            if why is not None:
                self.differs(f"stale data: {execution.client_id} of {execution.holder} filled though {why}")
        self.on_execution(execution.venue, execution.symbol)

    def placed(self, order: Placed) -> None:
        """Note that a venue has accepted an order."""
        self._trace.note("placed", f"{order.venue} {order.name} {order.side} {order.quantity} {order.price}")
        self.venues.placed(order)

    def executed_at_venue(self, execution: Execution) -> None:
        """Note that a venue has executed an order, in part or whole."""
        name = execution.client_id
        self._trace.note("executed", f"{execution.venue} {name} {execution.quantity} {execution.price}")
        client_id = self.venues.client_id(name)
        if client_id is None:
            change = self.executions.change(execution)
            for currency, amount in ((execution.base, change.base), (execution.quote, change.quote)):
                self.moved_by_hand(execution.venue, currency, amount)
            return
        self.executions.happened(execution.fill_id, execution._replace(client_id=client_id))
        self.venues.executed(client_id, execution.quantity)
        self.on_execution(execution.venue, execution.symbol)

    def ended_at_venue(self, venue: str, name: str, executed: Decimal) -> None:
        """Note that an order is over at its venue."""
        self._trace.note("over", f"{venue} {name} {executed}")
        self.venues.ended(venue, name)

    def moved_by_hand(self, venue: str, currency: str, amount: Decimal) -> None:
        """Note that another party has changed what we own at a venue."""
        self.venues.moved_by_hand(venue, currency, amount)

    def sent_while_refused(self, venue: str, what: str) -> None:
        """Note that ``what`` was sent to a venue that refuses it, which makes a ban longer."""
        self.differs(f"ban: {what} was sent to {venue}, which refuses it")

    def has_coins(self, order: Order) -> bool:
        """Return whether the exchange's account can deliver what ``order`` sells, or pay for what it buys."""
        market = order.market
        if order.side == "sell":
            return self.books.free_coins(market.venue, market.base) >= order.quantity
        fee = self.executions.fees[market.venue]
        rate = 0 if fee.takes_coin else fee.buy_bps / 10_000
        return self.books.free_quote(market.venue, market.quote) >= order.quantity * order.limit * (1 + rate)

    def ended_risk(self) -> None:
        """Note that risk has ended, was killed or starts again: what was under reserve is lost."""
        self._accepted.clear()
        self.venues.count_anew()
        self.worth.risk_began(self._clock.monotonic_ns())

    def handled(self, request: Request, reply: Reply) -> None:
        """Note that risk has decided on a request, under reserve."""
        accepted = not isinstance(reply, Refused)
        if isinstance(reply, Refused):
            self.tally.refused[reply.reason.name] += 1
        highest = max(self._epochs.get(request.shard, 0), self._fences.get(request.shard, 0))
        if accepted and request.epoch < highest:
            what = type(request).__name__
            self.differs(
                f"fencing: risk took a {what} of shard {request.shard} epoch {request.epoch}, at epoch {highest}"
            )
        if accepted and isinstance(request, Hello):
            self._epochs[request.shard] = max(request.epoch, self._epochs.get(request.shard, 0))
            self._pids[request.shard, request.epoch] = request.pid
        match request, reply:
            case Report(), Noted():
                self._accepted += [
                    _Accepted(request.intent_id, fill.fill_id) for fill in request.result.fills
                ]
            case Conclude(), Settled():
                self._is_told_all(request)

    def _is_told_all(self, request: Conclude) -> None:
        """Judge whether all executions of an intent were reported before its end."""
        holder = str(self._pids.get((request.shard, request.epoch), ""))
        for fill_id in self.books.unbooked(request.intent_id, holder):
            self.differs(f"fills: {fill_id} was executed, and {request.intent_id} is concluded without it")

    def statement(self, venue: str, *, is_full: bool) -> None:
        """Note that risk compares a statement of a venue, as ``risk.RiskWatch`` does. ``is_full`` is whether it
        lists all currencies.
        """
        self.venues.stated(venue, is_full=is_full)

    def committed(self, stated: Stated) -> None:
        """Note that everything that was decided is stored. ``stated`` holds the figures that risk uses."""
        accepted, self._accepted = self._accepted, []
        for one in accepted:
            if not self.books.is_booked(one.intent_id, one.fill_id):
                self.differs(
                    f"fills: risk has accepted a report of {one.fill_id}, and it is not in the ledger"
                )
        self._exposure.compare(stated)
        self.worth.stated(stated.equity, stated.high_water)

    def answers(self, replies: list[bytes]) -> None:
        """Judge replies just before they are sent: an approval must be in the ledger before."""
        for reply in replies:
            if _APPROVED in reply[:32]:
                approval = decode_reply(reply)
                if isinstance(approval, Approved) and approval.intent_id not in self._known:
                    self.differs(f"ledger first: {approval.intent_id} is approved and not in the ledger")

    def stored(self, first_seq: int, events: Sequence[Event], bodies: Sequence[str]) -> None:
        """Judge events that were committed. ``ledger.Disk`` calls this."""
        for seq, (event, body) in enumerate(zip(events, bodies, strict=True), first_seq):
            self._trace.note("event", f"{seq} {body}")
            self.books.add(event, self._clock.monotonic_ns())
            if self._is_live:
                self.venues.add(event)
            self._exposure.add(event)
            self.budgets.add(event, self._clock.monotonic_ns())
            self.worth.add(event, self._clock.monotonic_ns(), self._clock.wall_ms())
            if isinstance(event, EquityMarked) and not self.books.running:
                self._compare_wallets()
            self._take(event)
            self.audit_event(seq, event)

    def _take(self, event: Event) -> None:
        match event:
            case IntentApproved():
                self._approved(event)
            case IntentRefused():
                self.traded_ns = self._clock.monotonic_ns()
            case IntentConcluded():
                self.open.pop(event.intent_id, None)
            case PositionOpened():
                self.tally.entries += 1
            case PositionClosed():
                self._closed(event)
            case ShardFenced() | Started():
                self._take_incarnation(event)
            case _:
                pass  # this event has no consequences

    def _take_incarnation(self, event: ShardFenced | Started) -> None:
        if isinstance(event, ShardFenced):
            self._fences[event.shard] = event.epoch + 1
            self.tally.fenced += 1
        elif event.run != self.tally.run:  # epochs are counted anew in each session
            self.tally.run = event.run
            self._epochs.clear()
            self._fences.clear()
            self._pids.clear()

    def _approved(self, event: IntentApproved) -> None:
        intent = event.intent
        self.tally.approved += 1
        self.traded_ns = self._clock.monotonic_ns()
        self.open[intent.intent_id] = (intent, self.traded_ns)
        self._known[intent.intent_id] = None
        if len(self._known) > _ENDED_KEPT:
            self._known.popitem(last=False)
        _, shard, epoch, _ = intent.intent_id.split("-")
        least = max(self._epochs.get(int(shard), 0), self._fences.get(int(shard), 0))
        if int(epoch) < least:
            self.differs(f"fencing: {intent.intent_id} was approved, shard {shard} is at epoch {least}")

    def _closed(self, event: PositionClosed) -> None:
        position = event.position
        self.tally.exits += 1
        self.tally.pnl += position.pnl or ZERO
        self.tally.won += (position.pnl or ZERO) > 0
        self.tally.reasons[position.reason or ""] += 1

    # processes

    def ended(self, name: str, epoch: int, code: int) -> None:
        """Judge how a child ended."""
        self.tally.ended(name, code)
        if code in (1, 2):
            self.differs(f"defect: {name}.{epoch} ended with code {code}")

    def settled(self) -> None:
        """Judge whether wallets equal the sum of deposits and executions. Call it when nothing is under way."""
        if self.wallets is None:
            return
        for what in self.venues.settled(self.wallets(), self.books.owned):
            self.differs(f"venues: {what}")

    def _compare_wallets(self) -> None:
        """Judge whether the wallets equal the sum of executions and deposits, while no intent is under way."""
        if self.wallets is not None:
            for what in self.venues.unexplained(self.wallets(), self.books.owned):
                self.differs(f"equity: {what}")

    def balances(self, totals: Iterable[tuple[str, str, Decimal]]) -> None:
        """Judge whether risk's balances equal the sum of deposits and executions. Call it when nothing is
        under way.
        """
        said = {(venue, currency): amount for venue, currency, amount in totals}
        for account in sorted(said.keys() | self.books.owned.keys()):
            theirs, ours = said.get(account, ZERO), self.books.owned.get(account, ZERO)
            if abs(theirs - ours) > self._printed:
                self.differs(f"money: {account} is {theirs:f} for risk, {ours:f} by deposits and executions")
