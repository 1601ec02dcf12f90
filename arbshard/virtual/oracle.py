"""The invariants, held against everything that happens. Told by the virtual processes; knows the truth from outside.

What it knows: when each market last got a frame, and what stood in it (from the connections themselves); what the
exchanges have executed, and for whom (from their own record); every event as it is stored, every request risk
accepts, every decision and fill at the instant it is made. It judges by arithmetic of its own (``own_books``,
``bounds``, ``exposure``, ``executions``): none of these imports anything of the system that decides or values, which
``tests/virtual/test_independence.py`` holds. ``audit`` asks the system's own audits besides; ``health`` looks at
what must come true in time.
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
"""A supervisor without a beat for longer than this is silent: nothing may be decided."""
_NOTICED_NS = 400_000_000
"""Beats and timers of the virtual processes are this far apart at most: a silence may be noticed so late."""


class Decision(NamedTuple):
    """What a worker has decided to do."""

    base: str
    home: str
    """Symbol of the market at home."""
    away: str
    what: str
    trusts_books: bool
    """Whether it may only be done on fresh books."""
    is_entry: bool
    """Entries need young frames; exits may be decided on quiet books."""


class _Told(NamedTuple):
    """A fill that risk has taken note of, under reserve."""

    intent_id: str
    fill_id: str


class Oracle:
    """Takes note of everything and says what is not as it must be."""

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
        self._told: list[_Told] = []
        """Not compared yet with what is stored."""
        self._pids: dict[tuple[int, int], int] = {}
        """Of the incarnations that have joined, by shard and epoch."""
        self._epochs: dict[int, int] = {}
        """Highest epoch each shard has joined with, in this run."""
        self._fences: dict[int, int] = {}
        """Lowest epoch of each shard that may speak."""
        self.open: OrderedDict[str, tuple[Intent, int]] = OrderedDict()
        """Approved intents without an outcome, by id, and when they were approved (monotonic ns)."""
        self._known: OrderedDict[str, None] = OrderedDict()
        """Ids of intents that the ledger has approved, the newest."""
        self.tally = OracleCounts()
        self.violations: list[str] = []
        self.on_violation: Callable[[], None] = lambda: None
        self.on_execution: Callable[[str, str], None] = lambda _venue, _symbol: None
        """Takes venue and symbol of each execution."""
        self.wallets: Callable[[], dict[tuple[str, str], tuple[Decimal, Decimal]]] | None = None
        """What the venues' wallets hold, free and locked, by venue and currency; None on paper."""
        self.audit_event: Callable[[int, Event], None] = lambda _seq, _event: None
        """Takes every stored event, with its number: the system's own audit."""
        self.owners: Callable[[str], list[int]] = lambda _: []
        """Shards whose newest worker takes a base for its own."""
        self.silent_ns: Callable[[], int] = lambda: 0
        """For how long the supervisor has done nothing."""
        self.traded_ns = 0
        """When risk last decided on an intent (monotonic)."""

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
        """Count an order of which a worker has learned how it ended."""
        self.tally.orders[result.state] += 1

    # risk

    def executed(self, fill_id: str, execution: Execution) -> None:
        """Note that an exchange has executed an order, in part or whole; its worker may learn of it much later."""
        self.executions.happened(fill_id, execution)
        if not self._is_live:  # a venue executes by its own book, whatever we see of it
            leg = self.fresh.legs[execution.symbol]
            why = self.fresh.objection(leg, self._clock.monotonic_ns(), is_entry=False)
            if why is not None:
                self.differs(f"stale data: {execution.client_id} of {execution.holder} filled though {why}")
        self.on_execution(execution.venue, execution.symbol)

    def placed(self, order: Placed) -> None:
        """Note that a venue has taken an order on."""
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
        """Note that somebody else has changed what we own at a venue."""
        self.venues.moved_by_hand(venue, currency, amount)

    def has_coins(self, order: Order) -> bool:
        """Return whether the exchange's account can deliver what ``order`` sells, or pay for what it buys."""
        market = order.market
        if order.side == "sell":
            return self.books.free_coins(market.venue, market.base) >= order.quantity
        fee = self.executions.fees[market.venue]
        rate = 0 if fee.takes_coin else fee.buy_bps / 10_000
        return self.books.free_quote(market.venue, market.quote) >= order.quantity * order.limit * (1 + rate)

    def ended_risk(self) -> None:
        """Note that risk has ended, was killed or begins anew: what was under reserve is gone."""
        self._told.clear()
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
                self._told += [_Told(request.intent_id, fill.fill_id) for fill in request.result.fills]
            case Conclude(), Settled():
                self._is_told_all(request)

    def _is_told_all(self, request: Conclude) -> None:
        """Judge whether everything that the exchanges have executed for an intent was reported before its end."""
        holder = str(self._pids.get((request.shard, request.epoch), ""))
        for fill_id in self.books.unbooked(request.intent_id, holder):
            self.differs(f"fills: {fill_id} was executed, and {request.intent_id} is concluded without it")

    def statement(self, venue: str, *, is_full: bool) -> None:
        """See ``risk.RiskWatch``."""
        self.venues.stated(venue, is_full=is_full)

    def committed(self, stated: Stated) -> None:
        """Note that everything that was decided is stored; risk reckons with ``stated``."""
        told, self._told = self._told, []
        for one in told:
            if not self.books.is_booked(one.intent_id, one.fill_id):
                self.differs(
                    f"fills: risk was told of {one.fill_id} and took note, and it is not in the ledger"
                )
        self._exposure.compare(stated)
        self.worth.stated(stated.equity, stated.high_water)

    def answers(self, replies: list[bytes]) -> None:
        """Judge replies that are about to leave: an approval must be in the ledger before."""
        for reply in replies:
            if _APPROVED in reply[:32]:
                told = decode_reply(reply)
                if isinstance(told, Approved) and told.intent_id not in self._known:
                    self.differs(f"ledger first: {told.intent_id} is approved and not in the ledger")

    def stored(self, first_seq: int, events: Sequence[Event], bodies: Sequence[str]) -> None:
        """Judge events that were committed, as ``ledger.Disk`` asks for."""
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
                pass  # nothing follows from it

    def _take_incarnation(self, event: ShardFenced | Started) -> None:
        if isinstance(event, ShardFenced):
            self._fences[event.shard] = event.epoch + 1
            self.tally.fenced += 1
        elif event.run != self.tally.run:  # epochs are counted anew
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
        """Judge whether wallets are what deposits and executions add up to. Call it when nothing is under way."""
        if self.wallets is None:
            return
        for what in self.venues.settled(self.wallets(), self.books.owned):
            self.differs(f"venues: {what}")

    def _compare_wallets(self) -> None:
        """Judge whether the wallets hold what executions and deposits make, while no intent is under way."""
        if self.wallets is not None:
            for what in self.venues.unexplained(self.wallets(), self.books.owned):
                self.differs(f"equity: {what}")

    def balances(self, totals: Iterable[tuple[str, str, Decimal]]) -> None:
        """Judge whether risk's balances are what deposits and executions make. Call it when nothing is under way."""
        said = {(venue, currency): amount for venue, currency, amount in totals}
        for account in sorted(said.keys() | self.books.owned.keys()):
            theirs, ours = said.get(account, ZERO), self.books.owned.get(account, ZERO)
            if abs(theirs - ours) > self._printed:
                self.differs(f"money: {account} is {theirs:f} for risk, {ours:f} by deposits and executions")
