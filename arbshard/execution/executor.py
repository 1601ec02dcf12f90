"""An executor carries an intent from approval to settlement, over the given connection to the venue.

There is one executor per pair, independent of each other. The order of steps never changes: risk has the intent in
the ledger before any order is sent, every result is reported as it comes, and the pair is free again only when risk
has settled.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec.structs import replace
from typing_extensions import override

from arbshard.clock import Clock
from arbshard.config import ExecutionConfig, LiveConfig, PaperConfig
from arbshard.crashpoint import reach
from arbshard.engine.closing import close_now
from arbshard.engine.edge import edge_at, terms_of
from arbshard.engine.engine import Entry, EntryOrExit, Exit, held_of
from arbshard.errors import VenueUnavailable
from arbshard.execution.paper_port import LateFills, PaperPort
from arbshard.execution.plan import affordable, plan_entry, plan_exit
from arbshard.execution.ports import BookPort, IntentOver, OrderPort, RiskPort
from arbshard.execution.two_leg import Ask, Pause, SendOrders, TwoLeg, TwoLegEnd, Withhold
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.intent import ExitReason, FxQuote, Intent, OpenIntent, Retry
from arbshard.model.market import Direction, Pair
from arbshard.model.money import ZERO, exact, plain
from arbshard.model.order import Order, OrderFault, OrderResult
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Refused, Settled

if TYPE_CHECKING:
    from arbshard.execution.live.executor import LiveExecutor, LiveObserver
    from arbshard.execution.live.port import LivePort

_EXECUTED_STATES: frozenset[str] = frozenset({"FILLED", "CANCELED", "EXPIRED"})
"""Ends of orders that the venue accepted."""
_STUCK_WHY: Mapping[str, str] = {
    "barred": "the venue refuses orders",
    "out_of_tries": "orders found nothing at their price",
    "dark": "the venue has no book",
    "too_small": "the venue takes no order of this size",
    "too_dear": "the price ran beyond the loss budget",
    "overdue": "the naked budget is spent",
    "open": "a predecessor was stuck with it",
}
"""Reasons for which taking back was given up, by the event that led to the state."""


class Observer(Protocol):
    """Counts what executors do."""

    def approved(self, waited_ns: int) -> None:
        """Count an intent that was approved ``waited_ns`` after its trade was decided on."""
        ...

    def order_done(self, result: OrderResult) -> None:
        """Count an order that reached its end."""
        ...

    def answered(self, venue: str, waited_ns: int) -> None:
        """Count an order that a venue accepted, and whose end was known ``waited_ns`` after it was sent."""
        ...

    def late(self) -> None:
        """Count an approval that came when the opportunity had expired, so that nothing was sent."""
        ...


class IntentOutcome(NamedTuple):
    """Says how an intent ended: refused, or settled."""

    refused: Refused | None
    settled: Settled | None


class BaseExecutor:
    """Carries intents of one pair through both legs, with any venues."""

    def __init__(
        self,
        pair: Pair,
        port: OrderPort,
        risk: RiskPort,
        books: BookPort,
        execution: ExecutionConfig,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self.pair = pair
        self._port = port
        self._risk = risk
        self._books = books
        self._execution = execution
        self._clock = clock
        self._observer = observer
        self._positions: dict[str, Position] = {}
        self._pnl: dict[str, Decimal] = {}
        self._residue = ZERO
        self.exit_retry: Retry | None = None
        """How risk wants the next exit made; None for as usual."""
        self._machine: TwoLeg | None = None
        """The intent under way."""
        self._renewed = asyncio.Event()

    def take_over(
        self, positions: Iterable[Position], residue: Decimal = ZERO, exit_retry: Retry | None = None
    ) -> None:
        """Begin with what risk knows of the pair: open positions, left-over base, exits that failed before.

        This is the worker's only copy of them; every reply of risk brings it up to date.
        """
        self._positions = {position.position_id: position for position in positions}
        self._residue = residue
        self.exit_retry = exit_retry

    def revise(self, pair: Pair) -> None:
        """Go on with changed rules and fees of the same two markets, also with an intent under way."""
        self.pair = pair
        self._port.add_legs((pair.home, pair.away))
        if self._machine is not None:
            self._machine.revise(pair)

    def get_positions(self) -> tuple[Position, ...]:
        """Return the open positions of the pair, as risk last settled them."""
        return tuple(self._positions.values())

    def get_position(self, position_id: str) -> Position:
        """Return an open position of the pair. Raises ``KeyError`` when it is not open."""
        return self._positions[position_id]

    def get_pnl(self) -> Decimal:
        """Return the realised result of the positions this executor has closed, after all fees, in reporting
        currency.
        """
        return sum(self._pnl.values(), ZERO)

    async def execute_trades(
        self, trades: Iterable[EntryOrExit], next_id: Callable[[], str]
    ) -> list[IntentOutcome]:
        """Carry out what the engine found, one after the other; ``next_id`` makes intent ids.

        Raises ``KeyError`` for an exit of a position that is not open.
        """
        outcomes = []
        for trade in trades:
            now_ms = self._clock.wall_ms()
            if isinstance(trade, Exit):
                before = self._positions[trade.position_id]
                intent = self.plan_exit(trade, before, next_id(), now_ms)
            else:
                intent = plan_entry(trade, next_id(), now_ms)
            outcomes.append(await self.execute(intent))
        return outcomes

    def plan_exit(self, trade: Exit, before: Position, intent_id: str, now_ms: int) -> Intent:
        """Return the intent that closes ``before``, as risk wants it made after exits that failed."""
        return plan_exit(
            trade, before, intent_id, now_ms, self._execution, self._residue, retry=self.exit_retry
        )

    def renew(self) -> None:
        """Grant an intent that is stuck its budgets anew: a person has ordered the pair closed."""
        if self._machine is not None:
            self._machine.renew(self._clock.monotonic_ns())
            self._renewed.set()

    async def execute_buy(self, quantity: Decimal, next_id: Callable[[], str]) -> IntentOutcome:
        """Buy ``quantity`` (base) on home and sell it on away, by hand, at the current books.

        Limits apply as to any entry. Raises ``VenueUnavailable`` without both books and an FX rate.
        """
        return await self._enter("buy_home", quantity, next_id)

    async def execute_sell(self, quantity: Decimal, next_id: Callable[[], str]) -> IntentOutcome:
        """Sell ``quantity`` (base, gross) on home and buy it on away, by hand, at the current books.

        Limits apply as to any entry. Raises ``VenueUnavailable`` without both books and an FX rate.
        """
        return await self._enter("buy_away", quantity, next_id)

    async def close_position(
        self, position_id: str, next_id: Callable[[], str], reason: ExitReason = "manual"
    ) -> IntentOutcome:
        """Close a position at the books as they are. Raises ``KeyError``, ``VenueUnavailable``.

        The last FX rate will do, however old: what closing does on both venues hardly depends on it.
        """
        held = held_of(self._positions[position_id])
        home, away, fx = self._look(self._books.fx())
        back: Direction = "buy_away" if held.buy_is_home else "buy_home"
        closing = close_now(held, home, away, fx, terms_of(self.pair, back))
        (outcome,) = await self.execute_trades(
            [Exit(self.pair, position_id, back, reason, closing, fx)], next_id
        )
        return outcome

    async def _enter(
        self, direction: Direction, quantity: Decimal, next_id: Callable[[], str]
    ) -> IntentOutcome:
        entry = self.entry_at(direction, quantity)
        if entry is None:
            refused = Refused(Refusal.MALFORMED, f"{quantity} {self.pair.base} is less than a lot")
            return IntentOutcome(refused, None)
        (outcome,) = await self.execute_trades([entry], next_id)
        return outcome

    def entry_at(self, direction: Direction, quantity: Decimal) -> Entry | None:
        """Return an entry at the current books, whatever it brings; None for less than a lot.

        Raises ``VenueUnavailable`` without both books and an FX rate that is young enough.
        """
        home, away, fx = self._look(self._books.tradable_fx())
        buys_home = direction == "buy_home"
        asks, bids, rate = (home.asks, away.bids, fx[0]) if buys_home else (away.asks, home.bids, fx[1])
        edge = edge_at(float(quantity), asks, bids, terms_of(self.pair, direction), rate)
        return Entry(self.pair, direction, edge, fx) if edge is not None else None

    def _look(self, fx: FxQuote | None) -> tuple[OrderBookSnapshot, OrderBookSnapshot, tuple[float, float]]:
        home, away = self._books.tradable(self.pair.home), self._books.tradable(self.pair.away)
        if home is None or away is None or fx is None:
            raise VenueUnavailable(
                f"{self.pair.base}: no tradable book on both venues, or no tradable FX rate"
            )
        return home, away, (float(fx.bid), float(fx.ask))

    def _settle(self, settled: Settled) -> None:
        position = settled.position
        self._residue = settled.residue
        self.exit_retry = settled.exit_retry
        if position is None:
            return
        if position.state == "OPEN":
            self._positions[position.position_id] = position
        else:
            self._positions.pop(position.position_id, None)
            self._pnl[position.position_id] = position.pnl or ZERO

    async def execute(self, intent: Intent, decided_ns: int | None = None, seen_ns: int = 0) -> IntentOutcome:
        """Ask risk, send both legs, and complete them.

        ``decided_ns``: when the trade was found (monotonic), if not now. ``seen_ns``: when the book was received that
        led to it (monotonic); 0 if none did.
        """
        del seen_ns
        if decided_ns is None:
            decided_ns = self._clock.monotonic_ns()
        reply = await self._risk.submit(intent)
        if isinstance(reply, Refused):
            if reply.exit_retry is not None:
                self.exit_retry = reply.exit_retry
            return IntentOutcome(reply, None)
        waited_ns = self._clock.monotonic_ns() - decided_ns
        self._observer.approved(waited_ns)
        machine = self._machine_of(intent)
        objection = self._missing_data(intent)
        if intent.kind == "entry" and waited_ns > self._execution.approval_expiry_ms * 1_000_000:
            self._observer.late()
            objection = "approved too late"
        if objection:
            await self._withhold(machine, (intent.home, intent.away), objection)
        return await self._run(machine)

    def _missing_data(self, intent: Intent) -> str:
        """Return why neither leg may be sent; empty if both may.

        A venue without a book could not complete what the other one fills. For a leg that a person has closed alone,
        only its own venue counts. An entry also needs an FX rate that is young enough; without one an exit goes on,
        because what it does on both venues hardly depends on FX.
        """
        if intent.kind == "entry" and self._books.tradable_fx() is None:
            return "no tradable FX rate"
        for leg, lead in ((self.pair.home, "home"), (self.pair.away, "away")):
            is_needed = intent.reason != "one_leg" or intent.lead == lead
            if is_needed and self._books.tradable(leg) is None:
                return f"{leg.market.venue} has no tradable book"
        return ""

    async def resume(self, taken_over: OpenIntent) -> IntentOutcome:
        """Carry on with an intent of an earlier incarnation.

        A leg that nothing is known of may have been sent: it is asked about, never sent again.
        """
        intent = taken_over.intent
        reported_ids = {result.order.client_id for result in taken_over.orders}
        silent = (
            OrderResult(order, "UNKNOWN")
            for order in (intent.home, intent.away)
            if order.client_id not in reported_ids
        )
        known = (*silent, *taken_over.orders)
        return await self._run(self._machine_of(intent, known))

    def _machine_of(self, intent: Intent, known: Iterable[OrderResult] = ()) -> TwoLeg:
        """Return a machine for ``intent``. An exit closes its position and uses up the left-over base of the pair."""
        before = self._positions.get(intent.position_id) if intent.kind == "exit" else None
        return TwoLeg(
            intent, self.pair, before, self._execution, known, self._residue, self._clock.monotonic_ns()
        )

    async def _run(self, machine: TwoLeg) -> IntentOutcome:
        self._machine = machine
        try:
            return await self._run_to_end(machine)
        except IntentOver:  # a person has ended it with what was booked
            return await self._conclude(machine.intent, closed=True)
        finally:
            self._machine = None

    async def _run_to_end(self, machine: TwoLeg) -> IntentOutcome:
        home, away = self.pair.home, self.pair.away
        asked = 0
        is_reported_stuck = False
        while True:
            now_ns = self._clock.monotonic_ns()
            step = machine.next_step(self._books.tradable(home), self._books.tradable(away), now_ns)
            if machine.state == "stuck" and not is_reported_stuck:
                is_reported_stuck = True
                await self._report_stuck(machine)
            match step:
                case SendOrders(orders):
                    asked = 0
                    await self._send_all(machine, orders)
                case Withhold(order, why):
                    await self._withhold(machine, (order,), why)
                case Ask(orders):
                    await self._pause_to_ask(orders, asked)
                    asked += 1
                    for result in await asyncio.gather(*(self._port.ask(order) for order in orders)):
                        # That nothing is known is reported once; later only news is reported.
                        if asked == 1 or machine.is_news(result):
                            await self._record(machine, result)
                case Pause(wait_ns):
                    await self._pause(wait_ns / 1e9)
                case TwoLegEnd(closed) if not await self._has_more_news(machine.intent):
                    return await self._conclude(machine.intent, closed=closed)

    async def _has_more_news(self, intent: Intent) -> bool:
        """Wait for what the venues report after the end of the orders. Returns whether there was any."""
        del intent
        return False

    async def _conclude(self, intent: Intent, *, closed: bool) -> IntentOutcome:
        fx = self._books.fx() or self._fx_of(intent)
        reach("before_conclude")
        settled = await self._risk.conclude(intent.intent_id, self._mark(intent), fx, done=closed)
        reach("after_conclude")
        self._settle(settled)
        return IntentOutcome(None, settled)

    def _fx_of(self, intent: Intent) -> FxQuote:
        """Return the rate that ``intent`` was decided at, with its present age."""
        decided_ago_ms = max(self._clock.wall_ms() - intent.decided_ms, 0)
        return replace(intent.fx, age_ms=intent.fx.age_ms + decided_ago_ms)

    async def _report_stuck(self, machine: TwoLeg) -> None:
        """Have risk ask a person; a request that is repeated changes nothing."""
        why = _STUCK_WHY[machine.why]
        turned = machine.turned()
        what = (
            f"{plain(turned)} {self.pair.base} too much was traded on both venues"
            if turned
            else f"{plain(abs(machine.imbalance))} {self.pair.base} stays naked"
        )
        reason = f"{what}: {why}"
        await self._risk.set_apart(self.pair.base, "stuck", reason, machine.intent.intent_id)

    async def _send_all(self, machine: TwoLeg, orders: tuple[Order, ...]) -> None:
        ready = [order if order.role == "leg" else await self._extend(machine, order) for order in orders]
        await asyncio.gather(*(self._send(machine, order) for order in ready if order is not None))

    async def _extend(self, machine: TwoLeg, order: Order) -> Order | None:
        """Record a hedge or unwind, or as much of it as can be paid for; None when nothing of it can."""
        intent_id, leg = machine.intent.intent_id, self.pair.leg(order.market.venue)
        refused = await self._risk.extend(intent_id, order)
        if isinstance(refused, Refused):
            part = affordable(order, leg, refused.available)
            if part is None or isinstance(await self._risk.extend(intent_id, part), Refused):
                # Risk knows nothing of this order, so it is not reported either.
                unpaid = OrderResult(order, "NOT_ACCEPTED", detail=refused.detail, fault="funds")
                machine.record(unpaid, self._clock.monotonic_ns())
                return None
            order = part
        reach("after_extend")
        return order

    async def _send(self, machine: TwoLeg, order: Order) -> OrderResult:
        sent_ns = self._clock.monotonic_ns()
        result = await self._place(machine, order)
        # An order that was not sent, or that the venue refused, says nothing about the time of an execution.
        if result.state in _EXECUTED_STATES:
            self._observer.answered(order.market.venue, self._clock.monotonic_ns() - sent_ns)
        await self._record(machine, result)
        return result

    async def _place(self, machine: TwoLeg, order: Order) -> OrderResult:
        """Send an order and wait for its end, or until ``OrderPort.send`` stops waiting."""
        del machine
        return await self._port.send(order)

    async def _withhold(
        self, machine: TwoLeg, orders: Iterable[Order], why: str, fault: OrderFault = ""
    ) -> None:
        """Record orders that are not sent."""
        for order in orders:
            result = OrderResult(order, "NOT_ACCEPTED", detail=f"not sent: {why}", fault=fault)
            await self._record(machine, result)

    async def _record(self, machine: TwoLeg, result: OrderResult) -> None:
        machine.record(result, self._clock.monotonic_ns())
        if result.is_final:
            self._observer.order_done(result)
        reach("before_report")
        await self._risk.report(machine.intent.intent_id, result)
        reach("after_report")

    async def _pause(self, wait_s: float) -> None:
        """Wait for so long, or until a person renews the budgets."""
        self._renewed.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._renewed.wait()
        except TimeoutError:
            pass  # the pause is over

    async def _pause_to_ask(self, orders: tuple[Order, ...], asked: int) -> None:
        """Wait before ``orders`` are asked about; ``asked``: how often they were already.

        The first time does not wait.
        """
        if asked and orders:
            await self._pause(self._execution.retry_ms / 1000)

    def _mark(self, intent: Intent) -> Decimal:
        """Return the home price of the base: the book's bid, or what the intent was ready to trade at."""
        book = self._books.tradable(self.pair.home)
        return exact(book.best_bid) if book is not None else intent.home.limit


