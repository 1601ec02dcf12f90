"""Injects one fault after another into a running system, and measures how long each recovery takes.

A process is killed or stopped without notice to the others, and the pages in shared memory show when its
work was first done again. The latency of the shards that are not concerned is compared with that of the
seconds before. ``failover`` and the tests of supervision use this.
"""

import os
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import psutil

from arbshard.shm.pages import Histogram
from perf.running import MeasurementFailed, System
from perf.watching import Watcher

SHARDS = 3
COINS = 20
UPDATES_PER_S = 10.0
TIMEOUT_S = 15.0
_WINDOW_S = 2.0
_STEADY_S = 11.0
"""A connection that is lost before it has held this long is opened again only after a pause."""
_SETTLE_S = 0.5

Kind = Literal["SIGKILL", "SIGSTOP", "disconnect"]


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """Holds one fault and the recovery from it."""

    victim: str
    kind: Kind
    took_ms: float
    """Milliseconds from the fault until the work was first done again."""
    before: Histogram
    """Receive → decision latency of the shards that are not concerned, in the seconds before the fault."""
    during: Histogram
    """The same latency from the fault on."""

    @property
    def slowed(self) -> float:
        """Return how many times longer the 99th percentile of the other shards was than before the fault."""
        return slowed_of([self])


def slowed_of(recoveries: list[Recovery]) -> float:
    """Return the ratio of ``Recovery.slowed`` over several recoveries; 0 when nothing was decided before
    the faults.
    """
    before, during = Histogram(), Histogram()
    for one in recoveries:
        before, during = before.merge(one.before), during.merge(one.during)
    usual_ns = before.percentile_ns(99)
    return during.percentile_ns(99) / usual_ns if usual_ns else 0.0


def config_of(*, spares: int, shards: int = SHARDS, coins: int = COINS) -> dict[str, Any]:
    """Return the settings that differ from the defaults.

    The window of restarts is so short that every death counts as the first one, so no back-off is measured.
    """
    return {
        "run": {
            "shards": shards,
            "log_level": "info",
            "spare_workers": spares,
            "restart_tries": 100,
            "restart_window_s": 0.5,
            "rebalance_s": 0,
        },
        "sim": {"coins": coins, "updates_per_s": UPDATES_PER_S, "regime": "high-win"},
        "strategy": {"max_hold_s": 2.0, "cooldown_ms": 100.0},
    }


