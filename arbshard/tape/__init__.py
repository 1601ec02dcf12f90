"""The tape: what a run received and decided, recorded by a process beside it.

It is the folder ``tape`` of the state directory, and holds segments: Arrow IPC streams, compressed with zstd.
``recorder`` reads the bus, the pages of workers and the ledger, ``writing`` makes segments, ``reading`` reads and
verifies them, and ``compaction`` derives Parquet files by day from them. ``native`` imports messages of a venue,
``tables`` reads and writes CSV of Tardis, and ``exports`` writes files for other backtesting programs. All but this
file need pyarrow, which the extra ``tape`` brings.
"""

from arbshard.errors import ArbshardError


class TapeError(ArbshardError):
    """A tape cannot be read or written."""
