"""Encodes the time at which a frame was due in the frame itself, as the size of the best bid.

``generator`` writes it; ``worker`` and the peers read it. A size of fifteen digits is far above any real
one, has a constant width, and is a whole number that a float holds exactly.
"""

BASE = 10**14
"""Added to the microseconds: no smaller size is a stamp, and every stamp has fifteen digits."""
DIGITS = 15
_US_MAX = 9 * 10**14


def stamp_of(sent_ns: int) -> bytes:
    """Return monotonic nanoseconds as the digits of a size, rounded down to the microsecond."""
    us = sent_ns // 1000
    assert 0 <= us < _US_MAX, us
    return b"%d" % (BASE + us)


def sent_ns_of(size: float) -> int | None:
    """Return the monotonic nanoseconds at which the frame was due; None when the size is no stamp."""
    return (int(size) - BASE) * 1000 if size >= BASE else None
