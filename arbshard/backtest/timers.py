"""Implements the loop of a backtest, on which one event may feed many frames, and timers that can be moved."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial
from heapq import heapify
from typing import Any, TypeVarTuple

from typing_extensions import override

from arbshard.virtual.loop import VirtualLoop

Ts = TypeVarTuple("Ts")


class TapeLoop(VirtualLoop):
    """Is a virtual loop on which one event may feed many frames."""

    def __init__(self, now_ns: int) -> None:
        super().__init__()
        self.now_ns = now_ns
        self._terminations: dict[asyncio.Task[Any] | None, Callable[[], object]] = {}

    @override
    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Keep the function that ``terminate`` calls for the task that runs."""
        self._terminations[asyncio.current_task(self)] = partial(callback, *args)

    @override
    def remove_signal_handler(self, sig: int) -> bool:
        return self._terminations.pop(asyncio.current_task(self), None) is not None

    def terminate(self, task: "asyncio.Task[int]") -> None:
        """Do what ``task`` does on SIGTERM, if it has a handler."""
        self._terminations.get(task, _nothing)()

    def can_skip_to(self, due_ns: int) -> bool:
        """Return whether nothing is planned up to ``due_ns``."""
        return not self._ready and not (self._heap and self._heap[0][0] <= due_ns)

    def timers(
        self, known: Collection[asyncio.TimerHandle], ignored: Callable[..., object]
    ) -> Mapping[asyncio.TimerHandle, int] | None:
        """Return when each of the ``known`` timers is due (ns); None if one is not planned, or if anything else is,
        except for calls of ``ignored``.
        """
        if self._ready:
            return None
        by_id = {id(one): one for one in known}
        found: dict[asyncio.TimerHandle, int] = {}
        for due_ns, _, event in self._heap:
            if event.cancelled() or event._callback == ignored:  # noqa: SLF001 - the loop's own part
                continue
            if id(event) not in by_id:
                return None
            found[event] = due_ns
        return found if len(found) == len(by_id) else None

    def move(
        self,
        moved: Mapping[asyncio.TimerHandle, tuple[int, int]],
        kept: Collection[asyncio.TimerHandle],
        now_ns: int,
    ) -> None:
        """Continue at ``now_ns`` with only the timers in ``kept``, of which some have been ``moved`` to (when it is
        due, when it was planned).

        Timers that are due at the same instant fire in the order in which they were planned.
        """
        by_id = {id(handle): times for handle, times in moved.items()}
        ids = {id(one) for one in kept}
        entries = sorted(
            (by_id.get(id(event), (due_ns, 0))[1], serial, by_id.get(id(event), (due_ns, 0))[0], event)
            for due_ns, serial, event in self._heap
            if id(event) in ids and not event.cancelled()
        )
        heap = []
        for _, _, due_ns, event in entries:
            self._serial += 1
            heap.append((due_ns, self._serial, event))
        heapify(heap)
        self._heap[:] = heap
        self._cancelled = 0
        self.now_ns = max(self.now_ns, now_ns)


class Rhythm:
    """Calls a function again and again, each time after as many seconds as it returned, as ``repeat`` does."""

    def __init__(self, turn: Callable[[], float], period_s: float, *, first_after_s: float) -> None:
        """Begin. ``period_s`` is what ``turn`` returns at the end of a round; it returns 0 within a round."""
        self._turn = turn
        self.period_s = period_s
        self.handle: asyncio.TimerHandle | None = None
        """The timer of the next round; None where the next call is not planned by a timer."""
        self._soon: asyncio.Handle | None = None
        if first_after_s > 0:
            self.handle = asyncio.get_running_loop().call_later(first_after_s, self._call)
        else:
            self._soon = asyncio.get_running_loop().call_soon(self._call)

    def stop(self) -> None:
        """Call the function no more."""
        for handle in (self.handle, self._soon):
            if handle is not None:
                handle.cancel()

    def _call(self) -> None:
        self.handle = self._soon = None
        pause_s = self._turn()
        loop = asyncio.get_running_loop()
        if pause_s > 0:
            self.handle = loop.call_later(pause_s, self._call)
        else:
            self._soon = loop.call_soon(self._call)


def series_of_times(first_ns: int, period_s: float, until_ns: int) -> list[int]:
    """Return the times before ``until_ns`` at which a timer fires that is due at ``first_ns`` and is planned again by
    ``call_later`` whenever it fires.
    """
    times, due_ns = [], first_ns
    while due_ns < until_ns:
        times.append(due_ns)
        due_ns = int((due_ns / 1e9 + period_s) * 1e9) + 1  # as ``after``, without the call
    return times


def after(now_ns: int, period_s: float) -> int:
    """Return when a timer is due that is set now, with the rounding of ``VirtualLoop.call_later``."""
    return int((now_ns / 1e9 + period_s) * 1e9) + 1


def _nothing() -> None:
    """Do nothing."""
