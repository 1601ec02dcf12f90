"""Loads the compiled twin of what runs at every frame (``_native.c``), if ``make setup`` has built it.

Each class of ``_native`` does the same as Python code beside its use, which is used where ``IS_BUILT`` is False. With
``ARBSHARD_NATIVE=0`` in the environment it is not used.
"""

import os
import platform
import sys
from pathlib import Path
from zlib import crc32

ORDERED_STORES = platform.machine().lower() in {"x86_64", "amd64", "i686", "i386"}
"""Whether another core sees the stores of this one in program order. Elsewhere slots carry a checksum, which the
twin does not know.
"""
SWITCH = "ARBSHARD_NATIVE"
"""The variable that switches the twin off where it is 0."""
IS_BUILT = False
"""Whether the twin is used."""
WHY_NOT = ""
"""Why the twin is not used; empty if it is."""

_SOURCE = Path(__file__).with_name("_native.c")


def is_built_from(checksum: int) -> bool:
    """Return whether ``checksum`` is that of the present source.

    After an update of the checkout, and until ``make setup`` has run, the twin is of an older state, which may have
    other layouts than the Python code beside it.
    """
    try:
        return crc32(_SOURCE.read_bytes()) == checksum
    except OSError:
        return False


def objection(*, ordered_stores: bool, size_max: int, switch: str | None) -> str:
    """Return why the twin cannot be used, whether it is built or not; empty if it can be.

    ``size_max`` is ``sys.maxsize`` of the interpreter, ``switch`` the value of the variable ``SWITCH``.
    """
    if switch == "0":
        return f"{SWITCH}=0 switches it off"
    if size_max < 2**63 - 1:
        return "this Python is a 32-bit build, and the twin needs 64 bits"
    if not ordered_stores:
        return "the processor is not of x86, where slots need no checksum"
    return ""


WHY_NOT = objection(ordered_stores=ORDERED_STORES, size_max=sys.maxsize, switch=os.environ.get(SWITCH))
if not WHY_NOT:
    try:
        from arbshard._native import (
            SOURCE,
            Cells,
            Memory,
            Notifier,
            Ring,
            Router,
            Slots,
            TopReader,
            number_after,
        )
    except ImportError:
        WHY_NOT = "it is not built: 'make setup' builds it where there is a C compiler with Python's headers"
    else:
        IS_BUILT = is_built_from(SOURCE)
        if not IS_BUILT:
            WHY_NOT = "it is built from another source: 'make setup' builds it anew"

__all__ = ["Cells", "Memory", "Notifier", "Ring", "Router", "Slots", "TopReader", "number_after"]
