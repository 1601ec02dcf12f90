"""The children of a run are started in order, watched, restarted, and ended in order."""

import asyncio
from collections.abc import Callable, Iterable

from arbshard.clock import Clock
from arbshard.config import RunConfig
from arbshard.errors import ChildFailed, UsageError
from arbshard.log import get_logger
from arbshard.model.notes import ChildNote
from supervisor.processes.child import Child, ProcessHost, SpareProcess
from supervisor.processes.restarts import RestartPolicy, pause_s
from supervisor.processes.spares import SparePool

READY_S = 15.0
"""How long a child may take to come up without any progress, in seconds."""
_SPARE_READY_S = 3.0
"""The same for a spare worker, which has done most of it before."""
_POLL_S = 0.02
_FATAL_CODES = {2: "cannot run with these settings", 3: "the ledger cannot be trusted or written"}
_ESSENTIAL = ("sim", "agent", "risk", "accounts", "recorder")
"""Children without which nothing can be traded, or recorded. Without a worker its pairs cannot be traded; without a
viewer nothing is lost.
"""
_REFUSED_NS = 30_000_000_000
"""A worker that the system would not start for so long (ns) is given up, so that others take its pairs over."""
_KILLED_S = 5.0
"""How long the system may take to end a process that was killed, in seconds."""
_FENCED = 5
"""Exit code of a worker that may not trade any more."""
NOT_LEADER = 6
"""Exit code of a risk process that does not lead the cluster any more."""


