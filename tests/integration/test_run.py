"""The whole system as a person runs it: real processes, real sockets, real files."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SMALL = "[sim]\ncoins = 8\nseed = 11\n[run]\nshards = 2\n[strategy]\nmax_hold_s = 5.0\n"


class Instance:
    """One ``arbshard`` installation in a folder of its own."""

    def __init__(self, folder: Path, config: str = SMALL) -> None:
        self.folder = folder
        self.run_root = folder / "run"
        self.config = folder / "config.toml"
        self.config.write_text(f'name = "t"\nstate_dir = "{folder}/state"\n{config}')
        self.env = {**os.environ, "ARBSHARD_RUN_ROOT": str(self.run_root)}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "arbshard", "run", "--config", str(self.config), *arguments]
        process = subprocess.Popen(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process

    def call(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "arbshard", *arguments]
        return subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )

    def status(self) -> tuple[int, dict]:
        done = self.call("status", "--json", "--config", str(self.config))
        return done.returncode, json.loads(done.stdout)

    def until(self, wanted, timeout: float = 30) -> dict:
        """Wait until the status is as wanted; returns it."""
        end = time.monotonic() + timeout
        code, status = -1, {}
        while time.monotonic() < end:
            code, status = self.status()
            if code != 2 and wanted(status):
                return status
            time.sleep(0.1)
        raise AssertionError(f"not reached within {timeout} s: exit code {code}, {json.dumps(status)[:3000]}")

    def verify(self) -> subprocess.CompletedProcess[str]:
        return self.call("ledger", "verify", "--config", str(self.config))

    def leftovers(self) -> list[str]:
        """Files in the run root and processes that still run there."""
        found = [str(path) for path in self.run_root.rglob("*")] if self.run_root.exists() else []
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if str(self.folder) in line and process.pid != os.getpid():
                found.append(line)
        return found

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                process.wait(10)
                for child in family:
                    if child.is_running():
                        child.kill()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def instance(tmp_path):
    one = Instance(tmp_path)
    yield one
    one.close()


def ended(process: subprocess.Popen[str], timeout: float = 60) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def running(status: dict) -> bool:
    return status["state"] == "running"


def test_a_run_enters_exits_and_leaves_nothing_behind(instance):
    summary = instance.folder / "out.json"
    code, out, err = ended(instance.start("--duration", "20", "--summary", str(summary)))
    assert code == 0, err
    found = json.loads(summary.read_text())
    portfolio = found["portfolio"]
    assert portfolio["entries"] > 0
    assert portfolio["exits"] == portfolio["entries"]
    assert portfolio["open"] == 0
    assert portfolio["win_rate"] is not None
    assert float(portfolio["pnl"]) != 0
    assert float(portfolio["fees"]) > 0
    assert portfolio["currency"] == "KRW"
    assert found["errors"] == 0
    assert found["messages"] > 1000
    assert found["latency_us"]["p50"] > 0
    assert sum(found["reasons"].values()) == portfolio["exits"]
    assert sum(symbol["entries"] for symbol in found["symbols"].values()) == portfolio["entries"]
    assert (
        abs(sum(float(symbol["pnl"]) for symbol in found["symbols"].values()) - float(portfolio["pnl"]))
        < 1e-6
    )
    assert "SIMULATED" in out
    checked = instance.verify()
    assert checked.returncode == 0, checked.stdout
    assert instance.leftovers() == []


def test_status_shows_a_healthy_run_and_stop_ends_it(instance):
    process = instance.start()
    status = instance.until(lambda s: running(s) and s["portfolio"]["entries"] > 0)
    code, status = instance.status()
    assert code == 0, status["problems"]
    assert {"state", "mode", "uptime_s", "shards", "venues", "risk", "portfolio"} <= status.keys()
    assert [shard["state"] for shard in status["shards"]] == ["running", "running"]
    for shard in status["shards"]:
        assert {"id", "pid", "epoch", "restarts", "pairs", "msg_s", "latency_us"} <= shard.keys()
        assert shard["msg_s"] > 0
        assert shard["latency_us"]["p50"] > 0
    for venue in status["venues"]:
        assert {"name", "state", "connections", "msg_s", "reconnects", "bad_frames"} <= venue.keys()
        assert venue["state"] == "connected"
        assert venue["bad_frames"] == 0
        assert venue["oldest_ms"] < 1000
    assert {"state", "pid", "refusals"} <= status["risk"].keys()
    table = instance.call("status", "--config", str(instance.config))
    assert "Portfolio" in table.stdout
    assert "simulated" in table.stdout
    stopped = instance.call("stop", "--config", str(instance.config))
    assert stopped.returncode == 0, stopped.stderr
    code, _, err = ended(process)
    assert code == 0, err
    assert instance.call("status", "--config", str(instance.config)).returncode == 2
    assert instance.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_order(instance, number):
    process = instance.start()
    instance.until(running)
    process.send_signal(number)
    code, _, err = ended(process)
    assert code == 0, err
    assert instance.leftovers() == []
    assert instance.verify().returncode == 0


def test_positions_kept_are_taken_over_by_the_next_start(instance):
    process = instance.start()
    kept = instance.until(lambda s: running(s) and s["portfolio"]["open"] > 0)["name"]
    assert kept == "t"
    assert instance.call("stop", "--keep-positions", "--config", str(instance.config)).returncode == 0
    code, _, err = ended(process)
    assert code == 0, err
    assert instance.verify().returncode == 0
    summary = instance.folder / "out.json"
    code, _, err = ended(instance.start("--duration", "3", "--summary", str(summary)))
    assert code == 0, err
    found = json.loads(summary.read_text())["portfolio"]
    assert found["open"] == 0
    assert found["exits"] >= found["entries"]
    assert instance.verify().returncode == 0


def test_a_killed_worker_is_replaced_and_its_positions_are_closed(instance):
    process = instance.start()
    before = instance.until(lambda s: running(s) and s["portfolio"]["open"] > 0)["shards"][0]
    os.kill(before["pid"], signal.SIGKILL)
    after = instance.until(lambda s: running(s) and s["shards"][0]["restarts"] == 1)["shards"][0]
    assert after["epoch"] == before["epoch"] + 1
    assert after["pid"] != before["pid"]
    instance.until(lambda s: s["shards"][0]["msg_s"] > 0)
    process.send_signal(signal.SIGTERM)
    code, out, _ = ended(process)
    assert code == 1  # a restart is not a clean run
    assert "worker-0 ended with code -9" in out
    assert " 0 open" in out
    assert instance.verify().returncode == 0
    assert instance.leftovers() == []


def test_the_zmq_doorbell_wakes_workers_too(tmp_path):
    instance = Instance(tmp_path, SMALL.replace("shards = 2", 'shards = 2\ndoorbell = "zmq"'))
    try:
        summary = tmp_path / "out.json"
        code, _, err = ended(instance.start("--duration", "5", "--summary", str(summary)))
        assert code == 0, err
        found = json.loads(summary.read_text())
        assert found["ticks"] > 300
        # Without the bell a worker would look on its timer alone, every 20 ms.
        assert found["latency_us"]["p50"] < 5000
    finally:
        instance.close()


def test_bad_input_is_one_line_and_exit_code_2(instance):
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    cases = {
        "an unknown symbol": (["--symbols", "BTC,NOPE"], "NOPE"),
        "a bad value": (["--shards", "0"], "run.shards"),
        "a bad regime": (["--regime", "sunny"], "one of calm"),
    }
    try:
        for what, (arguments, said) in cases.items():
            code, _, err = ended(instance.start(*arguments))
            assert code == 2, (what, err)
            assert said in err, (what, err)
            assert len([line for line in err.splitlines() if line.startswith("arbshard:")]) == 1, (what, err)
            assert "Traceback" not in err
            assert instance.leftovers() == [], what
        instance.config.write_text(
            instance.config.read_text().replace("[sim]", f"[sim]\nupbit_port = {port}")
        )
        code, _, err = ended(instance.start())
        assert code == 2, err
        assert "sim.upbit_port" in err
        assert str(port) in err
        assert instance.leftovers() == []
    finally:
        taken.close()


def test_a_second_instance_of_the_same_name_is_refused(instance):
    process = instance.start()
    instance.until(running)
    code, _, err = ended(instance.start())
    assert code == 2
    assert "already running" in err
    assert str(process.pid) in err
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def test_a_run_directory_that_cannot_be_written_is_said(instance, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    instance.env["ARBSHARD_RUN_ROOT"] = str(blocked)
    code, _, err = ended(instance.start())
    assert code == 2
    assert "cannot be written" in err
    assert str(blocked) in err


def test_what_a_killed_supervisor_left_is_cleaned_by_the_next_start(instance):
    process = instance.start()
    instance.until(running)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait(10)
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert not alive, alive
    assert len(gone) >= 4
    summary = instance.folder / "out.json"
    code, _, err = ended(instance.start("--duration", "3", "--summary", str(summary)))
    assert code == 0, err
    assert instance.leftovers() == []
    assert instance.verify().returncode == 0
