"""What is shown of ledger and portfolio when risk is there, gone, replaced, or done."""

import os
from types import SimpleNamespace

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.clock import ManualClock
from arbshard.ledger.record import LedgerRecord
from arbshard.model.notes import ChildNote, SupervisorNote, VenueNote
from arbshard.model.risk_note import (
    NO_NOTE,
    ApartNote,
    EquityNote,
    FailingNote,
    FxNote,
    NakedNote,
    PortfolioTally,
    StrayNote,
)
from arbshard.model.rundir import RunFiles
from arbshard.risk.counters import COUNTERS, HISTOGRAMS
from arbshard.shm.pages import PageWriter
from arbshard.status.collect import Collector

NOW_NS = 5_000_000_000
AT_MS = 1_795_000_000_000
AS_OF = "2026-11-18T11:06:40+00:00"
NOTE = replace(
    NO_NOTE, session=3, at_ms=AT_MS, portfolio=PortfolioTally(entries=4, open=2, exposure="1168000")
)


class Instance:
    """The pages of a run."""

    def __init__(self, folder) -> None:
        self.files = RunFiles(folder)
        self.folder = folder
        self.supervisor = PageWriter.create(
            self.files.supervisor_page,
            ("pid", "beat_ns", "errors", "messages", "bad_orders"),
            ("loop_gap", "loop_cpu"),
        )
        self.risk = None
        self.say("running", "running", os.getpid())

    def say(
        self, state: str, risk: str, pid: int, reason: str = "", beat_ns: int = NOW_NS, supervisor: int = 0
    ) -> None:
        note = SupervisorNote(
            name="t", mode="live", data="sim", state=state, pid=supervisor or os.getpid(), started_ms=1,
            state_dir=str(self.folder), shards=0, pairs=0,
            children=(ChildNote("risk", risk, pid, 1, 0, 0.0, reason),),
        )  # fmt: skip
        self.supervisor.write_note(msgspec.json.encode(note))
        self.supervisor.set(self.supervisor.counter("beat_ns"), beat_ns)

    def start_risk(self, note=None, **values: int) -> None:
        self.risk = PageWriter.create(self.files.risk_page, COUNTERS, HISTOGRAMS)
        if note is not None:
            self.risk.write_note(msgspec.json.encode(note))
        for name, value in ({"pid": os.getpid(), "ready": 1} | values).items():
            self.risk.set(self.risk.counter(name), value)

    def status(self):
        return Collector(self.folder, ManualClock(wall_ms=AT_MS + 9_000, monotonic_ns=NOW_NS)).collect()


@pytest.fixture
def instance(tmp_path):
    return Instance(tmp_path)


def test_what_risk_says_now_is_of_now(instance) -> None:
    instance.start_risk(NOTE)
    status = instance.status()
    assert status.as_of == ""
    assert status.portfolio.open == 2
    assert not [line for line in status.problems if "as of" in line]


@pytest.mark.parametrize(
    ("state", "pid"), [("restarting", 0), ("starting", 4711), ("ended", 0), ("quarantined", 0)]
)
def test_what_a_risk_that_is_gone_said_last_is_kept(instance, state, pid) -> None:
    instance.start_risk(NOTE)
    instance.say("running", state, pid, reason="database or disk is full")
    status = instance.status()
    assert status.state == "degraded"
    assert (status.portfolio.open, status.portfolio.exposure) == (2, "1168000")
    assert status.as_of == AS_OF
    assert f"portfolio, balances and positions are as of {AS_OF}" in status.problems
    assert f"risk is {state}: database or disk is full" in status.problems


def test_a_successor_that_is_not_ready_shows_what_was_last_known(instance) -> None:
    instance.start_risk(NOTE, ready=0)
    status = instance.status()
    assert status.portfolio.open == 2
    assert status.as_of == AS_OF


def test_a_dead_supervisor_has_no_risk_that_runs(instance) -> None:
    instance.start_risk(NOTE)
    instance.say("running", "running", os.getpid(), beat_ns=1, supervisor=2**22 + 1)  # above any pid of Linux
    status = instance.status()
    assert (status.state, status.as_of) == ("dead", AS_OF)


def test_the_last_word_of_a_closed_ledger_is_final(instance) -> None:
    instance.start_risk(NOTE, ready=0, closed=1)
    instance.say("ended", "ended", 0)
    assert instance.status().as_of == ""


def test_before_risk_has_said_anything(instance) -> None:
    status = instance.status()
    assert (status.as_of, status.ledger, status.portfolio.open) == ("", None, 0)


def test_the_ledger(instance, tmp_path) -> None:
    store = SimpleNamespace(tag="abcde", last_seq=12, began_ms=AT_MS)
    LedgerRecord.begin(instance.files.ledger_page, store, is_new=True).close()
    instance.start_risk(NOTE, disk_free_mb=85, disk_room=1, reserve_kept=1)
    status = instance.status()
    ledger = status.ledger
    assert (ledger.path, ledger.tag, ledger.last_seq) == (str(tmp_path / "ledger.sqlite"), "abcde", 12)
    assert (ledger.begun, ledger.is_new, ledger.is_there, ledger.is_closed) == (AS_OF, True, False, False)
    assert (ledger.disk_free_mb, ledger.reserve_kept) == (85, True)
    assert "85 MB are free on the ledger's disk" in status.problems
    (tmp_path / "ledger.sqlite").write_bytes(b"")
    instance.start_risk(NOTE, disk_room=2, closed=1)
    status = instance.status()
    assert status.ledger.is_there
    assert status.ledger.is_closed
    assert "0 MB are free on the ledger's disk; nothing is entered" in status.problems


