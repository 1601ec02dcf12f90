"""What a shell offers, through the protocol by which a shell asks."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from arbshard.cli import main
from arbshard.config import LimitsConfig
from arbshard.model.rundir import LOCK
from support import world as w


@pytest.fixture
def offered(tmp_path):
    run = tmp_path / "run" / "desk"
    run.mkdir(parents=True, mode=0o700)
    (tmp_path / "run").chmod(0o700)
    (run / LOCK).write_text("")
    (run / "universe.json").write_bytes(msgspec.json.encode(w.World().universe))

    def complete(line, *, run=in_this_process, **environment):
        words = line.split(" ")
        asked = {
            **os.environ,
            "ARBSHARD_RUN_ROOT": str(tmp_path / "run"),
            "HOME": str(tmp_path),
            "_ARBSHARD_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            **environment,
        }
        return run(asked, tmp_path).split()

    return complete


def in_this_process(environment, folder):
    """What the command prints when a shell asks it."""
    out = io.StringIO()
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["arbshard"]),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        main()
    return out.getvalue()


def in_a_process(environment, folder):
    """The same of the installed program."""
    program = str(Path(sys.executable).with_name("arbshard"))
    done = subprocess.run(
        [program], env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.stdout


def test_names_pairs_keys_and_configurations(offered):
    assert offered("arbshard status --name d", run=in_a_process) == ["desk"]
    assert offered("arbshard close --name desk ") == ["BTC", "ETH"]
    assert offered("arbshard why --name desk E") == ["ETH"]
    assert offered("arbshard limits set order_n") == ["order_notional_max="]
    assert len(offered("arbshard limits set ")) == len(LimitsConfig.__struct_fields__)
    assert "paper-band" in offered("arbshard run --config p")


def test_what_cannot_be_found_is_not_offered(offered):
    assert offered("arbshard close --name nobody ") == []
    assert offered("arbshard close ", ARBSHARD__RUN__SHARDS="many") == []
