"""What a venue's answer to a call means for the order it was about. Pure.

    =============  =====================================================================================
    accepted       it was carried out; the body says how
    rejected       the venue looked at the order and said no: final
    not_accepted   it was not looked at (rate limit, overload, clock, key): final, and nobody's fault
    not_found      the venue knows no such order: final only once nothing can be on its way any more
    unknown        it may have been carried out: ask
    =============  =====================================================================================

Whatever is not known for certain to be harmless is ``unknown``: asking once too often costs a request.
"""

import re
from typing import Literal, NamedTuple

import msgspec

from arbshard.data.redirects import is_redirect
from arbshard.venues.frame import UNREADABLE

Meaning = Literal["accepted", "rejected", "not_accepted", "not_found", "unknown"]

_DETAIL_MAX = 200

_BINANCE: dict[int, Meaning] = {
    -1000: "unknown",  # an unknown error occurred while processing
    -1001: "unknown",  # internal: disconnected
    -1003: "not_accepted",  # too much request weight
    -1006: "unknown",  # unexpected response from the message bus: execution status unknown
    -1007: "unknown",  # time-out: send status unknown, execution status unknown
    -1008: "not_accepted",  # overloaded: refused before it was carried out
    -1015: "not_accepted",  # too many new orders
    -1016: "not_accepted",  # service shutting down
    -1021: "not_accepted",  # outside the receive window
    -2013: "not_found",
    -2026: "unknown",  # archived: it did exist
}
_BINANCE_KEYS = {-1002, -1022, -2014, -2015}
_UPBIT_KEYS = {
    "expired_access_key",
    "invalid_access_key",
    "invalid_query_payload",
    "jwt_verification",
    "no_authorization_ip",
    "no_authorization_i_p",
    "no_authorization_token",
    "nonce_used",
    "out_of_scope",
}
_DUPLICATES = {"duplicated_identifier", "Duplicate order sent."}
"""The name is taken: an order of that name may stand, or its attempt failed and burned it. Ask."""


class Said(NamedTuple):
    """A venue's answer, understood."""

    meaning: Meaning
    detail: str = ""
    """In the venue's words, shortened."""
    clock_off: bool = False
    """The venue finds that our clock, or our idea of its clock, is off."""
    key_refused: bool = False


class _BinanceError(msgspec.Struct):
    code: int
    msg: str = ""


class _UpbitFault(msgspec.Struct):
    name: str | int = ""
    message: str = ""


class _UpbitError(msgspec.Struct):
    error: _UpbitFault


_binance_error = msgspec.json.Decoder(_BinanceError).decode
_upbit_error = msgspec.json.Decoder(_UpbitError).decode


def understand(venue: str, status: int, body: bytes) -> Said:
    """What an answer of HTTP ``status`` means."""
    if 200 <= status < 300:
        return Said("accepted")
    if is_redirect(status):  # whoever wrote the body is not known to be the venue
        return Said("unknown", f"HTTP {status}: a redirect, which is not followed")
    return _upbit(status, body) if venue == "upbit" else _binance(status, body)


def _binance(status: int, body: bytes) -> Said:
    try:
        error = _binance_error(body)
    except UNREADABLE:
        return _by_status(status, body)
    detail = _short(f"{error.code}: {error.msg}")
    if error.msg in _DUPLICATES:
        return Said("unknown", detail)
    if error.code in _BINANCE_KEYS:
        return Said("not_accepted", detail, key_refused=True)
    meaning = _BINANCE.get(error.code)
    if meaning is None:
        meaning = _by_status(status, body).meaning
    return Said(meaning, detail, clock_off=error.code == -1021)


def _upbit(status: int, body: bytes) -> Said:
    try:
        error = _upbit_error(body).error
    except UNREADABLE:
        return _by_status(status, body)
    detail = _short(f"{error.name}: {error.message}")
    if error.name == "order_not_found":
        return Said("not_found", detail)
    if error.name in _DUPLICATES:
        return Said("unknown", detail)
    if error.name in _UPBIT_KEYS:
        return Said("not_accepted", detail, key_refused=True)
    if error.name == "too_many_requests":
        return Said("not_accepted", detail)
    return Said(_by_status(status, body).meaning, detail)


def _by_status(status: int, body: bytes) -> Said:
    """By the HTTP status alone: below 500 it was refused, from there on nobody knows."""
    detail = _short(f"HTTP {status} {body[:_DETAIL_MAX].decode(errors='replace')}".strip())
    if status in {418, 429, 401, 403, 451}:
        return Said("not_accepted", detail, key_refused=status == 401)
    # 408 is a time-out, 409 a request in part carried out.
    if 400 <= status < 500 and status not in {408, 409}:
        return Said("rejected", detail)
    return Said("unknown", detail)


def _short(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:_DETAIL_MAX]
