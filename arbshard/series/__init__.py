"""Sampled series of a run: a process beside it writes what it shows once per second, as Parquet files.

They are kept in the folder ``series`` of the state directory, in segments of some five minutes. ``segments`` writes
them, ``reading`` reads them. Both need pyarrow, which the extra ``analysis`` brings; nothing else does.
"""

from importlib.util import find_spec

from arbshard.errors import UsageError

INSTALL = "pip install 'arbshard[analysis]'"


def require_libraries(what: str, *libraries: str) -> None:
    """Raise ``UsageError`` if one of ``libraries`` is missing, without which ``what`` cannot be done."""
    for library in libraries:
        if find_spec(library) is None:
            raise UsageError(f"{what} needs {library}, which is not installed: {INSTALL}")
