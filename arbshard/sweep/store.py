"""Stores a sweep in a folder: results as Parquet files, the request, and a lock. Needs pyarrow.

Each file of results is written completely under another name and then renamed, so a kill costs at most what was not
written yet. Nothing is ever changed: a task that is done again after a failure adds a row, and the newest row of a
key counts.
"""

import fcntl
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from shutil import rmtree
from time import monotonic, time_ns
from typing import Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from arbshard.errors import UsageError
from arbshard.sweep.parts import SweepPart
from arbshard.sweep.tasks import TaskResult

_FLUSH_S = 2.0
_FLUSH_ROWS = 500
_MONEY = pa.decimal128(38, 12)
_STEP = Decimal("1e-12")
_PART = pa.struct(
    [
        pa.field("number", pa.int32()),
        pa.field("start_ns", pa.int64()),
        pa.field("end_ns", pa.int64()),
        pa.field("first_segment", pa.string()),
        pa.field("last_segment", pa.string()),
        pa.field("digest", pa.string()),
    ]
)
_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("config_hash", pa.string(), nullable=False),
        pa.field("values", pa.string(), nullable=False),
        pa.field("part", _PART, nullable=False),
        pa.field("delay_frames", pa.int32(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("failure", pa.string(), nullable=False),
        pa.field("place", pa.string(), nullable=False),
        pa.field("took_s", pa.float64(), nullable=False),
        pa.field("cpu_s", pa.float64(), nullable=False),
        pa.field("decisions_hash", pa.string(), nullable=False),
        pa.field("decisions", pa.int64(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),
        pa.field("entries", pa.int64(), nullable=False),
        pa.field("exits", pa.int64(), nullable=False),
        pa.field("wins", pa.int64(), nullable=False),
        pa.field("pnl", _MONEY, nullable=False),
        pa.field("fees", _MONEY, nullable=False),
        pa.field("equity_ns", pa.list_(pa.int64()), nullable=False),
        pa.field("equity", pa.list_(pa.float64()), nullable=False),
    ]
)


class SweepRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what a person asked for, kept as ``sweep.json`` so that ``--resume`` needs nothing else."""

    tape: str
    grid: tuple[str, ...]
    search: Literal["grid", "random", "optuna"] = "grid"
    trials: int = 200
    parts: tuple[SweepPart, ...]
    """The parts as the tape was cut then, so that they stay the same when the tape grows."""
    seed: int = 0
    base: msgspec.Raw = msgspec.Raw(b"{}")
    """The configuration that every point changes, as JSON without secrets."""


class SweepStore:
    """Reads the results of a folder and adds new ones; one process at a time, see ``opened``."""

    def __init__(self, folder: Path) -> None:
        """Read all results. Raises ``UsageError`` when the folder cannot be used or a file in it is damaged."""
        self.folder = folder
        self.work_dir = folder / "work"
        self.results: dict[str, TaskResult] = {}
        """The newest result of each key."""
        self._files = folder / "results"
        self._new: list[TaskResult] = []
        self._flushed_s = monotonic()
        try:
            self._files.mkdir(parents=True, exist_ok=True, mode=0o700)
            rmtree(self.work_dir, ignore_errors=True)  # left over by a sweep that was killed
            self.work_dir.mkdir(mode=0o700)
        except OSError as error:
            raise UsageError(f"{error.filename or folder}: cannot be used: {error.strerror}") from error
        for path in sorted(self._files.glob("*.parquet")):
            for result in _read(path):
                self.results[result.key] = result

    def keep_request(self, request: SweepRequest) -> None:
        """Store the present request. Raises ``UsageError``."""
        partial = self.folder / ".sweep.json.partial"
        try:
            partial.write_bytes(msgspec.json.format(msgspec.json.encode(request)) + b"\n")
            partial.replace(self.folder / "sweep.json")
        except OSError as error:
            raise UsageError(f"{partial}: cannot be written: {error.strerror}") from error

    def add(self, result: TaskResult) -> None:
        """Add a result; it is on the disk after ``flush``, or a little later without it."""
        self.results[result.key] = result
        self._new.append(result)
        if len(self._new) >= _FLUSH_ROWS or monotonic() - self._flushed_s > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write new results. Raises ``UsageError`` when they cannot be written."""
        self._flushed_s = monotonic()
        if not self._new:
            return
        path = self._files / f"{time_ns():020d}.parquet"
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                table = pa.Table.from_pylist([_row(one) for one in self._new], _SCHEMA)
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            raise UsageError(f"{path}: results cannot be written: {error.strerror}") from error
        self._new.clear()


def stored_request(folder: Path) -> SweepRequest:
    """Return the last request in ``folder``. Raises ``UsageError`` when there is nothing to resume."""
    path = folder / "sweep.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=SweepRequest)
    except FileNotFoundError:
        raise UsageError(f"--resume: there is no sweep in {folder}; name its folder with --out") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


@contextmanager
def opened(folder: Path) -> Iterator[SweepStore]:
    """Yield the store in ``folder`` under a lock against other processes; write what was added at the end.

    Raises ``UsageError``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: cannot be used: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{folder}: another sweep is using it") from None
        store = SweepStore(folder)
        try:
            yield store
        finally:
            store.flush()
            rmtree(store.work_dir, ignore_errors=True)


def _row(result: TaskResult) -> dict[str, object]:
    row = result._asdict()
    row["part"] = msgspec.structs.asdict(result.part)
    row["pnl"], row["fees"] = result.pnl.quantize(_STEP), result.fees.quantize(_STEP)
    row["equity_ns"], row["equity"] = list(result.equity_ns), list(result.equity)
    return row


def _read(path: Path) -> Sequence[TaskResult]:
    try:
        rows = pq.read_table(path, schema=_SCHEMA).to_pylist()
    except (OSError, pa.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise UsageError(
            f"{path}: cannot be read: {first}; remove it, and what it held is computed again"
        ) from error
    return [
        TaskResult(
            **{
                **row,
                "part": SweepPart(**row["part"]),
                "equity_ns": array("q", row["equity_ns"]),
                "equity": array("d", row["equity"]),
            }
        )
        for row in rows
    ]
