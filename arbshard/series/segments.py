"""Writes rows to files, one for each table and segment of time, and removes the oldest files. Needs pyarrow.

A file appears completely or not at all: it is written under another name, synchronised, and renamed. A process that
is killed loses the segment that it had in memory. Nothing here raises for a disk that is full or broken: the segment
is lost and counted, because a run must not suffer from its series.
"""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from arbshard.log import get_logger
from arbshard.series import SeriesRow, Value
from arbshard.series.schemas import SCHEMAS

ROWS_MAX = 20_000
"""A table with so many rows in memory is written before its segment is over."""
_NAME = re.compile(r"(\d{1,16})\.parquet")
_PARTIAL = re.compile(r"\.\d{1,16}\.(parquet|json)\.partial")
_RUN = re.compile(r"(\d{1,16})\.json")


class SeriesBounds(NamedTuple):
    """Says how much is kept."""

    keep_ms: int
    keep_bytes: int
    free_bytes_min: int = 0
    """Nothing is written while less than this is free on the disk."""


class _Kept(NamedTuple):
    start_ms: int
    size: int
    path: Path


class SegmentWriter:
    """Writes the series of one run into ``folder``, which no other process writes at the same time."""

    def __init__(self, folder: Path, run: int, bounds: SeriesBounds) -> None:
        """Begin without rows; ``run`` is the wall time at which the instance was started, in milliseconds."""
        self._folder = folder
        self._run = run
        self._bounds = bounds
        self._rows: dict[str, list[dict[str, Value]]] = {name: [] for name in SCHEMAS}
        self.written = 0
        """Number of files that were written."""
        self.failures = 0
        """Number of files that could not be written, and of removals that failed."""
        self.lost_rows = 0
        """Number of rows of files that could not be written."""
        self.kept_bytes = 0
        """Size of all files after the last segment."""
        self.last_error = ""

    @property
    def pending(self) -> int:
        """Return the number of rows in memory."""
        return sum(map(len, self._rows.values()))

    def write_run(self, info: bytes) -> None:
        """Store the description of this run, as JSON, and remove unfinished files of a writer that was killed."""
        try:
            for path in self._folder.glob("*/.*.partial"):
                if _PARTIAL.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            path = self._folder / "runs" / f"{self._run}.json"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(info)
            partial.replace(path)
        except OSError as error:
            self._fail("the description of the run cannot be kept", error)

    def add(self, table: str, at_ms: int, row: SeriesRow) -> None:
        """Add a row to ``table``; columns that it does not name are null."""
        rows = self._rows[table]
        rows.append({"at_ms": at_ms, "run": self._run, **row})
        if len(rows) >= ROWS_MAX:
            self._write(table)

    def end_segment(self, now_ms: int) -> None:
        """Write everything that is in memory, and remove files that are older or more than the bounds allow."""
        for table in SCHEMAS:
            self._write(table)
        try:
            self._trim(now_ms)
        except OSError as error:
            self._fail("old series cannot be removed", error)

    def _write(self, table: str) -> None:
        rows, self._rows[table] = self._rows[table], []
        if not rows:
            return
        try:
            folder = self._folder / table
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._require_room()
            written = pa.Table.from_pylist(rows, schema=SCHEMAS[table])
            start_ms = max(int(rows[0]["at_ms"] or 0), 0)
            while (path := folder / f"{start_ms}.parquet").exists():
                start_ms += 1  # the wall clock was set back
            _write_whole(written, path)
        except OSError as error:
            self.lost_rows += len(rows)
            self._fail("a segment of the series is lost", error)
        else:
            self.written += 1

    def _require_room(self) -> None:
        if self._bounds.free_bytes_min:
            found = os.statvfs(self._folder)
            free = found.f_bavail * found.f_frsize
            if free < self._bounds.free_bytes_min:
                raise OSError(f"only {free // 1_000_000} MB are free, which the ledger may need")

    def _trim(self, now_ms: int) -> None:
        kept = sorted(self._kept())
        size = sum(one.size for one in kept)
        newest_ms = now_ms - self._bounds.keep_ms
        while kept and (kept[0].start_ms < newest_ms or size > self._bounds.keep_bytes):
            oldest = kept.pop(0)
            oldest.path.unlink(missing_ok=True)
            size -= oldest.size
        self.kept_bytes = size
        self._trim_runs(kept[0].start_ms if kept else now_ms)

    def _trim_runs(self, oldest_ms: int) -> None:
        """Remove the descriptions of runs that ended before the oldest segment, which is where the next run had
        begun.
        """
        folder = self._folder / "runs"
        starts = sorted(int(found[1]) for path in folder.iterdir() if (found := _RUN.fullmatch(path.name)))
        for start_ms, next_ms in pairwise(starts):
            if next_ms <= oldest_ms and start_ms != self._run:
                (folder / f"{start_ms}.json").unlink(missing_ok=True)

    def _kept(self) -> Iterator[_Kept]:
        for table in SCHEMAS:
            folder = self._folder / table
            for path in folder.iterdir() if folder.is_dir() else ():
                found = _NAME.fullmatch(path.name)
                if found is not None:
                    yield _Kept(int(found[1]), path.stat().st_size, path)

    def _fail(self, what: str, error: OSError) -> None:
        self.failures += 1
        self.last_error = f"{what}: {error.strerror or error}"
        if self.failures == 1:  # later failures are likely to have the same cause; they are counted
            get_logger().warning(what, error=str(error))


def _write_whole(table: pa.Table, path: Path) -> None:
    """Write ``table`` so that ``path`` is complete or absent, even after a power failure. Raises ``OSError``."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        partial.unlink(missing_ok=True)
