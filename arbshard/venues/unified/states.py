"""Translates ccxt's unified order states and exceptions. Pure.

The exceptions are those of ccxt's tree. Only those by which the venue certainly did not carry the order out are
``rejected`` or ``not_accepted``. The plain ``ExchangeError``, which ccxt raises for any answer that it cannot
classify, is ``unknown`` like everything that is not in the table.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from arbshard.model.order import OrderFault, OrderState
from arbshard.venues.base.states import (
    BUSY,
    CLOCK_OFF,
    MARKET_REFUSES,
    NO_FUNDS,
    NOT_FOUND,
    ORDER_REFUSED,
    UNKNOWN,
    VENUE_REFUSES,
    CallOutcome,
    by_status,
    shortened,
)
from arbshard.venues.frame import UNREADABLE
from arbshard.venues.unified.calls import ErrorText

STATES: Final[Mapping[str, OrderState]] = {
    "open": "ACCEPTED",
    "closed": "FILLED",
    "canceling": "ACCEPTED",
    "canceled": "EXPIRED",  # we cancel no order: it is how an IOC order ends that found too little
    "expired": "EXPIRED",
    "rejected": "REJECTED",
}
"""ccxt's unified states. Where it knows none, it passes on the venue's own name, which is UNKNOWN."""

ERRORS: Final[Mapping[str, CallOutcome]] = {
    "OrderNotFound": NOT_FOUND,
    "DuplicateOrderId": UNKNOWN,  # an order of that name may exist
    "OrderNotCached": UNKNOWN,
    "ContractUnavailable": MARKET_REFUSES,
    "InvalidOrder": ORDER_REFUSED,
    "InsufficientFunds": NO_FUNDS,
    "BadSymbol": MARKET_REFUSES,
    "BadRequest": ORDER_REFUSED,
    "ManualInteractionNeeded": VENUE_REFUSES,
    "RestrictedLocation": VENUE_REFUSES,
    "OperationRejected": MARKET_REFUSES,
    "ArgumentsRequired": ORDER_REFUSED,
    "NotSupported": ORDER_REFUSED,
    "AuthenticationError": VENUE_REFUSES,
    "RateLimitExceeded": BUSY,
    "DDoSProtection": BUSY,
    "InvalidNonce": CLOCK_OFF,
}
"""Meanings by the name of the exception's class; the first of its line of descent that is in the table counts."""

_error = msgspec.json.Decoder(ErrorText).decode


def state_of(name: str | None, filled: Decimal) -> OrderState:
    """Return the state of an order whose state ccxt calls ``name`` and of which ``filled`` was executed.

    A venue that acknowledges an order without its state has accepted it. A name that is not in the table is
    UNKNOWN.
    """
    state: OrderState = "ACCEPTED" if name is None else STATES.get(name, "UNKNOWN")
    return "PARTIAL" if state == "ACCEPTED" and filled else state


def fault_of(state: OrderState) -> OrderFault:
    """Return why an order of ``state`` was refused: ccxt states no reason, so the order itself is the cause."""
    return "order" if state == "REJECTED" else ""


def understand(status: int, body: bytes) -> CallOutcome:
    """Return what a failed call means. From HTTP 500 on its effect is unknown, whatever ccxt makes of the text."""
    try:
        error = _error(body)
    except UNREADABLE:
        return by_status(status, body)
    detail = shortened(f"{error.error[0] if error.error else ''}: {error.message}")
    if status >= 500:
        return UNKNOWN._replace(detail=detail)
    for name in error.error:
        if name in ERRORS:
            return ERRORS[name]._replace(detail=detail)
    return UNKNOWN._replace(detail=detail)
