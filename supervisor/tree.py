"""The children of a run: started in order, watched, restarted, and ended in order."""

import asyncio
from collections.abc import Callable, Iterable

from arbshard.clock import Clock
from arbshard.config import RunConfig
from arbshard.errors import ChildFailed, UsageError
from arbshard.log import get_logger
from supervisor.child import Child
from supervisor.restarts import RestartPolicy

_POLL_S = 0.02
_FATAL_CODES = {2: "cannot run with these settings", 3: "the ledger cannot be trusted or written"}


class Tree:
    """Who runs. ``watch`` is called every few milliseconds by the supervisor's loop."""

    def __init__(
        self, run: RunConfig, clock: Clock, alert: Callable[[str], None], on_change: Callable[[], None]
    ) -> None:
        self._run = run
        self._clock = clock
        self._alert = alert
        self._on_change = on_change
        self._children: dict[str, Child] = {}
        self._policies: dict[str, RestartPolicy] = {}
        self._due_ns: dict[str, int] = {}
        self.ending = False
        """True while stopping: a child that ends with code 0 has done its part."""

    @property
    def children(self) -> tuple[Child, ...]:
        """In the order they were started."""
        return tuple(self._children.values())

    def start(self, child: Child) -> None:
        """Start ``child`` and watch it from now on."""
        self._children[child.name] = child
        self._policies[child.name] = RestartPolicy(self._run)
        child.start()
        self._on_change()

    async def until_ready(
        self,
        child: Child,
        is_ready: Callable[[], bool],
        timeout_s: float,
        progress: Callable[[], int] = lambda: 0,
    ) -> None:
        """Wait until ``child`` is at work. A child that ends or stays silent is a start-up failure.

        As long as ``progress`` moves (risk replaying a long ledger), the time-out begins anew.

        Raises ``UsageError`` with the child's own words when it says that settings are wrong (exit code 2),
        ``ChildFailed`` otherwise.
        """
        seen = progress()
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while not is_ready():
            if (now_seen := progress()) != seen:
                seen = now_seen
                deadline_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
            code = child.poll()
            if code == 2:
                raise UsageError(child.last_words())
            if code is not None:
                raise ChildFailed(f"{child.name} ended with code {code} at its start: {child.last_words()}")
            if self._clock.monotonic_ns() > deadline_ns:
                raise ChildFailed(f"{child.name} was not ready within {timeout_s:g} s: {child.last_words()}")
            await asyncio.sleep(_POLL_S)
        child.state = "running"

    def watch(self) -> None:
        """Restart what has ended. Raises ``ChildFailed`` for a child the run cannot do without."""
        for child in self._children.values():
            if child.state == "restarting":
                self._start_if_due(child)
            elif child.state in ("starting", "running"):
                code = child.poll()
                if code is not None:
                    self._on_end(child, code)

    async def end(self, names: Iterable[str], timeout_s: float) -> None:
        """Ask the named children to end, and kill those that have not within ``timeout_s``."""
        leaving = [self._children[name] for name in names if name in self._children]
        for child in leaving:
            child.state = "ended" if child.state != "quarantined" else child.state
            child.terminate()
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while any(child.pid and child.poll() is None for child in leaving):
            if self._clock.monotonic_ns() > deadline_ns:
                break
            await asyncio.sleep(_POLL_S)
        for child in leaving:
            if child.poll() is None and child.pid:
                self._alert(f"{child.name} did not end within {timeout_s:g} s and was killed")
                child.kill()

    def kill_all(self) -> None:
        """Whatever still runs, at once: the last resort when the supervisor itself fails."""
        for child in self._children.values():
            child.kill()

    def _on_end(self, child: Child, code: int) -> None:
        if self.ending and code == 0:
            child.state = "ended"
            self._on_change()
            return
        words = child.last_words() if code > 0 else ""  # who was killed did not say why
        if code in _FATAL_CODES and child.name == "risk":
            child.state = "ended"
            raise ChildFailed(f"risk: {_FATAL_CODES[code]}: {words}")
        pause_s = self._policies[child.name].after_end(self._clock.monotonic_ns())
        said = f": {words}" if words else ""
        if pause_s is None:
            child.state = "quarantined"
            self._alert(f"{child.name} ended with code {code} too often and is given up{said}")
            self._on_change()
            if not child.name.startswith("worker"):
                raise ChildFailed(f"{child.name} cannot be kept running{said}")
            return
        self._alert(f"{child.name} ended with code {code}; restarted in {pause_s:g} s{said}")
        get_logger().warning("child ended", child=child.name, code=code, words=words)
        child.state = "restarting"
        self._due_ns[child.name] = self._clock.monotonic_ns() + int(pause_s * 1e9)
        self._start_if_due(child)

    def _start_if_due(self, child: Child) -> None:
        if self._clock.monotonic_ns() >= self._due_ns[child.name]:
            child.start()
            child.state = "running"
            self._on_change()
