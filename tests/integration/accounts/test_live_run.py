"""A live run on the embedded exchanges, whose accounts process is killed in between; and where keys must not be."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, suppress
from decimal import Decimal

import msgspec
import psutil
import pytest

from arbshard.config import Config
from arbshard.errors import SharedMemoryError
from arbshard.ledger.events import decode_event
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.verify import verify
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

SECRET = "opens-nothing-but-this-simulated-exchange-0123456789"


class Running:
    """``arbshard run --live`` in a directory of its own."""

    def __init__(self, tmp_path):
        self.name = f"accounts-{os.getpid()}"
        self.state = tmp_path / "state"
        config = tmp_path / "config.toml"
        config.write_text(
            f'name = "{self.name}"\nmode = "live"\n[sim]\ncoins = 4\n'
            f'[sim.accounts]\nbinance_secret = "{SECRET}"\n[live]\nreconcile_every_s = 1.0\n'
        )
        root = tmp_path / "run"
        self.files = RunFiles(root / self.name)
        command = [sys.executable, "-m", "arbshard", "run", "--config", str(config), "--live"]
        self.output = tmp_path / "output"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--state-dir", str(self.state), "--shards", "1"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "ARBSHARD_RUN_ROOT": str(root),
                    "ARBSHARD_BINANCE_KEY": "sim-binance-key",
                    "ARBSHARD_BINANCE_SECRET": SECRET,
                },
            )

    def counts(self):
        try:
            with PageReader.attach(self.files.accounts_page) as page:
                return page.values()
        except SharedMemoryError:
            return dict.fromkeys(("pid", "statements_upbit", "statements_binance", "events_upbit"), 0)

    def until(self, is_so, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while not is_so():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, (self.counts(), self.output.read_text())
            time.sleep(0.02)

    def stop_watching(self):
        """Stop in order; what the venues held at the last look."""
        held = venue_balances(self.files)
        self.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 40
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "did not end"
            with suppress(OSError):  # the exchanges are the last to go
                held = venue_balances(self.files)
            time.sleep(0.01)
        return held


@pytest.fixture
def running(tmp_path):
    one = Running(tmp_path)
    yield one
    if one.process.poll() is None:
        children = psutil.Process(one.process.pid).children(recursive=True)
        one.process.kill()
        one.process.wait(timeout=10)
        for child in children:
            if child.is_running():
                child.kill()


def venue_balances(files):
    config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
    held = {}
    control = {"Authorization": f"Bearer {json.loads(files.sim_ready.read_text())['token']}"}
    for venue in ("upbit", "binance"):
        url = f"{config.venues.get(venue).rest_url}/sim/accounts"
        with urllib.request.urlopen(urllib.request.Request(url, headers=control), timeout=5) as reply:
            (account,) = msgspec.json.decode(reply.read()).values()
        for currency, row in account["balances"].items():
            held[venue, currency] = Decimal(row["free"]) + Decimal(row["locked"])
    return {place: amount for place, amount in held.items() if amount}


def test_the_accounts_process_is_killed_and_nothing_is_lost(running):
    running.until(lambda: running.counts()["events_upbit"] > 4)
    first = running.counts()["pid"]
    os.kill(first, signal.SIGKILL)
    running.until(lambda: running.counts()["pid"] not in (0, first))
    running.until(lambda: min(running.counts()[f"statements_{venue}"] for venue in ("upbit", "binance")) > 1)
    counts = running.counts()
    assert counts["errors"] == counts["denied"] == 0
    assert counts["stream_up_upbit"] == counts["stream_up_binance"] == 1
    children_pages = [
        path for path in running.files.dir.iterdir() if path.name.startswith(("page", "budget"))
    ]
    assert children_pages
    assert not any(SECRET.encode() in path.read_bytes() for path in children_pages)
    children = psutil.Process(running.process.pid).children(recursive=True)
    argv = [" ".join(child.cmdline()) for child in children]
    assert not any(SECRET in line for line in argv)
    assert len(argv) >= 4
    held = running.stop_watching()
    # A run with a restart in it is told as one to look at; nothing else was wrong.
    assert running.process.returncode == 1, running.output.read_text()
    assert "0 logged, 1 restarts" in running.output.read_text()
    for log in (running.state / "logs").iterdir():
        assert SECRET not in log.read_text(), log
    assert SECRET not in running.output.read_text()
    report = verify(running.state / "ledger.sqlite")
    assert report.differences == ()
    assert report.positions > 0
    assert report.kinds.get("DifferenceFound", 0) == 0
    with closing(LedgerReader(running.state / "ledger.sqlite")) as ledger:
        stopped = [decode_event(row[5]) for row in ledger.rows(kinds=("Stopped",))]
    booked = {(venue, currency): amount for venue, currency, amount in stopped[-1].balances}
    assert {place: amount for place, amount in booked.items() if amount} == held
