"""Defines Binance's answers when something goes wrong at its end: it implements ``faults.replies.FaultReplies``.

``trading`` asks ``BinanceRefuser``. ``/sapi`` and similar paths are on hosts of their own at the venue; here faults
concern them like all others.
"""

import msgspec

from arbshard.config.sim import DeniedFault
from arbshard.exchanges.binance.refusals import BinanceRefusal, Json
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.conditions import is_meant
from arbshard.exchanges.faults.replies import CallKind
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import Query, RestReply

_PLACING = ("/api/v3/order", "/api/v3/order/cancelReplace")
_TEXTS: dict[int, tuple[int, str]] = {
    -1002: (401, "You are not authorized to execute this request."),
    -1003: (
        429,
        "Too many requests; please use WebSocket Streams for live updates to avoid polling the API.",
    ),
    -1008: (503, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    -1013: (400, "Filter failure: PRICE_FILTER"),
    -1015: (429, "Too many new orders; current limit is 100 orders per TEN_SECONDS."),
    -1021: (400, "Timestamp for this request is outside of the recvWindow."),
    -1022: (400, "Signature for this request is not valid."),
    -1121: (400, "Invalid symbol."),
    -2010: (400, "This action is disabled on this account."),
    -2014: (401, "API-key format invalid."),
    -2015: (401, "Invalid API-key, IP, or permissions for action."),
}
"""HTTP status and message of each code."""
_DENIED: dict[int, int] = {401: -2015, 418: -1003, 451: 0, 503: -1008}
"""The usual code where access is denied. A firewall answers 403 with a page."""
_REGION = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in "
    "https://www.binance.com/en/terms. Please contact customer service if you believe you received this message in "
    "error."
)


class BinanceFaultReplies:
    """Makes Binance's answers to calls that a fault concerns."""

    def kind(self, query: Query) -> CallKind:
        """Return whether the call places an order (or replaces one), cancels, or does neither."""
        if query.method == "POST" and query.path in _PLACING:
            return "placing"
        return "canceling" if query.method == "DELETE" else "asking"

    def rate_limited(self, status: int, retry_after_s: int, query: Query) -> RestReply:
        """Return a reply with status 429 or 418."""
        text = "Too many requests; please use WebSocket Streams for live updates to avoid polling the API."
        if status != 429:
            until_ms = query.now_ms + retry_after_s * 1000
            text = f"Way too much request weight used; IP banned until {until_ms}."
        return _answer(status, -1003, text, {"Retry-After": str(retry_after_s)})

    def denied(self, fault: DeniedFault) -> RestReply:
        """Return the refusal of a call that the venue does not process."""
        code = fault.binance_code or _DENIED.get(fault.status)
        if code is None:
            return RestReply(
                fault.status, {}, b"<html><head><title>403 Forbidden</title></head></html>", "text/html"
            )
        return _answer(fault.status, code, _REGION if fault.status == 451 else _text(code)[1])

    def unknown_outcome(self) -> RestReply:
        """Return an error that does not say whether the call was carried out."""
        text = (
            "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
        )
        return _answer(408, -1007, text)

    def maintenance(self) -> RestReply:
        """Return a reply with status 503."""
        return _answer(503, 1, "System is under maintenance.")


class BinanceRefuser:
    """Refuses orders that break no rule, when the fault ``reject`` happens."""

    def __init__(self, board: Board) -> None:
        self._reject = board.reject

    def __call__(self, market: SimMarket) -> BinanceRefusal | None:
        """Return the refusal of a new order; None when it is accepted."""
        fault = self._reject.fault
        if not self._reject.on or not is_meant(fault.market, market) or not self._reject.happens():
            return None
        status, usual = _text(fault.binance_code)
        return BinanceRefusal(fault.binance_code, fault.message or usual, status)


def _text(code: int) -> tuple[int, str]:
    return _TEXTS.get(code, (400, "The request was refused."))


def _answer(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> RestReply:
    body: dict[str, Json] = {"code": code, "msg": message}
    return RestReply(status, headers or {}, msgspec.json.encode(body))
