"""What a process does to itself: private files from its start on, and an even pace once it has started."""

import gc
import os
from collections.abc import Sequence

from arbshard.errors import ConfigError

_YOUNG_MAX = 20_000
"""Objects made before the collector looks for cycles: at its usual 700 it would look after every few books."""


def keep_what_is_there() -> None:
    """All that was made until now stays for good: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX, 20, 50)


def keep_files_private() -> None:
    """Every file and socket that this process or its children make from now on is for this user alone."""
    os.umask(0o077)


def pin(cores: Sequence[int], place: int) -> None:
    """Run on one of ``cores`` only, with all children to come; no cores: as the system likes.

    Place 0 (the supervisor) gets the first, which the others leave to it as long as there are more. Raises
    ``ConfigError`` at place 0 for cores that cannot be used.
    """
    if not cores:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError("run.pin_cores", "this system does not let a process choose its cores")
    usable = os.sched_getaffinity(0)
    if place == 0 and (strange := set(cores) - usable):
        has = ", ".join(map(str, sorted(usable)))
        raise ConfigError("run.pin_cores", f"there is no core {min(strange)} here; usable are {has}")
    others = cores[1:] or cores
    os.sched_setaffinity(0, {cores[0] if place == 0 else others[(place - 1) % len(others)]})
