"""Provides a periodic timer as a descriptor, because the event loop's own timers are too coarse (uvloop: 1
ms).

``generator`` uses it. It works on Linux only. ``os.timerfd_create`` comes with Python 3.13; until then the
C library is called.
"""

import ctypes
import os

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_SECOND_NS = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("first", _Timespec))


class PeriodicTimer:
    """Becomes readable every ``period_ns`` from ``first_ns`` (monotonic) on.

    Raises ``OSError`` where the system has no such timer.
    """

    def __init__(self, first_ns: int, period_ns: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        period, first = (_Timespec(*divmod(ns, _SECOND_NS)) for ns in (period_ns, first_ns))
        timing = ctypes.byref(_Itimerspec(period, first))
        if libc.timerfd_settime(self._descriptor, _ABSOLUTE, timing, None) < 0:
            error = ctypes.get_errno()
            self.close()
            raise OSError(error, "timerfd_settime")

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._descriptor

    def clear(self) -> int:
        """Return how many periods have passed since the last call; 0 when none has."""
        try:
            return int.from_bytes(os.read(self._descriptor, 8), "little")
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Close the descriptor. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
