"""What the venue's words mean."""

from collections.abc import Mapping
from typing import Final

import msgspec

from arbshard.model.order import OrderState
from arbshard.venues.base.states import NO_FUNDS, NOT_FOUND, CallOutcome, by_code, by_status
from arbshard.venues.frame import UNREADABLE

STATES: Final[Mapping[str, OrderState]] = {
    "open": "ACCEPTED",
    "filled": "FILLED",
    "ended": "EXPIRED",
}
ERRORS: Final[Mapping[str, CallOutcome]] = {"no such order": NOT_FOUND, "no money": NO_FUNDS}


class _Error(msgspec.Struct):
    error: str


_error = msgspec.json.Decoder(_Error).decode


def state_of(word: str) -> OrderState:
    """UNKNOWN for a word that is not in the table."""
    return STATES.get(word, "UNKNOWN")


def understand(status: int, body: bytes) -> CallOutcome:
    """What an answer that is not a success means."""
    try:
        error = _error(body).error
    except UNREADABLE:
        return by_status(status, body)
    return by_code(ERRORS.get(error), status, body, error)
