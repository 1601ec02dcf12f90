"""Implements ``run_query``: SQL over the rows of a tape. Needs pyarrow and duckdb."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from arbshard.errors import UsageError
from arbshard.tape.format import SCHEMA
from arbshard.tape.reading import Tape


def run_query(tape: Tape, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the names of the columns, and the rows of the result.

    The tape is streamed, and is never in memory as a whole. The query sees only the table ``tape``: DuckDB has no
    access to files and to the network. Raises ``UsageError`` for a query that DuckDB refuses, and ``TapeError``.
    """
    batches = pa.RecordBatchReader.from_batches(SCHEMA, _batches(tape))
    settings: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": False,
        "threads": 1,
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        connection.register("tape", batches)
        try:
            found = connection.sql(query)
            if found is None:
                raise UsageError("the query has no result: use SELECT")
            return found.columns, found.fetchall()
        except duckdb.Error as error:
            raise UsageError(f"the query is refused: {str(error).splitlines()[0]}") from error


def _batches(tape: Tape) -> Iterator[pa.RecordBatch]:
    for segment in tape.segments():
        for batch in segment.batches():
            yield batch.cast(SCHEMA)