class Breaker:
    """Injects one fault after another into one system, and waits until the system is whole again."""

    def __init__(
        self,
        system: System,
        watcher: Watcher,
        shards: int = SHARDS,
        spares: int = 1,
        *,
        window_s: float = _WINDOW_S,
        steady_s: float = _STEADY_S,
    ) -> None:
        """Set the durations, in seconds.

        ``window_s`` is how long latency is measured before a fault and from it on. ``steady_s`` is the
        least time between two losses of the exchanges.
        """
        self._steady_s = steady_s
        self._lost_s = 0.0
        self._window_s = window_s
        self._system = system
        self._watcher = watcher
        self._all = set(range(shards))
        self._spares = spares

    def worker(self, shard: int, kind: Kind) -> Recovery:
        """Kill or stop the worker of ``shard``; measure until another worker has decided on its pairs."""
        pid = self._watcher.workers[shard].value("pid")
        return self._measured(
            f"worker-{shard}",
            kind,
            lambda: _send(pid, kind),
            lambda: self._watcher.decides(shard, pid),
            self._all - {shard},
        )

    def worker_with_stopped_spare(self, shard: int) -> Recovery:
        """Kill a worker whose spare has just been stopped; measure until another worker has decided on its
        pairs.
        """
        page = self._watcher.workers[shard]
        pid = page.value("pid")

        def fault() -> None:
            _send(spare_pid(self._system), "SIGSTOP")
            _send(pid, "SIGKILL")

        healed = lambda: self._watcher.decides(shard, pid)  # noqa: E731 - as for the others
        return self._measured(f"worker-{shard}", "SIGKILL", fault, healed, self._all - {shard})

    def risk(self, kind: Kind) -> Recovery:
        """Kill or stop risk; measure until another risk process has answered a request."""
        pid = self._watcher.risk.value("pid")
        return self._measured(
            "risk", kind, lambda: _send(pid, kind), lambda: self._watcher.answers(pid), self._all
        )

    def accounts(self, kind: Kind) -> Recovery:
        """Kill or stop accounts in a live run; measure until another accounts process is ready."""
        page = self._watcher.accounts
        pid = page.value("pid")
        return self._measured(
            "accounts",
            kind,
            lambda: _send(pid, kind),
            lambda: page.value("pid") not in (pid, 0) and page.value("ready") == 1,
            self._all,
        )

    def sim(self, kind: Kind) -> Recovery:
        """Kill or stop the embedded exchanges; measure until every book is live again."""
        pid = self._child_pid("sim")
        return self._after_disconnect("sim", kind, lambda: _send(pid, kind))

    def connections(self) -> Recovery:
        """Cut all connections of both venues; measure until every book is live again."""
        ready = msgspec.json.decode(self._system.files.sim_ready.read_bytes())
        urls = [f"{ready[venue]['rest_url']}/sim/faults" for venue in ("upbit", "binance")]

        headers = {"Authorization": f"Bearer {ready['token']}", "Content-Type": "application/json"}

        def cut() -> None:
            for url in urls:
                body = b'{"once":{"disconnect":{"times":1}}}'
                urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5).close()

        return self._after_disconnect("connections", "disconnect", cut)

    def spare(self, kind: Kind) -> Recovery:
        """Kill or stop the spare worker; measure until another spare worker is ready."""
        self.settle()
        pid = spare_pid(self._system)
        last, renewed = self._system.note(), 0

        def replaced() -> bool:
            # A note is up to 250 ms old, and the spare may be replaced between two notes. So only the second new
            # note since the kill is sure to be younger than the kill. Each note differs from the one before,
            # because it counts the frames.
            nonlocal last, renewed
            if (note := self._system.note()) != last:
                last, renewed = note, renewed + 1
            return renewed > 1 and self._has_spares() and spare_pid(self._system) not in (pid, 0)

        return self._measured("spare", kind, lambda: _send(pid, kind), replaced, self._all)

    def child(self, name: str, kind: Kind) -> Recovery:
        """Kill or stop the child that status calls ``name``; measure until another incarnation of it runs."""
        pid = self._child_pid(name)
        return self._measured(
            name, kind, lambda: _send(pid, kind), lambda: self._child_pid(name) not in (pid, 0), self._all
        )

    def settle(self) -> None:
        """Wait until all books are live, risk is ready, every shard decides, and the spare workers are
        ready.

        Raises ``MeasurementFailed``.
        """
        watcher = self._watcher
        watcher.until(lambda: not watcher.disconnected(), TIMEOUT_S, "every book live")
        watcher.until(lambda: watcher.risk.value("ready") == 1, TIMEOUT_S, "risk ready")
        ticks = [page.value("ticks") for page in watcher.workers]
        watcher.until(
            lambda: all(page.value("ticks") != at for page, at in zip(watcher.workers, ticks, strict=True)),
            TIMEOUT_S,
            "decisions of every shard",
        )
        watcher.until(self._has_spares, TIMEOUT_S, "a spare worker")
        time.sleep(min(_SETTLE_S, self._window_s))

    def _measured(
        self, victim: str, kind: Kind, fault: Callable[[], None], healed: Callable[[], bool], others: set[int]
    ) -> Recovery:
        self.settle()
        watcher = self._watcher
        first = watcher.decisions_of(others)
        time.sleep(self._window_s)
        broken = watcher.decisions_of(others)
        began_ns = time.monotonic_ns()
        fault()
        healed_ns = watcher.until(healed, TIMEOUT_S, f"{victim} after {kind}")
        rest_s = self._window_s - (time.monotonic_ns() - began_ns) / 1e9
        time.sleep(max(rest_s, 0.0))
        return Recovery(
            victim=victim,
            kind=kind,
            took_ms=(healed_ns - began_ns) / 1e6,
            before=broken.minus(first),
            during=watcher.decisions_of(others).minus(broken),
        )

    def _after_disconnect(self, victim: str, kind: Kind, fault: Callable[[], None]) -> Recovery:
        """Measure a fault that disconnects slots, until no slot is disconnected any more."""
        seen = False

        def healed() -> bool:
            nonlocal seen
            # The slots are disconnected only some time after the fault, so they must have been seen as such first.
            slots = self._watcher.disconnected()
            seen = seen or bool(slots)
            return seen and not slots

        # After a shorter time the supervisor would pause before it connects again, and the pause would be measured.
        time.sleep(max(self._lost_s + self._steady_s - time.monotonic(), 0.0))
        recovery = self._measured(victim, kind, fault, healed, self._all)
        self._lost_s = time.monotonic()
        return recovery

    def _child_pid(self, name: str) -> int:
        note = self._system.note()
        found = [child.pid for child in note.children if child.name == name] if note is not None else []
        return found[0] if found else 0

    def _has_spares(self) -> bool:
        if not self._spares:
            return True
        note = self._system.note()
        return note is not None and note.spares.count("ready") >= self._spares


def spare_pid(system: System) -> int:
    """Return the pid of a spare worker; 0 when there is none."""
    note = system.note()
    named = {child.pid for child in note.children} if note is not None else set()
    for child in psutil.Process(system.pid).children():
        try:
            # A spare that took over keeps the argument, but then status names it as a worker.
            is_spare = child.pid not in named and "--spare" in child.cmdline()
            if is_spare and child.status() != psutil.STATUS_ZOMBIE:
                return int(child.pid)
        except psutil.NoSuchProcess:
            continue
    return 0


def _send(pid: int, kind: Kind) -> None:
    if not pid:
        raise MeasurementFailed("there is no such process")
    os.kill(pid, signal.SIGKILL if kind == "SIGKILL" else signal.SIGSTOP)
