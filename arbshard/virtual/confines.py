"""Isolates a simulation from the real process that runs it: its files, logs, crash points and garbage collector."""

import gc
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from structlog.typing import EventDict, WrappedLogger

from arbshard import crashpoint
from arbshard.errors import RunDirError
from arbshard.log import get_logger
from arbshard.virtual import costs
from arbshard.virtual.trace import Trace
from supervisor.lockdir import LockedDir, remove_own_files
from supervisor.places import Root, open_directory, usable_roots

_PREFIX = ".simulation-"
"""No instance has such a name."""
_RUN = re.compile(r"run-[0-9]+")


@contextmanager
def place() -> Iterator[Path]:
    """Return a directory for the mapped files of runs; those of simulations that were killed are removed."""
    root = usable_roots()[0]
    _remove_leftovers(root)
    held = LockedDir.acquire(root, f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield held.path
    finally:
        _remove(held)


def _remove_leftovers(root: Root) -> None:
    """Remove the directories whose lock no process holds: their processes were killed."""
    if not root.path.is_dir():
        return
    for path in sorted(root.path.glob(f"{_PREFIX}*")):
        try:
            held = LockedDir.acquire(root, path.name, tries=1)
        except RunDirError:
            continue  # in use, or not one of ours
        _remove(held)


def _remove(held: LockedDir) -> None:
    """Remove the run directories in it by the names of their files, and then the directory itself."""
    for name in os.listdir(held.directory):  # noqa: PTH208 - relative to the open directory
        if not _RUN.fullmatch(name):
            continue
        run = open_directory(held.path / name, within=held.directory)
        try:
            left = remove_own_files(run)
        finally:
            os.close(run)
        if not left:
            os.rmdir(name, dir_fd=held.directory)
    for warning in held.release():
        get_logger().warning(warning)


@contextmanager
def quiet(trace: Trace, charge: Callable[[int, str], None]) -> Iterator[None]:
    """Suppress log records inside the block, but write errors to the trace.

    ``charge`` is called with the time in ns that logging an error takes, and a name for it.
    """

    def keep(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        charge(costs.ERROR_NS, "logs an error")
        cause = event.get("exc") or event.get("exc_info")
        why = cause if isinstance(cause, str) else repr(cause) if cause is not None else ""
        trace.note("error", f"{event.get('event')} {why}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger("error"),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def patient_collector() -> Iterator[None]:
    """Collect reference cycles seldom inside the block: they are few here, and the usual rate would take a tenth of
    the time.

    Objects from before the run are left out of every collection: they outlive the run, and there are more of them.
    """
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


@contextmanager
def dying(reached: Callable[[str], None]) -> Iterator[None]:
    """Let virtual processes die at crash points inside the block."""
    crashpoint.listen(reached)
    try:
        yield
    finally:
        crashpoint.listen(None)
