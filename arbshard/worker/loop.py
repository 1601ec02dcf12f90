"""Runs the worker's event loop: the doorbell wakes it, and a timer drives all that no frame causes.

A sleep always has a limit (the timer), so that a wake-up that came late is a delay and never a stop.
"""

import asyncio
from collections.abc import Callable, Mapping

from arbshard.clock import Clock
from arbshard.engine.engine import ArbitrageEngine, Entry, EntryOrExit, PairState
from arbshard.log import get_logger
from arbshard.model.intent import BY_HAND, ExitReason
from arbshard.model.phase import Phase, WorkerState
from arbshard.model.refusal import Refusal
from arbshard.model.silence import SilenceWatch
from arbshard.shm.books import BooksReader
from arbshard.shm.doorbell import ShardWaiter
from arbshard.worker.desk import Desk
from arbshard.worker.feed import ShardFeed
from arbshard.worker.membership import Membership
from arbshard.worker.meter import WorkerMeter
from arbshard.worker.risk_news import RiskNews
from arbshard.worker.spin import Spin
from arbshard.worker.standing_orders import StandingOrders

TIMER_S = 0.1
"""Limit of a sleep in seconds. A wake-up of an idle process costs more than what is done in it: 0.2 ms of a CPU."""
BUSY_TIMER_S = 0.04
"""The same while the shard has something to close or to hand over: a position, an intent, or a pair that moves."""

_FIRST_BOOKS_NS = 30_000_000_000
"""So long after the start a pair without its first books is not counted as refused."""
_SHUTDOWN: ExitReason = "shutdown"
_TAKEN_OUT: ExitReason = "manual"


