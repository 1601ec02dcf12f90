"""Whole campaigns over real processes: one that passes, one for each way to fail, and runs that are stopped."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from arbshard.campaign.campaign import Campaign, CampaignResult
from arbshard.campaign.file import load_campaign
from arbshard.errors import UsageError
from supervisor.places import find_run_dir, running_pid
from support.instance import NO_LIMITS
from support.paper import KIND_PAPER

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

_KIND = "".join(f"{key} = {value}\n" for key, value in KIND_PAPER.items())
KEEPING = ("-m", "support.tampered_run")
"""Brings the ledger of ``passed`` instead of running, and lasts as long as it should."""
BROKEN = ("-m", "support.broken_run", "run")


def text_of(name: str, more: str = "", *, entry_bps: float = -60.0) -> str:
    """A campaign of a few seconds that trades all the time."""
    config = NO_LIMITS.replace("[limits]", "[config.limits]")
    return f"""
name = "{name}"
about = "a test"
duration_s = 5.0
symbols = ["BTC", "ETH", "SOL", "XRP", "DOGE", "ADA"]
shards = 2
attempts_max = 2
rerun_min_s = 1.0
disk_free_min_mb = 1.0
sample_s = 0.2
{more}
[config.sim]
coins = 8
seed = 11
updates_per_s = 10.0
[config.strategy]
entry_bps = {entry_bps}
min_edge_bps = -90.0
round_trip_bps = -300.0
stop_room_bps = 0.0
stop_loss_bps = 400.0
max_hold_s = 0.5
cooldown_ms = 50.0
rearm_pause_max_s = 0.0
no_reversion_exits = 0
[config.baseline]
is_required = false
[config.paper]
{_KIND}{config}
[rules.disk]
free_mb = 1.0
"""


class Desk:
    """Runs campaigns in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "campaigns"

    def file(self, text: str) -> Path:
        path = self.folder / "campaign.toml"
        path.write_text(text)
        return path

    def run(self, text: str, program: tuple[str, ...] = ("-m", "arbshard", "run")) -> CampaignResult:
        campaign = load_campaign(self.file(text))
        return Campaign(campaign, self.root, find_run_dir, running_pid, program).run()


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARBSHARD_RUN_ROOT", str(folder / "run"))
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield Desk(folder)


@pytest.fixture(scope="module")
def passed(desk):
    return desk.run(text_of("good"))


def failed(result: CampaignResult) -> set[str]:
    return {check.name for check in result.verdict.checks if not check.passed}


def test_a_campaign_passes_and_keeps_all_that_it_rests_on(passed):
    assert (passed.verdict.outcome, failed(passed)) == ("passed", set()), passed.verdict.reasons
    facts = passed.facts
    assert facts.entries == facts.exits > 5
    assert facts.measured
    folder = Path(passed.attempts[0].folder)
    assert folder.name == "attempt-1"
    for name in (
        "campaign.json",
        "config.toml",
        "versions.json",
        "watch.json",
        "summary.json",
        "ledger.sqlite",
    ):
        assert (folder / name).stat().st_size, name
    assert passed.ran_s >= 5.0
    kept = msgspec.json.decode((Path(passed.folder) / "verdict.json").read_bytes(), type=CampaignResult)
    assert kept.verdict == passed.verdict


@pytest.mark.nightly  # tests/campaign/test_verdict.py judges the same facts
def test_no_trades_fail(desk):
    result = desk.run(text_of("none", entry_bps=490.0).replace("duration_s = 5.0", "duration_s = 2.0"))
    assert failed(result) == {"trades"}
    assert result.line().startswith("campaign none: failed: 0 positions were opened, 1 are wanted")


@pytest.mark.nightly  # tests/campaign/test_verdict.py judges the same facts
@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("as_decided", {"arrival"}),
        ("too_good", {"losses", "edges"}),
        ("entries_only", {"exits", "end"}),
    ],
)
def test_a_broken_paper_venue_fails(desk, monkeypatch, kind, wanted):
    monkeypatch.setenv("BROKEN_PAPER", kind)
    more = "[config.run]\nstop_timeout_s = 1.0\n"
    result = desk.run(text_of(kind.replace("_", "-"), more), BROKEN)
    assert failed(result) == wanted, result.verdict
    assert result.facts.entries >= 5


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("", set()),
        ('"fee":"=>"fee":"1', {"attempts", "ledger_verified"}),
        ('"fee":"=>"fee":"NaN","x":"', {"attempts", "ledger_verified", "finite"}),
        ('"price"=>"prize"', {"attempts", "ledger_readable", "trades"}),
    ],
)
def test_a_ledger_that_was_changed_fails(desk, passed, monkeypatch, change, wanted):
    monkeypatch.setenv("LEDGER", str(Path(passed.attempts[0].folder) / "ledger.sqlite"))
    monkeypatch.setenv("CHANGE", change)
    text = text_of("changed").replace("duration_s = 5.0", "duration_s = 1.5")
    # Nothing has run, so nothing can have ended cleanly. The monitor finds the changes as well.
    assert failed(desk.run(text, ("-m", "support.tampered_run"))) == {"end"} | wanted


