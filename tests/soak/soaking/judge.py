"""Whether what was sampled is flat. Pure; made for ``soak``."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

_MB = 1e6
TEN_MINUTES_S = 600.0


class Sample(NamedTuple):
    """One process at one moment."""

    at_s: float
    """Since the run began to be watched."""
    pid: int
    rss: int
    """Bytes."""
    descriptors: int
    threads: int


class Bounds(NamedTuple):
    """What counts as flat."""

    growth_mb: float = 1.0
    """Resident memory in ten minutes, by the line through the second half."""
    least_s: float = 240.0
    """A shorter second half says nothing of a slope: what has just started is still filling its caches."""


class Row(NamedTuple):
    """One process in the table."""

    name: str
    samples: int
    rss_mb: tuple[float, float]
    """At the beginning and at the end."""
    growth_mb: float
    """In ten minutes, by the second half."""
    descriptors: tuple[int, int]
    """Usual number in the first half and in the second."""
    threads: tuple[int, int]
    faults: tuple[str, ...]
    """Why it is not flat; empty when it is."""


def judge(name: str, samples: Sequence[Sample], bounds: Bounds) -> Row:
    """One process, from its samples after the warm-up."""
    half = len(samples) // 2
    if half < 2:
        return Row(name, len(samples), (0.0, 0.0), 0.0, (0, 0), (0, 0), ("too few samples",))
    first, second = samples[:half], samples[half:]
    growth_mb = slope([one.at_s for one in second], [one.rss for one in second]) * TEN_MINUTES_S / _MB
    descriptors = _usual([one.descriptors for one in first]), _usual([one.descriptors for one in second])
    threads = _usual([one.threads for one in first]), _usual([one.threads for one in second])
    faults = []
    if len({one.pid for one in samples}) > 1:
        faults.append("was replaced")
    if second[-1].at_s - second[0].at_s >= bounds.least_s and growth_mb > bounds.growth_mb:
        faults.append(f"grows by {growth_mb:.2f} MB in ten minutes")
    # The least of each half: whoever just opens a file is no leak, and a leak lifts the least.
    least = min(one.descriptors for one in first), min(one.descriptors for one in second)
    if descriptors[0] != descriptors[1] or least[1] > least[0]:
        faults.append(f"descriptors {descriptors[0]} → {descriptors[1]} (least {least[0]} → {least[1]})")
    if threads[0] != threads[1]:
        faults.append(f"threads {threads[0]} → {threads[1]}")
    rss_mb = samples[0].rss / _MB, samples[-1].rss / _MB
    return Row(name, len(samples), rss_mb, growth_mb, descriptors, threads, tuple(faults))


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the line with the least squares; 0 for a single place."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0


def _usual(counts: Sequence[int]) -> int:
    return round(median(counts))
