"""The process without its loop: what a look at made pages keeps and sends, also when the disk is full."""

import os

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.alerts.main import AlertsProcess, _at_ms
from arbshard.alerts.store import FILE, AlertsReader, AlertStore
from arbshard.clock import ManualClock
from arbshard.config import AlertLevels, AlertsConfig, Config, load_config
from arbshard.errors import ConfigError, SharedMemoryError
from arbshard.model.notes import ChildNote, SupervisorNote
from arbshard.model.risk_note import NO_NOTE, DayNote, HaltNote
from arbshard.model.rundir import RunFiles
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.shm.pages import PageWriter

pytestmark = [
    pytest.mark.needs("alerts"),
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]
AT_MS = 1_795_000_000_000  # 11:06:40 UTC
HALT = HaltNote(AT_MS, "operator", "lunch")


class Look:
    """Made pages, and the process that looks at them."""

    def __init__(self, folder, monkeypatch):
        monkeypatch.setenv("PHONE", "json://127.0.0.1:9/x")
        self.folder = folder
        self.files = RunFiles(folder)
        self.clock = ManualClock(wall_ms=AT_MS, monotonic_ns=10**12)
        names = ("pid", "beat_ns", "errors", "messages", "bad_orders")
        self.supervisor = PageWriter.create(self.files.supervisor_page, names, ("loop_gap", "loop_cpu"))
        self.risk = PageWriter.create(self.files.risk_page, COUNTERS, HISTOGRAMS)
        for name, value in {"pid": os.getpid(), "ready": 1}.items():
            self.risk.set(self.risk.counter(name), value)
        self.note = replace(NO_NOTE, session=1)
        self.own = SupervisorNote(
            name="t", mode="paper", data="sim", state="running", pid=os.getpid(), started_ms=AT_MS - 1000,
            state_dir=str(folder), shards=0, pairs=0, children=(ChildNote("risk", "running", os.getpid(), 1, 0),),
        )  # fmt: skip
        self.config = Config(name="t", alerts=AlertsConfig(targets={"phone": "env:PHONE"}))
        self.begin()

    def begin(self):
        self.store = AlertStore(self.folder / FILE, ["phone"])
        self.process = AlertsProcess(self.config, self.files, self.store, self.clock)

    def check(self, after_s=1.0, **options):
        self.clock.advance_ms(after_s * 1000)
        self.risk.write_note(msgspec.json.encode(self.note))
        self.supervisor.write_note(msgspec.json.encode(self.own))
        self.supervisor.set(self.supervisor.counter("beat_ns"), self.clock.monotonic_ns())
        self.process.check(**options)

    def titles(self, store=None):
        return [one.title.partition(": ")[2] for one in (store or self.process._store).due("phone", 100)]


@pytest.fixture
def look(tmp_path, monkeypatch):
    return Look(tmp_path, monkeypatch)


def test_a_halt_is_kept_with_its_message(look):
    look.check()
    assert look.titles() == []
    look.note = replace(look.note, halt=HALT)
    look.check()
    assert look.titles() == ["HALT"]
    look.check(after_s=60)
    assert look.titles() == ["HALT"]


def test_alerts_of_the_supervisor_are_kept_by_their_number_also_over_a_kill(look):
    look.own = replace(look.own, alerts=("11:06:39 first thing", "11:06:40 second thing"), alerts_total=2)
    look.check()
    look.check()
    assert look.titles() == ["event", "event"]
    look.begin()  # the one before was killed
    alerts = (*look.own.alerts, "11:06:41 a third thing")
    look.own = replace(look.own, alerts=alerts, alerts_total=3)
    look.check()
    assert look.titles() == ["event"] * 3
    look.own = replace(look.own, alerts=("11:07:00 of the next run",), alerts_total=1, started_ms=AT_MS)
    look.check()
    assert look.titles() == ["event"] * 4


def test_alerts_that_came_too_fast_are_counted_in_one_of_their_own(look):
    look.own = replace(look.own, alerts=("11:06:39 one", "11:06:40 two"), alerts_total=40)
    look.check()
    look.check()
    bodies = [one.body for one in look.store.due("phone", 9)]
    assert len(bodies) == 3
    assert bodies[0].startswith("38 alerts of the supervisor came too fast to be kept")


