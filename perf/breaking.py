"""Breaks one thing after another in a running system, and looks until its work is done again.

A victim is killed (or stopped) while nobody knows; the pages tell when its work was first done again. The latency of
the shards that are not concerned is compared with the seconds before. Used by ``failover`` and the tests of
supervision.
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
"""A connection that held for less is made anew with a pause."""
_SETTLE_S = 0.5

Kind = Literal["SIGKILL", "SIGSTOP", "disconnect"]


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """One fault and its end."""

    victim: str
    kind: Kind
    took_ms: float
    """Until the work was first done again."""
    before: Histogram
    """Receive → decision of the shards not concerned, in the seconds before."""
    during: Histogram
    """Likewise from the fault on."""

    @property
    def slowed(self) -> float:
        """How many times longer the 99th percentile of the others was."""
        return slowed_of([self])


def slowed_of(recoveries: list[Recovery]) -> float:
    """The same over several; 0 when nothing was decided before."""
    before, during = Histogram(), Histogram()
    for one in recoveries:
        before, during = before.merge(one.before), during.merge(one.during)
    usual_ns = before.percentile_ns(99)
    return during.percentile_ns(99) / usual_ns if usual_ns else 0.0


def config_of(*, spares: int, shards: int = SHARDS, coins: int = COINS) -> dict[str, Any]:
    """What differs from the defaults. Every death counts as the first: what is measured is no back-off."""
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
    """Breaks one thing after another in one system, and waits until it is whole again."""

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
        """``window_s``: of the latency before, and after. ``steady_s``: between two losses of the exchanges."""
        self._steady_s = steady_s
        self._lost_s = 0.0
        self._window_s = window_s
        self._system = system
        self._watcher = watcher
        self._all = set(range(shards))
        self._spares = spares

    def worker(self, shard: int, kind: Kind) -> Recovery:
        """Until the pairs of ``shard`` are decided on again."""
        pid = self._watcher.workers[shard].value("pid")
        return self._measured(
            f"worker-{shard}",
            kind,
            lambda: _send(pid, kind),
            lambda: self._watcher.decides(shard, pid),
            self._all - {shard},
        )

    def worker_with_stopped_spare(self, shard: int) -> Recovery:
        """A worker is killed, and the spare that should follow it stands still: until its pairs are decided on."""
        page = self._watcher.workers[shard]
        pid = page.value("pid")

        def fault() -> None:
            _send(spare_pid(self._system), "SIGSTOP")
            _send(pid, "SIGKILL")

        healed = lambda: self._watcher.decides(shard, pid)  # noqa: E731 - as for the others
        return self._measured(f"worker-{shard}", "SIGKILL", fault, healed, self._all - {shard})

    def risk(self, kind: Kind) -> Recovery:
        """Until somebody has an answer from risk again."""
        pid = self._watcher.risk.value("pid")
        return self._measured(
            "risk", kind, lambda: _send(pid, kind), lambda: self._watcher.answers(pid), self._all
        )

    def accounts(self, kind: Kind) -> Recovery:
        """Live: until another accounts process hears both venues."""
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
        """Until every book is live again."""
        pid = self._child_pid("sim")
        return self._after_dark("sim", kind, lambda: _send(pid, kind))

    def connections(self) -> Recovery:
        """All connections of both venues are cut: until every book is live again."""
        ready = msgspec.json.decode(self._system.files.sim_ready.read_bytes())
        urls = [f"{ready[venue]['rest_url']}/sim/faults" for venue in ("upbit", "binance")]

        headers = {"Authorization": f"Bearer {ready['token']}", "Content-Type": "application/json"}

        def cut() -> None:
            for url in urls:
                body = b'{"once":{"disconnect":{"times":1}}}'
                urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5).close()

        return self._after_dark("connections", "disconnect", cut)

    def spare(self, kind: Kind) -> Recovery:
        """Until there is another spare worker that is ready."""
        self.settle()
        pid = spare_pid(self._system)
        last, renewed = self._system.note(), 0

        def replaced() -> bool:
            # A note is up to a quarter of a second old, and a spare may be replaced between two of them. So the
            # second note since the kill counts; the frames that have come make each note another one.
            nonlocal last, renewed
            if (note := self._system.note()) != last:
                last, renewed = note, renewed + 1
            return renewed > 1 and self._has_spares() and spare_pid(self._system) not in (pid, 0)

        return self._measured("spare", kind, lambda: _send(pid, kind), replaced, self._all)

    def child(self, name: str, kind: Kind) -> Recovery:
        """Any other child, by its name in status: until another incarnation of it runs."""
        pid = self._child_pid(name)
        return self._measured(
            name, kind, lambda: _send(pid, kind), lambda: self._child_pid(name) not in (pid, 0), self._all
        )

    def settle(self) -> None:
        """Wait until everything is whole: all shards decide, risk answers, all books are live, the spare is ready."""
        watcher = self._watcher
        watcher.until(lambda: not watcher.dark(), TIMEOUT_S, "every book live")
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

    def _after_dark(self, victim: str, kind: Kind, fault: Callable[[], None]) -> Recovery:
        """Healed is what was dark and has new frames."""
        seen = False

        def healed() -> bool:
            nonlocal seen
            dark = self._watcher.dark()
            seen = seen or bool(dark)
            return seen and not dark

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
    """The pid of a spare worker; 0 when there is none."""
    note = system.note()
    named = {child.pid for child in note.children} if note is not None else set()
    for child in psutil.Process(system.pid).children():
        try:
            is_spare = (
                child.pid not in named and "--spare" in child.cmdline()
            )  # one that took over says so, too
            if is_spare and child.status() != psutil.STATUS_ZOMBIE:
                return int(child.pid)
        except psutil.NoSuchProcess:
            continue
    return 0


def _send(pid: int, kind: Kind) -> None:
    if not pid:
        raise MeasurementFailed("there is no such process")
    os.kill(pid, signal.SIGKILL if kind == "SIGKILL" else signal.SIGSTOP)
