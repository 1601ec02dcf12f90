"""Sends orders to the paper venue: waits out the latency, matches against the book of that moment, reports the
result.

Mostly it reports at once what happened. Of some orders nothing is known for a while, and of some the last execution
is reported only after the order's end, as by venues whose order and trade channels differ.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from random import Random

from msgspec.structs import replace

from arbshard.clock import Clock
from arbshard.config import PaperConfig
from arbshard.engine.edge import walk
from arbshard.execution.paper import PaperVenue
from arbshard.execution.ports import BookPort, Fenced, IntentOver, RiskPort
from arbshard.model.intent import ApartCause, FxQuote, Intent
from arbshard.model.market import Leg, Market, Pair
from arbshard.model.money import ZERO, exact
from arbshard.model.order import Order, OrderResult
from arbshard.wire.messages import Approved, Refused, Settled

Sleep = Callable[[float], Awaitable[None]]
_LATE_S = (0.005, 0.6)
_UNREPORTED_MAX = 64
"""A pair has one intent at a time, so all but the newest few have been reported long ago."""


class LateFills:
    """Holds executions that the venue reports after their orders' end. A ``RiskPort`` between an executor and risk.

    They reach risk, and then the executor, while their intent is open: the intent is not concluded before. What
    venues report after that would be in their statements, which paper has none of.

    An exchange has taken the money of such an execution at once, and refuses what could only be paid with it. Paper
    keeps no accounts, so for risk the order stays open until the execution is reported: what it may spend stays
    held.
    """

    def __init__(self, risk: RiskPort, random: Random, sleep: Sleep = asyncio.sleep) -> None:
        self._risk = risk
        self._random = random
        self._sleep = sleep
        self._pending: dict[str, list[asyncio.Task[None]]] = {}
        self._held: set[str] = set()
        """Ids of orders that stay open for risk until their last execution is reported."""
        self.on_late_report: Callable[[str, OrderResult], None] = lambda _intent_id, _result: None
        """Is called with the intent's id and the whole result of an order, once risk has booked its last execution.
        """

    def report_late(self, result: OrderResult, *, is_held: bool) -> None:
        """Report the last execution of ``result`` to risk in a while.

        ``is_held``: whether what the order may spend stays held until then; False where an exchange keeps accounts.
        """
        intent_id = result.order.client_id.rpartition("-")[0]
        if is_held:
            self._held.add(result.order.client_id)
        reporting = asyncio.ensure_future(self._report_when_due(intent_id, result))
        self._pending.setdefault(intent_id, []).append(reporting)

    async def _report_when_due(self, intent_id: str, result: OrderResult) -> None:
        await self._sleep(self._random.uniform(*_LATE_S))
        is_held = result.order.client_id in self._held
        self._held.discard(result.order.client_id)
        try:
            if is_held:
                await self._risk.report(intent_id, replace(result, fills=result.fills[:-1]))
            await self._risk.report(intent_id, result)
        except (Fenced, IntentOver):
            return  # the worker ends because it is fenced, or a person has ended the intent with what was booked
        self.on_late_report(intent_id, result)

    async def wait_for_all(self, intent_id: str) -> bool:
        """Wait until all executions of an intent are reported. Return whether any was since the last call."""
        pending = self._pending.pop(intent_id, ())
        await asyncio.gather(*pending)
        return bool(pending)

    async def submit(self, intent: Intent) -> Approved | Refused:
        """Ask risk for approval."""
        return await self._risk.submit(intent)

    async def extend(self, intent_id: str, order: Order) -> Approved | Refused:
        """Record a further order at risk."""
        return await self._risk.extend(intent_id, order)

    async def report(self, intent_id: str, result: OrderResult) -> None:
        """Report the state of an order to risk."""
        if result.order.client_id in self._held:
            result = replace(result, state="PARTIAL")
        await self._risk.report(intent_id, result)

    async def set_apart(self, pair: str, cause: ApartCause, reason: str, intent_id: str) -> None:
        """Report the pair to risk as one to set apart."""
        await self._risk.set_apart(pair, cause, reason, intent_id)

    async def conclude(self, intent_id: str, mark: Decimal, fx: FxQuote, *, done: bool) -> Settled:
        """Conclude the intent at risk, once all of it is reported."""
        await self.wait_for_all(intent_id)
        return await self._risk.conclude(intent_id, mark, fx, done=done)


class PaperPort:
    """Is an ``OrderPort`` that reaches no venue."""

    _KEEPS_ACCOUNTS = False
    """Whether the exchange behind it refuses what the account cannot pay for (``_refusal_at_arrival``)."""

    def __init__(
        self,
        pair: Pair,
        paper: PaperConfig,
        books: BookPort,
        clock: Clock,
        late_fills: LateFills,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._books = books
        self._clock = clock
        self.late_fills = late_fills
        """The executions that become known after the end of their orders."""
        self._sleep = sleep
        self.is_fenced: Callable[[], bool] | None = None
        """Returns whether no order may be sent any more; None where that is not asked."""
        self._records_times = paper.record_times
        self._venues: dict[Market, tuple[Leg, PaperVenue]] = {
            leg.market: (leg, PaperVenue(leg, paper, Random(f"{paper.seed}:{leg.market}")))
            for leg in (pair.home, pair.away)
        }
        self._unreported: dict[str, tuple[int, OrderResult]] = {}
        """Results of orders of which nothing is known yet, and from when on it is (monotonic ns), by their names."""

    def add_legs(self, legs: Iterable[Leg]) -> None:
        """Use the rules and fees of these legs from now on."""
        for leg in legs:
            _, venue = self._venues[leg.market]
            venue.leg = leg
            self._venues[leg.market] = leg, venue

    async def send(self, order: Order) -> OrderResult:
        """Execute an order at the book of its arrival. The result is UNKNOWN for a while, now and then; otherwise
        final.
        """
        if self.is_fenced is not None and self.is_fenced():
            return OrderResult(
                order, "NOT_ACCEPTED", detail="not sent: this host may not trade the shard any more"
            )
        leg, venue = self._venues[order.market]
        promised = self._books.tradable(leg)
        price = ZERO
        if promised is not None:
            levels = promised.asks if order.side == "buy" else promised.bids
            price = exact(round(walk(levels, float(order.quantity)).price, 12))
        await self._arrival(order, venue.latency_ms() / 1000)
        now_ns, book = self._clock.monotonic_ns(), self._books.tradable(leg)
        result = self._refusal_at_arrival(order) or venue.match(order, book, price, now_ns)
        if self._records_times:
            book_ns = book.received_ns if book is not None else 0
            result = replace(result, matched_ns=now_ns, book_ns=book_ns)
        unknown_ns = venue.unknown_ns()
        is_reported_late = not unknown_ns and self._is_reported_late(venue, result)
        self._record(result, is_reported_late=is_reported_late)
        if unknown_ns:
            self._unreported[order.client_id] = now_ns + unknown_ns, result
            if len(self._unreported) > _UNREPORTED_MAX:
                del self._unreported[next(iter(self._unreported))]
            return self._unknown(order)
        if not is_reported_late:
            return result
        early = replace(result, state="EXPIRED", fills=result.fills[:-1])
        self.late_fills.report_late(replace(early, fills=result.fills), is_held=not self._KEEPS_ACCOUNTS)
        return early

    async def ask(self, order: Order) -> OrderResult:
        """Return how an order ended. An order that this process has not sent ended with the process that sent it."""
        known_at_ns, result = self._unreported.get(order.client_id, (0, None))
        if result is None:
            return OrderResult(order, "EXPIRED", detail="the process that held this paper order has ended")
        if self._clock.monotonic_ns() < known_at_ns:
            return self._unknown(order)
        return result

    async def _arrival(self, order: Order, latency_s: float) -> None:
        """Wait until ``order`` arrives at the venue."""
        del order
        await self._sleep(latency_s)

    def _unknown(self, order: Order) -> OrderResult:
        return OrderResult(order, "UNKNOWN", detail="no answer in time (paper.unknown_share)")

    def _refusal_at_arrival(self, order: Order) -> OrderResult | None:
        """Return the refusal of an order that the account cannot pay for; None if it can.

        Here risk has held the money for it. An exchange that keeps accounts checks them.
        """
        del order
        return None

    def _is_reported_late(self, venue: PaperVenue, result: OrderResult) -> bool:
        return venue.is_reported_late(result)

    def _record(self, result: OrderResult, *, is_reported_late: bool) -> None:
        """Record what has happened at the venue, whatever is reported of it.

        For exchanges that keep books of their own.
        """
