"""What becomes of REST calls: which of them a fault concerns, and in which order faults are asked."""

import pytest

from arbshard.exchanges.binance.faults import BinanceFaultReplies
from arbshard.exchanges.faults.requests import CUT, Fate, RequestFaults
from arbshard.exchanges.faults.spells import Spells
from arbshard.exchanges.session import Query, RestReply
from arbshard.exchanges.upbit.faults import UpbitFaultReplies

DONE = RestReply(200, {}, b"done")
REFUSED = RestReply(400, {}, b"no")


def query(method, path):
    return Query(method, path, (), "me", 0, 1_795_000_000_000)


PLACE = query("POST", "/api/v3/order")
CANCEL = query("DELETE", "/api/v3/order")
READ = query("GET", "/api/v3/order")


@pytest.fixture
def make(make_board, conditions):
    def make(**faults):
        board = make_board(**faults)
        return RequestFaults(board, BinanceFaultReplies(), Spells(board, (), conditions))

    return make


@pytest.mark.parametrize(
    ("replies", "method", "path", "kind"),
    [
        (UpbitFaultReplies(), "POST", "/v1/orders", "placing"),
        (UpbitFaultReplies(), "POST", "/v1/orders/cancel_and_new", "placing"),
        (UpbitFaultReplies(), "POST", "/v1/orders/test", "asking"),
        (UpbitFaultReplies(), "DELETE", "/v1/order", "canceling"),
        (UpbitFaultReplies(), "DELETE", "/v1/orders/open", "canceling"),
        (UpbitFaultReplies(), "GET", "/v1/order", "asking"),
        (BinanceFaultReplies(), "POST", "/api/v3/order", "placing"),
        (BinanceFaultReplies(), "POST", "/api/v3/order/cancelReplace", "placing"),
        (BinanceFaultReplies(), "POST", "/api/v3/order/test", "asking"),
        (BinanceFaultReplies(), "DELETE", "/api/v3/openOrders", "canceling"),
        (BinanceFaultReplies(), "GET", "/api/v3/order", "asking"),
    ],
)
def test_calls_are_told_apart(replies, method, path, kind):
    assert replies.kind(query(method, path)) == kind


@pytest.mark.parametrize(
    ("calls", "hit"),
    [("placing", [True, False, False]), ("changing", [True, True, False]), ("all", [True, True, True])],
)
def test_a_fault_concerns_some_calls(make, calls, hit):
    faults = make(lost_request={"share": 1.0, "calls": calls}, lost_reply={"share": 1.0, "calls": calls})
    assert [faults.before(call) == CUT for call in (PLACE, CANCEL, READ)] == hit
    assert [faults.after(call, DONE) == CUT for call in (PLACE, CANCEL, READ)] == hit


def test_calls_of_no_concern_are_no_occasions(make, make_board):
    faults = make(lost_request={"times": 1})
    assert faults.before(READ) is None
    assert faults.before(PLACE) == CUT
    assert faults.before(PLACE) is None


def test_nothing_on_nothing_done(make):
    faults = make()
    assert faults.before(PLACE) is None
    assert faults.after(PLACE, DONE) == Fate(DONE, 0.0)


def test_what_was_refused_is_not_lost_but_may_be_late(make):
    faults = make(
        lost_reply={"share": 1.0},
        error_500={"share": 1.0},
        event_before_reply={"share": 1.0},
        delay={"share": 1.0, "ms_min": 9, "ms_max": 9},
    )
    assert faults.after(PLACE, REFUSED) == Fate(REFUSED, 9.0)


def test_waits_add_up(make):
    faults = make(
        event_before_reply={"share": 1.0, "ms_min": 5, "ms_max": 5},
        delay={"share": 1.0, "ms_min": 9, "ms_max": 9},
    )
    assert faults.after(PLACE, DONE) == Fate(DONE, 14.0)
    assert faults.after(READ, DONE) == Fate(DONE, 9.0)


def test_too_many_requests_come_before_losses(make):
    faults = make(rate_limited={"times": 1, "retry_after_s": 3}, lost_request={"times": 1})
    first = faults.before(PLACE)
    assert first is not None
    assert first.answer is not None
    assert (first.answer.status, first.answer.headers["Retry-After"]) == (429, "3")
    assert faults.before(PLACE) == CUT


def test_a_redirect_names_another_host_and_keeps_path_and_query(make):
    faults = make(redirect={"times": 1, "status": 308, "location": "http://127.0.0.9:1", "calls": "all"})
    fate = faults.before(READ._replace(raw_query="orderId=7&signature=ab%2B"))
    assert fate is not None
    assert fate.answer is not None
    assert fate.answer.status == 308
    assert fate.answer.headers["Location"] == "http://127.0.0.9:1/api/v3/order?orderId=7&signature=ab%2B"
    assert faults.before(READ) is None


def test_a_redirect_may_hide_that_the_call_was_carried_out(make):
    faults = make(redirect={"times": 1, "carried_out": True})
    assert faults.before(PLACE) is None
    assert faults.after(PLACE, REFUSED) == Fate(REFUSED)
    hidden = faults.after(PLACE, DONE).answer
    assert hidden is not None
    assert hidden.status == 307
    assert faults.after(PLACE, DONE) == Fate(DONE)


@pytest.mark.parametrize("replies", [UpbitFaultReplies(), BinanceFaultReplies()])
def test_a_ban_names_its_end(replies):
    answer = replies.rate_limited(418, 60, PLACE)
    assert answer.status == 418
    assert (
        b"1795000060000" if isinstance(replies, BinanceFaultReplies) else b"60 s, until 2026-11-18T"
    ) in answer.body


def test_under_maintenance_nothing_else_is_asked(make_board, conditions):
    board = make_board(maintenance={"times": 1}, lost_request={"times": 1})
    spells = Spells(board, (), conditions)
    spells.on_time(0, ())
    fate = RequestFaults(board, BinanceFaultReplies(), spells).before(PLACE)
    assert fate is not None
    assert fate.answer is not None
    assert fate.answer.status == 503
    assert board.lost_request.left == 1
