"""Which ledger a run may begin with, and what people are told about it."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.ledger.record import LedgerRecord
from arbshard.model.risk_note import NO_NOTE, PositionNote
from arbshard.model.rundir import RunFiles
from arbshard.risk.counters import COUNTERS
from arbshard.shm.pages import PageWriter
from supervisor.ledger import LedgerAlerts, describe_open, opening_of
from supervisor.processes.specs import ChildSpecs, Programs


@pytest.mark.parametrize(
    ("mode", "data", "is_new", "opening"),
    [
        ("live", "public", False, "existing"),
        ("live", "public", True, "new"),
        ("live", "sim", False, "any"),
        ("live", "sim", True, "new"),
        ("paper", "public", False, "any"),
        ("paper", "sim", False, "any"),
        ("paper", "sim", True, "new"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_only_real_accounts_demand_to_be_told(mode, data, is_new, opening, dry_run) -> None:
    config = Config()
    config = replace(config, mode=mode, data=data, live=replace(config.live, dry_run=dry_run))
    assert opening_of(config, is_new=is_new) == opening


def test_only_the_first_risk_of_a_run_may_begin_a_ledger(tmp_path) -> None:
    command = ChildSpecs(Programs(), RunFiles(tmp_path), tmp_path, "new").risk().command
    assert command(1)[-2:] == ["--ledger", "new"]
    assert command(2)[-2:] == ["--ledger", "same"]


class Pages:
    """Risk's page and the run's record as risk would write them."""

    def __init__(self, folder, mode: str) -> None:
        self.files = RunFiles(folder)
        self.told: list[str] = []
        self.alerts = LedgerAlerts(self.files, folder, Config(mode=mode), self.told.append)
        self.page: PageWriter | None = None
        self.pid = 0

    def start_risk(self, pid: int) -> None:
        self.page = PageWriter.create(self.files.risk_page, COUNTERS, note_bytes=0)
        self.pid = pid
        self.show(pid=pid)

    def show(self, **values: int) -> None:
        for name, value in values.items():
            self.page.set(self.page.counter(name), value)

    def note_ledger(self, *, is_new: bool) -> None:
        store = SimpleNamespace(tag="abcde", last_seq=1, began_ms=5)
        LedgerRecord.begin(self.files.ledger_page, store, is_new=is_new).close()

    def look(self) -> list[str]:
        """What is told by a look, and by a second one: nothing is told twice."""
        self.told.clear()
        self.alerts.poll(self.pid)
        self.alerts.poll(self.pid)
        return list(self.told)


@pytest.fixture
def pages(tmp_path):
    return Pages(tmp_path, "live")


def test_a_new_ledger_is_told_once_and_live_only(pages, tmp_path) -> None:
    assert pages.look() == []
    pages.note_ledger(is_new=True)
    assert pages.look() == [
        f"new ledger: {tmp_path / 'ledger.sqlite'} begins with this run and knows nothing from before"
    ]
    paper = Pages(tmp_path, "paper")
    assert paper.look() == []
    pages.note_ledger(is_new=False)
    assert Pages(tmp_path, "live").look() == []


def test_every_change_of_room_is_told(pages) -> None:
    pages.start_risk(7)
    pages.show(disk_room=1, disk_free_mb=99)
    assert pages.look() == []  # what a page says before risk is ready is not said by risk
    pages.show(ready=1)
    assert pages.look() == ["the ledger's disk is filling up: 99 MB are free (run.disk_free_min_mb)"]
    pages.show(disk_room=2, disk_free_mb=12)
    assert pages.look() == [
        "the ledger's disk is nearly full: 12 MB are free; nothing is entered until there is more room"
    ]
    pages.show(disk_room=0, disk_free_mb=999)
    assert pages.look() == ["the ledger's disk has room again: 999 MB are free"]


def test_each_use_of_the_reserve_is_told(pages) -> None:
    pages.start_risk(7)
    pages.show(reserve_used=1)
    used = "the ledger's disk was full: the reserve beside the ledger was given up to go on writing"
    assert pages.look() == [used]
    pages.show(reserve_used=2)
    assert pages.look() == [used]
    pages.start_risk(8)
    assert pages.look() == []
    pages.show(reserve_used=1)
    assert pages.look() == [used]


def test_what_was_open() -> None:
    assert describe_open(NO_NOTE) == "nothing was open by its last report"
    held = PositionNote("s1-0-1-4", "BTC", "buy_home", "1", "1", "1", "1", 1, 0, None, None)
    assert describe_open(replace(NO_NOTE, positions=(held,), open_intents=2)) == (
        "by its last report 1 positions were open (BTC s1-0-1-4) and 2 intents under way; "
        "a start with the right ledger takes them over"
    )