class ProcessSupervisor:
    """Starts, watches, restarts and ends the children. ``watch`` is called every few milliseconds."""

    def __init__(
        self,
        run: RunConfig,
        clock: Clock,
        alert: Callable[[str], None],
        on_change: Callable[[], None],
        host: ProcessHost,
        spares: SparePool | None = None,
    ) -> None:
        self._run = run
        self._clock = clock
        self._alert = alert
        self._on_change = on_change
        self.spares = spares
        self.ready_risk: SparePool | None = None
        """Keeps a risk process ready on a host of a cluster that does not lead; None on a single host."""
        self._host = host
        self._children: dict[str, Child] = {}
        self._policies: dict[str, RestartPolicy] = {}
        self._refusals: dict[str, tuple[int, int]] = {}
        """(how often in a row, since when) the system would not start a child."""
        self._due_ns: dict[str, int] = {}
        self._overdue: dict[str, tuple[int, int]] = {}
        """(when a child is overdue, its progress when that was set), of children that are starting."""
        self._retiring: dict[str, int] = {}
        """When a child is killed that was asked to end (monotonic ns), by name."""
        self.waits: Callable[[], bool] = lambda: False
        """Returns whether workers cannot come up for want of something that is no child of this run."""
        self.restarts_fenced = True
        """Whether a worker that may not trade any more is restarted; not on a host of a cluster, whose agent shows
        which worker follows and when."""
        self.ending = False
        """Whether the run is stopping: a child that ends with code 0 has then done its part."""
        self.run_has_begun = False
        """Whether the run has come so far that what its children say is news."""

    @property
    def children(self) -> tuple[Child, ...]:
        """Return all children, in the order in which they were started."""
        return tuple(self._children.values())

    @property
    def pids(self) -> dict[str, int]:
        """Return the pids of all processes that run, spares too, by name."""
        pids = {child.name: child.pid for child in self._children.values() if child.pid}
        for pool in self._pools:
            pids |= pool.pids
        return pids

    @property
    def is_settled(self) -> bool:
        """Return whether no child and no spare is being started."""
        is_up = all(child.state not in ("starting", "restarting") for child in self._children.values())
        return is_up and all(pool.is_settled for pool in self._pools)

    def notes(self) -> tuple[ChildNote, ...]:
        """Return what status shows of all children."""
        now_ns = self._clock.monotonic_ns()
        return tuple(child.note(self._again_in_s(child, now_ns)) for child in self._children.values())

    def get(self, name: str) -> Child | None:
        """Return a child by name; None when there is none."""
        return self._children.get(name)

    def start(self, child: Child) -> None:
        """Start ``child`` and watch it from now on. Raises ``ChildFailed`` when the system refuses."""
        self._children[child.name] = child
        self._policies[child.name] = RestartPolicy(self._run)
        try:
            child.start()
        except OSError as error:
            child.state = "ended"
            raise ChildFailed(f"{child.name} cannot be started: {error}") from error
        self._host.notice_exit(child.pid)
        self._expect(child, READY_S)
        self._on_change()

    def begin(self, child: Child) -> None:
        """Start ``child`` as a successor is started, by a spare if there is one, and watch it from now on.

        A start that the system refuses is tried again.
        """
        self._children[child.name] = child
        self._policies[child.name] = RestartPolicy(self._run)
        child.state = "restarting"
        self._due_ns[child.name] = self._clock.monotonic_ns()
        self._start_if_due(child)

    def retire(self, name: str, why: str, within_s: float) -> None:
        """Ask a child to end while the run goes on; it is killed unless it ends ``within_s``. It is not restarted."""
        child = self._children[name]
        if name in self._retiring or child.state == "ended":
            return
        child.state, child.reason = "ended", why
        child.terminate()
        self._retiring[name] = self._clock.monotonic_ns() + int(within_s * 1e9)
        get_logger().info("child is ended", child=name, why=why)
        self._on_change()

    def forget(self, name: str) -> None:
        """Forget a child that has ended, so that another one may have its name."""
        child = self._children.pop(name)
        assert not child.pid, name
        child.close()
        for known in (self._policies, self._refusals, self._due_ns, self._overdue, self._retiring):
            known.pop(name, None)
        self._on_change()

    async def until_ready(
        self,
        child: Child,
        is_ready: Callable[[], bool],
        timeout_s: float,
        progress: Callable[[], int] = lambda: 0,
    ) -> None:
        """Wait until ``child`` is at work. A child that ends or stays silent is a start-up failure.

        As long as ``progress`` changes (risk replaying a long ledger), the time-out begins anew. Children that were
        up before are watched meanwhile, because a worker waits in vain for a risk process that has ended.

        Raises ``UsageError`` with the child's last line when it reports that settings are wrong (exit code 2),
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
                raise UsageError(child.stderr_tail())
            if code is not None:
                raise ChildFailed(f"{child.name} ended with code {code} at its start: {child.stderr_tail()}")
            if self._clock.monotonic_ns() > deadline_ns:
                raise ChildFailed(f"{child.name} was not ready within {timeout_s:g} s: {child.stderr_tail()}")
            self._watch_others(child)
            await asyncio.sleep(_POLL_S)
        child.state = "running"

    def _watch_others(self, awaited: Child) -> None:
        """Restart what had come up and has ended. Raises ``ChildFailed`` for a child the run cannot do without."""
        for child in self._children.values():
            if child is awaited:
                continue
            if child.state == "restarting":
                self._start_if_due(child)
            elif child.state == "running" and (code := child.poll()) is not None:
                self._on_end(child, code)

    async def until_up(self, child: Child) -> None:
        """Wait as ``until_ready`` does until the child's health shows that it is up."""
        health = child.health
        assert health is not None, child.name
        await self.until_ready(child, lambda: child.is_up, READY_S, lambda: health.progress(child.pid))

    def watch(self, *, with_spares: bool = True) -> None:
        """Restart what has ended. Raises ``ChildFailed`` for a child the run cannot do without.

        ``with_spares``: spares may be started, because the shared memory to which they attach has been made.
        """
        now_ns = self._clock.monotonic_ns()
        for child in self._children.values():
            if child.state == "restarting":
                self._start_if_due(child)
            elif child.state in ("starting", "running"):
                code = child.poll()
                if code is not None:
                    self._on_end(child, code)
                elif child.state == "starting":
                    self._check_whether_up(child, now_ns)
        self._hurry_retiring(now_ns)
        if with_spares and not self.ending:
            changed = [pool.maintain(now_ns) for pool in self._pools]
            if any(changed):
                self._on_change()

    async def until_next(self, timeout_s: float) -> None:
        """Wait until it is time to ``watch`` again: for ``timeout_s``, or until a child has died."""
        await self._host.wait_for_exit(timeout_s)

    def restart(self, name: str) -> str:
        """Start a child again that was given up, or replace one that runs. Return what is being done, as a text.

        Raises ``UsageError`` for an unknown name, and while stopping.
        """
        child = self._children.get(name)
        if child is None:
            raise UsageError(f"there is no process named {name}")
        if self.ending or child.state == "ended":
            raise UsageError(f"{name} has ended with the run")
        self._policies[name].reset()
        if child.pid:
            child.kill("replaced by hand")
            return f"{name} is being replaced"
        was = child.state
        child.state = "restarting"
        self._due_ns[name] = self._clock.monotonic_ns()
        return f"{name} was {was} and is being started"

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
            if words := child.stderr_text():
                # Before the run has begun, the error that ends it is all that a person should read.
                write = get_logger().info if self.run_has_begun else get_logger().debug
                write("child said", child=child.name, words=words)
            if child.poll() is None and child.pid:
                self._alert(f"{child.name} did not end within {timeout_s:g} s and was killed")
                child.kill("it did not end in time")
        deadline_ns = self._clock.monotonic_ns() + int(_KILLED_S * 1e9)
        while any(child.poll() is None and child.pid for child in leaving):
            if self._clock.monotonic_ns() > deadline_ns:
                break  # ``kill_all`` logs it
            await asyncio.sleep(_POLL_S)

    def kill_all(self) -> None:
        """Kill whatever still runs, at once: the last resort when the supervisor itself fails."""
        self.end_spares()
        for child in self._children.values():
            child.kill_and_wait()
            child.close()
            if child.health is not None:
                child.health.close()
        self._host.close()

    def end_spares(self) -> None:
        """End all processes that wait for what they are to be. May be called again."""
        for pool in self._pools:
            pool.end()

    @property
    def _pools(self) -> tuple[SparePool, ...]:
        return tuple(pool for pool in (self.spares, self.ready_risk) if pool is not None)

    def _take_spare(self, child: Child, now_ns: int) -> SpareProcess | None:
        """Return a process that was kept ready and is the next incarnation of ``child``; None if there is none."""
        if child.shard is not None and self.spares is not None:
            return self.spares.assign((child.shard, child.epoch + 1), now_ns)
        if child.spec.term is not None and self.ready_risk is not None:
            return self.ready_risk.assign((child.spec.term,), now_ns)
        return None

    def _hurry_retiring(self, now_ns: int) -> None:
        """Notice the end of the children that were asked to end, and kill those that have not in time."""
        for name, deadline_ns in tuple(self._retiring.items()):
            child = self._children[name]
            if child.poll() is not None or not child.pid:
                del self._retiring[name]
            elif now_ns > deadline_ns:
                child.kill("it did not end in time")

    def _on_end(self, child: Child, code: int) -> None:
        is_fenced = code == _FENCED and child.shard is not None and not (self.restarts_fenced or self.ending)
        # The table ends with its terminal, of which the run may learn later.
        is_over = code == 0 and (self.ending or child.spec.draws)
        if is_fenced or is_over or (code == NOT_LEADER and child.name == "risk"):
            child.state = "ended"
            child.reason = child.stderr_tail()
            self._on_change()
            return
        now_ns = self._clock.monotonic_ns()
        came_up = child.state == "running" or child.health is None
        words = child.stderr_tail() if code > 0 else ""  # a child that was killed gave no reason
        if code in _FATAL_CODES and child.name == "risk":
            child.state = "ended"
            child.reason = words
            failure = f"risk: {_FATAL_CODES[code]}: {words.removeprefix('risk: ')}"
            self._alert(failure)
            raise ChildFailed(failure)
        said = f": {words}" if words else ""
        what = f"was killed: {child.kill_reason}" if child.kill_reason else f"ended with code {code}"
        child.reason = what + said
        pause_s = self._policies[child.name].after_end(now_ns, came_up=came_up)
        if pause_s is None or not child.may_go_on:
            child.state = "quarantined"
            self._alert(f"{child.name} {what} too often and is given up{said}")
            get_logger().warning("child given up", child=child.name, code=code, words=child.stderr_text())
            self._on_change()
            if child.name in _ESSENTIAL:
                raise ChildFailed(f"{child.name} cannot be kept running{said}")
            return
        early = "" if came_up else " before it was up"
        self._alert(f"{child.name} {what}{early}; restarted in {pause_s:g} s{said}")
        get_logger().warning("child ended", child=child.name, code=code, words=child.stderr_text())
        child.state = "restarting"
        self._due_ns[child.name] = now_ns + int(pause_s * 1e9)
        self._start_if_due(child)

    def _start_if_due(self, child: Child) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._due_ns[child.name]:
            return
        spare = self._take_spare(child, now_ns)
        if spare is not None:
            child.adopt(spare)
            is_quick = child.shard is not None and spare.is_ready()
            self._expect(child, _SPARE_READY_S if is_quick else READY_S)
        else:
            try:
                child.start()
            except OSError as error:
                self._on_refusal(child, error, now_ns)
                return
            self._expect(child, READY_S)
        self._refusals.pop(child.name, None)
        self._host.notice_exit(child.pid)
        self._check_whether_up(child, now_ns)
        self._on_change()

    def _on_refusal(self, child: Child, error: OSError, now_ns: int) -> None:
        """Handle that the system would not start ``child``: no memory, no process, no descriptor. It may, after a
        while.

        Without risk, accounts and exchanges there is no run, so their start is tried for as long as the run lasts.
        """
        before, since_ns = self._refusals.get(child.name, (0, now_ns))
        count = before + 1
        child.reason = f"cannot be started: {error}"
        if child.name not in _ESSENTIAL and now_ns - since_ns > _REFUSED_NS:
            self._refusals.pop(child.name)
            child.state = "quarantined"
            self._alert(f"{child.name} {child.reason}, for too long; it is given up")
            self._on_change()
            return
        self._refusals[child.name] = count, since_ns
        wait_s = pause_s(count)
        self._due_ns[child.name] = now_ns + int(wait_s * 1e9)
        get_logger().warning("child cannot be started", child=child.name, error=str(error), tries=count)
        if count == 1 or pause_s(count - 1) != wait_s:  # later alerts come only when the pause has grown
            self._alert(f"{child.name} {child.reason}; tried again in {wait_s:g} s")

    def _expect(self, child: Child, within_s: float) -> None:
        self._overdue[child.name] = (self._clock.monotonic_ns() + int(within_s * 1e9), 0)

    def _check_whether_up(self, child: Child, now_ns: int) -> None:
        if child.is_up:
            child.state = "running"
            return
        overdue_ns, seen = self._overdue[child.name]
        progress = child.health.progress(child.pid) if child.health is not None else 0
        # A worker cannot come up before risk answers it.
        if progress != seen or (child.shard is not None and (self._waits_for_others() or self.waits())):
            self._overdue[child.name] = (now_ns + int(READY_S * 1e9), progress)
        elif now_ns > overdue_ns:
            child.kill("it did not come up in time")

    def _waits_for_others(self) -> bool:
        return any(one.state != "running" for one in self._children.values() if one.name in _ESSENTIAL)

    def _again_in_s(self, child: Child, now_ns: int) -> float:
        if child.state != "restarting":
            return 0.0
        return round(max(self._due_ns.get(child.name, now_ns) - now_ns, 0) / 1e9, 1)
