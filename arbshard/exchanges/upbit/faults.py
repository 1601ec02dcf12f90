"""Defines Upbit's answers when something goes wrong at its end: it implements ``faults.replies.FaultReplies``.

``desk`` asks ``UpbitRefuser``. Upbit documents neither its error 500 nor its answers under maintenance; there is no
``Retry-After``.
"""

from collections.abc import Callable

from arbshard.config.sim import DeniedFault
from arbshard.exchanges.accounts.order import Side
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.conditions import Conditions, is_meant
from arbshard.exchanges.faults.replies import CallKind
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import Query, RestReply
from arbshard.exchanges.upbit.refusals import UpbitRefusal, error_body
from arbshard.exchanges.upbit.replies import at_kst

_PLACING = ("/v1/orders", "/v1/orders/cancel_and_new")
_JSON = "application/json; charset=utf-8"
_BY_SIDE = (
    "insufficient_funds", "under_min_total", "invalid_price", "invalid_volume", "over_krw_funds",
)  # fmt: skip
"""Errors whose full name ends with the side."""
_TEXTS: dict[str, tuple[int, str]] = {
    "market_offline": (403, "The market is not open for orders."),
    "out_of_scope": (403, "The key does not have this permission."),
    "expired_access_key": (401, "The access key has expired."),
    "invalid_access_key": (401, "The access key is not known."),
    "no_authorization_ip": (401, "This IP address is not registered with the key."),
    "jwt_verification": (401, "The token's signature is wrong."),
    "notfoundmarket": (404, "The market was not found."),
    "too_many_requests": (429, "Too many API requests."),
    "internal_server_error": (500, "Internal Server Error"),
}
"""HTTP status and message of errors that are not 400."""
_DENIED: dict[int, str] = {
    401: "no_authorization_ip",
    403: "out_of_scope",
    418: "too_many_requests",
    451: "unavailable_for_legal_reasons",
    503: "internal_server_error",
}
"""The usual name where access is denied. The name for 451 is invented, because Upbit's is not known."""


class UpbitFaultReplies:
    """Makes Upbit's answers to calls that a fault concerns."""

    def kind(self, query: Query) -> CallKind:
        """Return whether the call places an order (or replaces one), cancels, or does neither."""
        if query.method == "POST" and query.path in _PLACING:
            return "placing"
        return "canceling" if query.method == "DELETE" else "asking"

    def rate_limited(self, status: int, retry_after_s: int, query: Query) -> RestReply:
        """Return a reply with status 429 or 418."""
        text = "Too many API requests."
        if status != 429:
            text = f"Blocked for {retry_after_s} s, until {at_kst(query.now_ms + retry_after_s * 1000)}."
        headers = {"Remaining-Req": "group=default; min=1800; sec=0"}
        return RestReply(status, headers, error_body("too_many_requests", text), _JSON)

    def denied(self, fault: DeniedFault) -> RestReply:
        """Return the refusal of a call that the venue does not process."""
        refusal = _refusal(fault.upbit_error or _DENIED[fault.status])
        return RestReply(fault.status, {}, refusal.body, _JSON)

    def unknown_outcome(self) -> RestReply:
        """Return an error that does not say whether the call was carried out."""
        return RestReply(500, {}, error_body("internal_server_error", "Internal Server Error"), _JSON)

    def maintenance(self) -> RestReply:
        """Return a reply with status 503."""
        return RestReply(503, {}, b"<html><body><h1>503 Service Unavailable</h1></body></html>", "text/html")


class UpbitRefuser:
    """Refuses orders that break no rule, when the fault ``reject`` happens."""

    def __init__(self, board: Board) -> None:
        self._reject = board.reject

    def __call__(self, market: SimMarket, side: Side) -> UpbitRefusal | None:
        """Return the refusal of a new order; None when it is accepted."""
        fault = self._reject.fault
        if not self._reject.on or not is_meant(fault.market, market) or not self._reject.happens():
            return None
        word = "bid" if side == "buy" else "ask"
        name = fault.upbit_error or f"create_{word}_error"
        if name in _BY_SIDE:
            name = f"{name}_{word}"
        return _refusal(name, fault.message)


def revoked_key(board: Board, conditions: Conditions) -> Callable[[], UpbitRefusal | None]:
    """Return a function that refuses every key while keys are revoked."""

    def refuse() -> UpbitRefusal | None:
        return _refusal(board.key_revoked.fault.upbit_error) if conditions.is_key_revoked else None

    return refuse


def _refusal(name: str, message: str = "") -> UpbitRefusal:
    status, usual = _TEXTS.get(name, (400, "The request was refused."))
    return UpbitRefusal(status, name, message or usual)
