"""Whether a run lives, and whether it trades: what a container or a service manager asks. Pure."""

from typing import NamedTuple

import msgspec

from arbshard.status.model import Status

_LIVES = frozenset({"starting", "running", "degraded", "draining"})
_TRADES = frozenset({"running", "degraded"})


class HealthAnswer(NamedTuple):
    """An HTTP status and a body in JSON."""

    is_well: bool
    body: bytes


def is_alive(status: Status | None) -> HealthAnswer:
    """Whether the supervisor lives and moves. A run that only has problems lives: starting it anew cures none."""
    state = status.state if status is not None else "not running"
    return HealthAnswer(state in _LIVES, msgspec.json.encode({"state": state}))


def is_ready(status: Status | None) -> HealthAnswer:
    """Whether the run does its work: it trades, and no halt keeps it from entering."""
    if status is None:
        return HealthAnswer(False, msgspec.json.encode({"state": "not running", "problems": []}))
    body = {"state": status.state, "halted": status.halted, "problems": status.problems}
    return HealthAnswer(status.state in _TRADES and not status.halted, msgspec.json.encode(body))
