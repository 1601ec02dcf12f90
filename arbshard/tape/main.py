"""Contains ``record_run``: the loop of ``arbshard record``, from the first message to the end of the last segment."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from arbshard.clock import SystemClock
from arbshard.ledger.lock import FileLock
from arbshard.log import get_logger
from arbshard.model.rundir import RunFiles
from arbshard.tape.format import SegmentInfo
from arbshard.tape.recorder import Recorder
from arbshard.tape.writing import TapeBounds, TapeWriter
from arbshard.version import __version__

_PAUSE_S = 0.05
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NICENESS = 10
INSTANCE_ENDED = "the instance has ended"


class Recorded(NamedTuple):
    """Holds the results of one recording."""

    frames: int
    decisions: int
    rows: int
    """Number of rows that were written."""
    missed: int
    """Number of records that the bus dropped because the recorder was too slow."""
    lost: int
    """Number of rows that were dropped because they could not be written."""
    unreadable: int
    why: str
    """Reason for the end of the recording."""

    def line(self) -> str:
        """Return the results in one line, for people."""
        return (
            f"record: {self.frames:,} frames, {self.decisions:,} decisions, {self.rows:,} rows written, "
            f"{self.missed:,} missed, {self.lost:,} lost, {self.unreadable:,} unreadable: {self.why}"
        )


def hold(folder: Path) -> FileLock:
    """Lock ``folder`` against every other recorder. Returns the lock. Raises ``RunDirError``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileLock(
        folder / "recorder.lock",
        lambda holder: (
            f"process {holder} already records into {folder}: stop that one, or choose another --dir"
        ),
    )


def record_run(
    instance: str,
    files: RunFiles,
    ledger: Path,
    folder: Path,
    bounds: TapeBounds,
    why_over: Callable[[], str],
) -> Recorded:
    """Record until ``why_over``, which is called several times per second, returns a reason.

    Returns the results. Raises ``TransportError``.
    """
    os.nice(_NICENESS)  # the run's processes have priority
    clock = SystemClock()
    recording, boot = clock.wall_ms(), _boot()

    def describe(segment: int, first_row: int) -> SegmentInfo:
        return SegmentInfo(
            recording=recording,
            segment=segment,
            first_row=first_row,
            instance=instance,
            version=__version__,
            boot=boot,
            universe=_json_in(files.universe),
            config=_json_in(files.config),
        )

    writer = TapeWriter(folder, recording, describe, bounds)
    recorder = Recorder(
        files.bus_endpoint,
        files.raw_endpoint,
        ledger,
        files.universe,
        lambda: sorted(files.dir.glob("page-worker-*")),
        writer,
        clock,
        time.time_ns,
    )
    why = ""
    try:
        while not why:
            recorder.step(_PAUSE_S)
            why = INSTANCE_ENDED if recorder.is_over else why_over()
    finally:
        recorder.close()
    return Recorded(
        recorder.frames,
        recorder.decisions,
        writer.written,
        recorder.missed,
        writer.lost,
        recorder.unreadable,
        why,
    )


def _boot() -> str:
    """Return the identity of the machine's boot; on systems other than Linux, the time of the boot."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def _json_in(path: Path) -> msgspec.Raw:
    """Return the JSON text of a file in the run directory; ``null`` if it is missing or invalid."""
    try:
        text = path.read_bytes()
        msgspec.json.decode(text)
    except FileNotFoundError:
        return msgspec.Raw(b"null")
    except (OSError, msgspec.MsgspecError) as error:
        get_logger().warning("the description of the tape is incomplete", path=str(path), error=str(error))
        return msgspec.Raw(b"null")
    return msgspec.Raw(text)
