"""Loads the compiled twin of what runs at every frame (``_native.c``), if ``make setup`` has built it.

Each class of ``_native`` does the same as Python code beside its use, which is used where ``IS_BUILT`` is False. With
``ARBSHARD_NATIVE=0`` in the environment it is not used.
"""

import os
import platform

ORDERED_STORES = platform.machine().lower() in {"x86_64", "amd64", "i686", "i386"}
"""Whether another core sees the stores of this one in program order. Elsewhere slots carry a checksum, which the
twin does not know.
"""
SWITCH = "ARBSHARD_NATIVE"
"""The variable that switches the twin off where it is 0."""
IS_BUILT = False
"""Whether the twin is used."""

if ORDERED_STORES and os.environ.get(SWITCH) != "0":
    try:
        from arbshard._native import Cells, Memory, Notifier, Ring, Router, Slots, TopReader, number_after
    except ImportError:
        IS_BUILT = False  # there was no compiler
    else:
        IS_BUILT = True

__all__ = ["Cells", "Memory", "Notifier", "Ring", "Router", "Slots", "TopReader", "number_after"]
