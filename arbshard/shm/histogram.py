"""Latency histograms in fixed log-linear buckets: eight per power of two, 1 ns to about 73 minutes.

Pure. ``pages`` counts into these buckets in shared memory; status, metrics and the perf harness read them.
A percentile is the upper edge of its bucket: never below the truth, and at most 12.5 % above it.
"""

from collections.abc import Iterable
from itertools import accumulate
from typing import Self

import msgspec

NS_MAX = (1 << 42) - 1
"""Longest duration told apart from a longer one."""
BUCKETS = 320


def bucket_of(ns: int) -> int:
    """The bucket of a duration in ns: 0-15 exact, then eight per power of two. Out of range goes to the ends."""
    if ns < 16:
        return max(ns, 0)
    shift = ns.bit_length() - 4
    return (shift << 3) + (ns >> shift) if ns <= NS_MAX else BUCKETS - 1


def bucket_end(bucket: int) -> int:
    """The longest duration (ns) that ``bucket`` holds."""
    if bucket < 16:
        return bucket
    shift = (bucket >> 3) - 1
    return ((8 + (bucket & 7) + 1) << shift) - 1


class Histogram(msgspec.Struct, frozen=True):
    """What was recorded, at one moment."""

    buckets: tuple[int, ...] = (0,) * BUCKETS
    total_ns: int = 0
    max_ns: int = 0

    @classmethod
    def of(cls, durations_ns: Iterable[int]) -> Self:
        """The histogram of these durations; a negative one counts as 0."""
        buckets = [0] * BUCKETS
        total = longest = 0
        for ns in durations_ns:
            buckets[bucket_of(ns)] += 1
            total += max(ns, 0)
            longest = max(longest, ns)
        return cls(tuple(buckets), total, longest)

    @property
    def count(self) -> int:
        """Number of durations."""
        return sum(self.buckets)

    @property
    def mean_ns(self) -> float:
        """Average duration; 0 when there is none."""
        count = self.count
        return self.total_ns / count if count else 0.0

    def percentile_ns(self, p: float) -> int:
        """The duration that ``p`` percent (0-100) did not exceed, nearest rank; 0 when there is none."""
        assert 0 <= p <= 100, p
        count = self.count
        if count == 0:
            return 0
        rank = max(1, -int(-count * p // 100))  # rounded up
        for bucket, below in enumerate(accumulate(self.buckets)):
            if below >= rank:
                return self._end(bucket)
        raise AssertionError("the last bucket reaches the count")

    def merge(self, other: "Histogram") -> "Histogram":
        """Both together."""
        return Histogram(
            tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True)),
            self.total_ns + other.total_ns,
            max(self.max_ns, other.max_ns),
        )

    def minus(self, earlier: "Histogram") -> "Histogram":
        """What was recorded since ``earlier``, a reading of the same page.

        Its ``max_ns`` is known to the bucket only. If the page has begun anew since, all of it is new.
        """
        buckets = tuple(a - b for a, b in zip(self.buckets, earlier.buckets, strict=True))
        if min(buckets) < 0:
            return self
        last = max((bucket for bucket, count in enumerate(buckets) if count), default=None)
        longest = self._end(last) if last is not None else 0
        return Histogram(buckets, max(self.total_ns - earlier.total_ns, 0), longest)

    def _end(self, bucket: int) -> int:
        # The longest of all may be known exactly, and the last bucket has no end.
        return self.max_ns if bucket == BUCKETS - 1 else min(bucket_end(bucket), self.max_ns)
