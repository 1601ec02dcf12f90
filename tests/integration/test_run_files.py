"""Files of a run as a person meets them: whose folders are left alone, who may read what, what a start removes."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from arbshard.model.rundir import is_own_name

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONFIG = 'name = "t"\nstate_dir = "{state}"\n[sim]\ncoins = 4\nseed = 11\n{sim}[run]\nshards = 1\n{run}'


class Desk:
    """``arbshard`` as typed, with its files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "run"
        self.state = folder / "state"
        self.env = {**os.environ, "ARBSHARD_RUN_ROOT": str(self.root)}
        self.started: list[subprocess.Popen[str]] = []

    def config(
        self, name: str = "config.toml", *, state: Path | None = None, sim: str = "", run: str = ""
    ) -> Path:
        path = self.folder / name
        path.write_text(CONFIG.format(state=state or self.state, sim=sim, run=run))
        return path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "arbshard", *arguments],
            env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, umask=0,
        )  # fmt: skip
        self.started.append(process)
        return process

    def call(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=90)
        return process.returncode, out, err

    def until_running(self, *arguments: str) -> None:
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            _, out, _ = self.call("status", "--json", *arguments)
            if json.loads(out)["state"] == "running":
                return
            time.sleep(0.1)
        raise AssertionError("it does not run")

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                for one in [process, *family]:
                    if one.is_running() if isinstance(one, psutil.Process) else True:
                        one.kill()
            process.communicate()


@pytest.fixture
def desk():
    folder = Path(tempfile.mkdtemp(prefix="arb"))
    one = Desk(folder)
    yield one
    one.close()
    shutil.rmtree(folder)


def look(path):
    return {
        str(one): (one.lstat().st_mode, one.read_bytes() if one.is_file() else b"") for one in path.rglob("*")
    }


def test_a_folder_of_the_user_is_left_byte_for_byte(desk):
    """``ARBSHARD_RUN_ROOT=~/projects arbshard run --name work``."""
    projects = desk.folder / "projects"
    (projects / "work").mkdir(parents=True)
    (projects / "work" / "thesis.txt").write_text("precious")
    before = look(projects)
    desk.env["ARBSHARD_RUN_ROOT"] = str(projects)
    config = str(desk.config())
    code, _, err = desk.call("run", "--config", config, "--name", "work", "--duration", "1")
    assert (code, err.count("\n")) == (2, 1), err
    assert f"run directory {projects}/work is not empty and was not made by arbshard" in err
    for command in ("status", "stop"):
        code, _, err = desk.call(command, "--config", config, "--name", "work")
        assert (code, err) == (2, "no instance named 'work' is running\n" if command == "status" else
                               "arbshard: no instance named 'work' is running\n")  # fmt: skip
    assert look(projects) == before
    assert not desk.state.exists()


def test_a_root_that_holds_the_state_directory_is_refused(desk):
    desk.env["ARBSHARD_RUN_ROOT"] = str(desk.state.parent)
    desk.state.mkdir()
    (desk.state / "ledger.sqlite").write_text("precious")
    before = look(desk.folder)
    config = desk.config(state=desk.folder / "t")
    before = look(desk.folder)
    code, _, err = desk.call("run", "--config", str(config), "--duration", "1")
    assert (code, err.count("\n")) == (2, 1), err
    assert "must not be the same or one in the other" in err
    assert look(desk.folder) == before


def test_every_file_of_a_run_is_listed_and_private(desk):
    """Both doorbells' files, the accounts process's and the certificate: two runs show all of them."""
    seen: dict[Path, int] = {}
    paper = desk.config(run='doorbell = "zmq"\n', sim="tls = true\n")
    live = Path(__file__).parents[2] / "configs" / "sim-live.toml"
    for arguments in (
        ("--config", str(paper)),
        ("--config", str(live), "--state-dir", str(desk.state / "live")),
    ):
        extra = ("--live", "--shards", "1") if str(live) in arguments else ()
        one = desk.start("run", *arguments, *extra)
        desk.until_running(*arguments[:2])
        for place in (desk.root, desk.state):
            seen |= {path: path.lstat().st_mode for path in [place, *place.rglob("*")]}
        one.send_signal(signal.SIGTERM)
        _, err = one.communicate(timeout=60)
        assert one.returncode in (0, 1), err
    own = {path.name for path in seen if desk.root in path.parents and not stat.S_ISDIR(seen[path])}
    assert {
        "arbshard.lock",
        "children.json",
        "sim-ca.pem",
        "bell-0",
        "budget-accounts",
        "accounts.ipc",
    } <= own
    assert [name for name in own if not is_own_name(name)] == []
    is_wide = [f"{path} {mode:o}" for path, mode in seen.items() if stat.S_IMODE(mode) & 0o077]
    assert is_wide == []
    assert {path.name for path in desk.state.rglob("ledger.sqlite*")} >= {
        "ledger.sqlite",
        "ledger.sqlite.lock",
    }
    assert not desk.root.exists()


def test_a_second_instance_on_a_state_directory_changes_nothing_there(desk):
    first = desk.start("run", "--config", str(desk.config()))
    desk.until_running("--config", str(desk.config()))
    logs = desk.state / "logs"
    (logs / "worker-0.stderr").write_text("last words")
    lines = (logs / "supervisor.jsonl").read_text()
    code, _, err = desk.call("run", "--config", str(desk.config()), "--name", "other", "--duration", "2")
    assert (code, err.count("\n")) == (2, 1), err
    assert f"is used by another run (process {first.pid})" in err
    assert (logs / "worker-0.stderr").read_text() == "last words"
    now = (logs / "supervisor.jsonl").read_text()
    assert now.startswith(lines)
    assert "other" not in now[len(lines) :]
    assert [path.name for path in desk.root.iterdir()] == ["t"]


def test_a_damaged_leftover_does_not_keep_a_run_from_starting(desk):
    config = str(desk.config())
    first = desk.start("run", "--config", config)
    desk.until_running("--config", config)
    first.kill()
    first.wait(timeout=10)
    left = desk.root / "t"
    assert (left / "children.json").exists()
    (left / "children.json").write_text('{"a": 1}')
    (left / "universe.json").write_bytes(b"\xff\x00")
    (left / "page-risk").unlink()
    (left / "page-risk").mkdir(mode=0)
    os.truncate(left / "books", 10)
    os.truncate(left / "page-worker-0", 0)
    (left / "config.json").chmod(0)
    code, _, err = desk.call("run", "--config", config, "--duration", "3")
    assert code == 0, err
    assert err.count("children.json of the last run cannot be read and is ignored") == 1
    assert list(desk.root.iterdir()) == []


@pytest.mark.parametrize("size_kb", [64, 1000, 2000])
def test_a_place_too_small_is_said_with_what_to_do(desk, size_kb):
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    small = desk.folder / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k,mode=0700", "arb", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        desk.env["ARBSHARD_RUN_ROOT"] = str(small)
        code, _, err = desk.call("run", "--config", str(desk.config()), "--duration", "2")
        assert code == 2, err
        assert err.splitlines()[-1].endswith(
            "No space left on device; free space there, or choose another place with $ARBSHARD_RUN_ROOT"
        )
        assert "Traceback" not in err
        assert list(small.iterdir()) == []
    finally:
        desk.close()
        subprocess.run(["umount", str(small)], check=True)
