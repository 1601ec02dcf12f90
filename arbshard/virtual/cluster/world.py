"""Provides virtual time, processes that can be paused and killed, clocks that differ, and a network with faults."""

import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

MS = 1_000_000
S = 1_000_000_000
_TRACE_LINES = 400


class HostClock:
    """Is the clock of leases of one host, with an offset and a rate of its own. It runs while the host is paused."""

    def __init__(self, offset_ns: int, rate: float) -> None:
        self._offset_ns = offset_ns
        self.rate = rate

    def read(self, now_ns: int) -> int:
        """Return what the clock shows at the true time ``now_ns``."""
        return self._offset_ns + int(now_ns * self.rate)


class HostProcess:
    """Is a process of a host. What is due while it is paused happens when it continues."""

    __slots__ = ("alive", "name", "parked", "paused")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = 0
        """Number of faults that pause it."""
        self.parked: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()


class ProcessKilled(BaseException):
    """Is raised where a process dies in the middle of its work."""


class MessageStream:
    """Is one direction of a connection: what is sent arrives in order, until the connection breaks."""

    __slots__ = ("is_broken", "last_ns")

    def __init__(self) -> None:
        self.last_ns = 0
        self.is_broken = False


class _Cut:
    def __init__(self, is_held: bool) -> None:
        self.is_held = is_held
        """Whether messages arrive after the cut, as TCP's do; otherwise they are lost and connections break."""
        self.held: list[tuple[MessageStream | None, Callable[..., object], tuple[Any, ...]]] = []


class ClusterWorld:
    """Runs what is planned in the order of time; everything is drawn from one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now_ns = 0
        self.events_run = 0
        self.trace: deque[str] = deque(maxlen=_TRACE_LINES)
        self.slow_ns: dict[tuple[str, str], int] = {}
        """The largest delay of messages from one host to another, where it is unusual."""
        self.loss = 0.0
        """Share of the messages outside of connections that is lost, and as many are doubled."""
        self._cuts: dict[tuple[str, str], list[_Cut]] = {}
        self._heap: list[tuple[int, int, HostProcess | None, Callable[..., object], tuple[Any, ...]]] = []
        self._serial = 0

    def log(self, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.now_ns / S:10.6f} {what}")

    def after(
        self, delay_ns: int, process: HostProcess | None, call: Callable[..., object], *args: Any
    ) -> None:
        """Plan a call in ``process``; None for the world around the processes."""
        self._serial += 1
        heappush(self._heap, (self.now_ns + delay_ns, self._serial, process, call, args))

    def run(self, until_ns: int, is_over: Callable[[], bool] = lambda: False) -> None:
        """Run until this time, or until ``is_over``."""
        while self._heap and self._heap[0][0] <= until_ns and not is_over():
            self.now_ns, _, process, call, args = heappop(self._heap)
            self.events_run += 1
            self.enter(process, call, *args)
        if not is_over():
            self.now_ns = max(self.now_ns, until_ns)

    def enter(self, process: HostProcess | None, call: Callable[..., object], *args: Any) -> None:
        """Call something in a process: not if it is dead, and later if it is paused."""
        if process is not None:
            if not process.alive:
                return
            if process.paused:
                process.parked.append((call, args))
                return
        try:
            call(*args)
        except ProcessKilled:
            return

    def pause(self, process: HostProcess) -> None:
        """Stop a process, as by SIGSTOP."""
        process.paused += 1

    def resume(self, process: HostProcess) -> None:
        """Continue a process."""
        process.paused -= 1
        if process.paused == 0:
            parked = list(process.parked)
            process.parked.clear()
            for call, args in parked:
                self.after(0, process, call, *args)

    # The network.

    def cut(self, source: str, target: str, *, is_held: bool) -> Callable[[], None]:
        """Cut the way from one host to another; returns the call that mends it."""
        one = _Cut(is_held)
        self._cuts.setdefault((source, target), []).append(one)

        def mend() -> None:
            self._cuts[source, target].remove(one)
            for stream, call, args in one.held:
                self.send(source, target, stream, call, *args)

        return mend

    def send(
        self, source: str, target: str, stream: MessageStream | None, call: Callable[..., object], *args: Any
    ) -> None:
        """Have ``call`` happen at ``target`` once the message has arrived."""
        if stream is not None and stream.is_broken:
            return
        for cut in self._cuts.get((source, target), ()):
            if cut.is_held:
                cut.held.append((stream, call, args))
            elif stream is not None:
                stream.is_broken = True
            return
        copies = 1
        if source == target:
            delay_ns = self.rng.randrange(20_000, 200_000)
        else:
            slow_ns = self.slow_ns.get((source, target), 0)
            delay_ns = self.rng.randrange(200_000, 2_000_000) + (
                self.rng.randrange(slow_ns) if slow_ns else 0
            )
            if stream is None and self.loss:
                drawn = self.rng.random()
                copies = 0 if drawn < self.loss else 2 if drawn < 2 * self.loss else 1
        for _ in range(copies):
            if stream is not None:
                stream.last_ns = max(self.now_ns + delay_ns, stream.last_ns + 1)
                delay_ns = stream.last_ns - self.now_ns
            self.after(delay_ns, None, call, *args)
            delay_ns += self.rng.randrange(50_000_000)
