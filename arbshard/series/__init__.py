"""Sampled series of a run: a process beside it writes what it shows once per second, as Parquet files.

``python -m arbshard.series`` is a child of the supervisor. ``sampling`` and ``pairs`` take the samples, ``segments``
writes them into the folder ``series`` of the state directory, ``reading`` reads them. Writing and reading need
pyarrow, which the extra ``analysis`` brings; nothing else does.
"""

from collections.abc import Mapping
from importlib.util import find_spec

from arbshard.errors import UsageError

INSTALL = "pip install 'arbshard[analysis]'"

Value = int | float | str | None
Row = Mapping[str, Value]
"""One row of a table: the value of each column."""


def require_libraries(what: str, *libraries: str) -> None:
    """Raise ``UsageError`` if one of ``libraries`` is missing, without which ``what`` cannot be done."""
    for library in libraries:
        if find_spec(library) is None:
            raise UsageError(f"{what} needs {library}, which is not installed: {INSTALL}")
