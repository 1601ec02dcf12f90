"""What the reader puts on the board: of an instance that is not there, comes, changes its pairs, and goes."""

import json
import os

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.alerts.store import FILE
from arbshard.clock import ManualClock
from arbshard.config import Config
from arbshard.config.limits import LimitsConfig
from arbshard.errors import UsageError
from arbshard.model.notes import SupervisorNote
from arbshard.model.risk_note import NO_NOTE, BarNote, EntryNote
from arbshard.model.rundir import RunFiles
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.shm.books import BooksWriter
from arbshard.shm.pages import PageWriter
from arbshard.web import reading
from arbshard.web.reading import DeskReader
from arbshard.wire.messages import Halt
from support import world as w


class Run:
    """The pages of a run, and a reader of them."""

    def __init__(self, folder) -> None:
        self.files = RunFiles(folder / "run")
        self.files.dir.mkdir()
        self.folder = folder
        self.clock = ManualClock(wall_ms=w.NOW_MS, monotonic_ns=10_000_000_000)
        self.reader = DeskReader("t", lambda: self.files.dir, self.clock)
        self.shown: dict[str, dict] = {"sections": {}, "rows": {}}
        self._seen = 0

    def begin(self, *bases: str, limits: LimitsConfig = LimitsConfig()) -> None:  # noqa: B008 - it cannot be changed
        self.files.config.write_bytes(msgspec.json.encode(Config(limits=limits)))
        self.page = PageWriter.create(
            self.files.supervisor_page,
            ("pid", "beat_ns", "errors", "messages", "bad_orders"),
            ("loop_gap", "loop_cpu"),
        )
        self.say()
        self.books = BooksWriter.create(self.files.books, 16, epoch=1)
        self.publish(*bases)

    def say(self, **changes) -> None:
        note = SupervisorNote(
            name="t", mode="paper", data="sim", state="running", pid=os.getpid(), started_ms=w.NOW_MS,
            state_dir=str(self.folder), shards=0, pairs=0,
        )  # fmt: skip
        self.page.write_note(msgspec.json.encode(replace(note, **changes)))
        self.page.set(self.page.counter("beat_ns"), self.clock.monotonic_ns())

    def risk(self, **changes) -> None:
        page = PageWriter.create(self.files.risk_page, COUNTERS, HISTOGRAMS)
        page.write_note(msgspec.json.encode(replace(NO_NOTE, **changes)))
        page.close()

    def publish(self, *bases: str) -> None:
        unfinished = self.files.dir / "new"
        unfinished.write_bytes(msgspec.json.encode(w.make_universe(*bases)))
        unfinished.replace(self.files.universe)

    def look(self) -> dict:
        """Read, and return the head as a browser has it then."""
        self.clock.advance_ms(2_500)
        if hasattr(self, "page"):
            self.page.set(self.page.counter("beat_ns"), self.clock.monotonic_ns())
        self.reader.read()
        news = self.reader.board.changes(self._seen)
        self._seen = self.reader.board.version
        if news is not None:
            changes = json.loads(news)
            self.shown["sections"].update(changes["sections"])
            for base in changes["gone"]:
                self.shown["rows"].pop(base, None)
            self.shown["rows"].update({row["base"]: row for row in changes["rows"]})
        return self.shown["sections"]["head"]


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_an_instance_that_is_not_there_is_waited_for(run):
    assert run.look()["sentence"] == "t is not running"
    with pytest.raises(UsageError, match="t is not running"):
        _ = run.reader.files
    run.begin("BTC", "ETH")
    head = run.look()
    assert (head["mode"], head["name"]) == ("SIMULATED", "t")
    assert run.reader.files is not None
    assert set(run.shown["rows"]) == {"BTC", "ETH"}


def test_it_is_not_sought_at_every_look(run):
    sought = []
    run.reader = DeskReader("t", lambda: sought.append(1) or run.files.dir, run.clock)
    for _ in range(5):
        run.reader.read()
    assert len(sought) == 1


def test_pairs_that_come_and_go_are_rows_that_come_and_go(run):
    run.begin("BTC", "ETH")
    run.look()
    run.publish("ETH", "XRP")
    run.look()
    assert set(run.shown["rows"]) == {"ETH", "XRP"}


def test_a_row_says_what_bars_its_pair(run):
    run.begin("BTC")
    run.risk(entries={"BTC": EntryNote(bars=(BarNote("", "MARKET_WARNED", "a warning"),))}, under_way=())
    run.look()
    # Its books come first: there are none.
    assert run.shown["rows"]["BTC"]["why"].endswith("(BOOK_MISSING)")
    assert run.reader.note.entries["BTC"].bars[0].detail == "a warning"


def test_a_new_run_brings_its_configuration(run):
    run.begin("BTC")
    run.look()
    assert run.reader.config.limits.portfolio_positions_max == 200
    run.files.config.unlink()
    run.begin("BTC", limits=LimitsConfig(portfolio_positions_max=7))
    run.look()
    bars = {bar["key"]: bar["limit"] for bar in run.shown["sections"]["money"]["bars"]}
    assert bars["portfolio_positions_max"] == "7"


def test_a_damaged_page_is_said_and_counted_and_read_again(run):
    run.begin("BTC")
    run.look()
    run.page.write_note(b"nonsense")
    assert "its pages cannot be read" in run.look()["sentence"]
    assert run.reader.failures == 1
    run.say()
    assert run.look()["state"] != "not running"


def test_a_run_that_takes_its_files_away_is_not_running(run):
    run.begin("BTC")
    run.look()
    for path in run.files.dir.iterdir():
        path.unlink()
    assert run.look()["sentence"] == "t is not running"


def test_a_pair_that_is_opened_has_its_detail_and_refusals_of_the_ledger(run):
    world = w.World()
    world.tell(Halt("lunch", flatten=False))
    for base in ("BTC", "ETH"):
        world.submit(world.entry(base))
    world.write_ledger(run.folder / "ledger.sqlite")
    run.begin("BTC", "ETH")
    run.reader.opened = frozenset({"BTC"})
    run.look()
    detail = run.shown["sections"]["detail BTC"]
    assert (detail["base"], detail["home_venue"]) == ("BTC", "upbit")
    assert [(one["reason"], one["detail"]) for one in detail["refused"]] == [("HALTED", "lunch")]
    assert run.reader.gaps_of("BTC") == []
    assert run.reader.gaps_of("XRP") == []
    run.reader.opened = frozenset()
    run.look()
    assert "detail BTC" not in json.loads(run.reader.board.changes(0))["sections"]


def test_a_file_of_alerts_that_cannot_be_read_is_counted(run):
    run.begin("BTC")
    (run.folder / FILE).write_bytes(b"this is no database, whatever its name says" * 50)
    run.look()
    assert run.shown["sections"]["events"]["kept"] == []
    assert run.reader.failures == 1


def test_the_gaps_of_so_many_pairs_only_are_followed(run, monkeypatch):
    monkeypatch.setattr(reading, "_GAPS_PAIRS_MAX", 2)
    run.begin("BTC", "ETH", "XRP")
    run.look()
    for base in ("BTC", "ETH", "BTC", "XRP"):
        run.reader.gaps_of(base)
    assert list(run.reader._gaps) == ["ETH", "XRP"]
