"""Whether to look for more before sleeping: pays where changes come faster than a sleep and its wake-up take.

Pure; ``loop`` asks. After looking in vain it waits longer and longer until it tries again, so that a quiet market
costs next to nothing.
"""

_PASSES_MAX = 64


class Spin:
    """For up to ``spin_ns`` at a time; never for 0."""

    def __init__(self, spin_ns: int) -> None:
        self._spin_ns = spin_ns
        self._vain = 0
        """Times in a row that nothing came."""
        self._passes = 0
        """Sleeps to go before the next try."""

    def duration_ns(self) -> int:
        """How long to look for more now."""
        if self._passes:
            self._passes -= 1
            return 0
        return self._spin_ns

    def looked(self, *, found: bool) -> None:
        """Whether something came while looking."""
        self._vain = 0 if found else self._vain + 1
        self._passes = 0 if found else min(2**self._vain, _PASSES_MAX)
