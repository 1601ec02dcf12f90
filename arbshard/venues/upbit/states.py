"""Translates Upbit's states and errors: one table of each, for REST and the private stream. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from arbshard.model.order import OrderState
from arbshard.venues.base.states import (
    BUSY,
    MARKET_REFUSES,
    NO_FUNDS,
    NOT_FOUND,
    ORDER_REFUSED,
    UNKNOWN,
    VENUE_REFUSES,
    CallOutcome,
    by_code,
    by_status,
)
from arbshard.venues.frame import UNREADABLE

STATES: Final[Mapping[str, OrderState]] = {
    "wait": "ACCEPTED",
    "watch": "ACCEPTED",
    "trade": "PARTIAL",  # the private stream only: one execution
    "prevented": "ACCEPTED",  # self-trade prevention took a part; how the order ends is reported after that
    "done": "FILLED",
    "cancel": "EXPIRED",  # our orders are never cancelled: it is how an IOC order ends that found too little
}

ERRORS: Final[Mapping[str, CallOutcome]] = {
    "order_not_found": NOT_FOUND,
    "duplicated_identifier": UNKNOWN,  # an order of that name may exist, or its attempt failed and used up the name
    "too_many_requests": BUSY,
    "nonce_used": BUSY,  # the next request has another one
    "insufficient_funds_bid": NO_FUNDS,
    "insufficient_funds_ask": NO_FUNDS,
    "under_min_total_bid": ORDER_REFUSED,
    "under_min_total_ask": ORDER_REFUSED,
    "over_krw_funds_bid": ORDER_REFUSED,
    "over_krw_funds_ask": ORDER_REFUSED,
    "invalid_price_bid": ORDER_REFUSED,  # off the tick
    "invalid_price_ask": ORDER_REFUSED,
    "invalid_volume_bid": ORDER_REFUSED,
    "invalid_volume_ask": ORDER_REFUSED,
    "invalid_time_in_force": ORDER_REFUSED,
    "invalid_post_only": ORDER_REFUSED,
    "invalid_parameter": ORDER_REFUSED,
    "validation_error": ORDER_REFUSED,
    "create_bid_error": ORDER_REFUSED,
    "create_ask_error": ORDER_REFUSED,
    "market_offline": MARKET_REFUSES,  # HTTP 403: maintenance, of one market or of all
    "notfoundmarket": MARKET_REFUSES,
    "expired_access_key": VENUE_REFUSES,
    "invalid_access_key": VENUE_REFUSES,
    "invalid_query_payload": VENUE_REFUSES,
    "jwt_verification": VENUE_REFUSES,
    "no_authorization_ip": VENUE_REFUSES,
    "no_authorization_i_p": VENUE_REFUSES,
    "no_authorization_token": VENUE_REFUSES,
    "out_of_scope": VENUE_REFUSES,
}
"""Meanings by the name of the error, which decides also where its HTTP status says otherwise. A name that is not
here is judged by the status."""


class _Fault(msgspec.Struct):
    name: str | int = ""
    message: str = ""


class _Error(msgspec.Struct):
    error: _Fault


_error = msgspec.json.Decoder(_Error).decode


def state_of(name: str, filled: Decimal) -> OrderState:
    """Return the state of an order whose state Upbit calls ``name`` and of which ``filled`` was executed.

    A name that is not in the table is UNKNOWN, so that the order is asked about again.
    """
    state = STATES.get(name, "UNKNOWN")
    return "PARTIAL" if state == "ACCEPTED" and filled else state


def understand(status: int, body: bytes) -> CallOutcome:
    """Return what an answer of HTTP ``status`` that is not a success means.

    The venue documents that the error's name decides.
    """
    try:
        error = _error(body).error
    except UNREADABLE:
        return by_status(status, body)
    return by_code(ERRORS.get(str(error.name)), status, body, f"{error.name}: {error.message}")
