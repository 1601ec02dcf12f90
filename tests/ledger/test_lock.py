"""One writer per ledger."""

import fcntl
import os
import subprocess
import sys

import pytest

from arbshard.errors import RunDirError
from arbshard.ledger.lock import WriterLock, writer_of


def test_the_second_writer_is_told_who_the_first_is(tmp_path) -> None:
    first = WriterLock(tmp_path / "ledger.sqlite")
    with pytest.raises(RunDirError, match=f"process {os.getpid()} already writes this ledger"):
        WriterLock(tmp_path / "ledger.sqlite")
    first.release()
    first.release()
    WriterLock(tmp_path / "ledger.sqlite").release()


def test_ledgers_do_not_disturb_each_other(tmp_path) -> None:
    one, other = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    first, second = WriterLock(one), WriterLock(other)
    first.release()
    assert writer_of(one) is None
    assert writer_of(other) == str(os.getpid())
    with pytest.raises(RunDirError, match="already writes this ledger"):
        WriterLock(other)
    WriterLock(one).release()
    second.release()
    assert writer_of(other) is None


def test_the_lock_goes_with_the_process_that_held_it(tmp_path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from arbshard.ledger.lock import WriterLock\n"
        "lock = WriterLock(Path(sys.argv[1]))\n"
        "os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "ledger.sqlite")]
    assert subprocess.run(command, check=False, timeout=30).returncode == -9
    WriterLock(tmp_path / "ledger.sqlite").release()


def test_a_place_that_cannot_be_written(tmp_path) -> None:
    with pytest.raises(RunDirError, match="cannot be opened"):
        WriterLock(tmp_path / "none" / "ledger.sqlite")


def test_who_writes_it(tmp_path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    assert writer_of(ledger) is None
    lock = WriterLock(ledger)
    assert writer_of(ledger) == str(os.getpid())
    lock.release()
    assert writer_of(ledger) is None


def test_whoever_asks_in_that_moment_keeps_no_writer_out(tmp_path, monkeypatch) -> None:
    ledger = tmp_path / "ledger.sqlite"
    WriterLock(ledger).release()
    asking = os.open(tmp_path / "ledger.sqlite.lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr("arbshard.ledger.lock.sleep", lambda _: fcntl.flock(asking, fcntl.LOCK_UN))
    try:
        WriterLock(ledger).release()
    finally:
        os.close(asking)
