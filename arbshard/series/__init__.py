"""Samples the series of a run: a process beside it writes what the run shows once per second, as Parquet files.

``python -m arbshard.series`` is a child of the supervisor. ``sampling`` and ``pairs`` take the samples, ``segments``
writes them into the folder ``series`` of the state directory, ``reading`` reads them. Writing and reading need
pyarrow, which the extra ``analysis`` installs; nothing else needs it.
"""

from collections.abc import Mapping

Value = int | float | str | None
SeriesRow = Mapping[str, Value]
"""One row of a table: the value of each column."""
