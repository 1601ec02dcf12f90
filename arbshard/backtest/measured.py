"""Determines from a tape how the venues treated orders: latencies, refusals and fills, by venue and hour of the day.

``MeasuredVenues`` is made of the decisions on a tape. The latency of an order on paper is the time from its decision
until it met a book; that of a real order, of which the tape has no such instant, is the time from its approval until
its first report, which includes the way back. The fill share is what an order filled, of what it wanted, if the
venue accepted it. For an hour of a venue with fewer than ``LEAST`` orders all hours of the venue are used, and for a
venue with fewer than that ``[paper]`` is used.

``MeasuredOrders`` makes executors on paper whose orders draw from these figures. The whole displayed quantity is
then available at their arrival: that other orders come first is part of the measured shares.
"""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from random import Random

from msgspec.structs import replace
from typing_extensions import override

from arbshard.clock import Clock
from arbshard.config import ExecutionConfig, PaperConfig
from arbshard.execution.executor import ExecutorFactory, Observer
from arbshard.execution.paper import PaperVenue
from arbshard.execution.paper_port import LateFills, PaperPort
from arbshard.execution.ports import BookPort, RiskPort
from arbshard.ledger.events import Event, IntentApproved, OrderReported
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import Leg, Pair
from arbshard.model.money import ZERO, exact
from arbshard.model.order import FINAL_STATES, Fill, Order

LEAST = 20
_HOUR_MS = 3_600_000
_HOURS = 24
_REFUSED = "REJECTED"
_UNSENT = "NOT_ACCEPTED"


class _Figures:
    """Holds what was measured of one venue in one hour of the day, or in all of them."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.shares: list[float] = []
        """Share that each order filled, for orders that were not refused."""
        self.refused = 0


class MeasuredVenues:
    """Holds the figures of all venues."""

    def __init__(self, events: Iterable[Event]) -> None:
        """Measure ``events``: those on the tape, in their order."""
        self._by_hour: dict[tuple[str, int], _Figures] = defaultdict(_Figures)
        self._by_venue: dict[str, _Figures] = defaultdict(_Figures)
        self._approvals: dict[str, IntentApproved] = {}
        self._filled: dict[str, Decimal] = {}
        """Quantity that each order has filled, by the order's name."""
        for event in events:
            if isinstance(event, IntentApproved):
                self._approvals[event.intent.intent_id] = event
            elif isinstance(event, OrderReported) and event.state != _UNSENT:
                self._take_report(event)

    @property
    def orders(self) -> int:
        """Return the number of orders that were measured."""
        return len(self._filled)

    def _take_report(self, event: OrderReported) -> None:
        approval = self._approvals.get(event.intent_id)
        legs = (approval.intent.home, approval.intent.away) if approval is not None else ()
        order = next((one for one in legs if one.client_id == event.client_id), None)
        if approval is None or order is None:
            return
        is_first = event.client_id not in self._filled
        filled = self._filled.get(event.client_id, ZERO) + sum((one.quantity for one in event.fills), ZERO)
        self._filled[event.client_id] = filled
        for figures in self._of(order.market.venue, event.at_ms):
            if is_first:
                figures.latencies_s.append(_latency_s(approval, event))
            if event.state == _REFUSED:
                figures.refused += 1
            elif event.state in FINAL_STATES:
                figures.shares.append(min(float(filled / order.quantity), 1.0))

    def _of(self, venue: str, at_ms: int) -> tuple[_Figures, _Figures]:
        return self._by_hour[venue, at_ms // _HOUR_MS % _HOURS], self._by_venue[venue]

    def latency_s(self, venue: str, at_ms: int, random: Random) -> float | None:
        """Return the latency in seconds of an order that is sent at this wall time; None where too little was
        measured.
        """
        for figures in self._of(venue, at_ms):
            if len(figures.latencies_s) >= LEAST:
                return random.choice(figures.latencies_s)
        return None

    def refused_share(self, venue: str) -> float | None:
        """Return the share of orders that the venue refuses, from 0 to 1; None where too little was measured."""
        found = self._by_venue[venue]
        orders = found.refused + len(found.shares)
        return found.refused / orders if orders >= LEAST else None

    def share(self, venue: str, at_ms: int, random: Random) -> float | None:
        """Return the share of an order that is filled at this wall time, from 0 to 1; None where too little was
        measured.
        """
        for figures in self._of(venue, at_ms):
            if len(figures.shares) >= LEAST:
                return random.choice(figures.shares)
        return None


def _latency_s(approval: IntentApproved, event: OrderReported) -> float:
    if event.matched_ns and approval.intent.decided_ns:
        return max(event.matched_ns - approval.intent.decided_ns, 0) / 1e9
    return max(event.at_ms - approval.at_ms, 0) / 1e3


class _MeasuredMarket(PaperVenue):
    """Simulates one market, where orders take as long and fill as much as was measured."""

    def __init__(
        self, leg: Leg, paper: PaperConfig, random: Random, measured: MeasuredVenues, clock: Clock
    ) -> None:
        refused = measured.refused_share(leg.market.venue)
        super().__init__(leg, paper if refused is None else replace(paper, reject_share=refused), random)
        self._measured = measured
        self._clock = clock
        self._draws = Random(f"{paper.seed}:{leg.market}:measured")
        self._is_whole = False
        """Whether the whole displayed quantity is available to the order that is being filled."""

    @override
    def latency_ms(self) -> float:
        usual_ms = super().latency_ms()
        latency_s = self._measured.latency_s(self.leg.market.venue, self._clock.wall_ms(), self._draws)
        return usual_ms if latency_s is None else latency_s * 1000

    @override
    def _fills(self, order: Order, book: OrderBookSnapshot, now_ns: int) -> tuple[Fill, ...]:
        share = self._measured.share(self.leg.market.venue, self._clock.wall_ms(), self._draws)
        if share is not None:
            quantity = self.leg.rules.round_quantity(order.quantity * exact(round(share, 6)))
            order = replace(order, quantity=quantity)
        self._is_whole = share is not None
        return super()._fills(order, book, now_ns) if order.quantity > 0 else ()

    @override
    def _depth_share(self) -> Decimal:
        usual = super()._depth_share()
        return Decimal(1) if self._is_whole else usual


class _MeasuredPort(PaperPort):
    """Connects both markets of a pair, as they were measured."""

    def __init__(
        self,
        pair: Pair,
        paper: PaperConfig,
        books: BookPort,
        clock: Clock,
        late_fills: LateFills,
        measured: MeasuredVenues,
    ) -> None:
        super().__init__(pair, paper, books, clock, late_fills)
        self._venues = {
            leg.market: (
                leg, _MeasuredMarket(leg, paper, Random(f"{paper.seed}:{leg.market}"), measured, clock)
            )
            for leg in (pair.home, pair.away)
        }  # fmt: skip


class MeasuredOrders(ExecutorFactory):
    """Makes executors on paper whose orders are treated as was measured."""

    def __init__(
        self,
        measured: MeasuredVenues,
        risk: RiskPort,
        books: BookPort,
        execution: ExecutionConfig,
        clock: Clock,
        observer: Observer,
    ) -> None:
        super().__init__(risk, books, execution, clock, observer)
        self._measured = measured

    @override
    def _create_paper_port(self, pair: Pair, paper: PaperConfig) -> PaperPort:
        late_fills = LateFills(self._risk, Random(f"{paper.seed}:{pair.base}:late"))
        return _MeasuredPort(pair, paper, self._books, self._clock, late_fills, self._measured)
