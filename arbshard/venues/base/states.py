"""What a venue's answer to a call means for the order it was about. Pure.

    =============  =====================================================================================
    accepted       it was carried out; the body says how
    rejected       the venue looked at the order and refused it: final
    not_accepted   the venue did not look at it (rate limit, overload, clock, key): final, and nobody's fault
    not_found      the venue knows no such order: final only once nothing can be on its way any more
    unknown        it may have been carried out: ask
    =============  =====================================================================================

Whatever is not known for certain to be harmless is ``unknown``: asking once too often costs a request. The room
``states`` of a venue's folder has the venue's words; ``execution.live.errors`` is the way to it.
"""

import re
from typing import Literal, NamedTuple

Meaning = Literal["accepted", "rejected", "not_accepted", "not_found", "unknown"]

_DETAIL_MAX = 200


class Said(NamedTuple):
    """A venue's answer, understood."""

    meaning: Meaning
    detail: str = ""
    """In the venue's words, shortened."""
    clock_off: bool = False
    """The venue finds that our clock, or our idea of its clock, is off."""
    key_refused: bool = False


ACCEPTED = Said("accepted")
REJECTED = Said("rejected")
NOT_ACCEPTED = Said("not_accepted")
NOT_FOUND = Said("not_found")
UNKNOWN = Said("unknown")
CLOCK_OFF = Said("not_accepted", clock_off=True)
KEY_REFUSED = Said("not_accepted", key_refused=True)


def by_status(status: int, body: bytes) -> Said:
    """What the HTTP status alone means: below 500 the call was refused, from there on nobody knows."""
    detail = shortened(f"HTTP {status} {body[:_DETAIL_MAX].decode(errors='replace')}".strip())
    if status in {418, 429, 401, 403, 451}:
        return Said("not_accepted", detail, key_refused=status == 401)
    # 408 is a time-out, 409 a request in part carried out.
    if 400 <= status < 500 and status not in {408, 409}:
        return Said("rejected", detail)
    return Said("unknown", detail)


def shortened(text: str) -> str:
    """``text`` on one line, short enough for a log line."""
    return re.sub(r"\s+", " ", text)[:_DETAIL_MAX]
