"""Classifies a venue's answer to a call by its meaning for the order that the call was about. Pure.

    =============  =====================================================================================
    accepted       the call was carried out; the body has the result
    rejected       the venue examined the order and refused it: final
    not_accepted   the venue did not examine it (rate limit, overload, clock, key): final
    not_found      the venue knows no such order: final only once no request can be on its way any more
    unknown        it may have been carried out: ask
    =============  =====================================================================================

An answer is ``unknown`` unless it is certain that nothing was carried out, because an unnecessary query costs only
one request. An answer that is ``rejected`` or ``not_accepted`` also has a fault (``model.order.OrderFault``), which
decides whether the order is tried again. The module ``states`` of a venue's folder has the tables of the venue's
own codes; ``execution.live.errors`` uses them.
"""

import re
from typing import Literal, NamedTuple

from arbshard.model.order import OrderFault

Meaning = Literal["accepted", "rejected", "not_accepted", "not_found", "unknown"]

_DETAIL_MAX = 200


class CallOutcome(NamedTuple):
    """Is the meaning of a venue's answer."""

    meaning: Meaning
    detail: str = ""
    """The venue's own text, shortened."""
    clock_off: bool = False
    """Whether the venue reports that our clock, or our estimate of its clock, is off."""
    fault: OrderFault = ""
    """Set if and only if the order was rejected or not accepted."""


ACCEPTED = CallOutcome("accepted")
NOT_FOUND = CallOutcome("not_found")
UNKNOWN = CallOutcome("unknown")
BUSY = CallOutcome("not_accepted", fault="busy")
CLOCK_OFF = CallOutcome("not_accepted", clock_off=True, fault="busy")
ORDER_REFUSED = CallOutcome("rejected", fault="order")
NO_FUNDS = CallOutcome("rejected", fault="funds")
MARKET_REFUSES = CallOutcome("rejected", fault="market")
VENUE_REFUSES = CallOutcome("not_accepted", fault="venue")
"""The key, its permissions, the address or the region is refused: the venue did not examine the order."""

_VENUE_STATUSES = frozenset({401, 403, 418, 451})


def by_status(status: int, body: bytes) -> CallOutcome:
    """Return what the HTTP status alone means: below 500 the call was refused; from 500 on its effect is unknown."""
    detail = shortened(f"HTTP {status} {body[:_DETAIL_MAX].decode(errors='replace')}".strip())
    if status in _VENUE_STATUSES:
        return VENUE_REFUSES._replace(detail=detail)
    if status == 429:
        return BUSY._replace(detail=detail)
    # 408 is a time-out, 409 a request in part carried out.
    if 400 <= status < 500 and status not in {408, 409}:
        return ORDER_REFUSED._replace(detail=detail)
    return UNKNOWN._replace(detail=detail)


def by_code(known: CallOutcome | None, status: int, body: bytes, detail: str) -> CallOutcome:
    """Return what an answer means whose code has the meaning ``known`` in the venue's table; None if it is not in
    it.

    A code that is not in the table is judged by the status. HTTP 418 bans the address, whatever the code is.
    """
    outcome = by_status(status, body) if known is None else known
    if status == 418 and outcome.fault == "busy":
        outcome = VENUE_REFUSES
    return outcome._replace(detail=shortened(detail))


def shortened(text: str) -> str:
    """Return ``text`` on one line, cut to 200 characters for a log line."""
    return re.sub(r"\s+", " ", text)[:_DETAIL_MAX]
