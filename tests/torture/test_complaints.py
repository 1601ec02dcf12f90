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


def test_a_person_is_rightly_asked_when_both_venues_refuse_and_for_nothing_else():
    apart = "pair set apart: it enters nothing until a person releases it"
    stuck = "35.8 XRP stays naked: "
    for cause, reason, is_right in (
        ("stuck", stuck + "the venue refuses orders", True),
        ("stuck", stuck + "the price ran beyond the loss budget", False),
        ("exits_fail", "2 exits that failed have cost 1273: the venue refuses orders", False),
        ("bad_report", "no fill of this order", False),
    ):
        said = list(complaints([line(apart, "error", cause=cause, reason=reason)]))
        assert (said == []) is is_right, reason


def test_half_a_line_is_no_complaint():
    assert list(complaints(['{"event": "chi'])) == []


def test_harmed_files_explain_errors_with_a_cause_but_no_traceback():
    lines = [
        line("child ended", child="risk", code=3, words="the ledger is gone"),
        line("the ledger cannot be written", "error", error="database or disk is full"),
    ]
    assert list(complaints(lines, harmed=True)) == []
    assert len(list(complaints(lines))) == 2
    (said,) = complaints([line("risk ends", "error", exception="Traceback: KeyError")], harmed=True)
    assert said.endswith("Traceback: KeyError")


def test_a_child_that_finds_no_room_may_end_on_a_full_disk_alone():
    full = "page-worker-1: cannot be created: No space left on device; free space there"
    ended = line("child ended", child="worker-1", code=1, words=full)
    assert list(complaints([ended], harmed=True)) == []
    assert list(complaints([ended])) == [f"worker-1 ended by itself with code 1: {full}"]
    other = line("child ended", child="worker-1", code=1, words="KeyError")
    assert list(complaints([other], harmed=True)) == ["worker-1 ended by itself with code 1: KeyError"]
