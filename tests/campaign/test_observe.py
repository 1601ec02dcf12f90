"""What the monitor reads while files are rotated and periods are archived below it."""

import contextlib
import json
import logging
import shutil
import sqlite3
from decimal import localcontext

import pytest

from arbshard.campaign.observe import LedgerWatch, LogTail
from arbshard.ledger.archive import folder_of
from arbshard.ledger.archiving import close_period, take_cut
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.store import LedgerStore
from arbshard.log import Losses, PrivateFile
from arbshard.model.money import MONEY_CONTEXT
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from support.history import History

LINES = 40
"""With files of this size the log below is rotated several times and nothing of it is removed."""
CUT = 149
"""An event of the ledger below at which a period may end."""


@pytest.fixture
def log(tmp_path):
    """Writes a record, as a process of a run does, into files that are rotated after about twenty."""
    handler = PrivateFile(tmp_path / "logs" / "risk.jsonl", Losses())
    handler.maxBytes = 1500

    def write(text, level="error"):
        line = json.dumps({"event": text, "level": level, "process": "risk"})
        handler.emit(logging.LogRecord("risk", logging.ERROR, "", 0, line, None, None))
        handler.flush()

    yield write
    handler.close()


@pytest.fixture
def tail(tmp_path):
    (tmp_path / "logs").mkdir()
    return LogTail(tmp_path / "logs")


@pytest.mark.parametrize("every", [1, 3, 7, 19, LINES])
def test_each_error_is_found_once_however_the_log_is_rotated(tail, log, tmp_path, every):
    found = []
    for number in range(LINES):
        log(f"number {number}")
        log("all is well", "info")
        if number % every == every - 1:
            found += [line.text for line in tail.poll()]
    found += [line.text for line in tail.poll()]
    assert len(list((tmp_path / "logs").iterdir())) > 2
    assert found == [f"number {number}" for number in range(LINES)]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tail, tmp_path):
    path = tmp_path / "logs" / "worker-0.jsonl"
    path.write_text('{"level": "err')
    assert list(tail.poll()) == []
    with path.open("a") as file:
        file.write('or", "event": "late"}\n')
    assert [(line.process, line.text) for line in tail.poll()] == [("worker-0", "late")]


def test_a_traceback_of_a_dying_interpreter_is_an_error(tail, tmp_path):
    (tmp_path / "logs" / "risk.jsonl").write_text("Fatal Python error: Segmentation fault\n  File x\n")
    assert [line.text for line in tail.poll()] == ["Fatal Python error: Segmentation fault"]


@pytest.fixture
def whole(tmp_path):
    """A ledger of some hundred events, and how many."""
    path = tmp_path / "whole" / "ledger.sqlite"
    path.parent.mkdir()
    with localcontext(MONEY_CONTEXT):
        events = History(4).write(path, 300)
    return path, events


def execute(path, *commands):
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        for table in ("events", "postings"):
            for verb in ("update", "delete"):
                file.execute(f"DROP TRIGGER IF EXISTS {table}_{verb}")
        for command in commands:
            file.execute(command)


def archive(path, seq):
    """Archive the events up to ``seq``, as ``arbshard ledger archive`` does."""
    with localcontext(MONEY_CONTEXT):
        with LedgerReader(path) as reader:
            successor = close_period(reader, take_cut(reader, PortfolioCodec(), seq))
        store = LedgerStore.open(path, name="sim", mode="sim-paper", now_ms=1)
        store.take_over(successor)
        store.close()


@pytest.mark.parametrize(("seen", "archived"), [(0, CUT), (100, CUT), (CUT, CUT), (CUT + 1, CUT)])
def test_a_period_that_is_archived_meanwhile_is_read_from_its_archive(tmp_path, whole, seen, archived):
    """The monitor has seen ``seen`` events, then more come and the first ``archived`` are archived."""
    path, events = whole
    live = tmp_path / "ledger.sqlite"
    watch = LedgerWatch(live)
    if seen:
        shutil.copy(path, live)
        execute(live, f"DELETE FROM postings WHERE seq > {seen}", f"DELETE FROM events WHERE seq > {seen}")
        with localcontext(MONEY_CONTEXT):
            assert list(watch.poll()) == []
        live.unlink()
    archive(path, archived)
    shutil.copy(path, live)
    shutil.copytree(folder_of(path), folder_of(live))
    with localcontext(MONEY_CONTEXT):
        assert list(watch.poll()) == []
    assert watch.last_seq == events


def test_a_change_after_an_archived_period_is_still_found(tmp_path, whole):
    path, _ = whole
    archive(path, CUT)
    execute(
        path,
        """UPDATE events SET body = replace(body, '"price":"', '"price":"1') WHERE kind = 'OrderReported' AND seq =
        (SELECT max(seq) FROM events WHERE kind = 'OrderReported' AND body LIKE '%fill_id%')""",
    )
    with localcontext(MONEY_CONTEXT):
        (first, *_) = LedgerWatch(path).poll()
    assert first.startswith("event ")


def test_a_missing_archive_breaks_the_accounting(whole):
    path, _ = whole
    archive(path, CUT)
    shutil.rmtree(folder_of(path))
    (why,) = LedgerWatch(path).poll()
    assert "missing: ledger.sqlite follows this archive" in why
