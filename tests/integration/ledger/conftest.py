"""``arbshard run`` in a folder of its own, trading eagerly, with hands on its ledger."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

# Enters whatever it costs, leaves after some seconds and enters again: something is always open, the ledger grows.
CONFIG = """
name = "t"
mode = "{mode}"
state_dir = "{state}"
[sim]
coins = 12
seed = 11
[run]
shards = 1
spare_workers = 0
stop_timeout_s = 4.0
restart_tries = 20
stuck_after_ms = 10000
{run}
[data_quality]
max_book_age_ms = 5000
max_leg_skew_ms = 5000
max_fx_age_ms = 10000
[strategy]
entry_bps = -100
min_edge_bps = -100
round_trip_bps = -1000
stop_loss_bps = 5000
stop_room_bps = 0
take_profit_bps = 4000
close_on_spread_reversal = false
max_hold_s = 6
cooldown_ms = 50
[limits]
edge_bps_max = 100000
"""


class System:
    """One instance: started, looked at, ended."""

    def __init__(
        self, folder: Path, *, mode: str = "paper", run: str = "", state: Path | None = None
    ) -> None:
        self.state = state or folder / "state"
        self.ledger = self.state / "ledger.sqlite"
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.format(mode=mode, state=self.state, run=run))
        self._live = ["--live"] if mode == "live" else []
        self._env = {**os.environ, "ARBSHARD_RUN_ROOT": str(folder / "run"), "COLUMNS": "200"}
        self._process: subprocess.Popen[str] | None = None
        self._family: list[psutil.Process] = []

    def start(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "arbshard", "run", "--config", str(self.config)]
        self._process = subprocess.Popen(
            [*command, *self._live, *arguments],
            env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def status(self) -> dict:
        return json.loads(self.call("status", "--json").stdout)

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "arbshard", *arguments, "--config", str(self.config)]
        return subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=60, check=False)

    def until(self, wanted, timeout_s: float = 100) -> dict:
        """The first status that is ``wanted``."""
        end = time.monotonic() + timeout_s
        status = None
        while time.monotonic() < end:
            assert self._process.poll() is None, self._process.communicate()
            found = self.call("status", "--json")
            if found.stdout.startswith("{"):
                status = json.loads(found.stdout)
                if wanted(status):
                    self._family = psutil.Process(self._process.pid).children(recursive=True)
                    return status
            time.sleep(0.1)
        raise AssertionError(f"waited in vain: {json.dumps(status)[:3000]}")

    def trading(self, positions: int = 2) -> dict:
        """Running, with so many positions open."""
        return self.until(lambda s: s["state"] == "running" and s["portfolio"]["open"] >= positions)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def ended(self) -> tuple[int, str, str]:
        """Exit code, what it printed, and what it printed as errors, without line breaks of the table."""
        out, err = self._process.communicate(timeout=100)
        return self._process.returncode, " ".join(out.split()), err

    def close(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._family += psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            self._process.wait(10)
        for child in self._family:
            if child.is_running():
                child.kill()
        for pipe in (self._process.stdout, self._process.stderr):
            pipe.close()


@pytest.fixture
def system(tmp_path):
    """Makes systems; whatever they started is ended."""
    made: list[System] = []

    def make(**choices) -> System:
        made.append(System(tmp_path, **choices))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def kept(tmp_path):
    """Keeps the files of a ledger by another name, and puts them back."""
    folder = tmp_path / "kept"

    class Kept:
        def keep(self, ledger: Path) -> None:
            folder.mkdir()
            for path in ledger.parent.glob("ledger.sqlite*"):
                (folder / path.name).hardlink_to(path)

        def put_back(self, ledger: Path) -> None:
            for name in ("ledger.sqlite", "ledger.sqlite-wal"):
                ledger.with_name(name).unlink(missing_ok=True)
                if (folder / name).exists():
                    shutil.copy2(folder / name, ledger.with_name(name))

    return Kept()
