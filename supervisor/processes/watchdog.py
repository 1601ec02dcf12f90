"""Finds children that run and do nothing, and kills them: they are then replaced like any that ended.

Workers are judged by risk, which shows on its page whose epoch is fenced. Risk and the accounts process show beats.
The simulated exchanges show none; ``probe`` asks them.
"""

from collections.abc import Callable

from arbshard.config import RunConfig
from supervisor.processes.child import Child
from supervisor.processes.health import PageHealth
from supervisor.processes.probe import HttpProbe
from supervisor.processes.process_supervisor import ProcessSupervisor

_STUCK_TIMES = 3.0
_STUCK_S_MIN = 0.5
"""Shortest time limit in seconds. Risk and accounts may wait for a disk or for memory a little longer than a worker
may be idle; a process that was suspended by a signal does not wait for anything.
"""
_PAUSE_NS = 300_000_000
"""A pause between two checks that is longer than this (ns) was our own, or of the whole machine: no child is judged
by it.
"""
_BEATING = ("risk", "accounts", "agent")


def stuck_ns(run: RunConfig) -> int:
    """Return for how long (ns) a process other than a worker may do nothing."""
    return int(max(_STUCK_TIMES * run.stuck_after_ms / 1000, _STUCK_S_MIN) * 1e9)


class Watchdog:
    """Checks the children of ``process_supervisor``; ``check`` is called as often as its ``watch``."""

    def __init__(
        self,
        processes: ProcessSupervisor,
        run: RunConfig,
        why_fenced: Callable[[int], str],
        is_stopped: Callable[[int], bool],
    ) -> None:
        """Begin. ``why_fenced``: why risk fenced a shard. ``is_stopped``: whether a signal holds a process."""
        self._processes = processes
        self._stuck_ns = stuck_ns(run)
        self._is_stopped = is_stopped
        self._stopped_ns = int(run.stuck_after_ms * 1e6)
        self._why_fenced = why_fenced
        self._checked_ns = 0
        self._awake_ns = 0
        """Since when the checks have followed each other without a pause."""
        self.probe: HttpProbe | None = None
        """Asks the simulated exchanges; None without them."""
        self.fence_of: Callable[[int], int] | None = None
        """Returns the lowest epoch of a shard that may trade, where risk may run on another host."""

    def check(self, now_ns: int) -> None:
        """Kill the children that are fenced or stuck."""
        if now_ns - self._checked_ns > _PAUSE_NS:
            self._awake_ns = now_ns
        self._checked_ns = now_ns
        risk = self._processes.get("risk")
        for child in self._processes.children:
            if not child.pid or child.kill_reason:
                continue
            if child.shard is not None:
                self._check_fence(child, child.shard, risk)
            elif child.name in _BEATING and child.state == "running":
                self._check_beat(child, now_ns)
            elif child.name == "sim" and self.probe is not None and child.state == "running":
                self._check_answers(child, self.probe, now_ns)

    def is_beating(self, name: str, now_ns: int) -> bool:
        """Return whether the child ``name`` runs and its loop was alive lately."""
        child = self._processes.get(name)
        if child is None or not child.pid or child.health is None:
            return False
        return now_ns - child.health.beat_ns(child.pid) <= self._stuck_ns

    def _check_fence(self, child: Child, shard: int, risk: Child | None) -> None:
        """Kill a worker that risk has fenced; what a risk process wrote before it died counts too."""
        lowest = 0
        if self.fence_of is not None:
            lowest = self.fence_of(shard)
        elif risk is not None and isinstance(risk.health, PageHealth):
            lowest = risk.health.newest(f"fence_{shard}")
        if lowest > child.epoch:
            why = self._why_fenced(shard)
            child.kill(f"fenced by risk{f': {why}' if why else ''}")

    def _check_beat(self, child: Child, now_ns: int) -> None:
        beat_ns = child.health.beat_ns(child.pid) if child.health is not None else 0
        if not beat_ns:
            return
        still_ns = now_ns - max(beat_ns, self._awake_ns)
        if self._is_stuck(child.pid, still_ns):
            child.kill(f"stuck, no beat for {(now_ns - beat_ns) / 1e9:.1f} s")

    def _check_answers(self, child: Child, probe: HttpProbe, now_ns: int) -> None:
        silent_ns = probe.silent_ns(child.pid, now_ns)
        if self._is_stuck(child.pid, min(silent_ns, now_ns - self._awake_ns)):
            child.kill(f"stuck, no answer and no data for {silent_ns / 1e9:.1f} s")

    def _is_stuck(self, pid: int, still_ns: int) -> bool:
        return still_ns > self._stuck_ns or (still_ns > self._stopped_ns and self._is_stopped(pid))
