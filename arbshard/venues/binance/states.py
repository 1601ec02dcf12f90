"""What Binance's words mean: one table of order states and one of errors, for REST and user data alike. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

from arbshard.model.order import OrderState
from arbshard.venues.base.states import (
    CLOCK_OFF,
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
    "NEW": "ACCEPTED",
    "PENDING_NEW": "ACCEPTED",
    "PARTIALLY_FILLED": "PARTIAL",
    "FILLED": "FILLED",
    "CANCELED": "CANCELED",
    "PENDING_CANCEL": "ACCEPTED",  # documented as not in use; such an order has not ended yet
    "REJECTED": "REJECTED",
    "EXPIRED": "EXPIRED",  # how an IOC order ends that found too little
    "EXPIRED_IN_MATCH": "EXPIRED",  # self-trade prevention
}

ERRORS: Final[Mapping[int, Said]] = {
    -1000: UNKNOWN,  # an unknown error occurred while processing
    -1001: UNKNOWN,  # internal: disconnected
    -1002: KEY_REFUSED,  # the key may not do this
    -1003: NOT_ACCEPTED,  # too much request weight
    -1006: UNKNOWN,  # unexpected response from the message bus: execution status unknown
    -1007: UNKNOWN,  # time-out: send status unknown, execution status unknown
    -1008: NOT_ACCEPTED,  # overloaded: refused before it was carried out
    -1015: NOT_ACCEPTED,  # too many new orders
    -1016: NOT_ACCEPTED,  # service shutting down
    -1021: CLOCK_OFF,  # outside the receive window
    -1022: KEY_REFUSED,  # signature
    -2013: NOT_FOUND,
    -2014: KEY_REFUSED,  # form of the key
    -2015: KEY_REFUSED,  # key, address or rights
    -2026: UNKNOWN,  # archived: it did exist
}
"""By the code of the error. What is not here is judged by the HTTP status."""
_DUPLICATE = "Duplicate order sent."
"""The name is taken: an order of that name may stand. It comes under the code of every refused order."""


class _Error(msgspec.Struct):
    code: int
    msg: str = ""


_error = msgspec.json.Decoder(_Error).decode


def state_of(word: str) -> OrderState:
    """The state of an order that Binance calls ``word``.

    A word that is not in the table is UNKNOWN, so that the order is asked about again.
    """
    return STATES.get(word, "UNKNOWN")


def understand(status: int, body: bytes) -> Said:
    """What an answer of HTTP ``status`` that is not a success means."""
    try:
        error = _error(body)
    except UNREADABLE:
        return by_status(status, body)
    known = ERRORS.get(error.code, Said(by_status(status, body).meaning))
    if error.msg == _DUPLICATE:
        known = UNKNOWN
    return known._replace(detail=shortened(f"{error.code}: {error.msg}"))
