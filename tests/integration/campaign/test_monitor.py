"""Each rule of the monitor over a real run in which its anomaly is made, with the monitor in its own process."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import msgspec
import psutil
import pytest

from arbshard.campaign.file import (
    BlockedRule,
    CampaignFile,
    DiskRule,
    GrowthRule,
    LatencyRule,
    NakedRule,
    NoEdgeRule,
    NoEntryRule,
    OldPositionRule,
    RulesConfig,
    SilentMarketRule,
    StaleMarketRule,
    UnknownOrderRule,
)
from arbshard.campaign.monitor import read_watch
from arbshard.campaign.observe import LedgerWatch
from support.effort import IS_NIGHTLY
from support.instance import NO_LIMITS, Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

LEAK = GrowthRule(per_hour=100.0, rise=3.0, after_s=2.0, warm_up_s=1.0)
RULES = RulesConfig(
    no_entry=NoEntryRule(after_s=2.0),
    no_edge=NoEdgeRule(after_s=2.0),
    blocked=BlockedRule(after_s=2.0),
    stale_market=StaleMarketRule(age_ms=1500.0, after_s=0.3),
    silent_market=SilentMarketRule(after_s=0.5),
    old_position=OldPositionRule(margin_s=0.0),
    naked=NakedRule(after_s=0.0),
    unknown_order=UnknownOrderRule(after_s=0.0),
    memory=LEAK,
    descriptors=LEAK,
    latency=LatencyRule(factor=3.0, rise_us=500.0, after_s=3.0),
    disk=DiskRule(free_mb=1e9),
)
ALWAYS_AN_EDGE = """
[strategy]
entry_bps = -60.0
min_edge_bps = -90.0
round_trip_bps = -300.0
stop_room_bps = 0.0
stop_loss_bps = 400.0
max_hold_s = 0.5
cooldown_ms = 50.0
take_profit_bps = 400.0
"""
PAPER_RUN = f"""
[run]
shards = 2
[sim]
coins = 6
seed = 11
updates_per_s = 10.0
[paper]
latency_ms = 200.0
reject_share = 0.3
refusals_per_day = 0.0
unknown_share = 0.0
late_fill_share = 0.0
{ALWAYS_AN_EDGE}
[execution]
exit_cost_bps_max = 1000.0
approval_expiry_ms = 2000.0
{NO_LIMITS}
"""
LIVE_RUN = f"""mode = "live"
[run]
shards = 1
[sim]
coins = 3
seed = 11
[live]
reconcile_every_s = 1.0
warm_every_s = 5.0
{ALWAYS_AN_EDGE}
{NO_LIMITS}
"""


class Watched:
    """A run with a monitor beside it."""

    def __init__(self, run: Instance) -> None:
        self.run = run
        self.out = run.folder / "watch.json"
        campaign = CampaignFile(
            name="t", about="x", duration_s=60.0, symbols=("BTC",), sample_s=0.1, rules=RULES,
            config={"strategy": {"max_hold_s": 0.5}, "baseline": {"is_required": False}},
        )  # fmt: skip
        file = run.folder / "campaign.json"
        file.write_bytes(msgspec.json.encode(campaign))
        end_ms = int(time.time() * 1000) + 60_000
        command = [sys.executable, "-m", "arbshard.campaign", "--campaign", str(file)]
        command += ["--run-dir", str(run.files.dir), "--state-dir", str(run.state), "--out", str(self.out)]
        command += ["--end-ms", str(end_ms), "--parent-pid", str(os.getpid())]
        self.monitor = subprocess.Popen(command, stderr=subprocess.PIPE)

    def found(self) -> set[str]:
        assert self.monitor.poll() is None, self.monitor.stderr.read()
        return {one.rule for one in read_watch(self.out).anomalies}

    def until(self, *rules: str) -> None:
        self.run.wait_for(lambda: self.found() >= set(rules), 60.0, self.found)

    def end(self) -> None:
        if self.monitor.poll() is None:
            self.monitor.terminate()
        try:
            _, errors = self.monitor.communicate(timeout=30)
        finally:
            self.monitor.kill()
        assert (self.monitor.returncode, errors) == (0, b"")


def stutter(pid: int, ended: threading.Event) -> None:
    """Stop a process for a moment, again and again."""
    with contextlib.suppress(ProcessLookupError):
        while not ended.wait(0.05):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.1)
            os.kill(pid, signal.SIGCONT)


def break_slowly(run: Instance, watched: Watched) -> None:
    """What takes seconds to be seen."""
    watched.until("memory", "descriptors")
    ended = threading.Event()
    stuttering = threading.Thread(target=stutter, args=(run.pid_of("worker-1"), ended))
    stuttering.start()
    try:
        watched.until("latency")
    finally:
        ended.set()
        stuttering.join()


SLOW = ("memory", "descriptors", "latency")
"""Rules of ``break_slowly``; tests/campaign/test_rules.py has all of them without processes."""


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """A run on paper in which one thing after the other goes wrong; its anomalies by rule, and its ledger."""
    folder = tmp_path_factory.mktemp("paper")
    with Instance(folder, PAPER_RUN, program=("-m", "support.leaking_run", "run")) as run:
        run.env["PYTHONPATH"] = os.pathsep.join(sys.path)
        run.start()
        run.until_running()
        watched = Watched(run)
        try:
            watched.until("naked", "old_position", "disk", "errors")
            run.until_replaced("worker-0", run.kill("worker-0"))
            watched.until("restart")
            run.do("limits", "set", "daily_loss_max=1")
            watched.until("no_entry", "blocked")
            if IS_NIGHTLY:
                break_slowly(run, watched)
            run.set_faults("upbit", {"set": {"quiet_book": {"share": 1.0, "every_s": 60.0}}})
            watched.until("stale_market")
            run.set_faults("binance", {"set": {"maintenance": {"share": 1.0}}})
            watched.until("silent_market", "no_edge")
        finally:
            if psutil.pid_exists(run.pid):
                run.stop()
            watched.end()
        yield {one.rule: one for one in read_watch(watched.out).anomalies}, run.ledger


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A run with orders at the embedded exchanges, one of which loses orders and then money."""
    folder = tmp_path_factory.mktemp("live")
    with Instance(folder, LIVE_RUN, arguments=("--live",)) as run:
        run.start()
        run.until_running()
        watched = Watched(run)
        try:
            run.set_faults("upbit", {"set": {"lost_request": {"share": 1.0, "calls": "placing"}}})
            watched.until("unknown_order")
            run.set_faults("upbit", {"once": {"hand_transfer": {"currency": "KRW", "part": -0.5}}})
            watched.until("difference")
        finally:
            run.close()
            watched.end()
        yield {one.rule: one for one in read_watch(watched.out).anomalies}


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        pytest.param(rule, says, marks=pytest.mark.nightly if rule in SLOW else ())
        for rule, says in (
            ("no_entry", "nothing was entered for 2 s although"),
            ("no_edge", "no evaluation found an edge"),
            ("blocked", "DAILY_LOSS has refused all the time for 2 s"),
            ("errors", "made by the test: on purpose"),
            ("stale_market", "the oldest book of upbit is"),
            ("silent_market", "binance"),
            ("restart", "a process was started again, 1 so far"),
            ("old_position", "is open for"),
            ("naked", "are bought or sold on one venue alone"),
            ("memory", "memory of all processes: rise by"),
            ("descriptors", "open descriptors: rise by"),
            ("latency", "in the first tenth"),
            ("disk", "are free on the disk of the state directory"),
        )
    ],
)
def test_a_rule_finds_what_goes_wrong_on_paper(paper, rule, says):
    one = paper[0][rule]
    assert says in one.text
    assert one.severity == getattr(RULES, rule).severity
    assert (one.log is not None) == (rule == "errors")


@pytest.mark.parametrize(
    ("rule", "says"), [("unknown_order", "is unknown for"), ("difference", "upbit KRW: the venue says")]
)
def test_a_rule_finds_what_goes_wrong_at_a_venue(live, rule, says):
    assert says in live[rule].text


def test_a_changed_fill_breaks_the_accounting(paper, tmp_path):
    ledger = tmp_path / "ledger.sqlite"
    shutil.copy(paper[1], ledger)
    assert list(LedgerWatch(ledger).poll()) == []
    with contextlib.closing(sqlite3.connect(ledger)) as file, file:
        seq, body = file.execute(
            "SELECT seq, body FROM events WHERE kind = 'OrderReported' AND body LIKE '%\"price\"%' LIMIT 1"
        ).fetchone()
        file.execute("DROP TRIGGER IF EXISTS events_update")
        file.execute(
            "UPDATE events SET body = ? WHERE seq = ?", (body.replace('"price":"', '"price":"1'), seq)
        )
    assert any(f"event {seq}" in text for text in LedgerWatch(ledger).poll())
