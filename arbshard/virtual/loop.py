"""Implements ``VirtualLoop``: an asyncio event loop without sockets, threads or a clock, and virtual processes on
it.

Time does not advance while anything is to be done, and jumps to the next timer when nothing is. Callbacks that are
due at the same instant run in the order in which they were planned, so one seed gives one order. Every callback
belongs to a process (or to none: the world around them). A process can be killed, as by SIGKILL: nothing of it runs
any more, and no ``finally`` has any effect; and it can be stopped and continued, as by SIGSTOP and SIGCONT. All of
this package uses the loop.

Each process has a CPU of its own, and the time of its callbacks is charged to it: a little for each, the value in
``costs`` for heavy ones (``charge``), and any time that a fault adds (``hold``). While a process is behind by more
than ``costs.SLACK_NS`` nothing of it runs; the callbacks that became due meanwhile run afterwards, in their order.
"""

import asyncio
import errno
import os
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from functools import partial
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple

from arbshard.errors import ArbshardError
from arbshard.repeat import close_arguments
from arbshard.virtual.costs import CALLBACK_NS, SLACK_NS, SLOW_NS

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_NS = 1_000_000_000_000
"""Monotonic time at the beginning, in ns: no real clock begins at 0."""
_CLOSES_MAX = 10
_FIRST_PID = 10_000_000
"""First process id. It is above any pid of a real system: no real process may be mistaken for a virtual one."""
_CANCELLED_MAX = 4096
"""Largest number of cancelled timers in the heap before it is rebuilt."""


class Killed(BaseException):
    """Is raised where a process is to die in the middle of a callback. Nothing catches it but the loop."""


class Stalled(ArbshardError):
    """Is raised when nothing is left to happen: a virtual world waits for a real event."""


