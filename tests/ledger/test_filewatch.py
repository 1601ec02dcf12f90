"""The watch over real SQLite files: it speaks exactly when somebody else has changed them."""

import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.errors import LedgerChanged, LedgerError
from arbshard.ledger.events import Deposited
from arbshard.ledger.file import log_of, shared_of
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.store import LedgerStore
from support.effort import effort

DEPOSIT = Deposited(at_ms=1, venue="upbit", currency="KRW", amount=Decimal(1), why="opening")
# The kernel gives files times of some milliseconds' grain: a change in the same grain has the same time.
GRAIN_S = 0.02


class Ledger:
    """A ledger and what may be done to it, by its owner and by others."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.sqlite"
        self.store = self.open()
        self.store.append([DEPOSIT] * 20)

    def open(self) -> LedgerStore:
        return LedgerStore.open(self.path, name="t", mode="sim-paper", now_ms=1)

    # its owner

    def commit(self) -> None:
        self.store.append([DEPOSIT] * 3)

    def checkpoint(self) -> None:
        self.store._checkpoint("PASSIVE")

    def rotate(self) -> None:
        self.store.close()
        self.store = self.open()
        self.store.append([DEPOSIT])

    def rest(self) -> None:
        time.sleep(GRAIN_S)

    # others, who may

    def read(self) -> None:
        with LedgerReader(self.path) as reader:
            assert reader.last_seq == self.store.last_seq

    def read_by_hand(self) -> None:
        connection = sqlite3.connect(self.path)
        connection.execute("SELECT COUNT(*) FROM events").fetchone()
        connection.close()

    def copy_away(self) -> None:
        shutil.copy2(self.path, self.path.with_name("copy"))

    def link_and_protect(self) -> None:
        with suppress(FileExistsError):
            self.path.with_name("link").hardlink_to(self.path)
        self.path.chmod(0o600)

    # others, who must not

    def remove(self) -> None:
        self.path.unlink()

    def remove_all(self) -> None:
        for path in (self.path, log_of(self.path), shared_of(self.path)):
            path.unlink()

    def remove_log(self) -> None:
        log_of(self.path).unlink()

    def remove_index(self) -> None:
        shared_of(self.path).unlink()

    def move_away_and_back_as_a_copy(self) -> None:
        shutil.copy2(self.path, self.path.with_name("same"))
        self.path.with_name("same").replace(self.path)

    def copy_over(self) -> None:
        older = self.path.with_name("older")
        older.write_bytes(self.path.read_bytes()[:4096])
        self.path.write_bytes(older.read_bytes())

    def cut(self) -> None:
        os.truncate(self.path, self.path.stat().st_size - 4096)

    def empty_log(self) -> None:
        os.truncate(log_of(self.path), 0)

    def cut_log(self) -> None:
        os.truncate(log_of(self.path), log_of(self.path).stat().st_size - 1)

    def overwrite(self) -> None:
        self._overwrite(self.path)

    def overwrite_log(self) -> None:
        self._overwrite(log_of(self.path))

    def lengthen(self) -> None:
        with self.path.open("ab") as file:
            file.write(b"x")

    def write_by_hand(self) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            connection.execute("INSERT INTO meta VALUES ('hand', '1')")
        connection.close()

    def empty_log_by_hand(self) -> None:
        connection = sqlite3.connect(self.path, timeout=0.1)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    def _overwrite(self, path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(b"x" * 64)


OURS = ("commit", "checkpoint", "rotate", "rest")
ALLOWED = ("read", "read_by_hand", "copy_away", "link_and_protect")
FORBIDDEN = (
    "remove", "remove_all", "remove_log", "remove_index", "move_away_and_back_as_a_copy", "copy_over", "cut",
    "empty_log", "cut_log", "overwrite", "overwrite_log", "lengthen", "write_by_hand",
)  # fmt: skip
NEXT = ("look", "commit", "checkpoint", "close")


@pytest.fixture(scope="module", params=["disk", "memory"])
def folders(request, tmp_path_factory):
    """On an ordinary file system and on tmpfs, whose times and sizes are kept in other ways."""
    if request.param == "disk":
        yield tmp_path_factory.mktemp("watch")
        return
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no /dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="arbw-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@settings(max_examples=effort(60, 300))
@given(
    steps=st.lists(st.sampled_from(OURS + ALLOWED), max_size=8),
    change=st.sampled_from((*FORBIDDEN, None)),
    then=st.sampled_from(NEXT),
)
def test_it_speaks_exactly_when_somebody_else_changed_the_files(folders, steps, change, then) -> None:
    with tempfile.TemporaryDirectory(dir=folders) as folder:
        ledger = Ledger(Path(folder))
        try:
            for step in steps:
                getattr(ledger, step)()
                ledger.store.check_files()
            act = {
                "look": ledger.store.check_files,
                "close": ledger.store.close,
            }.get(then) or getattr(ledger, then)
            if change is None:
                act()
                return
            time.sleep(GRAIN_S)
            getattr(ledger, change)()
            if change == "remove_index" and then == "commit":
                # A write does not depend on the index; the look that follows within 100 ms finds it.
                act()
                act = ledger.store.check_files
            with pytest.raises(LedgerChanged) as caught:
                act()
            assert str(ledger.path) in str(caught.value)
            assert ledger.store.failure is caught.value
        finally:
            ledger.store.abandon()


def test_a_log_emptied_by_another_program_of_sqlite(tmp_path) -> None:
    ledger = Ledger(tmp_path)
    ledger.store._reader.close()
    ledger.empty_log_by_hand()
    with pytest.raises(LedgerChanged, match=r"was written by another program|was cut from"):
        ledger.commit()
    ledger.store.abandon()


def test_what_was_cut_is_said_even_where_sqlite_finds_it_first(tmp_path) -> None:
    ledger = Ledger(tmp_path)
    for _ in range(40):
        ledger.commit()
    ledger.checkpoint()
    os.truncate(ledger.path, 0)
    with pytest.raises(LedgerChanged, match="its file was cut from"):
        ledger.store.close()


def test_a_ledger_swapped_while_it_was_replayed_is_not_written(tmp_path) -> None:
    ledger = Ledger(tmp_path)
    ledger.store.close()
    shutil.copy2(ledger.path, tmp_path / "copy")
    store = ledger.open()
    list(store.events())
    (tmp_path / "copy").replace(ledger.path)
    with pytest.raises(LedgerChanged, match="was replaced"):
        store.append([DEPOSIT])
    store.abandon()


def test_what_is_read_back_at_the_close(tmp_path, monkeypatch) -> None:
    ledger = Ledger(tmp_path)
    other = tmp_path / "other"
    LedgerStore.open(other, name="t", mode="sim-paper", now_ms=1).close()
    checkpoint = LedgerStore._checkpoint

    def swap(store: LedgerStore, kind: str) -> None:
        checkpoint(store, kind)
        other.replace(ledger.path)

    monkeypatch.setattr(LedgerStore, "_checkpoint", swap)
    with pytest.raises(LedgerError, match="read back at its close it has the tag"):
        ledger.store.close()
    assert isinstance(ledger.store.failure, LedgerError)


def test_nothing_of_sqlite_is_left_beside_a_closed_ledger(tmp_path) -> None:
    ledger = Ledger(tmp_path)
    ledger.store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.sqlite", "ledger.sqlite.lock"]
