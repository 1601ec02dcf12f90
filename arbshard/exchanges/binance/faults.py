"""What Binance says when something goes wrong at its end: ``faults.words.FaultReplies``. ``trading`` asks
``BinanceRefuser``.

``/sapi`` and the like are hosts of their own on the venue; faults befall them here like all the rest.
"""

import msgspec

from arbshard.exchanges.binance.refusals import BinanceRefusal, Json
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.words import CallKind
from arbshard.exchanges.session import Query, RestReply

_PLACING = ("/api/v3/order", "/api/v3/order/cancelReplace")


class BinanceWords:
    """See ``FaultReplies``."""

    def kind(self, query: Query) -> CallKind:
        """See ``FaultReplies``."""
        if query.method == "POST" and query.path in _PLACING:
            return "placing"
        return "canceling" if query.method == "DELETE" else "asking"

    def rate_limited(self, status: int, retry_after_s: int, query: Query) -> RestReply:
        """See ``FaultReplies``."""
        text = "Too many requests; please use WebSocket Streams for live updates to avoid polling the API."
        if status != 429:
            until_ms = query.now_ms + retry_after_s * 1000
            text = f"Way too much request weight used; IP banned until {until_ms}."
        return _answer(status, -1003, text, {"Retry-After": str(retry_after_s)})

    def unknown_outcome(self) -> RestReply:
        """See ``FaultReplies``."""
        text = (
            "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
        )
        return _answer(408, -1007, text)

    def maintenance(self) -> RestReply:
        """See ``FaultReplies``."""
        return _answer(503, 1, "System is under maintenance.")


class BinanceRefuser:
    """Refuses orders without a reason of their own."""

    def __init__(self, board: Board) -> None:
        self._reject = board.reject

    def __call__(self) -> BinanceRefusal | None:
        """The refusal of a new order, or None."""
        if not self._reject.happens():
            return None
        return BinanceRefusal(self._reject.fault.binance_code, self._reject.fault.message)


def _answer(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> RestReply:
    body: dict[str, Json] = {"code": code, "msg": message}
    return RestReply(status, headers or {}, msgspec.json.encode(body))
