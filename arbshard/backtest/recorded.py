"""Reads when a run decided and when its orders met a book, so that a backtest can repeat it at the same instants.

How long a process takes to see a frame, and a request to be answered, depends on the machine of that moment. A run
leaves both on the tape: each intent contains when it was decided on and when the books of the decision were received,
and each paper order contains when it met a book and when that was received. With ``RecordedTimes``

- a frame that was received before a decision, or before an order met a book, and was not seen by it, is received here
  just after it (``as_seen``);
- a pair is decided on at the recorded instants only. The decision itself is calculated: direction, reason, sizes,
  limit prices, and whether risk approves;
- an order meets a book at its recorded instant. Its fill is calculated.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random

from typing_extensions import override

from arbshard.backtest.blocks import FeedRow
from arbshard.backtest.decisions import DecisionLog
from arbshard.clock import Clock
from arbshard.config import ExecutionConfig, PaperConfig
from arbshard.execution.executor import ExecutorFactory, Observer
from arbshard.execution.paper_port import LateFills, PaperPort
from arbshard.execution.ports import BookPort, RiskPort
from arbshard.ledger.events import Event, IntentApproved, IntentRefused, OrderReported
from arbshard.model.intent import ExitReason
from arbshard.model.market import Leg, Pair
from arbshard.model.order import Order
from arbshard.virtual.loop import VirtualLoop

_UNSEEN_NS_MAX = 2_000_000_000
"""Longest time in ns for which a book is taken for unseen: beyond it the reason was another one."""

_ORDERED: tuple[ExitReason, ...] = ("manual", "kill_switch", "shutdown", "one_leg", "warned")
"""Reasons for which a position is closed whatever the books are."""

OrderKey = tuple[str, int, str]
"""Key of an order: pair, number of the intent among the approved ones of the pair, from 1, and the end of the
order's name, such as ``h0``.
"""


class RecordedTimes:
    """Holds the times of the decisions on a tape."""

    def __init__(self, events: Iterable[Event], pairs: Mapping[str, Pair], fx: Leg) -> None:
        """Collect the times from ``events``: those of the tape, in their order.

        ``pairs`` are all that the tape trades, by their bases, and ``fx`` is the market of the FX rate.
        """
        self.decisions: list[tuple[int, str, ExitReason | None]] = []
        """(monotonic time, base, reason) of each decision, approved or refused. The reason is None if rules decided,
        and otherwise that of an order to close: by a person, by the end of the run, or because of a warning."""
        self.arrivals: dict[OrderKey, int] = {}
        """Time at which each order met a book (monotonic ns)."""
        self.unseen: dict[str, list[tuple[int, int]]] = {}
        """Pairs of times by market (ns): frames received after the first time, up to the second, were not seen at
        the second.
        """
        self._pairs = pairs
        self._fx = fx
        numbers: dict[str, tuple[str, int]] = {}
        counts: dict[str, int] = {}
        for event in events:
            if isinstance(event, IntentApproved):
                intent = event.intent
                counts[intent.pair] = counts.get(intent.pair, 0) + 1
                numbers[intent.intent_id] = intent.pair, counts[intent.pair]
                ordered = intent.reason if intent.reason in _ORDERED else None
                self._decided(intent.pair, intent.decided_ns, intent.seen_ns, ordered)
            elif isinstance(event, IntentRefused):
                self._decided(event.pair, event.decided_ns, event.seen_ns, None)
            elif isinstance(event, OrderReported) and event.matched_ns and event.intent_id in numbers:
                base, number = numbers[event.intent_id]
                name = event.client_id.rpartition("-")[2]
                self.arrivals[base, number, name] = event.matched_ns
                pair = self._pairs.get(base)
                if pair is not None:
                    leg = pair.home if name.startswith("h") else pair.away
                    self._note(leg.market.symbol, event.book_ns, event.matched_ns)

    def _decided(
        self, base: str, decided_ns: int, seen_ns: tuple[int, int, int], ordered: ExitReason | None
    ) -> None:
        pair = self._pairs.get(base)
        if not decided_ns or pair is None:
            return
        self.decisions.append((decided_ns, base, ordered))
        for leg, received_ns in zip((pair.home, pair.away, self._fx), seen_ns, strict=True):
            self._note(leg.market.symbol, received_ns, decided_ns)

    def _note(self, symbol: str, seen_ns: int, at_ns: int) -> None:
        if 0 < at_ns - seen_ns <= _UNSEEN_NS_MAX:
            self.unseen.setdefault(symbol, []).append((seen_ns, at_ns))

    def seen_ns(self, symbol: str, received_ns: int) -> int:
        """Return the earliest time in ns at which a frame was seen, as far as it is known."""
        for seen_ns, at_ns in self.unseen.get(symbol, ()):
            if seen_ns < received_ns <= at_ns:
                return at_ns + 1
        return received_ns


def as_seen(
    batches: Iterator[list[FeedRow]],
    times: RecordedTimes,
    routes: Mapping[str, Callable[[bytes], str | None]],
) -> Iterator[list[FeedRow]]:
    """Yield ``batches`` with each frame due when it was seen. Its time of receipt does not change."""
    waiting: list[FeedRow] = []
    for batch in batches:
        until_ns = batch[-1][0]
        for row in batch:
            due_ns, received_ns, connection, data, mark, venue, glance = row
            route = routes.get(venue)
            symbol = route(data) if mark is None and route is not None else None
            seen_ns = times.seen_ns(symbol, received_ns) if symbol is not None else received_ns
            waiting.append((max(due_ns, seen_ns), received_ns, connection, data, mark, venue, glance))
        waiting.sort(key=lambda row: row[0])
        ready = [row for row in waiting if row[0] <= until_ns]
        waiting = waiting[len(ready) :]
        if ready:
            yield ready
    if waiting:
        yield waiting


class RecordedPaperPort(PaperPort):
    """Is the paper venue, where orders arrive when they did in the recorded run."""

    times: RecordedTimes
    loop: VirtualLoop
    log: DecisionLog
    """Log of decisions. The creator of the port sets all three attributes."""

    @override
    async def _arrival(self, order: Order, latency_s: float) -> None:
        intent_id, _, name = order.client_id.rpartition("-")
        found = self.log.number_of(intent_id)
        due_ns = self.times.arrivals.get((*found, name)) if found is not None else None
        if due_ns is None or due_ns < self._clock.monotonic_ns():
            await super()._arrival(order, latency_s)
            return
        arrived: asyncio.Future[None] = self.loop.create_future()
        self.loop.deliver(None, due_ns, arrived.set_result, None)
        await arrived


class RecordedOrders(ExecutorFactory):
    """Makes executors on paper whose orders arrive when they did in the recorded run."""

    def __init__(
        self,
        times: RecordedTimes,
        loop: VirtualLoop,
        log: DecisionLog,
        risk: RiskPort,
        books: BookPort,
        execution: ExecutionConfig,
        clock: Clock,
        observer: Observer,
    ) -> None:
        super().__init__(risk, books, execution, clock, observer)
        self._times = times
        self._loop = loop
        self._log = log

    @override
    def _create_paper_port(self, pair: Pair, paper: PaperConfig) -> PaperPort:
        late_fills = LateFills(self._risk, Random(f"{paper.seed}:{pair.base}:late"))
        port = RecordedPaperPort(pair, paper, self._books, self._clock, late_fills)
        port.times, port.loop, port.log = self._times, self._loop, self._log
        return port
