"""What the checks of an intent are made of: the moment they are made, and what they object. Values."""

from typing import NamedTuple

from arbshard.model.refusal import Refusal


class Objection(NamedTuple):
    """Why an intent is refused."""

    reason: Refusal
    detail: str


class Moment(NamedTuple):
    """When something is decided."""

    now_ms: int
    """Wall time."""
    now_ns: int
    """Monotonic time."""
    day: int
    """Number of the trading day (``days``)."""