class ShardLoop:
    """Acts on the doorbell and the timer of one shard.

    ``stop`` is called with the exit code; the first call counts.
    """

    def __init__(
        self,
        books: BooksReader,
        waiter: ShardWaiter,
        feed: ShardFeed,
        engine: ArbitrageEngine,
        desk: Desk,
        orders: StandingOrders,
        terms: RiskNews,
        meter: WorkerMeter,
        clock: Clock,
        stop: Callable[[int], None],
        is_orphan: Callable[[], bool],
        spin_us: int = 0,
        membership: Membership | None = None,
        timer_s: float = TIMER_S,
        must_wait: Callable[[], bool] = lambda: False,
        busy_timer_s: float = BUSY_TIMER_S,
    ) -> None:
        """Prepare the loop; ``start`` begins it.

        ``is_orphan`` returns whether the supervisor has died. ``membership`` is None where the pairs never change.
        ``timer_s`` is the limit of a sleep, and ``busy_timer_s`` while something is to be closed or handed over.
        ``must_wait`` returns whether this worker may decide nothing now: it was replaced, and ends, or its host
        may not trade for a moment.
        """
        self._books = books
        self._waiter = waiter
        self._feed = feed
        self._engine = engine
        self._desk = desk
        self._orders = orders
        self._terms = terms
        self._meter = meter
        self._clock = clock
        self._stop = stop
        self._is_orphan = is_orphan
        self._silence = SilenceWatch()
        self._spin = Spin(spin_us * 1000) if spin_us else None
        self._membership = membership
        self._timer_s = timer_s
        self._busy_timer_s = busy_timer_s
        self._must_wait = must_wait
        self._is_waiting = False
        """Whether nothing was to be decided when the timer looked last. What was decided before that is not sent."""
        self._loop = asyncio.get_running_loop()
        self._parked = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._started_ns = 0
        self._state = WorkerState.STARTING
        self.may_act: Callable[[PairState], bool] = lambda _: True
        """Returns whether a trade found for a pair is carried out; a backtest of recorded decisions replaces it."""
        self._renewed = 0
        """Serial of the orders for which pairs were renewed last."""
        self._calls = 0
        """The last call of the supervisor that was followed (``BooksReader.calls``)."""

    @property
    def timer(self) -> asyncio.TimerHandle | None:
        """Return the timer that limits the sleep; None before the start."""
        return self._timer

    @property
    def timer_s(self) -> float:
        """Return the period of the timer in seconds."""
        return self._timer_s

    @property
    def is_at_rest(self) -> bool:
        """Return whether the timer has nothing to do: the run goes on, nothing is held or under way, no pair is to be
        closed, and the supervisor beats.
        """
        return (
            self._state is WorkerState.RUNNING
            and Phase(self._books.phase) is Phase.RUNNING
            and not self._silence.is_silent
            and not self._orders.closing
            and not self._orders.halted
            and (self._membership is None or self._membership.is_settled)
            and not any(state.held or state.busy for state in self._engine.pairs.values())
        )

    def start(self) -> None:
        """Evaluate everything once, then sleep until something changes."""
        self._started_ns = self._clock.monotonic_ns()
        self._calls = self._books.calls
        self._set_state(WorkerState.RUNNING)
        self._loop.add_reader(self._waiter.fileno(), self._on_bell)
        self._due_s = self._loop.time() + self._busy_timer_s  # pairs are funded then
        self._timer = self._loop.call_at(self._due_s, self._on_timer)
        self._look_for_silence(self._started_ns)
        self._cycle()

    def look_at(self, slot: int) -> None:
        """Act on a change of ``slot`` at once, if the loop sleeps: for a feed in the same process, without a ring."""
        if self._parked:
            self._on_slot(slot)

    def decide(self, base: str, ordered: ExitReason | None = None) -> None:
        """Evaluate a pair with its current books, and act. With ``ordered``, close what it holds for this reason."""
        state = self._engine.pairs[base]
        trade: EntryOrExit | None
        if ordered is None:
            trade = self._engine.evaluate(state, self._clock.monotonic_ns())
        else:
            trade = self._engine.close(state, state.held[0], ordered) if state.held else None
        if trade is not None:
            self._act(state, trade)

    def close(self) -> None:
        """Stop reading, and do nothing more: the feed is about to be unmapped."""
        self._closed = True
        self._loop.remove_reader(self._waiter.fileno())
        if self._timer is not None:
            self._timer.cancel()

    def _on_bell(self) -> None:
        self._waiter.clear()
        self._wake()
        calls = self._books.calls
        if calls != self._calls and not (self._closed or self._must_wait()):
            self._calls = calls
            now_ns = self._clock.monotonic_ns()
            self._look_for_silence(now_ns)
            self._follow(now_ns)

    def _wake(self) -> None:
        if self._parked:
            self._parked = False
            self._waiter.unpark()
            self._cycle()

    def _cycle(self) -> None:
        if self._closed:  # this turn was planned before
            return
        for slot in self._feed.changed():
            self._on_slot(slot)
        if self._more_comes():
            self._loop.call_soon(self._cycle)
        elif self._waiter.park():
            self._parked = True
        else:
            self._loop.call_soon(self._cycle)  # executors run in between

    def _more_comes(self) -> bool:
        if self._spin is None:
            return False
        duration_ns = self._spin.duration_ns()
        if not duration_ns:
            return False
        found = self._waiter.comes_within(duration_ns)
        self._spin.looked(found=found)
        return found

    def _on_slot(self, slot: int) -> None:
        view = self._feed.read(slot)
        if view is None:
            return
        state = self._engine.observe(slot, view)
        if state is None:
            return
        now_ns = self._clock.monotonic_ns()
        trade = self._engine.evaluate(state, now_ns)
        top = view.top
        # Not measured are frames from before our start, and books evaluated again because their connection was lost.
        if top is not None and view.live and top.received_ns >= self._started_ns:
            self._meter.decided(top, self._clock.monotonic_ns())
        if state.refusal is not None and not self._awaits_first_book(state, now_ns):
            self._meter.doubted(state.refusal)
            if state.refusal is Refusal.INVENTORY_SHORT and state.short is not None:
                self._meter.lacked(*state.short)
        if trade is not None:
            self._act(state, trade)

    def _awaits_first_book(self, state: PairState, now_ns: int) -> bool:
        """Return whether the pair waits for its first books as every pair does at the start, which is no fault."""
        if state.refusal is not Refusal.BOOK_MISSING or now_ns - self._started_ns >= _FIRST_BOOKS_NS:
            return False
        return state.home.settled is None or state.away.settled is None

    def _act(self, state: PairState, trade: EntryOrExit) -> None:
        if self._is_waiting or not self.may_act(state):
            return
        # The supervisor may have been silent, and be back, since the timer looked.
        self._look_for_silence(self._clock.monotonic_ns())
        if self._silence.is_silent:  # exits too: books that were not updated are no basis for any decision
            self._meter.doubted(Refusal.SUPERVISOR_SILENT)
            return
        if isinstance(trade, Entry):
            if state.pair.base in self._orders.closing or state.pair.base in self._orders.apart:
                return  # until risk reports that the pair is flat, or that a person has released it
            if self._membership is not None and state.pair.base in self._membership.leaving:
                return
            if not self._desk.may_send_entry(state.pair):
                self._meter.doubted(Refusal.RATE_BUDGET)
                return  # the next book of the pair decides anew
        elif self._orders.stopped and trade.reason not in BY_HAND:
            return  # until a person resumes
        self._desk.act(state, trade)

    def _on_timer(self) -> None:
        late_s = max(self._loop.time() - self._due_s, 0.0)
        self._due_s = self._loop.time() + (self._busy_timer_s if self._is_engaged() else self._timer_s)
        self._timer = self._loop.call_at(self._due_s, self._on_timer)
        now_ns = self._clock.monotonic_ns()
        self._meter.beat(
            now_ns, int(late_s * 1e9), self._feed, self._waiter.overflows, self._books.torn, self._desk.busy
        )
        if self._is_orphan():
            get_logger().error("the supervisor is dead")
            self._stop(4)
            return
        self._is_waiting = self._must_wait()
        if self._is_waiting:
            return
        self._look_for_silence(now_ns)
        if self._waiter.is_behind():  # a ring that was lost: the timer is the limit of every sleep
            self._wake()
        self._follow(now_ns)

    def _is_engaged(self) -> bool:
        """Return whether something is to be closed or handed over, so that orders to do so must not wait."""
        return (
            self._state is WorkerState.DRAINING
            or not self._is_settled()
            or any(state.held or state.busy for state in self._engine.pairs.values())
        )

    def _follow(self, now_ns: int) -> None:
        """Do what the supervisor and risk demand by now."""
        if self._membership is not None:
            self._membership.poll(now_ns)
        self._orders.poll(now_ns)
        self._terms.poll(now_ns)
        if not self._silence.is_silent:
            self._obey(Phase(self._books.phase), now_ns)

    def _look_for_silence(self, now_ns: int) -> None:
        """Detect whether the supervisor beats.

        Without its beat nothing is decided, and what is under way comes to its end.
        """
        was_silent = self._silence.is_silent
        is_silent = self._silence.update(self._books.beat_ns, self._books.back_ns, now_ns)
        # Without a duration the silence was over before this worker began.
        if is_silent is not was_silent and self._silence.silent_ns:
            get_logger().warning(
                "the supervisor beats again" if was_silent else "the supervisor is silent: trading stops",
                silent_ms=self._silence.silent_ns // 1_000_000,
            )

    def _obey(self, phase: Phase, now_ns: int) -> None:
        if phase is Phase.RUNNING:
            self._engine.entering = not self._orders.halted
            self._desk.look_at_limits()
            self._desk.fund()
            self._renew()
            self._desk.close_positions(self._closing())
            self._watch_positions(now_ns)
            return
        self._engine.entering = False
        if phase is Phase.DRAINING:
            if self._state is not WorkerState.DRAINING:  # the run has just begun to end
                self._desk.end_exit_pauses()
            self._set_state(WorkerState.DRAINING)
            self._renew()
            by_rule = {} if self._orders.stopped else dict.fromkeys(self._engine.pairs, _SHUTDOWN)
            self._desk.close_positions({**by_rule, **self._orders.closing})
        elif phase is Phase.DRAINING_KEEP:
            self._set_state(WorkerState.DRAINING)
        else:
            return
        is_closing = any(base in self._engine.pairs for base in self._orders.closing)
        keeps = phase is Phase.DRAINING_KEEP or (self._orders.stopped and not is_closing)
        if not self._desk.is_drained(keep_positions=keeps) or not self._is_settled():
            return
        self._set_state(WorkerState.DRAINED)
        self._stop(0)

    def _renew(self) -> None:
        """Renew the pairs once for each order of a person to close them."""
        if self._orders.serial != self._renewed:
            self._renewed = self._orders.serial
            self._desk.renew(base for base, why in self._orders.closing.items() if why in BY_HAND)

    def _closing(self) -> Mapping[str, ExitReason]:
        """Return the pairs to be closed, on instruction of risk or because they are removed, with the reasons."""
        if self._membership is None or not self._membership.leaving:
            return self._orders.closing
        return {**dict.fromkeys(sorted(self._membership.leaving), _TAKEN_OUT), **self._orders.closing}

    def _is_settled(self) -> bool:
        """Return whether no pair is being moved to this shard or away from it."""
        return self._membership is None or self._membership.is_settled

    def _watch_positions(self, now_ns: int) -> None:
        """Evaluate positions also when no frame comes, because exit rules depend on time."""
        for state in self._engine.pairs.values():
            if state.held and not state.busy:
                trade = self._engine.evaluate(state, now_ns)
                if trade is not None:
                    self._act(state, trade)

    def _set_state(self, state: WorkerState) -> None:
        if state is not self._state:
            self._state = state
            self._meter.state(state)
