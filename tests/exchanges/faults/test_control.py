"""The remote control: what a request does, and that a mistake in it does nothing."""

import json

import pytest

from arbshard.errors import UsageError
from arbshard.exchanges.faults import control


def change(board, **order):
    return control.change(board, json.dumps(order).encode())


def test_set_starts_from_the_defaults(make_board):
    board = make_board(delay={"share": 0.5, "ms_min": 1})
    assert change(board, set={"delay": {"ms_max": 900, "times": 2}}) == []
    assert (board.delay.fault.share, board.delay.fault.ms_min, board.delay.fault.ms_max) == (0.0, 50.0, 900.0)
    assert board.delay.left == 2


def test_once_keeps_what_is_set_and_adds_a_sure_time(make_board):
    board = make_board(delay={"share": 0.5, "ms_min": 1, "times": 2})
    change(board, once={"delay": {}})
    assert (board.delay.fault.share, board.delay.fault.ms_min, board.delay.left) == (0.5, 1.0, 3)
    change(board, once={"delay": {"times": 4, "ms_max": 7}})
    assert (board.delay.fault.ms_max, board.delay.left) == (7.0, 7)


def test_clear_turns_off_and_keeps_the_count(make_board):
    board = make_board(delay={"times": 5, "ms_min": 1}, reject={"share": 1.0})
    assert board.delay.happens()
    assert change(board, clear=["delay"]) == ["delay"]
    assert (board.delay.on, board.delay.happened, board.delay.fault.ms_min) == (False, 1, 50.0)
    assert board.reject.on
    assert change(board, clear="all") == board.names
    assert not board.reject.on


def test_cleared_first_then_set(make_board):
    board = make_board(delay={"times": 5})
    change(board, clear="all", set={"delay": {"times": 1}})
    assert board.delay.left == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"nonsense", "not a request for faults"),
        (b"\xff", "not a request for faults"),
        (b"[]", "not a request for faults"),
        (b'{"unset":1}', "unknown field `unset`"),
        (b'{"clear":"some"}', "not a request for faults"),
        (b'{"clear":["speed"]}', "no fault 'speed'; one of delay, "),
        (b'{"once":{"speed":{}}}', "no fault 'speed'; one of delay, "),
        (b'{"set":{"delay":{"share":2}}}', "delay: must be a number of at most 1 - at `$.share`"),
        (b'{"set":{"delay":{"often":2}}}', "unknown field `often`"),
        (b'{"set":{"delay":{"ms_min":9e3}}}', "delay: ms_max is below ms_min"),
        (b'{"once":{"delay":{"venue":"upbit"}}}', "delay: this is binance"),
        (b'{"set":{"delay":{}},"once":{"delay":{}}}', "not both"),
    ],
)
def test_a_mistake_changes_nothing(make_board, body, said):
    board = make_board(reject={"times": 1})
    before = control.state(board)
    with pytest.raises(UsageError) as caught:
        control.change(board, body)
    assert said in str(caught.value)
    assert control.state(board) == before


def test_half_a_mistake_changes_nothing_either(make_board):
    board = make_board(reject={"times": 1})
    with pytest.raises(UsageError):
        change(board, clear=["reject"], set={"delay": {"times": 1}}, once={"speed": {}})
    assert (board.reject.left, board.delay.left) == (1, 0)


@pytest.mark.parametrize("fault", ["sequence_gap", "shutdown_notice"])
def test_upbit_does_not_have_what_its_protocol_lacks(make_board, fault):
    with pytest.raises(UsageError, match=f"{fault}: Invalid enum value 'upbit'"):
        change(make_board("upbit"), once={fault: {}})


def test_the_state_can_be_read(make_board):
    board = make_board(delay={"times": 3})
    board.delay.happens()
    state = json.loads(json.dumps(control.state(board)))
    delay = state["faults"]["delay"]
    assert (state["venue"], delay["on"], delay["happened"], delay["left"]) == ("binance", True, 1, 2)
    assert delay["settings"]["calls"] == "all"
