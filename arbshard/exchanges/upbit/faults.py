"""What Upbit says when something goes wrong at its end: ``faults.words.FaultReplies``. ``desk`` asks
``UpbitRefuser``.

Upbit documents neither its 500 nor what it says under maintenance; there is no ``Retry-After``.
"""

from arbshard.exchanges.accounts.order import Side
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.words import CallKind
from arbshard.exchanges.session import Query, RestReply
from arbshard.exchanges.upbit.refusals import UpbitRefusal, error_body
from arbshard.exchanges.upbit.replies import at_kst

_PLACING = ("/v1/orders", "/v1/orders/cancel_and_new")
_JSON = "application/json; charset=utf-8"


class UpbitWords:
    """See ``FaultReplies``."""

    def kind(self, query: Query) -> CallKind:
        """See ``FaultReplies``."""
        if query.method == "POST" and query.path in _PLACING:
            return "placing"
        return "canceling" if query.method == "DELETE" else "asking"

    def rate_limited(self, status: int, retry_after_s: int, query: Query) -> RestReply:
        """See ``FaultReplies``."""
        text = "Too many API requests."
        if status != 429:
            text = f"Blocked for {retry_after_s} s, until {at_kst(query.now_ms + retry_after_s * 1000)}."
        headers = {"Remaining-Req": "group=default; min=1800; sec=0"}
        return RestReply(status, headers, error_body("too_many_requests", text), _JSON)

    def unknown_outcome(self) -> RestReply:
        """See ``FaultReplies``."""
        return RestReply(500, {}, error_body("internal_server_error", "Internal Server Error"), _JSON)

    def maintenance(self) -> RestReply:
        """See ``FaultReplies``."""
        return RestReply(503, {}, b"<html><body><h1>503 Service Unavailable</h1></body></html>", "text/html")


class UpbitRefuser:
    """Refuses orders without a reason of their own."""

    def __init__(self, board: Board) -> None:
        self._reject = board.reject

    def __call__(self, side: Side) -> UpbitRefusal | None:
        """The refusal of a new order, or None."""
        if not self._reject.happens():
            return None
        fault = self._reject.fault
        name = fault.upbit_error or ("create_bid_error" if side == "buy" else "create_ask_error")
        return UpbitRefusal(400, name, fault.message)
