"""``arbshard exchanges``: it serves, ends by itself or by Ctrl-C in order, and refuses what cannot be used."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arbshard.cli import app
from arbshard.errors import ConfigError, UsageError


def test_it_ends_after_its_duration(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [
        "exchanges",
        "--coins",
        "1",
        "--duration",
        "0.2",
        "--regime",
        "calm",
        "--ready-file",
        str(ready),
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert json.loads(ready.read_text())["binance"]["rest_url"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--regime", "wild"], "sim.regime"),
        (["--coins", "0"], "sim.coins"),
        (["--updates", "1000"], "sim.updates_per_s"),
        (["--port", "upbit=70000"], "sim.upbit_port"),
    ],
)
def test_options_that_cannot_be_used_name_their_setting(options: list[str], name: str) -> None:
    result = CliRunner().invoke(app, ["exchanges", *options])
    assert isinstance(result.exception, ConfigError)
    assert name in str(result.exception)


@pytest.mark.parametrize("wrong", ["9001", "upbit", "upbit=", "kraken=9001", "upbit=-1"])
def test_a_port_of_no_venue_is_refused_with_an_example(wrong: str) -> None:
    result = CliRunner().invoke(app, ["exchanges", "--port", wrong])
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == (
        f"--port {wrong}: must be VENUE=PORT, as in --port upbit=9001 --port binance=9002"
    )


def test_a_port_that_is_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["exchanges", "--coins", "1", "--port", f"binance={port}"])
    assert isinstance(result.exception, ConfigError)
    assert "sim.binance_port" in str(result.exception)


@pytest.mark.integration
def test_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "arbshard", "exchanges", "--coins", "1", "--ready-file", str(ready)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "not ready in time"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert said.splitlines()[-1].startswith("simulated exchanges stopped: ")
