"""Searches a long ledger for damage while trading goes on. ``store`` starts it.

A start from a snapshot reads only the newest events. What is before them is read here, in a thread of the lowest
priority over a connection that cannot write: it checks every page, and that no event is missing. ``ledger verify``
checks the content of old events.
"""

import os
import sqlite3
import threading
from pathlib import Path

from arbshard.errors import LedgerError
from arbshard.ledger import schema
from arbshard.ledger.file import damaged, failure, open_reader
from arbshard.ledger.period import head_of_period

_NICE = 19
_INTERRUPTS = 100
_INTERRUPT_S = 0.05
"""How often the thread is interrupted until it ends, and the pause in seconds between two times."""


class Inspection:
    """Is one walk through the file."""

    def __init__(self, path: Path) -> None:
        """Begin the walk. Raises ``LedgerError``."""
        self._path = path
        self._problem: LedgerError | None = None
        self._is_stopped = False
        try:
            self._connection = open_reader(path, any_thread=True)
        except sqlite3.Error as error:
            raise failure(path, "cannot be read", error) from error
        self._thread = threading.Thread(target=self._run, name="inspection", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Return whether the walk has ended."""
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raise what was found, a ``LedgerDamaged`` or ``LedgerError``."""
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        """End the walk early and close the file. May be called again."""
        self._is_stopped = True
        for _ in range(_INTERRUPTS):
            if not self._thread.is_alive():
                break
            # An interrupt ends only what is executed at this moment, and the thread may be between two statements.
            self._connection.interrupt()
            self._thread.join(_INTERRUPT_S)
        if not self._thread.is_alive():  # closing it under the thread would crash the process
            self._connection.close()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            check_pages(self._connection, self._path)
            if not self._is_stopped:
                check_numbers(self._connection, self._path)
        except sqlite3.Error as error:
            if not self._is_stopped:
                self._problem = failure(self._path, "cannot be read", error)
        except LedgerError as error:
            self._problem = error


def check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Check every page. Raises ``LedgerDamaged`` or ``sqlite3.Error``."""
    said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if said != "ok":
        raise damaged(path, " ".join(said.split()))


def check_numbers(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ``LedgerDamaged`` when an event is missing after the last archived one. Raises ``sqlite3.Error``."""
    _, before = head_of_period(connection, path)
    count, first, last = connection.execute(schema.COUNT).fetchone()
    if count and (first, last) != (before + 1, before + count):
        begun = f", the period begins with {before + 1}" if before else ""
        raise damaged(path, f"{count} events are numbered {first} to {last}{begun}")
