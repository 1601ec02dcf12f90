"""The phase of a run is one word in the feed's header. The supervisor sets it, and every child follows it."""

from enum import IntEnum


class Phase(IntEnum):
    """States what children may do."""

    STARTING = 0
    RUNNING = 1
    DRAINING = 2
    """No new entries; close every position, then end."""
    DRAINING_KEEP = 3
    """No new entries; finish what is under way, keep the positions, then end."""


class WorkerState(IntEnum):
    """Is the stage of a worker's life."""

    STARTING = 0
    RUNNING = 1
    DRAINING = 2
    DRAINED = 3


SUPERVISOR_SILENT_NS = 1_000_000_000
"""A supervisor whose beat is older than this is silent: trading stops until it beats again. It need not be dead: its
children know from the pid of their parent whether it is.
"""
