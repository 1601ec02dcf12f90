"""Decides what a venue's answer to a call means for its order. The code is pure; ``venues.base.states`` has the
meanings.
"""

from arbshard.data.redirects import is_redirect
from arbshard.venues.base.states import ACCEPTED, CallOutcome
from arbshard.venues.registry import get_adapter


def understand(venue: str, status: int, body: bytes) -> CallOutcome:
    """Return what a response of HTTP ``status`` means."""
    if 200 <= status < 300:
        return ACCEPTED
    if is_redirect(status):  # the body may not come from the venue
        return CallOutcome("unknown", f"HTTP {status}: a redirect, which is not followed")
    return get_adapter(venue).understand(status, body)
