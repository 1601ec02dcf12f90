"""The invariants, held against everything that happens. Told by the virtual processes; knows the truth from outside.

What it knows: when each market last got a frame (from the connections themselves), every event as it is stored, every
request risk accepts, every decision and fill at the instant it is made. Money is added up a second time by
``ledger.rebook``, which shares nothing with risk's own sums. ``health`` looks at what must come true in time.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from decimal import Decimal

from arbshard.config import Config
from arbshard.engine.engine import Exit, Trade
from arbshard.errors import LedgerError
from arbshard.ledger.events import (
    Deposited,
    Event,
    IntentApproved,
    IntentConcluded,
    IntentRefused,
    OrderReported,
    PositionClosed,
    PositionOpened,
    ShardFenced,
    Started,
)
from arbshard.ledger.rebook import Rebook
from arbshard.ledger.replay import recover
from arbshard.model.intent import Intent
from arbshard.model.market import Leg
from arbshard.model.money import ZERO, plain
from arbshard.model.order import OrderResult
from arbshard.model.phase import SUPERVISOR_SILENT_NS
from arbshard.model.universe import Universe
from arbshard.risk.portfolio import PortfolioState
from arbshard.risk.snapshot import PortfolioCodec
from arbshard.simulation.clock import VirtualClock
from arbshard.simulation.exposure import Exposure
from arbshard.simulation.freshness import Freshness
from arbshard.simulation.ledger import VERSION, Disk, MemoryLedger
from arbshard.simulation.tally import Tally
from arbshard.simulation.trace import Trace
from arbshard.wire.messages import Approved, Hello, Refused, Reply, Request, decode_reply

_WHATEVER_THE_BOOKS = ("manual", "kill_switch", "shutdown")
"""Exits that go out on an old book: the order's limit protects the price, and staying is the greater risk."""
_APPROVED = b"Approved"
_ENDED_KEPT = 4_000
_NOTICED_NS = 400_000_000
"""Beats and timers of the virtual processes are this far apart at most: a silence may be noticed so late."""


