"""Translates Binance's states and errors: one table of each, for REST and user data alike. Pure."""

from collections.abc import Mapping
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
    by_code,
    by_status,
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

ERRORS: Final[Mapping[int, CallOutcome]] = {
    -1000: UNKNOWN,  # an unknown error occurred while processing
    -1001: UNKNOWN,  # internal: disconnected
    -1002: VENUE_REFUSES,  # the key may not do this
    -1003: BUSY,  # too much request weight; with HTTP 418 the address is banned
    -1006: UNKNOWN,  # unexpected response from the message bus: execution status unknown
    -1007: UNKNOWN,  # time-out: send status unknown, execution status unknown
    -1008: BUSY,  # overloaded: refused before it was carried out
    -1013: ORDER_REFUSED,  # a filter of the market
    -1015: BUSY,  # too many new orders
    -1016: BUSY,  # service shutting down
    -1021: CLOCK_OFF,  # outside the receive window
    -1022: VENUE_REFUSES,  # signature
    -1034: BUSY,  # too many connections
    -1111: ORDER_REFUSED,  # more decimals than the market has
    -1121: MARKET_REFUSES,  # no such symbol
    -2008: VENUE_REFUSES,  # unknown key
    -2010: ORDER_REFUSED,
    -2013: NOT_FOUND,
    -2014: VENUE_REFUSES,  # form of the key
    -2015: VENUE_REFUSES,  # key, address or rights
    -2017: VENUE_REFUSES,  # the account's keys are locked
    -2026: UNKNOWN,  # archived: it did exist
}
"""Meanings by the code of the error. A code that is not here is judged by the HTTP status."""

_REFUSALS: Final = frozenset({-1010, -1013, -1014, -2010})
"""Codes of a refused order, under which the message gives the reason."""
MESSAGES: Final[Mapping[str, CallOutcome]] = {
    "Duplicate order sent": UNKNOWN,  # an order of that name may exist
    "Account has insufficient balance for requested action": NO_FUNDS,
    "Market is closed": MARKET_REFUSES,
    "This order type is not possible in this trading phase": MARKET_REFUSES,  # the symbol is not TRADING
    "Limit orders require GTC for this phase": MARKET_REFUSES,
    "Unsupported order combination": MARKET_REFUSES,  # older servers send it in place of the two before this
    "This symbol is not permitted for this account": MARKET_REFUSES,
    "This symbol is restricted for this account": MARKET_REFUSES,
    "This action is disabled on this account": VENUE_REFUSES,
    "This account may not place or cancel orders": VENUE_REFUSES,
    "Rest API trading is not enabled": VENUE_REFUSES,
    "Filter failure: MAX_NUM_ORDERS": BUSY,  # open orders, until one of them ends
    "Filter failure: EXCHANGE_MAX_NUM_ORDERS": BUSY,
}
"""Meanings by the message of a refused order, without its full stop. Any other message is about the order itself: a
filter, or a parameter."""

REASONS: Final[Mapping[str, OrderFault]] = {
    "INSUFFICIENT_BALANCE": "funds",
    "INSUFFICIENT_BALANCES": "funds",
    "MARKET_CLOSED": "market",
    "UNKNOWN_INSTRUMENT": "market",
    "ACCOUNT_INACTIVE": "venue",
    "ACCOUNT_CANNOT_SETTLE": "venue",
    "UNKNOWN_ACCOUNT": "venue",
}
"""Faults by the reason (``r``) of an execution report that is REJECTED. Any other one is about the order itself."""


class _Error(msgspec.Struct):
    code: int
    msg: str = ""


_error = msgspec.json.Decoder(_Error).decode


def state_of(name: str) -> OrderState:
    """Return the state of an order whose state Binance calls ``name``.

    A name that is not in the table is UNKNOWN, so that the order is asked about again.
    """
    return STATES.get(name, "UNKNOWN")


def understand(status: int, body: bytes) -> CallOutcome:
    """Return what an answer of HTTP ``status`` that is not a success means."""
    try:
        error = _error(body)
    except UNREADABLE:
        return by_status(status, body)
    known = ERRORS.get(error.code)
    if error.code in _REFUSALS:
        known = MESSAGES.get(error.msg.rstrip("."), ORDER_REFUSED)
    return by_code(known, status, body, f"{error.code}: {error.msg}")


def fault_of(state: OrderState, reason: str = "") -> OrderFault:
    """Return why an order of ``state`` was refused, by its execution report's reason; empty if it was not refused."""
    return REASONS.get(reason, "order") if state == "REJECTED" else ""
