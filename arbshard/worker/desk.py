"""Carries out what the engine decides, and reports to the engine what it holds: the worker's trading desk.

Positions, open intents and balances come from risk at the start and with every reply, so that a successor begins
where this process ended. The desk itself keeps none of them. The executors keep the positions of their pairs, and
the engine receives as floats what its decisions depend on; the engine keeps what is free, and which pairs are
funded, suspended, or busy with an intent.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.engine.engine import ArbitrageEngine, Entry, EntryOrExit, Exit, PairState
from arbshard.engine.quality import View
from arbshard.execution.executor import BaseExecutor, ExecutorFactory, IntentOutcome
from arbshard.execution.plan import part_of_exit, plan_entry
from arbshard.log import get_logger
from arbshard.model.intent import ExitReason, Intent, OpenIntent, Retry
from arbshard.model.market import Pair
from arbshard.model.money import ZERO, exact
from arbshard.model.refusal import Refusal
from arbshard.repeat import BackgroundTasks
from arbshard.wire.messages import Refused, Welcome
from arbshard.worker.counters import DATA_REFUSALS
from arbshard.worker.meter import WorkerMeter
from arbshard.worker.risk_link import RiskLink

if TYPE_CHECKING:
    from arbshard.execution.live.port import LivePort

_FUND_AGAIN_S = 0.25
_REFUSED_EXIT_PAUSE_MAX_S = 30.0
_CLOSE_AGAIN_NS = 200_000_000
"""Pause in nanoseconds between two attempts to close the same positions, whatever the rules say."""


class Desk:
    """Holds one shard's executors, and what its pairs may do and spend."""

    def __init__(
        self,
        engine: ArbitrageEngine,
        executors: ExecutorFactory,
        risk: RiskLink,
        config: Config,
        clock: Clock,
        meter: WorkerMeter,
        on_failure: Callable[[BaseException], None],
        port: "LivePort | None" = None,
    ) -> None:
        """Prepare the desk. ``port`` carries live orders to the venues; it is None on paper."""
        assert (port is not None) == (config.mode == "live"), config.mode
        self._port = port
        self._engine = engine
        self._executors = executors
        self._risk = risk
        self._config = config
        self._clock = clock
        self._meter = meter
        self._funding: set[str] = set()
        """Pairs that risk is being asked to fund."""
        self._tasks = BackgroundTasks(on_failure)
        self._closed_ns = 0
        """When ``close_positions`` last closed anything (monotonic nanoseconds)."""
        self.on_decision: Callable[[EntryOrExit], None] = _ignore
        """Called with each trade before it is carried out."""
        self.on_adopted: Callable[[], None] = _nothing
        """Called when pairs were added, whose entry terms are not yet known."""
        self._prefix = ""
        self._intents = 0

    def take_over(self, welcome: Welcome, shard: int, epoch: int) -> None:
        """Begin with what risk knows: positions, intents without outcome, balances."""
        self._prefix = f"s{welcome.session}-{shard}-{epoch}"
        for base in welcome.strangers:
            self.suspend(base)
        self.adopt(welcome, [base for base, state in self._engine.pairs.items() if not state.suspended])

    def adopt(self, welcome: Welcome, bases: Iterable[str]) -> None:
        """Trade these pairs of the engine from now on, beginning with what risk knows of them."""
        mine = tuple(bases)
        for base in welcome.funded:
            self._engine.pairs[base].is_funded = True
        residues = dict(welcome.residues)
        exit_retries = {base: retry for base, retry in welcome.retries if retry.kind == "exit"}
        for base in mine:
            state = self._engine.pairs[base]
            assert not state.busy, base
            self.activate(base)
            executor = self._make_executor(state.pair)
            positions = [position for position in welcome.positions if position.pair == base]
            executor.take_over(positions, residues.get(base, ZERO), exit_retries.get(base))
        self._engine.set_free(welcome.available)
        for base, retry in welcome.retries:
            if base in mine:
                self._rest(self._engine.pairs[base], retry)
        for taken_over in welcome.intents:
            state = self._engine.pairs[taken_over.intent.pair]
            get_logger().warning(
                "intent taken over", intent=taken_over.intent.intent_id, pair=state.pair.base
            )
            state.busy = True
            self._tasks.start(self._resume(state, taken_over))
        for base in mine:
            self._refresh(self._engine.pairs[base])
        self.on_adopted()

    async def update_terms(self, serial: int) -> int:
        """Ask risk what entries may be made, as far as it has changed since ``serial``; return the new serial."""
        terms = await self._risk.entry_terms(serial)
        for one in terms.pairs:
            state = self._engine.pairs.get(one.pair)
            if state is not None:
                state.set_terms(one)
        self._engine.set_free(terms.available)
        return terms.serial

    def suspend(self, base: str) -> None:
        """Start nothing new with a pair; what is under way comes to its end."""
        self._engine.pairs[base].suspended = True

    def activate(self, base: str) -> None:
        """Trade a pair again that was suspended."""
        self._engine.pairs[base].suspended = False

    def is_suspended(self, base: str) -> bool:
        """Return whether nothing new is started with the pair."""
        return self._engine.pairs[base].suspended

    @property
    def has_suspended(self) -> bool:
        """Return whether any pair is suspended."""
        return any(state.suspended for state in self._engine.pairs.values())

    def is_adopted(self, base: str) -> bool:
        """Return whether risk has reported what has to be continued of this pair."""
        return self._executors.get_executor(base) is not None

    def is_idle(self, base: str) -> bool:
        """Return whether nothing of the pair is under way, at a venue or at risk."""
        return not self._engine.pairs[base].busy and base not in self._funding

    def is_flat(self, base: str) -> bool:
        """Return whether the pair has no position and nothing under way."""
        executor = self._executors.get_executor(base)
        return self.is_idle(base) and (executor is None or not executor.get_positions())

    def revise(self, pair: Pair) -> None:
        """Go on with a pair whose rules or fees have changed."""
        self._engine.revise(pair)
        executor = self._executors.get_executor(pair.base)
        if executor is not None:
            executor.revise(pair)

    def forget(self, base: str) -> None:
        """Remove a pair that is suspended and idle, before the engine does."""
        assert self.is_suspended(base), base
        assert self.is_idle(base), base
        if self.is_adopted(base):
            self._executors.remove_executor(base)
            if self._port is not None:
                pair = self._engine.pairs[base].pair
                self._port.remove_legs((pair.home, pair.away))

    @property
    def busy(self) -> int:
        """Return the number of pairs with an intent under way."""
        return sum(state.busy for state in self._engine.pairs.values())

    @property
    def open_positions(self) -> int:
        """Return the number of positions held by this shard."""
        return sum(len(one.get_positions()) for one in self._executors.get_all_executors().values())

    def act(self, state: PairState, trade: EntryOrExit) -> None:
        """Carry out ``trade``; the pair is busy until its intent has an outcome."""
        assert state.may_act, state.pair.base
        self.on_decision(trade)
        decided_ns = self._clock.monotonic_ns()
        intent_id = self._next_id()
        state.busy = True
        now_ms = self._clock.wall_ms()
        executor = self._executor_of(state)
        if isinstance(trade, Exit):
            before = executor.get_position(trade.position_id)
            intent = executor.plan_exit(trade, before, intent_id, now_ms)
        else:
            intent = plan_entry(trade, intent_id, now_ms)
            self._meter.count("opportunities")
        if self._config.paper.record_times:
            intent = replace(intent, decided_ns=decided_ns, seen_ns=_seen_ns(state, self._engine.fx))
        seen_ns = _newer_ns(state) if intent.kind == "entry" else 0
        self._risk.begin(intent)  # the task below begins only when all that has changed was looked at
        run = partial(self._execute, executor, intent, decided_ns, seen_ns)
        self._tasks.start(self._settle(state, run, is_exit=intent.kind == "exit", trade=trade))

    def may_send_entry(self, pair: Pair) -> bool:
        """Return whether an entry's orders could be sent as soon as risk has approved it.

        Otherwise risk is not asked: the entry would wait with prices that grow old, and hold capital meanwhile.
        """
        return self._port is None or self._port.has_room_for_entry(pair)

    def look_at_limits(self) -> None:
        """Look at the rate limits, so that most entries need not (``may_send_entry``)."""
        if self._port is not None:
            self._port.look_at_limits()

    def close_positions(self, reasons: Mapping[str, ExitReason]) -> None:
        """Close what is held of these pairs, each for its reason, whatever the rules say. It has to be called
        repeatedly.

        A position that could not be closed is tried again after the pause of its pair. Pairs of other shards are
        ignored.
        """
        now_ns = self._clock.monotonic_ns()
        if not reasons or now_ns - self._closed_ns < _CLOSE_AGAIN_NS:
            return
        self._closed_ns = now_ns
        for base, reason in reasons.items():
            state = self._engine.pairs.get(base)
            if state is None or not state.held or not state.may_act or now_ns < state.exit_rest_until_ns:
                continue
            trade = self._engine.close(state, state.held[0], reason)
            if trade is not None:
                self.act(state, trade)

    def renew(self, bases: Iterable[str]) -> None:
        """End the pauses of pairs that a person has just ordered closed, and renew the budgets of stuck intents."""
        for base in bases:
            state = self._engine.pairs.get(base)
            if state is not None and self.is_adopted(base):
                state.exit_rest_until_ns = 0
                self._executor_of(state).renew()

    def end_exit_pauses(self) -> None:
        """Let every position be closed at once. Stuck intents keep what is left of their budgets."""
        for state in self._engine.pairs.values():
            state.exit_rest_until_ns = 0

    def is_drained(self, *, keep_positions: bool) -> bool:
        """Return whether nothing is under way and, unless they are kept, no position is open."""
        return not self.busy and (keep_positions or not self.open_positions)

    def fund(self) -> None:
        """Have pairs funded whose price is now known: on paper with inventory, live with what the venues state."""
        for base, state in self._engine.pairs.items():
            if not (state.is_funded or state.suspended or base in self._funding or state.home.top is None):
                self._funding.add(base)
                self._tasks.start(self._fund(state))

    async def close(self) -> None:
        """Give up what is under way; risk keeps it as open, and a successor takes it over."""
        await self._tasks.close()

    def _next_id(self) -> str:
        self._intents += 1
        return f"{self._prefix}-{self._intents}"

    async def _execute(
        self, executor: BaseExecutor, intent: Intent, decided_ns: int, seen_ns: int
    ) -> IntentOutcome:
        """Carry out ``intent``; of an exit that cannot be paid for as a whole, the largest part that can."""
        outcome = await executor.execute(intent, decided_ns, seen_ns)
        refused = outcome.refused
        if intent.kind == "entry" or refused is None or refused.reason is not Refusal.BALANCE:
            return outcome
        part = part_of_exit(intent, executor.pair, refused.available, self._next_id())
        return outcome if part is None else await executor.execute(part)

    async def _fund(self, state: PairState) -> None:
        top = state.home.top
        assert top is not None, state.pair.base
        funded = await self._risk.fund(state.pair.base, exact(top.best_bid))
        if funded is None:
            await asyncio.sleep(_FUND_AGAIN_S)
        else:
            state.is_funded = True
            self._engine.set_free(funded.available)
        self._funding.discard(state.pair.base)

    async def _resume(self, state: PairState, taken_over: OpenIntent) -> None:
        run = partial(self._executor_of(state).resume, taken_over)
        await self._settle(state, run, is_exit=taken_over.intent.kind == "exit")

    async def _settle(
        self,
        state: PairState,
        run: Callable[[], Coroutine[None, None, IntentOutcome]],
        *,
        is_exit: bool,
        trade: EntryOrExit | None = None,
    ) -> None:
        outcome = await run()
        rest_ns = int(self._config.strategy.cooldown_ms * 1e6)
        now_ns = self._clock.monotonic_ns()
        state.rest_until_ns = now_ns + rest_ns
        if is_exit:
            state.exit_rest_until_ns = now_ns + rest_ns
        if outcome.refused is not None:
            self._meter.count("refused")
            if is_exit:  # its refusal states what exits may spend, which is more than entries may
                self._refused_exit(state, outcome.refused, now_ns)
            else:
                self._engine.set_free(outcome.refused.available)
                if isinstance(trade, Entry) and outcome.refused.reason in DATA_REFUSALS:
                    self._engine.follow_refused(state, trade, outcome.refused.reason, now_ns)
        if outcome.settled is not None:
            if isinstance(trade, Entry):
                state.funnel.approved += 1
                state.funnel.approved_bps += trade.edge.net_bps
            self._engine.set_free(outcome.settled.available)
            state.exit_refusals = 0
            for retry in (outcome.settled.exit_retry, outcome.settled.entry_retry):
                if retry is not None and (retry.kind == "exit") is is_exit:
                    self._rest(state, retry)
        self._refresh(state)
        state.busy = False

    def _refused_exit(self, state: PairState, refused: Refused, now_ns: int) -> None:
        """Ask again after a pause that doubles: an exit that is refused costs nothing but the question."""
        state.exit_refusals += 1
        doubled_s = self._config.strategy.cooldown_ms / 1000 * (1 << min(state.exit_refusals - 1, 10))
        pause_s = min(doubled_s, _REFUSED_EXIT_PAUSE_MAX_S)
        state.exit_rest_until_ns = now_ns + int(pause_s * 1e9)
        if refused.reason is Refusal.EXIT_WAITS and refused.exit_retry is not None:
            self._rest(state, refused.exit_retry)

    def _rest(self, state: PairState, retry: Retry) -> None:
        """Make no trade of this kind with the pair before risk allows it."""
        get_logger().warning(
            f"{retry.kind} achieved nothing",
            pair=state.pair.base,
            tries=retry.tries,
            wait_ms=retry.wait_ms,
            first=retry.lead,
            why=retry.why,
        )
        until_ns = self._clock.monotonic_ns() + retry.wait_ms * 1_000_000
        if retry.kind == "exit":
            state.exit_rest_until_ns = max(state.exit_rest_until_ns, until_ns)
        else:
            state.rest_until_ns = max(state.rest_until_ns, until_ns)

    def _make_executor(self, pair: Pair) -> BaseExecutor:
        if self._port is None:
            return self._executors.create_paper_executor(pair, self._config.paper)
        self._port.add_legs((pair.home, pair.away))
        return self._executors.create_live_executor(pair, self._port, self._config.live, self._meter)

    def _executor_of(self, state: PairState) -> BaseExecutor:
        executor = self._executors.get_executor(state.pair.base)
        assert executor is not None, state.pair.base
        return executor

    def _refresh(self, state: PairState) -> None:
        positions, clock = self._executor_of(state).get_positions(), self._clock
        self._engine.set_positions(state, positions, clock.monotonic_ns(), clock.wall_ms())


def _seen_ns(state: PairState, fx: View) -> tuple[int, int, int]:
    """Return when the books of a decision were received (monotonic nanoseconds); 0 for a book that is missing."""
    home, away, rate = state.home.top, state.away.top, fx.top
    return (
        home.received_ns if home is not None else 0,
        away.received_ns if away is not None else 0,
        rate.received_ns if rate is not None else 0,
    )


def _newer_ns(state: PairState) -> int:
    """Return when the newer of both books was received (monotonic nanoseconds); 0 without books."""
    return max((top.received_ns for top in (state.home.top, state.away.top) if top is not None), default=0)


def _nothing() -> None:
    """Do nothing."""


def _ignore(_: object) -> None:
    """Do nothing."""
