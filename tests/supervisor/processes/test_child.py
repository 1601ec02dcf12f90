"""One child: started, watched, ended; real little programs."""

import asyncio
import errno
import os
import signal
from pathlib import Path

import pytest

from arbshard.secret import Secret

pytestmark = pytest.mark.integration

DESCRIPTORS = Path("/proc/self/fd")

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("{ready}", "w").close()
time.sleep(60)
"""


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def test_before_it_is_started(program):
    child = program("")
    assert (child.pid, child.poll(), child.epoch, child.stderr_tail()) == (0, None, 0, "")
    child.terminate()
    child.kill_and_wait()
    assert child.note().restarts == 0


async def test_runs_and_ends(program):
    child = program("raise SystemExit(7)")
    child.start()
    pid = child.pid
    assert pid > 0
    assert child.note() == type(child.note())("worker-0", "starting", pid, 1, 0)
    await until(lambda: child.poll() is not None)
    assert (child.poll(), child.pid) == (7, 0)


async def test_each_start_is_a_new_epoch(program, tmp_path):
    child = program(f"open(r'{tmp_path}/EPOCH', 'w').close()")
    for epoch in (1, 2):
        child.start()
        await until(lambda: child.poll() is not None)
        assert child.epoch == epoch
    assert (tmp_path / "1").exists()
    assert (tmp_path / "2").exists()
    assert child.note().restarts == 1


async def test_last_words_are_the_last_line_of_stderr(program):
    child = program("import sys; sys.stderr.write('first\\n' + 'x' * 5000 + '\\n  the reason  \\n\\n')")
    child.start()
    await until(lambda: child.poll() is not None)
    assert child.stderr_tail() == "the reason"


async def test_last_words_of_the_last_incarnation_only(program):
    child = program("import sys; EPOCH == 1 and sys.stderr.write('old news')")
    for words in ("old news", ""):
        child.start()
        await until(lambda: child.poll() is not None)
        assert child.stderr_tail() == words


async def test_terminate_asks_and_kill_does_not(program, tmp_path):
    child = program("import time; time.sleep(60)")
    child.start()
    child.terminate()
    await until(lambda: child.poll() is not None)
    assert child.poll() == -signal.SIGTERM

    ready = tmp_path / "ready"
    stubborn = program(STUBBORN.format(ready=ready), "worker-1")
    stubborn.start()
    await until(ready.exists)
    stubborn.terminate()
    await asyncio.sleep(0.1)
    assert stubborn.poll() is None
    stubborn.kill_and_wait()
    assert stubborn.poll() == -signal.SIGKILL
    assert stubborn.pid == 0


async def test_ctrl_c_of_the_terminal_does_not_reach_it(program):
    child = program("import time; time.sleep(60)")
    child.start()
    assert os.getsid(child.pid) == child.pid != os.getsid(0)


async def test_writes_nothing_to_our_terminal(program, capfd):
    child = program("print('hello'); import sys; print('words', file=sys.stderr)")
    child.start()
    await until(lambda: child.poll() is not None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "code", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.ENOSPC]
)
async def test_a_start_that_the_system_refuses_changes_nothing(program, refuse, code):
    child = program("raise SystemExit('words')")
    child.start()
    await until(lambda: child.poll() is not None)
    before = child.note(), len(list(DESCRIPTORS.iterdir()))
    refuse(code)
    with pytest.raises(OSError, match=os.strerror(code)):
        child.start()
    assert (child.note(), len(list(DESCRIPTORS.iterdir()))) == before
    assert child.stderr_tail() == "words"


def test_without_a_descriptor_for_its_words_it_is_not_started(program, monkeypatch):
    def pipe():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    child = program("")
    monkeypatch.setattr(os, "pipe", pipe)
    with pytest.raises(OSError, match="Too many open files"):
        child.start()
    assert (child.epoch, child.pid) == (0, 0)


async def test_its_words_need_no_file(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    child = program("import sys; sys.exit('the disk is full')")
    child.start()
    await until(lambda: child.poll() is not None)
    assert child.stderr_tail() == "the disk is full"
    assert list(tmp_path.iterdir()) == []


async def test_what_is_handed_over_is_read_from_the_standard_input_by_each_incarnation(program, tmp_path):
    child = program(
        f"import sys; open(r'{tmp_path}/heard-EPOCH', 'w').write(sys.stdin.read())",
        hands_over=lambda: Secret("for your eyes only"),
    )
    for epoch in (1, 2):
        child.start()
        await until(lambda: child.poll() is not None)
        assert (tmp_path / f"heard-{epoch}").read_text() == "for your eyes only\n"


async def test_no_key_is_in_a_childs_environment(program, tmp_path, monkeypatch):
    for name in ("UPBIT_KEY", "BINANCE_SECRET", "BINANCE_ED25519_KEY_FILE", "SOME_OTHER_SECRET"):
        monkeypatch.setenv(f"ARBSHARD_{name}", "MARKUPKEY")
    child = program(f"import os; open(r'{tmp_path}/environ', 'w').write(str(dict(os.environ)))")
    child.start()
    await until(lambda: child.poll() is not None)
    assert "MARKUPKEY" not in (tmp_path / "environ").read_text()
