import json

from kills.complaints import complaints


def line(event, level="warning", **more):
    return json.dumps({"event": event, "level": level, "process": "worker-0", **more})


def test_a_kill_explains_itself_and_an_exit_does_not():
    killed, ended = (line("child ended", child="risk", code=code, words="why") for code in (-9, 1))
    assert list(complaints([killed])) == []
    assert list(complaints([ended])) == ["risk ended by itself with code 1: why"]


def test_an_error_is_a_complaint_but_for_orphans():
    assert list(complaints([line("the supervisor is dead", "error"), line("order unknown")])) == []
    (said,) = complaints([line("a trade ended in a defect", "error", exception="ProtocolError")])
    assert said == "worker-0 logged an error: a trade ended in a defect: ProtocolError"


def test_half_a_line_is_no_complaint():
    assert list(complaints(['{"event": "chi'])) == []
