"""Records what a run received and decided: the tape, which a separate process writes.

It is the folder ``tape`` of the state directory, and holds segments: Arrow IPC streams, compressed with zstd.
``recorder`` reads the bus, the pages of workers and the ledger, ``writing`` makes segments, ``reading`` reads and
verifies them, and ``compaction`` derives Parquet files by day from them. ``native`` imports messages of a venue,
``tables`` reads and writes CSV of Tardis, and ``exports`` writes files for other backtesting programs. All but this
file need pyarrow, which the extra ``tape`` installs.
"""

from arbshard.errors import ArbshardError, UsageError


class TapeError(ArbshardError):
    """Is raised when a tape cannot be read or written."""


class NoTape(TapeError, UsageError):
    """Is raised when there is no tape in the folder that a person has named."""
