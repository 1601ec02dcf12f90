"""Archives the period of a ledger that is being written: ``python -m arbshard.ledger.archiver LEDGER``.

Risk (``risk.archivist``) starts this as a process of its own with the lowest priority, because verifying and
compressing a period takes many seconds of computing. It only reads the ledger. The period ends at the newest
snapshot in the ledger, because that holds the state that the next period opens with. Exit codes: 0 the ledger's
successor is ready beside it, 1 it is not, and stderr says why.
"""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from arbshard.errors import ArbshardError, LedgerDamaged, LedgerError
from arbshard.ledger.archiving import close_period
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.snapshots import Snapshot
from arbshard.model.money import use_money_context

_NICE = 19


class _ParentEnded(Exception):
    """Is raised when the process that waits for the archive has ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the archive and the ledger's successor. Return the exit code."""
    (path,) = (sys.argv[1:] if arguments is None else arguments) or ("",)
    parent = os.getppid()
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    use_money_context()
    gc.disable()  # nothing here makes reference cycles

    def look() -> None:
        if os.getppid() != parent:
            raise _ParentEnded

    try:
        with LedgerReader(Path(path)) as reader:
            close_period(reader, _newest_snapshot(reader), look)
    except _ParentEnded:
        return 1
    except (ArbshardError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _newest_snapshot(reader: LedgerReader) -> Snapshot:
    for snapshot in reader.snapshots():
        if not isinstance(snapshot, LedgerDamaged):
            return snapshot
    raise LedgerError(f"{reader.path}: it holds no snapshot to end a period at")


if __name__ == "__main__":
    sys.exit(main())
