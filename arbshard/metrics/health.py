"""Decides whether a run is alive, and whether it trades, for a container or a service manager. Pure."""

from typing import NamedTuple

import msgspec

from arbshard.status.model import Status

_LIVES = frozenset({"starting", "running", "degraded", "draining"})
_TRADES = frozenset({"running", "degraded"})


class HealthAnswer(NamedTuple):
    """Is the answer to a health request: whether all is well, and a body in JSON."""

    is_well: bool
    body: bytes


def is_alive(status: Status | None) -> HealthAnswer:
    """Answer whether the supervisor is alive and works.

    A run that only has problems is alive: a restart cures none.
    """
    state = status.state if status is not None else "not running"
    return HealthAnswer(state in _LIVES, msgspec.json.encode({"state": state}))


def is_ready(status: Status | None) -> HealthAnswer:
    """Answer whether the run does its work: it trades, and no halt keeps it from entering."""
    if status is None:
        return HealthAnswer(False, msgspec.json.encode({"state": "not running", "problems": []}))
    body = {"state": status.state, "halted": status.halted, "problems": status.problems}
    return HealthAnswer(status.state in _TRADES and not status.halted, msgspec.json.encode(body))
