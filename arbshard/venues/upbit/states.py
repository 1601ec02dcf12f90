"""What Upbit's words mean: one table of order states and one of errors, for REST and the private stream. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from arbshard.model.order import OrderState
from arbshard.venues.base.states import (
    KEY_REFUSED,
    NOT_ACCEPTED,
    NOT_FOUND,
    UNKNOWN,
    Said,
    by_status,
    shortened,
)
from arbshard.venues.frame import UNREADABLE

STATES: Final[Mapping[str, OrderState]] = {
    "wait": "ACCEPTED",
    "watch": "ACCEPTED",
    "trade": "PARTIAL",  # the private stream only: one execution
    "prevented": "ACCEPTED",  # self-trade prevention took a part; how the order ends is told after that
    "done": "FILLED",
    "cancel": "EXPIRED",  # nobody cancels our orders: it is how an IOC order ends that found too little
}

ERRORS: Final[Mapping[str, Said]] = {
    "order_not_found": NOT_FOUND,
    "duplicated_identifier": UNKNOWN,  # an order of that name may stand, or its attempt failed and burned the name
    "too_many_requests": NOT_ACCEPTED,
    "expired_access_key": KEY_REFUSED,
    "invalid_access_key": KEY_REFUSED,
    "invalid_query_payload": KEY_REFUSED,
    "jwt_verification": KEY_REFUSED,
    "no_authorization_ip": KEY_REFUSED,
    "no_authorization_i_p": KEY_REFUSED,
    "no_authorization_token": KEY_REFUSED,
    "nonce_used": KEY_REFUSED,
    "out_of_scope": KEY_REFUSED,
}
"""By the name of the error. What is not here is judged by the HTTP status."""


class _Fault(msgspec.Struct):
    name: str | int = ""
    message: str = ""


class _Error(msgspec.Struct):
    error: _Fault


_error = msgspec.json.Decoder(_Error).decode


def state_of(word: str, filled: Decimal) -> OrderState:
    """The state of an order that Upbit calls ``word`` and of which ``filled`` was executed.

    A word that is not in the table is UNKNOWN, so that the order is asked about again.
    """
    state = STATES.get(word, "UNKNOWN")
    return "PARTIAL" if state == "ACCEPTED" and filled else state


def understand(status: int, body: bytes) -> Said:
    """What an answer of HTTP ``status`` that is not a success means. The venue says: go by the name of the error."""
    try:
        error = _error(body).error
    except UNREADABLE:
        return by_status(status, body)
    known = ERRORS.get(str(error.name), Said(by_status(status, body).meaning))
    return known._replace(detail=shortened(f"{error.name}: {error.message}"))
