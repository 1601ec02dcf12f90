"""Files of a run as a person meets them: whose folders are left alone, who may read what, what a start removes."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from arbshard.model.rundir import RunFiles, is_own_name
from support.instance import Ended, Instance

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONFIG = (
    'name = "t"\nstate_dir = "{state}"\n[baseline]\nis_required = false\n'
    "[sim]\ncoins = 4\nseed = 11\n{sim}[run]\nshards = 1\n{run}"
)


class Desk(Instance):
    """``arbshard`` as typed: each command names its configuration."""

    def write(self, *, state: Path | None = None, sim: str = "", run: str = "") -> str:
        """Write the configuration; returns its path."""
        self.config.write_text(CONFIG.format(state=state or self.state, sim=sim, run=run))
        return str(self.config)

    def type_it(self, *arguments: str) -> Ended:
        return self.ended(self.launch(*arguments))


@pytest.fixture
def desk():
    folder = Path(tempfile.mkdtemp(prefix="arb"))
    with Desk(folder) as one:
        yield one
    shutil.rmtree(folder)


def until_running(desk: Desk, name: str) -> None:
    """Wait until the run of this name says that it runs."""
    desk.files = RunFiles(desk.run_root / name)
    desk.wait_for(lambda: (note := desk.note()) is not None and note.state == "running", 60)


def look(path):
    """Modes and contents of everything below ``path`` but for what the harness writes there."""
    return {
        str(one): (one.lstat().st_mode, one.read_bytes() if one.is_file() else b"")
        for one in path.rglob("*")
        if not one.name.startswith(("out-", "err-"))
    }


def test_a_folder_of_the_user_is_left_byte_for_byte(desk):
    """``ARBSHARD_RUN_ROOT=~/projects arbshard run --name work``."""
    projects = desk.folder / "projects"
    (projects / "work").mkdir(parents=True)
    (projects / "work" / "thesis.txt").write_text("precious")
    before = look(projects)
    desk.env["ARBSHARD_RUN_ROOT"] = str(projects)
    config = desk.write()
    code, _, err = desk.type_it("run", "--config", config, "--name", "work", "--duration", "1")
    assert (code, err.count("\n")) == (2, 1), err
    assert f"run directory {projects}/work is not empty and was not made by arbshard" in err
    for command in ("status", "stop"):
        code, _, err = desk.type_it(command, "--config", config, "--name", "work")
        assert (code, err) == (2, "no instance named 'work' is running\n" if command == "status" else
                               "arbshard: no instance named 'work' is running\n")  # fmt: skip
    assert look(projects) == before
    assert not desk.state.exists()


def test_a_root_that_holds_the_state_directory_is_refused(desk):
    desk.env["ARBSHARD_RUN_ROOT"] = str(desk.state.parent)
    desk.state.mkdir()
    (desk.state / "ledger.sqlite").write_text("precious")
    before = look(desk.folder)
    config = desk.write(state=desk.folder / "t")
    before = look(desk.folder)
    code, _, err = desk.type_it("run", "--config", config, "--duration", "1")
    assert (code, err.count("\n")) == (2, 1), err
    assert "must not be the same or one in the other" in err
    assert look(desk.folder) == before


def test_every_file_of_a_run_is_listed_and_private(desk):
    """Both doorbells' files, the accounts process's and the certificate: two runs show all of them."""
    seen: dict[Path, int] = {}
    paper = desk.write(run='transport = "zmq"\n', sim="tls = true\n")
    live = Path(__file__).parents[2] / "configs" / "sim-live.toml"
    for arguments in (
        ("--config", paper),
        ("--config", str(live), "--state-dir", str(desk.state / "live")),
    ):
        extra = ("--live", "--shards", "1") if str(live) in arguments else ()
        one = desk.launch("run", *arguments, *extra)
        until_running(desk, "sim-live" if extra else "t")
        for place in (desk.run_root, desk.state):
            seen |= {path: path.lstat().st_mode for path in [place, *place.rglob("*")]}
        one.send_signal(signal.SIGTERM)
        code, _, err = desk.ended(one)
        assert code in (0, 1), err
    own = {path.name for path in seen if desk.run_root in path.parents and not stat.S_ISDIR(seen[path])}
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
    assert not desk.run_root.exists()


def test_a_second_instance_on_a_state_directory_changes_nothing_there(desk):
    desk.write()
    first = desk.start()
    desk.until_running()
    logs = desk.state / "logs"
    (logs / "worker-0.stderr").write_text("last words")
    lines = (logs / "supervisor.jsonl").read_text()
    code, _, err = desk.type_it("run", "--config", desk.write(), "--name", "other", "--duration", "2")
    assert (code, err.count("\n")) == (2, 1), err
    assert f"is used by another run (process {first.pid})" in err
    assert (logs / "worker-0.stderr").read_text() == "last words"
    now = (logs / "supervisor.jsonl").read_text()
    assert now.startswith(lines)
    assert "other" not in now[len(lines) :]
    assert [path.name for path in desk.run_root.iterdir()] == ["t"]


@pytest.mark.nightly  # tests/supervisor/test_rundir.py removes each kind of leftover
def test_a_damaged_leftover_does_not_keep_a_run_from_starting(desk):
    config = desk.write()
    first = desk.start()
    desk.until_running()
    first.kill()
    first.wait(timeout=60)
    left = desk.run_root / "t"
    assert (left / "children.json").exists()
    (left / "children.json").write_text('{"a": 1}')
    (left / "universe.json").write_bytes(b"\xff\x00")
    (left / "page-risk").unlink()
    (left / "page-risk").mkdir(mode=0)
    os.truncate(left / "books", 10)
    os.truncate(left / "page-worker-0", 0)
    (left / "config.json").chmod(0)
    code, _, err = desk.type_it("run", "--config", config, "--duration", "3")
    assert code == 0, err
    assert err.count("children.json of the last run cannot be read and is ignored") == 1
    assert list(desk.run_root.iterdir()) == []


@pytest.mark.parametrize("size_kb", [64, pytest.param(1000, marks=pytest.mark.nightly), 2000])
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
        code, _, err = desk.type_it("run", "--config", desk.write(), "--duration", "2")
        assert code == 2, err
        assert err.splitlines()[-1].endswith(
            "No space left on device; free space there, or choose another place with $ARBSHARD_RUN_ROOT"
        )
        assert "Traceback" not in err
        assert list(small.iterdir()) == []
    finally:
        desk.close()
        subprocess.run(["umount", str(small)], check=True)