# In the gate ``test_monitor`` kills a worker, and what ends early is followed by a second attempt below.
@pytest.mark.nightly
def test_an_attempt_is_stopped_and_run_again_with_the_cause_in_its_name(desk):
    ended = threading.Event()
    killer = threading.Thread(target=kill_a_worker, args=("campaign-again", ended))
    killer.start()
    try:
        result = desk.run(text_of("again").replace("duration_s = 5.0", "duration_s = 12.0"))
    finally:
        ended.set()
        killer.join()
    assert [Path(one.folder).name for one in result.attempts] == ["attempt-1", "attempt-2-after-restart"]
    assert [one.cause for one in result.attempts] == ["restart", ""]
    assert failed(result) == {"attempts"} | (failed(result) & {"time"})
    assert {one.rule for one in result.anomalies} >= {"restart"}


@pytest.mark.parametrize(
    ("change", "causes", "folders"),
    [
        ('"fee":"=>"fee":"1', ["identity"], {"attempt-1"}),
        ("", ["early_end", "early_end"], {"attempt-1", "attempt-2-after-early_end"}),
    ],
)
def test_a_broken_accounting_is_never_run_again(desk, passed, monkeypatch, change, causes, folders):
    """The run ends long before its time. The same end with a sound ledger is followed by a second attempt."""
    monkeypatch.setenv("LEDGER", str(Path(passed.attempts[0].folder) / "ledger.sqlite"))
    monkeypatch.setenv("CHANGE", change)
    monkeypatch.setenv("LASTS", "1.0")
    text = text_of("contradicting").replace("duration_s = 5.0", "duration_s = 600.0")
    result = desk.run(text, KEEPING)
    assert [one.cause for one in result.attempts] == causes
    assert {one.name for one in Path(result.folder).iterdir()} == folders | {"verdict.json"}
    assert ("ledger_verified" in failed(result)) == bool(change)


def test_a_monitor_that_dies_is_started_again_and_goes_on_with_its_file(desk, passed, monkeypatch):
    monkeypatch.setenv("LEDGER", str(Path(passed.attempts[0].folder) / "ledger.sqlite"))
    monkeypatch.setenv("CHANGE", "")
    killed = []
    ended = threading.Event()
    killer = threading.Thread(target=kill_the_monitor, args=(killed, ended))
    killer.start()
    try:
        result = desk.run(text_of("unwatched").replace("duration_s = 5.0", "duration_s = 4.0"), KEEPING)
    finally:
        ended.set()
        killer.join()
    assert len(killed) == 2, "it was started again"
    (died,) = (one for one in result.anomalies if one.rule == "monitor")
    assert died.text == "the monitor died 1 times: see monitor.out"
    assert died.severity == "warn"


def kill_the_monitor(found: list[psutil.Process], ended: threading.Event) -> None:
    """Kill the first monitor of this process, and wait for the second."""
    while len(found) < 2 and not ended.wait(0.1):
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if child not in found and "arbshard.campaign" in child.cmdline():
                    found.append(child)
                    if len(found) == 1:
                        child.kill()


def kill_a_worker(instance: str, ended: threading.Event) -> None:
    """As soon as the run of ``instance`` has one that trades."""
    while not ended.wait(0.2):
        pid = running_pid(instance)
        if not pid:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(pid).children():
                if "--shard" in child.cmdline() and time.time() - child.create_time() > 3.0:
                    child.kill()
                    return


def launch(desk: Desk, text: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "arbshard", "campaign", str(desk.file(text)), *arguments]
    return subprocess.Popen(
        [*command, "--state-dir", str(desk.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until_running(instance: str, after: int = 0) -> int:
    """Wait until another process than ``after`` runs ``instance``; return its id."""
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        pid = running_pid(instance)
        if pid not in (None, 0, after) and (find_run_dir(instance) / "page-risk").exists():
            return pid
        time.sleep(0.05)
    raise AssertionError(f"{instance} does not run")


def test_a_run_that_a_crashed_campaign_has_left_is_ended_and_ctrl_c_ends_the_next(desk):
    """The second campaign ends in order, with the verdict of what there is."""
    text = text_of("crashed")
    campaign = launch(desk, text, "--duration", "60")
    try:
        pid = until_running("campaign-crashed")
    finally:
        campaign.kill()
        campaign.communicate(timeout=60)
    assert psutil.pid_exists(pid)
    left = psutil.Process(pid)
    try:
        noted = desk.root / "running.json"
        kept = noted.read_bytes()
        noted.unlink()
        with pytest.raises(
            UsageError, match=f"an instance named 'campaign-crashed' runs already .process {pid}"
        ):
            desk.run(text)
        noted.write_bytes(kept)
        again = launch(desk, text, "--duration", "60")
        try:
            until_running("campaign-crashed", after=pid)
            time.sleep(1.0)
            again.send_signal(signal.SIGINT)
            out, errors = again.communicate(timeout=60)
        finally:
            again.kill()
        assert f"process {pid}, left by a campaign that had crashed, was ended" in errors
        assert not left.is_running()
        assert again.returncode == 1, errors
        assert "s of 60 s only, for it was interrupted" in out
        assert running_pid("campaign-crashed") is None
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()


def test_what_cannot_run_says_so_in_one_line(desk):
    text = re.sub("symbols = .*", 'symbols = ["NOCOIN"]', text_of("nowhere"))
    campaign = launch(desk, text, "--duration", "3")
    try:
        out, errors = campaign.communicate(timeout=60)
    finally:
        campaign.kill()
    assert campaign.returncode == 2, (out, errors)
    assert out.startswith("campaign nowhere: could not run: the run could not start: ")
