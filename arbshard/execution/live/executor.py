"""``LiveExecutor`` is the same two-leg run with real orders. ``ExecutorFactory.create_live_executor`` makes it."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

from typing_extensions import override

from arbshard.clock import Clock
from arbshard.config import ExecutionConfig, LiveConfig
from arbshard.execution.executor import BaseExecutor, IntentOutcome, Observer
from arbshard.execution.live.port import LivePort
from arbshard.execution.ports import BookPort, RiskPort
from arbshard.execution.two_leg import TwoLeg
from arbshard.model.intent import Intent
from arbshard.model.market import Pair
from arbshard.model.order import Order, OrderResult
from arbshard.venues.base.client import Veto

_DOUBLINGS_MAX = 20


class LiveObserver(Observer, Protocol):
    """Counts what live executors do."""

    def sent(self, venue: str, waited_ns: int, since_book_ns: int) -> None:
        """Count a leg that was handed to the socket ``waited_ns`` after its trade was decided on, and
        ``since_book_ns`` after the book was received that led to it; 0 if none did.
        """
        ...


class _UnderWay:
    """Is the sending of an intent's legs."""

    def __init__(self, decided_ns: int, seen_ns: int) -> None:
        self.decided_ns = decided_ns
        """When the intent was decided on (monotonic ns)."""
        self.seen_ns = seen_ns
        """When the book was received that led to it (monotonic ns); 0 if none did."""
        self.is_written = False
        """Whether a leg has been written to a socket."""
        self.is_late = False
        """Whether a leg was kept from being sent, because the approval had become too old."""


class LiveExecutor(BaseExecutor):
    """Sends to real accounts, or reports in a dry run that it did not."""

    def __init__(
        self,
        pair: Pair,
        port: LivePort,
        risk: RiskPort,
        books: BookPort,
        execution: ExecutionConfig,
        live: LiveConfig,
        clock: Clock,
        observer: LiveObserver,
    ) -> None:
        super().__init__(pair, port, risk, books, execution, clock, observer)
        self._live_port = port
        self._live = live
        self._live_observer = observer
        self._under_way: dict[str, _UnderWay] = {}
        """The intents that ``execute`` carries out, by id."""
        self._admitted: frozenset[str] = frozenset()
        """The orders being sent whose rate budget was taken with one another's, by client id."""

    @override
    async def execute(self, intent: Intent, decided_ns: int | None = None, seen_ns: int = 0) -> IntentOutcome:
        now_ns = self._clock.monotonic_ns()
        decided_ns = decided_ns if decided_ns is not None else now_ns
        self._under_way[intent.intent_id] = _UnderWay(decided_ns, seen_ns)
        legs = (intent.home, intent.away)
        # This runs once the question is at risk's socket, so that both legs are signed while risk decides.
        prepare = partial(self._live_port.prepare, legs, is_entry=intent.kind == "entry")
        preparing = asyncio.get_running_loop().call_soon(prepare)
        try:
            return await super().execute(intent, decided_ns, seen_ns)
        finally:
            preparing.cancel()
            self._live_port.discard(legs)
            del self._under_way[intent.intent_id]

    async def _send_all(self, machine: TwoLeg, orders: tuple[Order, ...]) -> None:
        """Send both orders or none: one alone, for lack of rate budget, would cost a hedge.

        A leg goes the same way when it is sent alone, because the other one is too small for its venue. Where the
        rules of a market have changed since the approval, so that its leg breaks them, neither leg is sent.
        """
        self._admitted = frozenset()
        if machine.state in ("legs", "first_leg"):
            problem = self._live_port.problem_of(order for order in orders if order.role == "leg")
            if problem:
                await self._withhold(machine, orders, problem)
                return
        if len(orders) > 1 or machine.state == "legs":
            is_entry = machine.intent.kind == "entry" and machine.state == "legs"
            if not await self._live_port.admit_legs(orders, is_entry=is_entry):
                await self._withhold(machine, orders, "no rate budget left", "busy")
                return
            self._admitted = frozenset(order.client_id for order in orders)
            for order in orders:
                if order.role == "leg":
                    self._live_port.launch(
                        order,
                        self._on_sent(machine.intent, order),
                        self._objection(machine.intent, order),
                    )
        await super()._send_all(machine, orders)

    @override
    async def _place(self, machine: TwoLeg, order: Order) -> OrderResult:
        return await self._live_port.send(
            order,
            admitted=order.client_id in self._admitted,
            on_sent=self._on_sent(machine.intent, order),
            objection=self._objection(machine.intent, order),
        )

    async def _pause_to_ask(self, orders: tuple[Order, ...], asked: int) -> None:
        """Wait longer each time, but no longer than until a private event brings the end of an order."""
        doubled_ms = self._live.ask_pause_ms * (1 << min(asked, _DOUBLINGS_MAX))
        await self._live_port.wait_for_news(orders, min(doubled_ms, self._live.ask_pause_max_ms) / 1000)

    def _on_sent(self, intent: Intent, order: Order) -> Callable[[], None] | None:
        under_way = self._under_way.get(intent.intent_id)
        if under_way is None or order.role != "leg":
            return None

        def sent() -> None:
            under_way.is_written = True
            now_ns = self._clock.monotonic_ns()
            since_book_ns = now_ns - under_way.seen_ns if under_way.seen_ns else 0
            self._live_observer.sent(order.market.venue, now_ns - under_way.decided_ns, since_book_ns)

        return sent

    def _objection(self, intent: Intent, order: Order) -> Veto | None:
        """Return an objection to a leg of an entry whose approval becomes too old while a connection is opened for
        it.

        Once the other leg has been sent there is none: this leg completes it, and its limit protects its price.
        """
        under_way = self._under_way.get(intent.intent_id)
        if under_way is None or order.role != "leg" or intent.kind != "entry":
            return None
        latest_ns = under_way.decided_ns + int(self._execution.approval_expiry_ms * 1_000_000)

        def objection() -> str:
            if under_way.is_written or self._clock.monotonic_ns() <= latest_ns:
                return ""
            if not under_way.is_late:
                under_way.is_late = True
                self._observer.late()
            return "approved too late"

        return objection
