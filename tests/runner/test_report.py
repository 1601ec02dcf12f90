"""What is said of a trade that has ended."""

import pytest
from msgspec.structs import replace

from arbshard.model.refusal import Refusal
from arbshard.runner.report import report_refused, report_settled
from arbshard.wire.messages import Refused, Settled


def settled(position):
    return Settled("s1-0-1-1", position, ())


def test_refused(make):
    report = report_refused(make.intent(), Refused(Refusal.BALANCE, "no money"), 7)
    assert (report.result, report.refusal, report.detail, report.position) == (
        "refused",
        Refusal.BALANCE,
        "no money",
        None,
    )
    assert report.at_ms == 7
    assert report.closed_for is None


def test_entries(make):
    intent = make.intent()
    opened = make.position()
    unwound = replace(opened, state="CLOSED", reason="entry_unwound")
    assert report_settled(intent, settled(opened), None, 7).result == "opened"
    assert report_settled(intent, settled(None), None, 7).result == "missed"
    report = report_settled(intent, settled(unwound), None, 7)
    assert (report.result, report.closed_for) == ("unwound", "entry_unwound")


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({}, "missed"),
        ({"quantity": "0.0005"}, "reduced"),
        ({"state": "CLOSED", "reason": "max_hold"}, "closed"),
    ],
)
def test_exits(make, changes, result):
    intent = replace(make.intent(), kind="exit", reason="max_hold")
    report = report_settled(intent, settled(make.position(**changes)), make.position(), 7)
    assert (report.kind, report.result, report.reason) == ("exit", result, "max_hold")
