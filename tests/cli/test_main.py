"""What a person can mend never ends in a traceback, whatever the output is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arbshard.cli import halt
from arbshard.errors import RequestTimeout
from arbshard.model.rundir import RunFiles
from arbshard.status.hints import name_instance
from arbshard.wire.messages import Halt, Resume


@pytest.fixture
def call(tmp_path):
    def run(*arguments, stdout=subprocess.PIPE, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "arbshard", *arguments],
            env={
                **os.environ,
                "ARBSHARD_RUN_ROOT": str(tmp_path / "run"),
                "XDG_STATE_HOME": str(tmp_path / "state"),
                **environment,
            },
            cwd=tmp_path,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert "Exception ignored" not in done.stderr
        return done

    return run


@pytest.mark.parametrize(
    "encoding",
    ["euc_kr", "ascii", *(pytest.param(one, marks=pytest.mark.nightly) for one in ("cp949", "latin-1"))],
)
@pytest.mark.parametrize("arguments", [("limits", "set", "--help"), ("config", "show"), ("--help",)])
def test_a_terminal_without_some_characters(call, encoding, arguments):
    done = call(*arguments, PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    assert done.stdout


@pytest.mark.parametrize("arguments", [("config", "show"), ("config", "schema"), ("--help",), ("version",)])
def test_a_full_disk_behind_the_output_is_one_line(call, arguments):
    with Path("/dev/full").open("w") as full:
        done = call(*arguments, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "arbshard: the output cannot be written: No space left on device\n"


def test_a_reader_that_goes_away_is_one_line_at_most(call):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = call("config", "schema", stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert done.stderr.count("\n") <= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--summary", "{folder}"), "is a directory; name a file"),
        (("run", "--summary", "{folder}/none/x.json"), "no such directory"),
        (("run", "--config", "no-such"), "is neither a file nor one of default, "),
        (("simulate", "--trace", "{folder}/none/x"), "cannot be written: No such file or directory"),
        (("resume",), "no instance named 'sim' is running"),
        (("status", "--watch", "--json"), "status: --watch draws a table; leave out --json"),
        (("limits", "show", "--name", "desk"), "no instance named 'desk' is running"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(call, tmp_path, arguments, said):
    done = call(*(one.format(folder=tmp_path) for one in arguments))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("arbshard: ")
    assert said in done.stderr


def test_a_configuration_is_found_by_its_name_from_anywhere(call):
    for name in ("paper-band", "configs/paper-band.toml"):
        assert "instance 'paper-band', paper orders" in call("config", "check", name).stdout


@pytest.mark.parametrize(
    ("text", "name", "shown"),
    [
        ("'arbshard resume' ends it", "sim", "'arbshard resume' ends it"),
        ("'arbshard resume' ends it", "desk", "'arbshard resume --name desk' ends it"),
        (
            "`arbshard close BTC` and 'arbshard why BTC --name x'",
            "desk",
            "`arbshard close BTC --name desk` and 'arbshard why BTC --name x'",
        ),
        ("it's one, isn't it", "desk", "it's one, isn't it"),
    ],
)
def test_hints_name_the_instance_that_they_are_for(text, name, shown):
    assert name_instance(text, name) == shown


@pytest.mark.parametrize(
    ("command", "said"), [(Halt("", flatten=False), "NOT halted"), (Resume(""), "it is not known whether")]
)
def test_a_command_that_risk_does_not_answer_says_what_that_means(monkeypatch, command, said):
    def silent(*_):
        raise RequestTimeout("no reply within 5000 ms")

    monkeypatch.setattr(halt, "running_files", lambda *_: ("desk", RunFiles(Path("/none"))))
    monkeypatch.setattr(halt, "send_to_risk", silent)
    with pytest.raises(RequestTimeout, match=f"{said}.*'arbshard status --name desk'"):
        halt._order(None, None, command, 0.0)
