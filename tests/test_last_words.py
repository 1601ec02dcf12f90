"""How a process ends does not depend on whether anybody can hear its last words. Real little processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ENDS = "from arbshard.last_words import end_with\nraise SystemExit(end_with(3, 'the disk is full'))"
TRIES_LATER = (
    "import sys\nfrom arbshard.last_words import settle_streams\n"
    "print('x' * 100)\nsettle_streams()\nraise SystemExit(0)"
)


@pytest.fixture
def run():
    def go(code, **streams):
        env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=env, timeout=60, check=False, **streams).returncode

    return go


@pytest.fixture
def dead_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def dead_terminal():
    master, slave = os.openpty()
    os.close(master)
    yield slave
    os.close(slave)


@pytest.fixture
def full_disk():
    with Path("/dev/full").open("wb") as full:
        yield full.fileno()


def test_they_are_heard(run, tmp_path):
    with (tmp_path / "words").open("wb") as words:
        assert run(ENDS, stderr=words) == 3
    assert (tmp_path / "words").read_text() == "the disk is full\n"


@pytest.mark.parametrize("where", ["full_disk", "dead_pipe", "dead_terminal"])
def test_the_code_stays_when_they_are_not(run, where, request):
    assert run(ENDS, stderr=request.getfixturevalue(where)) == 3


@pytest.mark.parametrize("where", ["full_disk", "dead_pipe", "dead_terminal"])
def test_what_waits_in_a_dead_stream_is_thrown_away(run, where, request):
    """The interpreter alone would end with code 120."""
    assert run("print('x' * 100)", stdout=request.getfixturevalue(where), stderr=subprocess.DEVNULL) == 120
    dead = request.getfixturevalue(where)
    assert run(TRIES_LATER, stdout=dead, stderr=subprocess.DEVNULL) == 0


def test_a_stream_that_is_closed_is_no_error(run):
    assert run("import sys\nsys.stderr.close()\n" + ENDS) == 3
