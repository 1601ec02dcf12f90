"""Decides whether to poll for more changes before sleeping, which pays where they come faster than a sleep ends.

It is pure; ``loop`` asks. After polling in vain it waits longer and longer until it tries again, so that a quiet
market costs next to nothing.
"""

_PASSES_MAX = 64


class Spin:
    """Allows polling for up to ``spin_ns`` nanoseconds at a time; never for 0."""

    def __init__(self, spin_ns: int) -> None:
        self._spin_ns = spin_ns
        self._vain = 0
        """How many times in a row nothing came."""
        self._passes = 0
        """Number of sleeps until the next try."""

    def duration_ns(self) -> int:
        """Return for how many nanoseconds to poll now."""
        if self._passes:
            self._passes -= 1
            return 0
        return self._spin_ns

    def looked(self, *, found: bool) -> None:
        """Record whether something came while polling."""
        self._vain = 0 if found else self._vain + 1
        self._passes = 0 if found else min(2**self._vain, _PASSES_MAX)
