"""Orders of people: answered by whoever took them on, denied otherwise."""

import pytest
from structlog.testing import capture_logs

from arbshard.errors import UsageError
from arbshard.model.rundir import RunFiles
from arbshard.wire import control
from arbshard.wire.serve import ReplyServer
from supervisor.control import ControlServer


@pytest.fixture
def desk(tmp_path):
    one = ControlServer(RunFiles(tmp_path).control_endpoint, lambda: None, ReplyServer)
    yield one
    one.close()


def ask(desk, payload):
    (answer,) = desk._obey([payload])
    return control.decode_answer(answer)


def test_who_took_it_on_answers(desk):
    desk.on(control.Stop, lambda order: control.ControlDone(f"keeps {order.keep_positions}"))
    assert ask(desk, control.encode(control.Stop(True))) == control.ControlDone("keeps True")


def test_nobody_took_it_on(desk):
    assert ask(desk, control.encode(control.Ping())) == control.ControlDenied(
        "Ping: not possible in this run"
    )


def test_an_order_that_cannot_be_carried_out_yet_is_denied_with_the_reason(desk):
    desk.why_not_yet = lambda: "this host waits for a leader"
    desk.on(control.Stop, lambda _: control.ControlDone("ends"))
    assert ask(desk, control.encode(control.ShowShards())) == control.ControlDenied(
        "this host waits for a leader"
    )
    assert ask(desk, control.encode(control.Stop())) == control.ControlDone("ends")


def test_what_cannot_be_done_is_denied_in_words(desk):
    def refuse(_):
        raise UsageError("there is no process named worker-9")

    desk.on(control.Ping, refuse)
    assert ask(desk, control.encode(control.Ping())) == control.ControlDenied(
        "there is no process named worker-9"
    )


def test_garbage_is_denied(desk):
    assert isinstance(ask(desk, b"\x00garbage"), control.ControlDenied)


def test_who_changes_something_is_logged_whatever_the_answer_is(desk):
    answers = [control.Accepted(1, "move BTC to shard 1"), UsageError("there is no shard 9")]

    def answer(_):
        given = answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    desk.on(control.MovePairs, answer)
    desk.on(control.Ping, lambda _: control.ControlDone("here"))
    with capture_logs() as lines:
        ask(desk, control.encode(control.MovePairs(("BTC",), 1, by="anna, desk at 127.0.0.1")))
        ask(desk, control.encode(control.MovePairs(("BTC",), 9)))
        ask(desk, control.encode(control.Ping()))
    assert [(line["kind"], line["by"], line["answer"]) for line in lines] == [
        ("MovePairs", "anna, desk at 127.0.0.1", "move BTC to shard 1"),
        ("MovePairs", "unknown", "there is no shard 9"),
    ]
