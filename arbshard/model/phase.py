"""The phase of a run: one word in the feed's header, set by the supervisor, obeyed by every child."""

from enum import IntEnum


class Phase(IntEnum):
    """What children may do."""

    STARTING = 0
    RUNNING = 1
    DRAINING = 2
    """No new entries; close every position, then end."""
    DRAINING_KEEP = 3
    """No new entries; finish what is under way, keep the positions, then end."""


class WorkerState(IntEnum):
    """Where a worker stands."""

    STARTING = 0
    RUNNING = 1
    DRAINING = 2
    DRAINED = 3


SUPERVISOR_SILENT_NS = 1_000_000_000
"""A supervisor whose beat is older than this is silent: trading stops until it beats again. It need not be dead:
whether it is, its children know from the pid of their parent.
"""
