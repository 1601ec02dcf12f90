"""Loads the compiled twin of what runs at every frame (``_native.c``), if ``make setup`` has built it.

Each class of ``_native`` does the same as Python code beside its use, which is used where ``IS_BUILT`` is False. With
``ARBSHARD_NATIVE=0`` in the environment it is not used.
"""

import os
import platform
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


if ORDERED_STORES and os.environ.get(SWITCH) != "0":
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
        IS_BUILT = False  # there was no compiler
    else:
        IS_BUILT = is_built_from(SOURCE)

__all__ = ["Cells", "Memory", "Notifier", "Ring", "Router", "Slots", "TopReader", "number_after"]
