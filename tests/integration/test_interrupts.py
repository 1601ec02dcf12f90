"""Ctrl-C in commands that wait: they end at once, and never with a traceback.

``run``, ``tap``, ``record``, ``replay``, ``sweep``, ``simulate``, ``exchanges`` and ``campaign`` have such a test of
their own, beside what else an interrupt of them does.
"""

import signal
import socket
from pathlib import Path

import psutil
import pytest

from support.instance import SMALL, Instance, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def interruptible():
    """A shell that starts the tests in its background has them ignore SIGINT, and what they start inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def instance(tmp_path):
    yield from running(tmp_path, SMALL)


def interrupted(instance, process):
    """How a command that still runs ends when it is interrupted."""
    assert process.poll() is None, instance.ended(process)
    process.send_signal(signal.SIGINT)
    ended = instance.ended(process, 20.0)
    assert "Traceback" not in ended.out + ended.err, ended
    return ended


def waits(process):
    """Whether the command has set what happens at a signal, which Linux shows as a mask."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return int(mask, 16) >> signal.SIGTERM - 1 & 1


def test_commands_beside_a_run(instance):
    codes = {}
    for words in (("status", "--watch"), ("logs", "--follow"), ("web", "--port", "0")):
        process = instance.launch(*words, "--config", str(instance.config))
        shown = instance._program(process)
        instance.wait_for(lambda one=shown: waits(one.process) or one.out.read_text())
        codes[words[0]] = interrupted(instance, process).code
    assert codes.pop("status") in (0, 1)  # that of the status shown last
    assert codes == {"logs": 0, "web": 0}


def test_a_run_that_is_still_starting(tmp_path):
    with Instance(tmp_path) as instance:
        process = instance.start()
        instance.wait_for(instance.files.lock.exists)
        assert interrupted(instance, process).code in (0, 1)
        assert instance.leftovers() == []


def test_a_message_to_a_target_that_never_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as hole:
        hole.settimeout(60.0)
        address = tmp_path / "address"
        address.write_text(f"json://127.0.0.1:{hole.getsockname()[1]}/")
        address.chmod(0o600)
        config = f'{SMALL}[alerts.targets]\nhole = "file:{address}"\n'
        with Instance(tmp_path, config) as instance:
            process = instance.launch("alerts", "test", "--config", str(instance.config))
            taken, _ = hole.accept()
            with taken:
                assert interrupted(instance, process).code == 130


@pytest.mark.parametrize("used_s", [0.3, pytest.param(0.5, marks=pytest.mark.nightly)])
def test_a_backtest_and_its_imports(tmp_path, used_s):
    with Instance(tmp_path) as instance:
        tape = tmp_path / "tape"
        assert instance.call("record", "--alone", "--duration", "3", "--dir", str(tape)).code == 0
        process = instance.launch(
            "backtest", str(tape), "--out", str(tmp_path / "out"), "--config", str(instance.config)
        )
        seen = psutil.Process(process.pid)
        instance.wait_for(lambda: sum(seen.cpu_times()[:2]) > used_s)
        ended = interrupted(instance, process)
        # Python dies of the signal itself where the interrupt came in code that ``exec`` ran, as for a dataclass; a
        # shell calls both 130. On a busy machine the backtest may have been done already.
        assert ended.code in (130, -signal.SIGINT) or ("written to" in ended.out and ended.code == 0), ended
