"""What keeps a simulation to itself, and its real process as it was: files, logs, crash points, the collector."""

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from structlog.typing import EventDict, WrappedLogger

from arbshard import crashpoint
from arbshard.simulation.trace import Trace


@contextmanager
def place() -> Iterator[Path]:
    """A directory for mapped files: where runs are wanted, otherwise in memory where that can be."""
    memory = os.environ.get("ARBSHARD_RUN_ROOT", "/dev/shm")  # noqa: S108 - a fresh directory is made in it
    root = memory if Path(memory).is_dir() else None
    path = Path(tempfile.mkdtemp(prefix="arbshard-simulation-", dir=root))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def quiet(trace: Trace) -> Iterator[None]:
    """Nothing is logged meanwhile; errors become lines of the trace."""

    def keep(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        trace.note("error", f"{event.get('event')} {event.get('exc', '')}")
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
    """Cycles are few and short here: looking for them at the usual rate takes a tenth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def dying(reached: Callable[[str], None]) -> Iterator[None]:
    """Virtual processes die at crash points meanwhile."""
    crashpoint.listen(reached)
    try:
        yield
    finally:
        crashpoint.listen(None)
