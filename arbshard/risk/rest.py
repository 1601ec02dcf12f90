"""Defines a span of rest: a time in which risk's ticks are not run one by one, because they can decide nothing.

A backtest proves of a span that nothing is requested, held or under way, and that no entry can be near
(``backtest.resting``). Then each part of risk is brought to the end of the span by its method ``rest``, which leaves
the same state as the ticks would have left. A part belongs to one of three kinds:

- It learns from samples (the series of gaps, the level of the FX premium). It gets the samples of the span, each with
  the tick at which it would have been taken, in their order.
- It does something every so often (rounds over baselines, terms and positions, audits). Only the time at which it
  does it next is continued (``next_due``). What the rounds work out they work out anew each time, so the backtest
  ends a span ``settling_ns`` before anything may happen, and runs the rounds of that time as usual.
- It changes with events and requests alone, and has nothing to do.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class RestSpan(NamedTuple):
    """Holds what risk would have seen in a span of rest."""

    ticks: Sequence[int]
    """Times of the ticks (monotonic ns), in their order; never empty."""
    rates: Sequence[float]
    """Mid of the FX book at each tick."""
    implied: Sequence[tuple[float | None, int]]
    """Median of the FX rates that pairs with fresh samples imply at each tick, and the number of these pairs. The
    median is None for too few pairs.
    """
    gaps: Mapping[str, Sequence[tuple[int, float]]]
    """Samples of each pair, by base: the tick, and the gap in basis points."""
    newest: Mapping[str, tuple[float, float, float, float, int]]
    """The last sample of each pair that has one, by base: best bid at home, best bid away, bid of the FX book, home
    mid over away mid, and the tick.
    """


def next_due(ticks: Sequence[int], due_ns: int, every_ns: int) -> int:
    """Return when something is due after ``ticks`` that is done at the first tick from ``due_ns`` on, and then at the
    first tick that is ``every_ns`` after the one before.
    """
    place = bisect_left(ticks, due_ns)
    while place < len(ticks):
        due_ns = ticks[place] + every_ns
        place = bisect_left(ticks, due_ns, place)
    return due_ns
