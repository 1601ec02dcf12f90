"""What a venue's answer to a call means for the order it was about. Pure.

    =============  =====================================================================================
    accepted       it was carried out; the body says how
    rejected       the venue looked at the order and refused it: final
    not_accepted   the venue did not look at it (rate limit, overload, clock, key): final, and nobody's fault
    not_found      the venue knows no such order: final only once nothing can be on its way any more
    unknown        it may have been carried out: ask
    =============  =====================================================================================

Whatever is not known for certain to be harmless is ``unknown``: asking once too often costs a request. An answer that
is ``rejected`` or ``not_accepted`` also has a fault (``model.order.OrderFault``), which says whether to try
again. The room ``states`` of a venue's folder has the venue's words; ``execution.live.errors`` is the way to it.
"""

import re
from typing import Literal, NamedTuple

from arbshard.model.order import OrderFault

Meaning = Literal["accepted", "rejected", "not_accepted", "not_found", "unknown"]

_DETAIL_MAX = 200


class Said(NamedTuple):
    """A venue's answer, understood."""

    meaning: Meaning
    detail: str = ""
    """In the venue's words, shortened."""
    clock_off: bool = False
    """The venue finds that our clock, or our idea of its clock, is off."""
    fault: OrderFault = ""
    """Set if and only if the order was rejected or not accepted."""


ACCEPTED = Said("accepted")
NOT_FOUND = Said("not_found")
UNKNOWN = Said("unknown")
BUSY = Said("not_accepted", fault="busy")
CLOCK_OFF = Said("not_accepted", clock_off=True, fault="busy")
ORDER_REFUSED = Said("rejected", fault="order")
NO_FUNDS = Said("rejected", fault="funds")
MARKET_REFUSES = Said("rejected", fault="market")
VENUE_REFUSES = Said("not_accepted", fault="venue")
"""The key, its permissions, the address or the region: the venue did not look at the order."""

_VENUE_STATUSES = frozenset({401, 403, 418, 451})


def by_status(status: int, body: bytes) -> Said:
    """What the HTTP status alone means: below 500 the call was refused, from there on nobody knows."""
    detail = shortened(f"HTTP {status} {body[:_DETAIL_MAX].decode(errors='replace')}".strip())
    if status in _VENUE_STATUSES:
        return VENUE_REFUSES._replace(detail=detail)
    if status == 429:
        return BUSY._replace(detail=detail)
    # 408 is a time-out, 409 a request in part carried out.
    if 400 <= status < 500 and status not in {408, 409}:
        return ORDER_REFUSED._replace(detail=detail)
    return UNKNOWN._replace(detail=detail)


def by_code(known: Said | None, status: int, body: bytes, detail: str) -> Said:
    """What an answer means whose code is in the venue's table (``known``) or not (None).

    A code that is not in the table is judged by the status. A ban (418) bars the address, whatever the code says.
    """
    said = by_status(status, body) if known is None else known
    if status == 418 and said.fault == "busy":
        said = VENUE_REFUSES
    return said._replace(detail=shortened(detail))


def shortened(text: str) -> str:
    """``text`` on one line, short enough for a log line."""
    return re.sub(r"\s+", " ", text)[:_DETAIL_MAX]
