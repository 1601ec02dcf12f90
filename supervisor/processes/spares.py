"""Keeps processes ready: everything imported, attached to shared memory, waiting for what they are to be. Pure
except for the host.

``process_supervisor`` uses it: one of them gets the shard of a worker that died, or, on a host of a cluster, the term
in which risk of this host leads.
"""

from collections.abc import Callable

from arbshard.config import RunConfig
from arbshard.log import get_logger
from arbshard.model.notes import SpareState
from supervisor.processes.child import ChildSpec, ProcessHost, SpareProcess
from supervisor.processes.restarts import RestartPolicy, pause_s

_PAUSE_NS = 1_000_000_000
"""Pause in ns before a new one is started: the one that has just taken over has the CPU for itself."""
_READY_NS = 15_000_000_000
"""A spare that has not become ready within this time (ns) is discarded."""
_MORE_NS = 10_000_000_000
"""How long (ns) more spares than usual are kept, because they are expected to be wanted."""
_KILLED_S = 1.0
"""How long those may take to end that are killed at the end of the run, in seconds."""


class _Spare:
    def __init__(self, name: str, process: SpareProcess, now_ns: int) -> None:
        self.name = name
        self.process = process
        self.begun_ns = now_ns
        self.is_ready = False

    def poll(self) -> int | None:
        """Check whether it has become ready. Return its exit code if it has ended."""
        code = self.process.poll()
        self.is_ready = self.is_ready or self.process.is_ready()
        return code


class SparePool:
    """Starts spares, gives them away, and replaces those that died."""

    def __init__(
        self,
        run: RunConfig,
        spec: ChildSpec,
        host: ProcessHost,
        alert: Callable[[str], None],
        *,
        wanted: int | None = None,
        what: str = "spare worker",
        plural: str = "spare workers",
    ) -> None:
        """Begin without spares. ``spec``: how each of them is started, except for its name.

        ``wanted``: how many are kept; None for ``run.spare_workers``. ``what`` and ``plural``: what they are, for
        people.
        """
        self._alert = alert
        self._what = what
        self._plural = plural
        self.wanted = run.spare_workers if wanted is None else wanted
        self.gives_starting = False
        """Whether one that still starts is given away, too: it reads what it is to be once it is ready. Where many
        processes are wanted at once, starting others beside it makes all of them late."""
        self.ended = 0
        """How many have ended before they were wanted."""
        self._spec = spec
        self._host = host
        self._policy = RestartPolicy(run)
        self._spares: list[_Spare] = []
        self._dying: list[SpareProcess] = []
        """Processes that were killed and are still to be reaped: nothing waits for their end."""
        self._made = 0
        self._refused = 0
        """How often in a row the system would not start one."""
        self._due_ns = 0
        self._more = 0
        """How many more than usual are wanted, until ``_more_until_ns``."""
        self._more_until_ns = 0
        self._is_given_up = False
        """Whether spares die too often, so that no more are started."""

    @property
    def states(self) -> tuple[SpareState, ...]:
        """Return the states of those that run."""
        return tuple("ready" if spare.is_ready else "starting" for spare in self._spares)

    @property
    def is_settled(self) -> bool:
        """Return whether none is being started or missing."""
        is_full = self._is_given_up or len(self._spares) >= self.wanted
        return is_full and all(spare.is_ready for spare in self._spares)

    @property
    def pids(self) -> dict[str, int]:
        """Return the pids of those that run, by name."""
        return {spare.name: spare.process.pid for spare in self._spares}

    def maintain(self, now_ns: int) -> bool:
        """Start one that is missing, discard one that died. Return whether anything changed. Call it all the time."""
        before = [spare.name for spare in self._spares]
        self._dying = [process for process in self._dying if process.poll() is None]
        for spare in tuple(self._spares):
            is_late = now_ns - spare.begun_ns > _READY_NS
            if spare.poll() is not None or (is_late and not spare.is_ready):
                self._discard(spare, now_ns)
        if now_ns >= self._more_until_ns:
            self._more = 0
        wanted = self.wanted + self._more
        if len(self._spares) < wanted and now_ns >= self._due_ns and not self._is_given_up:
            self._start(now_ns)
        elif len(self._spares) > wanted:
            self._kill(self._spares.pop())
        return before != [spare.name for spare in self._spares]

    def prepare(self, count: int, now_ns: int) -> None:
        """Keep so many more for a while, because so many shards are expected to want a worker at once.

        Where none are kept, none are prepared.
        """
        if self.wanted and count:
            self._more, self._more_until_ns = count, now_ns + _MORE_NS
            self._due_ns = min(self._due_ns, now_ns)

    def assign(self, numbers: tuple[int, ...], now_ns: int) -> SpareProcess | None:
        """Return a ready one, which was sent these numbers; None when there is none."""
        for spare in tuple(self._spares):
            spare.poll()
        # Those that are ready come first, in the order of their starts.
        for spare in sorted(self._spares, key=lambda one: not one.is_ready):
            if spare.poll() is None and (spare.is_ready or self.gives_starting):
                self._spares.remove(spare)
                self._due_ns = now_ns + _PAUSE_NS
                self._more = max(self._more - 1, 0)
                if spare.process.assign(*numbers):
                    return spare.process
                self._discard(spare, now_ns)
        return None

    def end(self) -> None:
        """End all at once: they have nothing under way."""
        self.wanted = self._more = 0
        for spare in self._spares:
            self._kill(spare)
        for process in self._dying:
            pid = process.pid
            if not process.wait(_KILLED_S):
                get_logger().error("a process that was kept ready does not end", what=self._what, pid=pid)
        self._spares.clear()
        self._dying.clear()

    def _start(self, now_ns: int) -> None:
        """Start one. When the system refuses, no spare is the cause: it is tried again after a growing pause."""
        self._due_ns = now_ns + (0 if self._more else _PAUSE_NS)
        name = f"{self._spec.name}-{self._made + 1}"
        try:
            process = self._host.spawn_spare(self._spec._replace(name=name))
        except OSError as error:
            self._refused += 1
            self._due_ns = now_ns + int(pause_s(self._refused) * 1e9)
            get_logger().warning(f"a {self._what} cannot be started", error=str(error), tries=self._refused)
            if self._refused == 1:
                self._alert(f"a {self._what} cannot be started: {error}; this is tried again")
            return
        self._spares.append(_Spare(name, process, now_ns))
        self._made += 1
        self._refused = 0

    def _discard(self, spare: _Spare, now_ns: int) -> None:
        if spare in self._spares:
            self._spares.remove(spare)
        self._kill(spare)
        self.ended += 1
        wait_s = self._policy.after_end(now_ns, came_up=spare.is_ready)
        get_logger().warning(
            f"a {self._what} ended",
            spare=spare.name,
            code=spare.process.poll(),
            given_up=wait_s is None,
            words=spare.process.stderr_text(),
        )
        if wait_s is None:
            self._is_given_up = True
            self._alert(f"{self._plural} end too often: none is kept any more")
        else:
            self._due_ns = max(self._due_ns, now_ns + int(wait_s * 1e9))

    def _kill(self, spare: _Spare) -> None:
        """Kill a spare without waiting for its end."""
        spare.process.kill()
        spare.process.close()
        self._dying.append(spare.process)
