"""``LiveExecutor`` is the same two-leg run with real orders. ``ExecutorFactory.create_live_executor`` makes it."""

from collections.abc import Callable
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

_DOUBLINGS_MAX = 20


class LiveObserver(Observer, Protocol):
    """Counts what live executors do."""

    def sent(self, waited_ns: int) -> None:
        """Count a leg that was handed to the socket ``waited_ns`` after its trade was decided on."""
        ...


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
        self._decided_ns: dict[str, int] = {}

    async def execute(self, intent: Intent, decided_ns: int | None = None) -> IntentOutcome:
        """Execute ``intent`` with live orders, as ``BaseExecutor`` does."""
        self._decided_ns[intent.intent_id] = (
            decided_ns if decided_ns is not None else self._clock.monotonic_ns()
        )
        try:
            return await super().execute(intent, decided_ns)
        finally:
            del self._decided_ns[intent.intent_id]

    async def _send_all(self, machine: TwoLeg, orders: tuple[Order, ...]) -> None:
        """Send both legs or none: one leg alone, for lack of rate budget, would cost a hedge."""
        is_entry = machine.intent.kind == "entry"
        if len(orders) > 1 and not await self._live_port.admit_legs(orders, is_entry=is_entry):
            await self._withhold(machine, orders, "no rate budget left", "busy")
            return
        await super()._send_all(machine, orders)

    @override
    async def _place(self, machine: TwoLeg, order: Order) -> OrderResult:
        is_admitted = order.role == "leg" and machine.state == "legs"
        return await self._live_port.send(
            order, admitted=is_admitted, on_sent=self._on_sent(machine.intent, order)
        )

    async def _pause_to_ask(self, orders: tuple[Order, ...], asked: int) -> None:
        """Wait longer each time, but no longer than until a private event brings the end of an order."""
        doubled_ms = self._live.ask_pause_ms * (1 << min(asked, _DOUBLINGS_MAX))
        await self._live_port.wait_for_news(orders, min(doubled_ms, self._live.ask_pause_max_ms) / 1000)

    def _on_sent(self, intent: Intent, order: Order) -> Callable[[], None] | None:
        decided_ns = self._decided_ns.get(intent.intent_id)
        if decided_ns is None or order.role != "leg":
            return None

        def sent() -> None:
            self._live_observer.sent(self._clock.monotonic_ns() - decided_ns)

        return sent
