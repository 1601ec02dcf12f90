"""``arbshard run --live``: sending is a word said now, never a line in a file."""

import os
import subprocess
import sys

import pytest

from arbshard.cli import run as module
from arbshard.config import load_config
from arbshard.errors import UsageError


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration of this text, with no key in the environment."""
    for name in ("UPBIT_KEY", "UPBIT_SECRET", "BINANCE_KEY", "BINANCE_SECRET", "BINANCE_ED25519_KEY_FILE"):
        monkeypatch.delenv(f"ARBSHARD_{name}", raising=False)

    def build(text):
        path = tmp_path / "my.toml"
        path.write_text(text)
        return load_config(path)

    return build


def test_live_runs_dry_whatever_the_file_says(config, capsys):
    checked = module._checked(config('mode = "live"\n[live]\ndry_run = false'), sends=False)
    assert checked.live.dry_run
    assert "DRY RUN" in capsys.readouterr().err


def test_live_sends_when_told_to(config, capsys):
    assert not module._checked(config('mode = "live"'), sends=True).live.dry_run
    assert capsys.readouterr().err == ""


def test_paper_cannot_send(config):
    with pytest.raises(UsageError, match='the configuration says mode = "paper"'):
        module._checked(config(""), sends=True)


def test_paper_is_as_it_was(config):
    paper = config("")
    assert module._checked(paper, sends=False) is paper


@pytest.mark.parametrize("sends", [False, True])
def test_real_venues_need_keys(config, sends):
    text = 'mode = "live"\ndata = "public"\n' + "".join(
        f'[venues.{venue}]\nws_url = "wss://a"\nrest_url = "https://a"\n' for venue in ("upbit", "binance")
    )
    with pytest.raises(UsageError, match="no API key for upbit"):
        module._checked(config(text), sends=sends)


@pytest.mark.parametrize("name", ["sim-live.toml", "live.example.toml"])
def test_the_files_that_come_along(name, request):
    """They can be read, run dry, and hold no key."""
    path = request.config.rootpath / "configs" / name
    loaded = load_config(path)
    assert (loaded.mode, loaded.live.dry_run, loaded.live.keys_file) == ("live", True, "")
    assert loaded.data == ("sim" if name.startswith("sim") else "public")


LIVE = 'mode = "live"\ndata = "public"\n' + "".join(
    f'[venues.{venue}]\nws_url = "wss://{venue}.invalid"\nrest_url = "https://{venue}.invalid"\n'
    for venue in ("upbit", "binance")
)


@pytest.mark.needs("live")
class TestNewLedger:
    """Against real exchanges a ledger is begun only when a person says so; nothing is made before that is clear."""

    @pytest.fixture
    def run(self, tmp_path):
        keys = {
            f"ARBSHARD_{venue}_{part}": "x" * 40
            for venue in ("UPBIT", "BINANCE")
            for part in ("KEY", "SECRET")
        }

        def run(text, *arguments):
            path = tmp_path / "config.toml"
            path.write_text(f'state_dir = "{tmp_path / "state"}"\n{text}')
            return subprocess.run(
                [sys.executable, "-m", "arbshard", "run", "--config", str(path), *arguments],
                env={**os.environ, **keys, "ARBSHARD_RUN_ROOT": str(tmp_path / "run")},
                capture_output=True, text=True, timeout=50, check=False,
            )  # fmt: skip

        return run

    @pytest.mark.parametrize("arguments", [("--live",), ()])
    def test_live_without_a_ledger(self, run, tmp_path, arguments):
        done = run(LIVE, *arguments)
        assert done.returncode == 2
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("arbshard: ")]
        assert line.startswith(f"arbshard: {tmp_path}/state/ledger.sqlite: there is no ledger")
        assert "--state-dir" in line
        assert "--new-ledger" in line
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "state").exists()
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("text", ["", LIVE])
    def test_a_new_one_where_one_is(self, run, tmp_path, text):
        ledger = tmp_path / "state" / "ledger.sqlite"
        ledger.parent.mkdir()
        ledger.write_bytes(b"precious")
        done = run(text, "--new-ledger")
        assert done.returncode == 2
        assert f"--new-ledger: there is a ledger at {ledger} already" in done.stderr
        assert ledger.read_bytes() == b"precious"

    def test_told_to_it_goes_on_to_what_comes_next(self, run):
        """Here the listings of exchanges that do not exist."""
        done = run(LIVE, "--live", "--new-ledger")
        assert done.returncode == 2
        assert "there is no ledger" not in done.stderr
        assert ".invalid" in done.stderr


@pytest.mark.parametrize("words", [["status"], ["config", "check", "x.toml"], ["--version"]])
def test_another_package_in_the_place_of_our_supervisor(tmp_path, words):
    """PyPI's process manager has the same name, and an empty ``__init__.py``."""
    (tmp_path / "supervisor").mkdir()
    (tmp_path / "supervisor" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "arbshard", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"arbshard: the package 'supervisor' at {tmp_path / 'supervisor'} is not that of "
    )
    assert done.stderr.count("\n") == 1
