"""What a child wrote to stderr: bounded, heard also after its end, and never a reason for it to wait."""

import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.processes.posix import StderrPipe

pytestmark = pytest.mark.integration

DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def run():
    """Runs a line of Python whose stderr is kept; returns its exit code and its words."""
    opened = []

    def go(code, *, drains=True):
        words = StderrPipe()
        opened.append(words)
        process = subprocess.Popen([sys.executable, "-c", code], stderr=words.writer)
        words.hand_over()
        while drains and process.poll() is None:
            words.drain()
        return process.wait(20), words

    yield go
    for words in opened:
        words.close()


def test_the_last_line_and_all_of_it(run):
    code, words = run("import sys; sys.stderr.write('first\\n\\n  the reason  \\n\\n'); sys.exit(3)")
    assert (code, words.last_line()) == (3, "the reason")
    assert words.text() == "first\n\n  the reason"


def test_only_the_end_is_kept(run):
    _, words = run("import sys\nfor n in range(100_000): print('line', n, file=sys.stderr)")
    assert words.last_line() == "line 99999"
    assert len(words.text()) <= 4096


@pytest.mark.parametrize("flags", ["", "u"])
def test_a_supervisor_that_stands_still_blocks_nobody(flags):
    """The pipe holds 64 KB; a child that writes a megabyte ends all the same."""
    words = StderrPipe()
    code = "import os\nfor _ in range(1000):\n try: os.write(2, b'x' * 1000)\n except BlockingIOError: pass"
    process = subprocess.Popen([sys.executable, f"-{flags}c", code], stderr=words.writer)
    words.hand_over()
    try:
        assert process.wait(20) == 0
    finally:
        process.kill()
        words.close()


def test_nothing_written_is_nothing(run):
    assert run("")[1].last_line() == ""


def test_what_was_kept_stays_when_it_is_closed(run):
    _, words = run("import sys; sys.exit('enough')", drains=False)
    words.close()
    words.close()
    assert words.last_line() == "enough"


def test_no_descriptor_is_left_open(run):
    before = len(list(DESCRIPTORS.iterdir()))
    _, words = run("import sys; sys.exit('enough')")
    words.drain()
    words.drain()
    assert len(list(DESCRIPTORS.iterdir())) == before
