"""Defines when a rate counts as sustained, for every client alike, and finds the highest such rate. Pure."""

from collections.abc import Callable, Sequence

from perf.figures import LoadRow

DELIVERED_SHARE_MIN = 0.99
LATE_SHARE_MAX = 0.01
SLOT_AGE_MS_MAX = 100.0
SEND_P999_US_MAX = 100_000.0
LATE_RETRIES_MAX = 2
"""How often a rate is tried again after the generator alone was late. It offered less than it should, which tells as
much about the machine as about the client; a client that takes the cores from it makes it late each time.
"""
LADDER = (
    1_000, 2_000, 3_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 40_000, 50_000, 60_000, 80_000, 100_000,
)  # fmt: skip
"""Rates tried, messages per second."""


_LATE = "generator late"


def faults(row: LoadRow) -> tuple[str, ...]:
    """Return the reasons why the row's rate does not count as sustained; none when it does."""
    found = []
    if row.delivered_share < DELIVERED_SHARE_MIN:
        found.append(f"delivered {row.delivered_share:.1%}")
    if row.lost:
        found.append(f"{row.lost} connections lost")
    if row.late_share > LATE_SHARE_MAX:
        found.append(f"{_LATE} {row.late_share:.1%}")
    if row.slot_age_ms > SLOT_AGE_MS_MAX:
        found.append(f"slot {row.slot_age_ms:.0f} ms old")
    if row.send_us.p999 > SEND_P999_US_MAX:
        found.append(f"p99.9 {row.send_us.p999 / 1000:.0f} ms")
    if not row.decided:
        found.append("nothing decided")
    return tuple(found)


def step_above(rate: float, ladder: Sequence[int] = LADDER) -> float:
    """Return the factor from ``rate`` to the next rung above it; at the top, that of the last step."""
    return next(
        (above / rate for above in ladder if above > rate),
        ladder[-1] / ladder[-2],
    )


def highest_sustained(
    measure: Callable[[int], LoadRow], start: int, ladder: Sequence[int] = LADDER, tries: int = 2
) -> tuple[int, tuple[LoadRow, ...]]:
    """Return the highest rate of ``ladder`` that ``measure`` finds sustained, and every row measured for
    it.

    The search begins at the rung at or below ``start`` and climbs until a rung fails ``tries`` times in a
    row, because a single failure may be caused by the machine. When the first rung fails, the search goes
    down until a rung holds. The rate is 0 when none holds. Where only the generator was late, a rung is tried
    up to ``LATE_RETRIES_MAX`` times more.
    """
    rung = max((index for index, rate in enumerate(ladder) if rate <= start), default=0)
    rows: list[LoadRow] = []

    def holds(index: int, tries: int) -> bool:
        retries = LATE_RETRIES_MAX
        while tries:
            rows.append(measure(ladder[index]))
            found = faults(rows[-1])
            if not found:
                return True
            if retries and all(fault.startswith(_LATE) for fault in found):
                retries -= 1
            else:
                tries -= 1
        return False

    if holds(rung, tries):
        while rung + 1 < len(ladder) and holds(rung + 1, tries):
            rung += 1
        return ladder[rung], tuple(rows)
    while rung > 0:
        rung -= 1
        if holds(rung, 1):
            return ladder[rung], tuple(rows)
    return 0, tuple(rows)
