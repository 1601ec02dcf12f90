"""Measures the machine's noise, which is how much the time of a fixed loop and of a timer varies.

Nothing of ours runs meanwhile. ``conditions`` measures it at the start of a run and at its end, and
``comparison`` weighs differences against it.
"""

import select
import statistics
import time
from collections.abc import Sequence

import msgspec

from perf.timer import PeriodicTimer

_LOOPS = 60
_LOOP_STEPS = 60_000
_TIMES = 500
_PERIOD_NS = 1_000_000
_TIMER_WAIT_MS = 1_000


class Steadiness(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the noise of the machine, as it was measured within about a second."""

    loop_ms: float
    """Median time of the loop, in milliseconds."""
    loop_share: float
    """Spread of the loop's time from the 10th to the 90th percentile, as a share of the 10th."""
    cpu_share: float
    """The same spread of the loop's CPU time."""
    late_p50_us: float = 0.0
    """How many microseconds late a timer wakes its process; 0 where the system has no such timer."""
    late_p99_us: float = 0.0


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what the machine alone may change in a figure."""

    time_share: float = 0.0
    cpu_share: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0


def measure() -> Steadiness:
    """Run the loop and the timer; return how much they vary."""
    times_s, cpu_s = [], []
    for _ in range(_LOOPS):
        at_s, used_s = time.perf_counter(), time.process_time()
        total = 0
        for step in range(_LOOP_STEPS):
            total += step & 7
        times_s.append(time.perf_counter() - at_s)
        cpu_s.append(time.process_time() - used_s)
    late_us = _lateness_us()
    return Steadiness(
        loop_ms=round(statistics.median(times_s) * 1e3, 3),
        loop_share=round(spread_share(times_s), 4),
        cpu_share=round(spread_share(cpu_s), 4),
        late_p50_us=round(_at(late_us, 0.5), 1),
        late_p99_us=round(_at(late_us, 0.99), 1),
    )


def noise_of(measured: Sequence[Steadiness]) -> Noise:
    """Return the worst of ``measured``; a change of the loop's time between them counts as a spread does."""
    if not measured:
        return Noise()
    loops_ms = [one.loop_ms for one in measured]
    drift = max(loops_ms) / min(loops_ms) - 1 if min(loops_ms) > 0 else 0.0
    return Noise(
        time_share=max(drift, *(one.loop_share for one in measured)),
        # A drift of the loop's time comes from other work as often as from a slower core, so CPU excludes it.
        cpu_share=max(one.cpu_share for one in measured),
        p50_us=max(one.late_p50_us for one in measured),
        p99_us=max(one.late_p99_us for one in measured),
    )


def spread_share(values: Sequence[float]) -> float:
    """Return how far the 90th percentile is above the 10th, as a share of the 10th."""
    low = _at(values, 0.1)
    return _at(values, 0.9) / low - 1 if low > 0 else 0.0


def _at(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))] if ordered else 0.0


def _lateness_us() -> list[float]:
    first_ns = time.monotonic_ns() + 5 * _PERIOD_NS
    try:
        timer = PeriodicTimer(first_ns, _PERIOD_NS)
    except (OSError, AttributeError):
        return []  # a system without timerfd: reported as 0
    found: list[float] = []
    due_ns = first_ns - _PERIOD_NS
    poll = select.poll()
    try:
        poll.register(timer, select.POLLIN)
        while len(found) < _TIMES and poll.poll(_TIMER_WAIT_MS):
            now_ns = time.monotonic_ns()
            # When periods were missed, the lateness is that of the first of them.
            found.append(max(now_ns - due_ns - _PERIOD_NS, 0) / 1e3)
            due_ns += timer.clear() * _PERIOD_NS
    finally:
        timer.close()
    return found
