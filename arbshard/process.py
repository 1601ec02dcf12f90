"""Configures a process: private files and memory from its start, and an even pace after that."""

import argparse
import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from arbshard.errors import ConfigError

_PR_SET_DUMPABLE = 4
"""The option of Linux' prctl(2) that says whether a process may be dumped and traced."""
_STATUS = Path("/proc/self/status")
_YOUNG_MAX = 20_000
"""Objects that are made before the collector looks for cycles: the usual 700 would mean after every few books."""


def freeze_gc() -> None:
    """Exclude all present objects from collection, so that the collector does not walk them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX, 20, 50)


def leave_ending_to_the_supervisor() -> None:
    """Ignore the signals that a terminal sends to all its processes: Ctrl-C, and its own end.

    The supervisor gets the same signals and ends its children in order.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


class Parent:
    """Identifies the process that started this one, which is the supervisor for every child of a run."""

    def __init__(self, pid: int | None = None) -> None:
        """Remember the parent; ``pid`` is its own statement, None is the process that is the parent now.

        A child should get the pid, because the parent may have died before the child asks.
        """
        self._pid = os.getppid() if pid is None else pid

    def is_gone(self) -> bool:
        """Return whether it has died. A parent that is merely stopped has not: the children then keep it as their
        parent.
        """
        return os.getppid() != self._pid


def add_parent_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the pid that ``Parent`` needs, as ``parent_pid``."""
    parser.add_argument("--parent-pid", type=int, help="end when the parent is no longer this process")


def pin(cores: Sequence[int], place: int) -> None:
    """Run on one of ``cores`` only, with all later children; without cores, the system decides.

    Place 0 (the supervisor) gets the first, which the others leave to it as long as there are more. Raises
    ``ConfigError`` at place 0 for cores that cannot be used.
    """
    if not cores:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError("run.pin_cores", "this system does not let a process choose its cores")
    usable = os.sched_getaffinity(0)
    if place == 0 and (strange := set(cores) - usable):
        has = ", ".join(map(str, sorted(usable)))
        raise ConfigError("run.pin_cores", f"there is no core {min(strange)} here; usable are {has}")
    others = cores[1:] or cores
    os.sched_setaffinity(0, {cores[0] if place == 0 else others[(place - 1) % len(others)]})


@contextmanager
def private_files() -> Iterator[None]:
    """Make whatever this process creates meanwhile, and its children ever, private to its user (0600 and 0700)."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def forbid_core_dumps() -> None:
    """Forbid core files of this process and its later children, because a core holds all of their memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def protect_memory() -> None:
    """Protect a process that holds keys: no core dump, and no access by other processes of its user.

    The limit alone is not enough: Linux ignores it where cores are piped into a program. On Linux the process is
    therefore not dumpable either, so that ``/proc/PID`` belongs to root, and debuggers and ``perf`` need root. Both
    are lost with ``exec``, so each process calls this for itself.
    """
    forbid_core_dumps()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


def peak_memory_mb(status: Path = _STATUS) -> float:
    """Return the most memory that this program has had resident, in MB; 0 on systems other than Linux.

    ``getrusage`` does not tell it: there, a program begins with the peak of the process that started it.
    """
    if not status.exists():
        return 0.0
    lines = status.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def forget_variables(names: Iterable[str]) -> None:
    """Remove variables from this process's environment, and from what ``/proc/PID/environ`` shows of it."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    for name in names:
        address = libc.getenv(name.encode())
        if address is not None:
            ctypes.memset(address, 0, len(ctypes.string_at(address)))
        os.environ.pop(name, None)
