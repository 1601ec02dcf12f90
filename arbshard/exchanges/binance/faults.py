"""What Binance says when something goes wrong at its end: ``faults.words.Words``. ``trading`` asks ``Refuser``.

``/sapi`` and the like are hosts of their own on the venue; faults befall them here like all the rest.
"""

import msgspec

from arbshard.exchanges.binance.refusals import Json, Refused
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.words import CallKind
from arbshard.exchanges.session import Answer, Query

_PLACING = ("/api/v3/order", "/api/v3/order/cancelReplace")


class BinanceWords:
    """See ``Words``."""

    def kind(self, query: Query) -> CallKind:
        """See ``Words``."""
        if query.method == "POST" and query.path in _PLACING:
            return "placing"
        return "canceling" if query.method == "DELETE" else "asking"

    def rate_limited(self, status: int, retry_after_s: int, query: Query) -> Answer:
        """See ``Words``."""
        text = "Too many requests; please use WebSocket Streams for live updates to avoid polling the API."
        if status != 429:
            until_ms = query.now_ms + retry_after_s * 1000
            text = f"Way too much request weight used; IP banned until {until_ms}."
        return _answer(status, -1003, text, {"Retry-After": str(retry_after_s)})

    def unknown_outcome(self) -> Answer:
        """See ``Words``."""
        text = (
            "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
        )
        return _answer(408, -1007, text)

    def maintenance(self) -> Answer:
        """See ``Words``."""
        return _answer(503, 1, "System is under maintenance.")


class Refuser:
    """Refuses orders without a reason of their own."""

    def __init__(self, board: Board) -> None:
        self._reject = board.reject

    def __call__(self) -> Refused | None:
        """The refusal of a new order, or None."""
        if not self._reject.happens():
            return None
        return Refused(self._reject.fault.binance_code, self._reject.fault.message)


def _answer(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    body: dict[str, Json] = {"code": code, "msg": message}
    return Answer(status, headers or {}, msgspec.json.encode(body))