@pytest.mark.parametrize(
    ("cause", "what_to_do"),
    [
        ("stuck", "'arbshard close BTC --name t' closes it at the prices of now"),
        ("exits_fail", "'arbshard close BTC --name t' closes it"),
        ("bad_report", "compare the ledger with the venue, then 'arbshard resume BTC --name t'"),
        ("position_loss", "'arbshard close BTC --name t' closes it"),
        ("no_reversion", "whether the coin can be moved, then 'arbshard resume BTC --name t'"),
    ],
)
def test_a_pair_set_apart_is_a_problem_that_says_what_to_do(instance, cause, what_to_do) -> None:
    instance.start_risk(replace(NOTE, apart={"BTC": ApartNote(AT_MS, cause, "no venue takes the hedge")}))
    status = instance.status()
    assert status.state == "degraded"
    (line,) = (line for line in status.problems if "apart" in line)
    assert line.startswith(f"BTC is set apart since {AS_OF} ({cause}): no venue takes the hedge; ")
    assert what_to_do in line


def test_a_doubted_fx_rate_is_a_problem_with_both_figures(instance) -> None:
    doubt = "the FX book is at 1428, and by the median of 10 coins the rate is 1400"
    instance.start_risk(replace(NOTE, fx=FxNote(rate=1428.0, doubt=doubt, since_ms=AT_MS)))
    status = instance.status()
    assert status.state == "degraded"
    (line,) = (line for line in status.problems if "FX" in line)
    assert line.startswith(f"the FX rate is in doubt since {AS_OF}: {doubt}; no pair is entered until")


def test_a_pair_that_could_not_be_left_is_a_problem(instance) -> None:
    failing = FailingNote(3, "2514", "home", "upbit: insufficient_funds_ask: too little")
    instance.start_risk(replace(NOTE, failing={"BTC": failing}))
    status = instance.status()
    assert status.state == "degraded"
    (line,) = (line for line in status.problems if "left" in line)
    assert line.startswith(
        "BTC could not be left, 3 times in a row (upbit: insufficient_funds_ask: too little), which cost 2514: "
    )
    assert "its home leg goes first" in line
    assert "arbshard close BTC" in line


def test_what_orders_under_way_cause_is_named_apart(instance):
    """It is degraded meanwhile, and a run that ends so is judged by what is left of it."""
    naked = EquityNote(naked="392251", naked_by=(NakedNote("p1", "ETC", "20", "392251", "400000"),))
    unknown = StrayNote("upbit", "s1-0-1-9-a0", "KRW-ETC", "ETC", AT_MS)
    instance.start_risk(replace(NOTE, equity=naked, unknown=(unknown,), broken="balances do not add up"))
    status = instance.status()
    assert status.passing == (
        "392,251 are bought or sold on one venue alone (ETC)",
        "order s1-0-1-9-a0 on upbit KRW-ETC: its state at the venue is not known; ETC enters nothing meanwhile",
    )
    assert set(status.passing) < set(status.problems)
    assert [cause.text for cause in status.causes] == list(status.problems)
    assert {(cause.kind, cause.subject) for cause in status.causes} >= {
        ("ledger", ""), ("naked", ""), ("unknown_order", "upbit s1-0-1-9-a0"),
    }  # fmt: skip
    assert "accounting break: balances do not add up" in status.problems


class TestWithoutSupervisor:
    """A supervisor that was killed: no shard runs, and no pid is shown of a process that does not exist."""

    NOBODY = 2**22 - 1

    def test_nothing_is_shown_as_running(self, instance):
        note = SupervisorNote(
            name="t", mode="live", data="sim", state="running", pid=self.NOBODY, started_ms=1,
            state_dir=str(instance.folder), shards=2, pairs=0, spares=("ready",), spares_wanted=1,
            venues=(VenueNote("upbit", "connected", 1, 1, 1, 1.0, 0, 0),),
            children=(
                ChildNote("risk", "running", self.NOBODY, 1, 0),
                ChildNote("worker-0", "running", self.NOBODY, 1, 0),
                ChildNote("worker-1", "running", os.getpid(), 1, 0),
            ),
        )  # fmt: skip
        instance.supervisor.write_note(msgspec.json.encode(note))
        instance.supervisor.set(instance.supervisor.counter("beat_ns"), NOW_NS - 4_000_000_000)
        instance.start_risk(NOTE)
        status = instance.status()
        assert (status.state, status.exit_code, status.pid) == ("dead", 2, None)
        assert [(shard.state, shard.pid) for shard in status.shards] == [
            ("ended", None),
            ("ending", os.getpid()),
        ]
        assert (status.risk.state, status.risk.pid) == ("ended", None)
        assert status.spares == ()
        assert [venue.state for venue in status.venues] == ["down"]
        assert status.problems[0] == "the supervisor vanished 4 s ago: the run was cut off"


def test_a_child_that_does_not_run_has_no_pid(instance):
    instance.say("running", "restarting", 0)
    assert instance.status().risk.pid is None


def test_an_orderly_stop_is_no_problem(instance):
    instance.start_risk(NOTE, closed=1)
    instance.say("draining", "ended", 0)
    status = instance.status()
    assert status.state == "draining"
    assert not any("risk is" in line for line in status.problems)
    instance.say("running", "ended", 0)
    assert any("risk is ended" in line for line in instance.status().problems)