class _Recent(set[str]):
    """The newest names of a set that would grow for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._order: deque[str] = deque()

    def add(self, element: str) -> None:
        """Take in ``element``; let the oldest go."""
        if element not in self:
            super().add(element)
            self._order.append(element)
            if len(self._order) > _ENDED_KEPT:
                self.discard(self._order.popleft())


class _Books(Rebook):
    """The second bookkeeping, with a memory that ends."""

    def __init__(self, differ: Callable[[str], None]) -> None:
        super().__init__(differ)
        self._ended = _Recent()
        self._fill_ids = _Recent()


class Oracle:
    """Takes note of everything and says what is not as it must be."""

    def __init__(self, config: Config, universe: Universe, clock: VirtualClock, trace: Trace) -> None:
        self._clock = clock
        self._trace = trace
        self.fresh = Freshness(config.data_quality, universe)
        self._books = _Books(self.differs)
        self._exposure = Exposure(config.limits, self.differs)
        self._owned: dict[tuple[str, str], Decimal] = {}
        self._epochs: dict[int, int] = {}
        """Highest epoch each shard has joined with, in this run."""
        self._fences: dict[int, int] = {}
        """Lowest epoch of each shard that may speak."""
        self.open: OrderedDict[str, tuple[Intent, int]] = OrderedDict()
        """Approved intents without an outcome, by id, and when they were approved (monotonic ns)."""
        self._known: OrderedDict[str, None] = OrderedDict()
        """Ids of intents that the ledger has approved, the newest."""
        self._hash = ""
        """Of the state that risk had committed when it was last looked at."""
        self.tally = Tally()
        self.violations: list[str] = []
        self.on_violation: Callable[[], None] = lambda: None
        self.owners: Callable[[str], list[int]] = lambda _: []
        """Shards whose newest worker takes a base for its own."""
        self.silent_ns: Callable[[], int] = lambda: 0
        """For how long the supervisor has been stopped."""
        self._silence_ns = SUPERVISOR_SILENT_NS + _NOTICED_NS
        self.traded_ns = 0
        """When risk last decided on an intent (monotonic)."""

    def differs(self, what: str) -> None:
        """An invariant does not hold."""
        self._trace.note("VIOLATION", what)
        self.violations.append(what)
        self.on_violation()

    # decisions and fills

    def decided(self, shard: int, epoch: int, trade: Trade) -> None:
        """See ``worker.TradeWatch``."""
        what = (
            f"exit {trade.position_id} {trade.reason}"
            if isinstance(trade, Exit)
            else f"entry {trade.direction}"
        )
        self._trace.note("decided", f"{shard}.{epoch} {trade.pair.base} {what}")
        silent_ns = self.silent_ns()
        if silent_ns > self._silence_ns:
            self.differs(
                f"silence: shard {shard}.{epoch} decided on {trade.pair.base} {what} "
                f"though the supervisor is silent for {silent_ns / 1e9:.1f} s"
            )
        for other in self.owners(trade.pair.base):
            if other != shard:
                self.differs(f"owners: shards {shard} and {other} both trade {trade.pair.base}")
        if isinstance(trade, Exit) and trade.reason in _WHATEVER_THE_BOOKS:
            return
        now_ns = self._clock.monotonic_ns()
        for leg in (trade.pair.home, trade.pair.away):
            why = self.fresh.objection(leg, now_ns)
            if why is not None:
                self.differs(
                    f"stale data: shard {shard}.{epoch} decided on {trade.pair.base} {what} though {why}"
                )
        why = self.fresh.fx_objection(now_ns)
        if why is not None:
            self.differs(
                f"stale data: shard {shard}.{epoch} decided on {trade.pair.base} {what} though {why}"
            )

    def order_done(self, shard: int, epoch: int, result: OrderResult) -> None:
        """See ``worker.TradeWatch``."""
        self.tally.orders[result.state] += 1
        if not result.fills:
            return
        leg: Leg = self.fresh.legs[result.order.market.symbol]
        why = self.fresh.objection(leg, self._clock.monotonic_ns())
        if why is not None:
            self.differs(f"stale data: {result.order.client_id} of shard {shard}.{epoch} filled though {why}")

    # risk

    def began(self, state: PortfolioState) -> None:
        """See ``risk.RiskWatch``."""
        found = state.state_hash()
        self._trace.note("replayed", found)
        if self._hash and found != self._hash:
            self.differs(f"replay: state {found} is not the {self._hash} that risk had before it ended")

    def left(self, state: PortfolioState) -> None:
        """See ``risk.RiskWatch``."""
        state.rollback()  # what stands under reserve dies with it
        self._hash = state.state_hash()

    def damaged(self, why: str) -> None:
        """See ``risk.RiskWatch``."""
        self.differs(f"replay: {why}")

    def rolled_back(self, state: PortfolioState) -> None:
        """See ``risk.RiskWatch``."""
        self._trace.note("full", "the ledger could not be written")
        if not state.is_settled:
            self.differs("rollback: risk's state holds what the ledger has not")
        self._hash = state.state_hash()

    def handled(self, request: Request, reply: Reply) -> None:
        """See ``risk.RiskWatch``."""
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

    def answers(self, replies: list[bytes]) -> None:
        """See ``risk.RiskWatch``. Ledger first: whoever is told of an approval finds it stored."""
        for reply in replies:
            if _APPROVED in reply[:32]:
                told = decode_reply(reply)
                if isinstance(told, Approved) and told.intent_id not in self._known:
                    self.differs(f"ledger first: {told.intent_id} is approved and not in the ledger")

    def stored(self, first_seq: int, events: Sequence[Event], bodies: Sequence[str]) -> None:
        """Events were committed. See ``ledger.Disk``."""
        for seq, (event, body) in enumerate(zip(events, bodies, strict=True), first_seq):
            self._trace.note("event", f"{seq} {body}")
            self._books.take(seq, event)
            self._exposure.take(event)
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case IntentApproved():
                self._approved(event)
            case IntentRefused():
                self.traded_ns = self._clock.monotonic_ns()
            case IntentConcluded():
                self.open.pop(event.intent_id, None)
            case OrderReported():
                self._reported(event)
            case Deposited():
                self._move(event.venue, event.currency, event.amount)
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

    def _reported(self, event: OrderReported) -> None:
        for fill in event.fills:
            for currency, change in fill.changes():
                self._move(fill.market.venue, currency, change)

    def _move(self, venue: str, currency: str, amount: Decimal) -> None:
        total = self._owned[venue, currency] = self._owned.get((venue, currency), ZERO) + amount
        if total < 0:
            self.differs(f"money: {plain(total)} {currency} on {venue}, which is less than nothing")

    def _closed(self, event: PositionClosed) -> None:
        position = event.position
        self.tally.exits += 1
        self.tally.pnl += position.pnl or ZERO
        self.tally.reasons[position.reason or ""] += 1
        self._books.positions.pop(position.position_id, None)  # it is over: the memory of a run has an end

    # processes

    def ended(self, name: str, epoch: int, code: int) -> None:
        """A child ended."""
        self.tally.ended(name, code)
        if code in (1, 2):
            self.differs(f"defect: {name}.{epoch} ended with code {code}")

    def replayed(self, disk: Disk, state: PortfolioState) -> None:
        """What is stored leads to this very state."""
        try:
            found = recover(MemoryLedger(disk), PortfolioCodec(VERSION)).state.state_hash()
        except LedgerError as error:
            self.differs(f"replay: {error}")
            return
        if found != state.state_hash():
            self.differs(f"replay: the ledger leads to {found}, risk was at {state.state_hash()}")

    def balances(self, state: PortfolioState) -> None:
        """Risk's balances are those that deposits and fills add up to. Call when nothing is under way."""
        said = {(venue, currency): amount for venue, currency, amount in state.balances.totals()}
        for account in sorted(said.keys() | self._owned.keys()):
            theirs, ours = said.get(account, ZERO), self._owned.get(account, ZERO)
            if theirs != ours:
                self.differs(
                    f"money: {account} is {plain(theirs)} for risk, {plain(ours)} by deposits and fills"
                )