class PaperExecutor(BaseExecutor):
    """Fills against the books as they are when an order would arrive."""

    def __init__(
        self,
        pair: Pair,
        port: OrderPort,
        late_fills: LateFills,
        books: BookPort,
        execution: ExecutionConfig,
        clock: Clock,
        observer: Observer,
    ) -> None:
        super().__init__(pair, port, late_fills, books, execution, clock, observer)
        self._late_fills = late_fills
        late_fills.on_late_report = self._on_late_fill

    def _on_late_fill(self, intent_id: str, result: OrderResult) -> None:
        if self._machine is not None and self._machine.intent.intent_id == intent_id:
            self._machine.record(result, self._clock.monotonic_ns())

    @override
    async def _has_more_news(self, intent: Intent) -> bool:
        return await self._late_fills.wait_for_all(intent.intent_id)


class ExecutorFactory:
    """Makes and keeps one executor per pair. A subclass with another paper venue makes the port, and nothing else."""

    _paper_executor_type = PaperExecutor

    def __init__(
        self,
        risk: RiskPort,
        books: BookPort,
        execution: ExecutionConfig,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._risk = risk
        self._books = books
        self._execution = execution
        self._clock = clock
        self._observer = observer
        self._executors: dict[str, BaseExecutor] = {}
        self.is_fenced: Callable[[], bool] | None = None
        """Returns whether no paper order may be sent any more; None where that is not asked. It is set before the
        first executor is made."""

    def create_paper_executor(self, pair: Pair, paper: PaperConfig) -> PaperExecutor:
        """Return a new paper executor for ``pair``, in place of any it had."""
        port = self._create_paper_port(pair, paper)
        port.is_fenced = self.is_fenced
        executor = self._paper_executor_type(
            pair, port, port.late_fills, self._books, self._execution, self._clock, self._observer
        )
        self._executors[pair.base] = executor
        return executor

    def _create_paper_port(self, pair: Pair, paper: PaperConfig) -> PaperPort:
        """Return the port of a new paper executor for ``pair``."""
        late_fills = LateFills(self._risk, Random(f"{paper.seed}:{pair.base}:late"))
        return PaperPort(pair, paper, self._books, self._clock, late_fills)

    def create_live_executor(
        self, pair: Pair, port: "LivePort", live: LiveConfig, observer: "LiveObserver"
    ) -> "LiveExecutor":
        """Return a new live executor for ``pair``, in place of any it had. ``port`` is shared by all of a process."""
        from arbshard.execution.live.executor import LiveExecutor

        executor = LiveExecutor(
            pair, port, self._risk, self._books, self._execution, live, self._clock, observer
        )
        self._executors[pair.base] = executor
        return executor

    def get_executor(self, base: str) -> BaseExecutor | None:
        """Return the executor of a pair, None when it has none."""
        return self._executors.get(base)

    def get_all_executors(self) -> dict[str, BaseExecutor]:
        """Return all executors by base."""
        return dict(self._executors)

    def remove_executor(self, base: str) -> None:
        """Remove a pair's executor. Raises ``KeyError`` when it has none."""
        del self._executors[base]
