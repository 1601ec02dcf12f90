"""Records the conditions of a run, which are machine, interpreter, commit, and the load by other programs."""

import os
import platform
import resource
import subprocess
import time
from pathlib import Path

import psutil

from perf import steadiness
from perf.results import Conditions
from perf.running import ROOT

_BUSY_SHARE = 0.10
_GIT_S = 5.0


class Watch:
    """Observes the machine from the start of a run to its end."""

    def __init__(self, *, quick: bool) -> None:
        self._quick = quick
        self._load = os.getloadavg()[0]
        self._steadiness = [steadiness.measure()]
        self._began_s = time.monotonic()
        self._before = _used_s()
        self._machine_s, self._own_s = _machine_s(), _own_s()

    def end(self) -> Conditions:
        """Return the conditions of the whole run, with the machine's noise measured once more."""
        self._steadiness.append(steadiness.measure())
        return self.conditions()

    def conditions(self) -> Conditions:
        """Return the conditions up to now; the use of CPU by other processes is counted from the start."""
        span_s = max(time.monotonic() - self._began_s, 0.001)
        others = []
        for process, used_s in _used_s().items():
            share = (used_s - self._before.get(process, used_s)) / span_s
            if process.pid != os.getpid() and share > _BUSY_SHARE:
                others.append(f"{_name(process)} ({process.pid}): {share:.0%} of a core")
        return Conditions(
            python=platform.python_version(),
            cores=os.cpu_count() or 1,
            cpu=_cpu_model(),
            load_before=round(self._load, 2),
            load_after=round(os.getloadavg()[0], 2),
            others=tuple(sorted(others)),
            others_cores=round(
                max(_machine_s() - self._machine_s - (_own_s() - self._own_s), 0.0) / span_s, 2
            ),
            steadiness=tuple(self._steadiness),
            commit=_commit(),
            quick=self._quick,
        )


def _used_s() -> dict[psutil.Process, float]:
    used = {}
    for process in psutil.process_iter():
        try:
            times = process.cpu_times()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it has ended, or may not be read by this user
        used[process] = float(times.user + times.system)
    return used


def _machine_s() -> float:
    """Return the CPU seconds that all programs have used since the machine started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _own_s() -> float:
    """Return the CPU seconds of this process and of all its children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return "ended"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _commit() -> str:
    """Return the commit that is checked out, with a plus sign when files differ from it.

    The text is empty outside a repository.
    """
    try:
        name = _git("rev-parse", "--short=12", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str) -> str:
    command = ["git", *arguments]  # the user's git, wherever it is installed
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_GIT_S, check=True)
    return ended.stdout.strip()
