"""Counts what the tape of a run holds, by venue, from three columns of each segment. Needs pyarrow."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from arbshard.report.model import RecordedVenue
from arbshard.tape import TapeError
from arbshard.tape.format import DROPPED
from arbshard.tape.reading import Tape

_COLUMNS = ("kind", "venue", "number")


def read_recorded(folder: Path, since_ms: int) -> tuple[tuple[RecordedVenue, ...], str]:
    """Count what was received, interrupted and lost since ``since_ms`` (wall time).

    The text says why a part was not read; it is empty when all was. Decisions and messages about the run, which
    belong to no venue, are counted under an empty name.
    """
    counts: dict[str, Counter[str]] = {}
    try:
        for segment in Tape(folder).segments():
            for batch in segment.columns(*_COLUMNS, "wall_ns"):
                for venue, kind, count in _counted(batch, since_ms):
                    counts.setdefault(venue, Counter())[kind] += count
    except TapeError as error:
        return _reports(counts), str(error)
    return _reports(counts), ""


def _counted(batch: pa.RecordBatch, since_ms: int) -> Iterator[tuple[str, str, int]]:
    table = pa.Table.from_batches([batch])
    table = table.filter(pa.compute.greater_equal(table["wall_ns"], max(since_ms, 0) * 1_000_000))
    grouped = table.group_by(["venue", "kind"]).aggregate([("number", "count"), ("number", "sum")])
    for row in grouped.to_pylist():
        # The number of a mark is how many rows are missing before it.
        yield row["venue"], row["kind"], row["number_sum" if row["kind"] == DROPPED else "number_count"]


def _reports(counts: dict[str, Counter[str]]) -> tuple[RecordedVenue, ...]:
    return tuple(
        RecordedVenue(
            venue,
            frames=kinds["frame"],
            requests=kinds["rest"],
            disconnects=kinds["disconnect"],
            resubscribed=kinds["resubscribe"],
            gaps=kinds["gap"],
            decisions=kinds["decision"],
            lost=kinds[DROPPED],
        )
        for venue, kinds in sorted(counts.items())
    )
