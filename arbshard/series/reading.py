"""Reads the series of an instance: ``open_series(state_dir).table("system")``. Needs pyarrow.

Only whole segments are read, so the newest minutes of an active run are missing. A file that is damaged or not one
of ours is skipped and counted.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arbshard.series.schemas import SCHEMAS


class RunInfo(msgspec.Struct, frozen=True):
    """Describes a run of the instance, as it was when it started."""

    run: int
    """Wall time of its start in milliseconds: the column ``run`` of the tables."""
    version: str
    name: str
    mode: str
    data: str
    regime: str
    seed: int | None
    """Seed of the simulated exchanges; None on public feeds."""
    shards: int
    pairs: tuple[str, ...]
    """The pairs by base."""
    config: str
    """The whole configuration as JSON, without secrets."""


class Series:
    """Gives access to the series in one folder."""

    def __init__(self, folder: Path) -> None:
        """Open ``folder``; one that does not exist has no series."""
        self.folder = folder
        self._skipped: set[Path] = set()

    @property
    def skipped(self) -> int:
        """Return the number of files that could not be read so far."""
        return len(self._skipped)

    def runs(self) -> list[RunInfo]:
        """Return the runs that are known, oldest first."""
        found = []
        for path in (self.folder / "runs").glob("[0-9]*.json"):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=RunInfo))
            except FileNotFoundError:
                continue  # the writer has just removed it
            except (OSError, msgspec.MsgspecError):
                self._skipped.add(path)
        return sorted(found, key=lambda one: one.run)

    def table(
        self, name: str, since_ms: int | None = None, until_ms: int | None = None, run: int | None = None
    ) -> pa.Table:
        """Return the rows of table ``name`` from ``since_ms`` on and before ``until_ms``, in the order of their
        segments.

        With ``run``, only rows of that run are returned. Columns that a file of an older version lacks are null.
        When there is nothing, the result is empty, with all columns. Raises ``KeyError`` for a name that is not in
        ``SCHEMAS``.
        """
        schema = SCHEMAS[name]
        parts = (self._read(path, schema, since_ms, until_ms) for path in self._files(name))
        found = pa.concat_tables([schema.empty_table(), *(part for part in parts if part is not None)])
        return found if run is None else found.filter(pc.equal(found["run"], run))

    def _files(self, name: str) -> Iterator[Path]:
        numbered = []
        for path in (self.folder / name).glob("[0-9]*.parquet"):
            if path.stem.isdecimal():
                numbered.append((int(path.stem), path))
            else:
                self._skipped.add(path)
        return (path for _, path in sorted(numbered))

    def _read(
        self, path: Path, schema: pa.Schema, since_ms: int | None, until_ms: int | None
    ) -> pa.Table | None:
        """Return the rows of one file that are wanted; None if it has none of them."""
        try:
            with pq.ParquetFile(path) as file:
                if not _may_hold(file.metadata, since_ms, until_ms):
                    return None
                present = [name for name in schema.names if name in file.schema_arrow.names]
                table = _conform(file.read(columns=present), schema)
        except FileNotFoundError:
            return None  # the writer has just removed it
        except (OSError, pa.ArrowException):
            self._skipped.add(path)
            return None
        return _between(table, since_ms, until_ms)


def open_series(state_dir: Path) -> Series:
    """Return the series that the instance with this state directory has kept."""
    return Series(state_dir / "series")


def _may_hold(metadata: pq.FileMetaData, since_ms: int | None, until_ms: int | None) -> bool:
    """Return whether rows of that time may be in the file, by its statistics. Without these, they may be."""
    if since_ms is None and until_ms is None:
        return True
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.path_in_schema != "at_ms":
                continue
            known = chunk.statistics
            if known is None or not known.has_min_max:
                return True
            if (since_ms is None or known.max >= since_ms) and (until_ms is None or known.min < until_ms):
                return True
    return False


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return ``table`` with exactly the columns of ``schema``. Raises ``pa.ArrowException`` where they do not fit."""
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    conforming = pa.table(columns, schema=schema)
    for name in ("at_ms", "run"):
        if conforming[name].null_count:
            raise pa.ArrowInvalid(f"column {name} has no value in some rows")
    return conforming


def _between(table: pa.Table, since_ms: int | None, until_ms: int | None) -> pa.Table:
    if since_ms is not None:
        table = table.filter(pc.greater_equal(table["at_ms"], since_ms))
    if until_ms is not None:
        table = table.filter(pc.less(table["at_ms"], until_ms))
    return table