class VirtualProcess:
    """Holds what the callbacks of one simulated process have in common."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self.alive = True
        self.stopped = False
        self.stopped_ns = 0
        """Time since when the process does nothing, stopped or held; otherwise the beginning of its last
        pause (ns).
        """
        self.continued_ns = 0
        """Time at which the process last continued, in ns."""
        self.held = False
        """Whether the process is busy with work that was charged to it."""
        self.free_ns = 0
        """Time at which the process has done all work that was charged to it, in ns."""
        self.parked: list[_Event] = []
        """Events that became due while the process was stopped or held."""
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.on_killed: Callable[[], object] = lambda: None
        """Is called from outside of the process once it is dead."""
        self.signals: dict[int, Callable[[], object]] = {}
        """Handlers of signals, by signal number."""
        self.context = copy_context()
        self.context.run(_PROCESS.set, self)


_PROCESS: ContextVar[VirtualProcess | None] = ContextVar("process", default=None)


class _Event(asyncio.TimerHandle):
    """Is a planned callback."""

    __slots__ = ("process",)

    def __init__(
        self,
        when_s: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: "VirtualLoop",
        context: Context,
        process: VirtualProcess | None,
    ) -> None:
        # This does what the parents' methods would do, in one step: it is the hottest line of a simulation. The loop
        # is never in debug mode, so nothing reads ``_source_traceback``.
        self._when = when_s
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._repr = None
        self.process = process

    def cancel(self) -> None:
        """Keep the callback from being called. ``asyncio.sleep`` does this after each sleep, too."""
        if not self._cancelled:
            self._cancelled = True
            self._args = ()
            self._loop._timer_handle_cancelled(self)  # noqa: SLF001 - the loop's own part


def _forget(tasks: dict[asyncio.Task[Any], None], task: asyncio.Task[Any]) -> None:
    tasks.pop(task, None)


def _close(tasks: dict[asyncio.Task[Any], None], context: Context) -> None:
    """End these tasks where they are, and those that they begin while they end."""
    for _ in range(_CLOSES_MAX):
        if not tasks:
            return
        ending = tuple(tasks)
        tasks.clear()
        for task in ending:
            _end(task, context)
    tasks.clear()


def _end(task: asyncio.Task[Any], context: Context) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - it was killed, not forgotten
    work = task.get_coro()
    assert isinstance(work, Coroutine | Generator), work
    close_arguments(work)
    # Each round ends a task that awaits in a finally; a task that is left would end somewhere else.
    for _ in range(_CLOSES_MAX):
        try:
            context.copy().run(work.close)
            return
        except (RuntimeError, ValueError, Killed, BaseExceptionGroup):  # the last is of a group of tasks
            continue


class VirtualLoop(asyncio.AbstractEventLoop):
    """Is an asyncio event loop on virtual time. What it does not implement raises ``NotImplementedError``."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.events_run = 0
        self.has_no_room = False
        """Whether the machine starts no process at the moment."""
        self._charged_ns = 0
        """Time in ns charged to the callback that runs, beyond the cost of any callback."""
        self.on_slow: Callable[[VirtualProcess, int, str], None] = lambda _process, _taken_ns, _what: None
        """Is called with the process, the time in ns and the callback when one takes longer than any may."""
        self.defects: list[str] = []
        """Exceptions that callbacks raised, and errors that asyncio reported."""
        self._ready: deque[_Event] = deque()
        self._heap: list[tuple[int, int, _Event]] = []
        self._serial = 0
        self._cancelled = 0
        self._pids = _FIRST_PID
        self._readers: dict[
            int, tuple[Callable[..., object], tuple[Any, ...], Context, VirtualProcess | None]
        ] = {}
        self._rung: dict[int, None] = {}
        self._descriptors = 0
        self._stopping = False
        self._running = False
        self._closed = False
        self._unburied: dict[VirtualProcess, None] = {}
        """Killed processes whose coroutines have not ended yet."""
        self._base = copy_context()
        self._processes: dict[VirtualProcess, None] = {}
        self._tasks: dict[asyncio.Task[Any], None] = {}
        """Tasks of the world around the processes."""

    # processes

    def new_process(self, name: str) -> VirtualProcess:
        """Return a process that does nothing yet. Raises ``OSError`` while the machine has no room for one."""
        if self.has_no_room:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._pids += 1
        process = VirtualProcess(name, self._pids)
        self._processes[process] = None
        return process

    def kill(self, process: VirtualProcess) -> None:
        """Kill ``process``: nothing of it runs from now on."""
        if not process.alive:
            return
        process.alive = False
        process.stopped = False
        process.parked.clear()
        self._processes.pop(process, None)
        self._unburied[process] = None
        process.on_killed()
        self.call_soon(self._bury, process, context=self._base.copy())

    def stop_process(self, process: VirtualProcess) -> None:
        """Let nothing of ``process`` run until it is continued."""
        process.stopped = process.alive
        if not process.held:
            process.stopped_ns = self.now_ns

    def continue_process(self, process: VirtualProcess) -> None:
        """Let the callbacks that became due meanwhile run now, in their order."""
        if process.alive and process.stopped:
            process.stopped = False
            self._unpark(process)

    def charge(self, taken_ns: int, what: str) -> None:
        """Charge the process whose callback runs for ``what``. The world around is charged nothing."""
        process = _PROCESS.get()
        if process is not None and process.alive:
            self._charged_ns += taken_ns
            if self._charged_ns > SLOW_NS:
                self.on_slow(process, self._charged_ns, what)
            self.hold(process, taken_ns)

    def hold(self, process: VirtualProcess, taken_ns: int) -> None:
        """Keep ``process`` busy for ``taken_ns``, in addition to its other work."""
        process.free_ns = max(process.free_ns, self.now_ns) + taken_ns
        if not process.held and process.free_ns - self.now_ns > SLACK_NS:
            if not process.stopped:
                process.stopped_ns = self.now_ns
            process.held = True
            self.deliver(None, process.free_ns, self._release, process)

    def _release(self, process: VirtualProcess) -> None:
        if process.free_ns > self.now_ns:  # more was charged to it meanwhile
            self.deliver(None, process.free_ns, self._release, process)
            return
        process.held = False
        self._unpark(process)

    def _unpark(self, process: VirtualProcess) -> None:
        if process.alive and not (process.stopped or process.held):
            process.continued_ns = self.now_ns
            self._ready.extend(process.parked)
            process.parked.clear()

    def current_process(self) -> VirtualProcess | None:
        """Return the process whose callback is running; None for the world around."""
        return _PROCESS.get()

    def spawn(self, process: VirtualProcess, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` as a task of ``process``."""
        return process.context.copy().run(self.create_task, work)

    def deliver(
        self, process: VirtualProcess | None, due_ns: int, callback: Callable[[*Ts], object], *args: *Ts
    ) -> None:
        """Run ``callback`` at ``due_ns`` as a part of ``process``: this is how events from outside reach it."""
        context = self._base if process is None else process.context
        event = _Event(due_ns / 1e9, callback, args, self, context, process)
        self._serial += 1
        if due_ns < self.now_ns:  # noqa: PLR1730 - max() costs more
            due_ns = self.now_ns
        heappush(self._heap, (due_ns, self._serial, event))

    def _bury(self, process: VirtualProcess) -> None:
        """End the coroutines of a dead process now, so that their ``finally`` blocks affect nothing that lives."""
        self._unburied.pop(process, None)
        _close(process.tasks, process.context)

    def finish(self) -> None:
        """End everything that is left, as if the machine were switched off. Must not be called while the
        loop runs.
        """
        events._set_running_loop(self)  # noqa: SLF001 - some clean-up asks for it
        try:
            for process in (*self._unburied, *self._processes):
                process.alive = False
                _close(process.tasks, process.context)
            _close(self._tasks, self._base)
        finally:
            events._set_running_loop(None)  # noqa: SLF001 - see above
        self.close()

    # descriptors

    def new_descriptor(self) -> int:
        """Return a number that ``add_reader`` takes and ``ring`` makes readable."""
        self._descriptors += 1
        return self._descriptors

    def ring(self, fd: int) -> None:
        """Make ``fd`` readable until ``clear``."""
        if fd in self._rung:
            return
        self._rung[fd] = None
        self._call_reader(fd)

    def clear(self, fd: int) -> None:
        """Note that what made ``fd`` readable was read."""
        self._rung.pop(fd, None)

    def add_reader(self, fd: Any, callback: Callable[[*Ts], object], *args: *Ts) -> None:  # noqa: D102
        context = copy_context()
        self._readers[fd] = callback, args, context, context.get(_PROCESS)
        if fd in self._rung:
            self._call_reader(fd)

    def remove_reader(self, fd: Any) -> bool:  # noqa: D102
        return self._readers.pop(fd, None) is not None

    def _call_reader(self, fd: int) -> None:
        reader = self._readers.get(fd)
        if reader is not None:
            callback, args, context, process = reader
            self._ready.append(_Event(0.0, callback, args, self, context, process))

    # time and callbacks

    def time(self) -> float:  # noqa: D102
        return self.now_ns / 1e9

    def call_soon(  # noqa: D102
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if context is None:
            context = copy_context()
        event = _Event(0.0, callback, args, self, context, context.get(_PROCESS))
        self._ready.append(event)
        return event

    def call_at(  # noqa: D102
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if context is None:
            context = copy_context()
        event = _Event(when, callback, args, self, context, context.get(_PROCESS))
        self._serial += 1
        # One more: the time must be due by the loop's own clock, rounded as it is.
        due_ns = int(when * 1e9) + 1
        if due_ns < self.now_ns:  # noqa: PLR1730 - max() costs more
            due_ns = self.now_ns
        heappush(self._heap, (due_ns, self._serial, event))
        return event

    def call_later(  # noqa: D102
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        # As ``call_at`` does; a call of it would cost a third more, and most timers are set by this.
        if context is None:
            context = copy_context()
        when = self.now_ns / 1e9 + delay
        event = _Event(when, callback, args, self, context, context.get(_PROCESS))
        self._serial += 1
        due_ns = int(when * 1e9) + 1
        if due_ns < self.now_ns:  # noqa: PLR1730 - max() costs more
            due_ns = self.now_ns
        heappush(self._heap, (due_ns, self._serial, event))
        return event

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        del handle
        self._cancelled += 1
        if self._cancelled > _CANCELLED_MAX:
            self._heap[:] = sorted(entry for entry in self._heap if not entry[2].cancelled())
            self._cancelled = 0

    def create_future(self) -> asyncio.Future[Any]:  # noqa: D102
        return asyncio.Future(loop=self)

    def create_task(  # noqa: D102
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        process = (context if context is not None else copy_context()).get(_PROCESS)
        tasks = process.tasks if process is not None else self._tasks
        tasks[task] = None
        task.add_done_callback(partial(_forget, tasks))
        return task

    # running

    def run_forever(self) -> None:
        """Run until ``stop``. Raises ``Stalled`` when nothing is left to happen."""
        events._set_running_loop(self)  # noqa: SLF001 - meant for those who write event loops
        self._running = True
        try:
            self._run_events()
        finally:
            self._stopping = self._running = False
            events._set_running_loop(None)  # noqa: SLF001 - see above

    def run_until_complete(self, future: Any) -> Any:
        """Run until ``future`` is done, and return its result. Raises what it raises."""
        task: asyncio.Future[Any] = asyncio.ensure_future(future, loop=self)
        task.add_done_callback(lambda _: self.stop())
        self.run_forever()
        if not task.done():
            task.cancel()
            raise Stalled("stopped before the end")
        return task.result()

    def stop(self) -> None:  # noqa: D102
        self._stopping = True

    def _run_events(self) -> None:  # noqa: C901, PLR0912 - each step a method of its own would cost a quarter more
        """Run one event after the other until ``stop``. It is one function because it runs for each event."""
        ready, heap = self._ready, self._heap
        while not self._stopping:
            if not ready:  # nothing is to be done now: advance the time to the next timer
                if not heap:
                    raise Stalled("nothing is left to happen")
                self.now_ns, _, first = heappop(heap)
                ready.append(first)
                while heap and heap[0][0] == self.now_ns:
                    ready.append(heappop(heap)[2])
            event = ready.popleft()
            if event._cancelled:  # noqa: SLF001 - a method of its own would cost as much
                continue
            process = event.process
            if process is not None:
                if not process.alive:
                    continue
                if process.stopped or process.held:
                    process.parked.append(event)
                    continue
                now_ns, free_ns = self.now_ns, process.free_ns
                if free_ns < now_ns:  # noqa: PLR1730 - max() costs more
                    free_ns = now_ns
                process.free_ns = free_ns = free_ns + CALLBACK_NS
                if free_ns - now_ns > SLACK_NS:
                    self.hold(process, 0)
            self._charged_ns = 0
            self.events_run += 1
            try:
                event._context.run(event._callback, *event._args)  # noqa: SLF001 - likewise
            except Killed:
                continue
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - whatever a callback raises is a finding
                self.defects.append(f"{process.name if process is not None else 'world'}: {error!r}")

    def call_exception_handler(self, context: dict[str, Any]) -> None:  # noqa: D102
        error, future = context.get("exception"), context.get("future")
        # Nothing awaits the answers to a dead process's requests; a failed task that nothing awaits is a finding.
        is_answer = future is not None and not isinstance(future, asyncio.Task)
        if not isinstance(error, Killed) and not is_answer:
            self.defects.append(f"{context.get('message')}: {error!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:  # noqa: D102
        self.call_exception_handler(context)

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Have ``callback`` called when the process that runs gets ``sig``."""
        process = _PROCESS.get()
        if process is not None:
            process.signals[sig] = partial(callback, *args)

    def remove_signal_handler(self, sig: int) -> bool:  # noqa: D102
        process = _PROCESS.get()
        return process is not None and process.signals.pop(sig, None) is not None

    def get_debug(self) -> bool:  # noqa: D102
        return False

    def is_running(self) -> bool:  # noqa: D102
        return self._running

    def is_closed(self) -> bool:  # noqa: D102
        return self._closed

    async def shutdown_asyncgens(self) -> None:  # noqa: D102
        return

    async def shutdown_default_executor(self) -> None:  # noqa: D102
        return

    def close(self) -> None:
        """Forget everything planned."""
        self._closed = True
        self._ready.clear()
        self._heap.clear()
        self._readers.clear()

    @property
    def planned(self) -> int:
        """Return how many callbacks are planned."""
        return len(self._ready) + len(self._heap)