def test_a_run_that_cannot_be_looked_at_is_not_well_and_the_chat_says_so(look, monkeypatch):
    look.check()
    assert look.process._is_well()

    def fail():
        raise SharedMemoryError("its writer died inside a write")

    monkeypatch.setattr(look.process._collector, "collect", fail)
    look.check()
    assert not look.process._is_well()
    for answer in (look.process.show("status"), look.process.explain("BTC")):
        assert "its writer died inside a write" in answer


def test_the_digest_of_a_day_comes_when_the_next_one_begins_also_over_a_restart(look):
    look.note = replace(look.note, day=DayNote("2026-11-17", exits=3))
    look.check()
    assert look.titles() == []
    look.begin()
    look.note = replace(
        look.note, day=DayNote("2026-11-18"), days=(DayNote("2026-11-17", exits=4, pnl="1234"),)
    )
    look.check()
    look.check()
    (message,) = look.store.due("phone", 9)
    assert message.title == "arbshard t: day 2026-11-17"
    assert "+1,234 by 4 exits" in message.body


@pytest.mark.parametrize(("state", "titles"), [("draining", ["run ended"]), ("running", [])])
def test_the_digest_of_a_session_comes_at_the_end_of_the_run_only(look, state, titles):
    look.own = replace(look.own, state=state)
    look.check(is_last=True)
    assert look.titles() == titles


@pytest.mark.parametrize("level", ["silent", "off"])
def test_levels_of_digests(look, level):
    look.config = replace(
        look.config, alerts=replace(look.config.alerts, levels=AlertLevels(digest_session=level))
    )
    look.begin()
    look.own = replace(look.own, state="draining")
    look.check(is_last=True)
    assert look.titles() == []
    with AlertsReader(look.folder / FILE) as reader:
        assert len(reader.records(9)) == (level == "silent")


def test_on_a_full_disk_messages_go_out_from_memory_and_are_written_later(look):
    look.note = replace(look.note, halt=HALT)
    look.check()
    file = look.store
    (pages,) = file._db.execute("PRAGMA page_count").fetchone()
    file._db.execute(f"PRAGMA max_page_count = {pages}")
    look.own = replace(
        look.own, alerts=tuple(f"11:06:40 {chr(n)} {'x' * 900}" for n in range(65, 90)), alerts_total=25
    )
    look.check()
    memory = look.process._store
    assert memory is not file
    assert look.titles()[:2] == ["HALT", "event"]
    assert len(look.titles()) == 26
    memory.mark_delivered("phone", [one.id for one in memory.due("phone", 100)], AT_MS)
    look.check()
    assert look.process._store is memory
    file._db.execute("PRAGMA max_page_count = 100000")
    look.check(after_s=61)
    assert look.process._store is file
    assert file.outbox() == 0
    with AlertsReader(look.folder / FILE) as reader:
        assert len(reader.records(100)) == 26
    look.own = replace(look.own, alerts=("11:08:00 another",), alerts_total=26)
    look.check()
    assert look.titles() == ["event"]


def test_a_time_of_day_is_of_today_or_of_yesterday():
    assert _at_ms("11:06:39", AT_MS) == AT_MS - 1000
    assert _at_ms("23:59:59", AT_MS) == AT_MS - 40_001_000
    assert _at_ms("nonsense", AT_MS) == AT_MS


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('targets = { phone = "tgram://SECRET/1" }', "must say where the secret is"),
        ('targets = { "My phone" = "env:X" }', "must be 1 to 32 characters"),
        ('heartbeat = "https://hc/SECRET"', "alerts.heartbeat: must say where the secret is"),
        ('levels = { halt = "loud" }', "one of off, silent, on"),
        ('levels = { hlt = "on" }', "unknown key 'alerts.levels.hlt'"),
        ('telegram = { token = "123:SECRET" }', "alerts.telegram.token: must say where the secret is"),
        ('telegram = { api = "api.telegram.org" }', "must be an address such as"),
        ("limit_share = 1.5", "alerts.limit_share"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_line_without_the_secret(tmp_path, text, problem):
    file = tmp_path / "c.toml"
    file.write_text(f"[alerts]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert problem in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)
