"""Settings that cannot be used: one line that names the setting, exit code 2."""

import socket
from pathlib import Path

import pytest

from arbshard.exchanges.main import main


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ("nonsense", "--settings: is not valid JSON"),
        ('{"regime":"wild"}', "sim.regime: must be one of "),
        ('{"coins":0}', "sim.coins: must be a whole number of at least 1"),
        ('{"colour":1}', "unknown key 'sim.colour'; known here: "),
        ('{"expose":true,"host":"no such host"}', "sim.host: 'no such host' cannot be resolved"),
        ('{"expose":true,"host":"192.0.2.1"}', "sim.host: '192.0.2.1' is not an address of this machine"),
        ('{"host":"0.0.0.0"}', "sim: host '0.0.0.0' may be reached from other machines"),
        ('{"host":"::"}', "sim: host '::' may be reached from other machines"),
        ('{"host":"exchange.lan"}', "sim: host 'exchange.lan' may be reached from other machines"),
    ],
)
def test_bad_settings(settings: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--settings", settings]) == 2
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


@pytest.mark.parametrize("setting", ["upbit_port", "binance_port"])
def test_port_in_use(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--settings", f'{{"coins":1,"{setting}":{port}}}']) == 2
    assert capsys.readouterr().err == f"sim.{setting}: 127.0.0.1:{port} is already in use\n"


def test_ready_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--settings", '{"coins":1}', "--ready-file", str(tmp_path / "none" / "ready")]) == 2
    assert "--ready-file: " in capsys.readouterr().err.splitlines()[-1]
