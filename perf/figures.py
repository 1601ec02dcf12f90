"""Defines what is measured, as data: percentiles, and a row of the load table. Pure; ``results`` collects
them.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence

import msgspec

from arbshard.shm.pages import Histogram


class Percentiles(msgspec.Struct, frozen=True):
    """Holds the percentiles of a latency, in microseconds."""

    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    max: float = 0.0
    count: int = 0


def percentiles_of(histogram: Histogram) -> Percentiles:
    """Return the percentiles in microseconds; all are zero when nothing was recorded."""
    p50, p90, p99, p999 = (round(histogram.percentile_ns(p) / 1000, 1) for p in (50, 90, 99, 99.9))
    return Percentiles(p50, p90, p99, p999, round(histogram.max_ns / 1000, 1), histogram.count)


class LoadRow(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what was measured of one client (this system, or a peer) at one rate, in the measured window
    only.
    """

    client: str
    """``arbshard``, ``ccxt`` or ``cryptofeed``."""
    processes: int
    """Shards of this system, or processes of a peer."""
    rate: float
    """Offered messages per second, of both venues and FX."""
    coins: int
    seconds: float
    offered: int
    """Messages the generator had to send in the window."""
    delivered: int
    """Messages that arrived at the client."""
    receive_us: Percentiles = Percentiles()
    """Time from receiving to the decision; empty for peers, which do not record when they received."""
    send_us: Percentiles = Percentiles()
    """Time from the intended send to the decision."""
    decided: int = 0
    """Ticks evaluated."""
    conflated: int = 0
    """Messages that newer ones of their market replaced before they were evaluated."""
    unstamped: int = 0
    """Decisions without a send time; there should be none."""
    cpu_s: dict[str, float] = {}
    """CPU seconds by process."""
    rss_mb: dict[str, float] = {}
    uss_mb: dict[str, float] = {}
    slot_age_ms: float = 0.0
    """Age of the oldest live slot that was seen, less its own update interval, in milliseconds."""
    late: int = 0
    """Messages that left the generator more than 1 ms after they were due."""
    skipped: int = 0
    """Messages that the generator never sent because its process was paused for more than a second."""
    lost: int = 0
    """Connections lost or dropped."""
    errors: int = 0
    bad_frames: int = 0
    turn: int = 0
    """Number of the turn, from 0, where all clients take several turns."""
    details: dict[str, str] = {}
    """Further settings: a peer's version and event loop."""

    @property
    def delivered_share(self) -> float:
        """Return the share of the offered messages that were delivered."""
        return self.delivered / self.offered if self.offered else 0.0

    @property
    def late_share(self) -> float:
        """Return the share of the offered messages that were sent late or never."""
        return (self.late + self.skipped) / self.offered if self.offered else 0.0

    @property
    def conflated_share(self) -> float:
        """Return the share of the delivered messages that newer ones replaced before they were evaluated."""
        return self.conflated / self.delivered if self.delivered else 0.0

    def cpu_us(self, prefix: str, per: int) -> float:
        """Return the CPU time of the processes whose names begin with ``prefix``, in microseconds for each
        of ``per``.
        """
        used_s = sum(used for name, used in self.cpu_s.items() if name.startswith(prefix))
        return used_s / per * 1e6 if per else 0.0

    @property
    def client_cpu_us(self) -> float:
        """Return the CPU time of all processes of the client, in microseconds per delivered message."""
        used_s = sum(used for name, used in self.cpu_s.items() if name != "generator")
        return used_s / self.delivered * 1e6 if self.delivered else 0.0


Value = Callable[[LoadRow], float]


def turns_by_processes(rows: Iterable[LoadRow]) -> list[list[LoadRow]]:
    """Return the turns of one client at one rate, a list for each number of processes.

    Only the numbers of processes with the most turns are kept: one that was given up after a turn is left
    out.
    """
    groups: dict[int, list[LoadRow]] = {}
    for row in rows:
        groups.setdefault(row.processes, []).append(row)
    most = max(map(len, groups.values()), default=0)
    return [group for group in groups.values() if len(group) == most]


def best_turns(rows: Iterable[LoadRow], value: Value) -> list[LoadRow]:
    """Return the turns with the number of processes whose median of ``value`` is the least."""
    groups = turns_by_processes(rows)
    return min(groups, key=lambda group: statistics.median(map(value, group)), default=[])


def middle_row(rows: Sequence[LoadRow], value: Value) -> LoadRow | None:
    """Return the row in the middle by ``value``; the lower one of two."""
    return sorted(rows, key=value)[(len(rows) - 1) // 2] if rows else None


def middle_rows(rows: Iterable[LoadRow]) -> list[LoadRow]:
    """Return for each rate, client and number of processes the turn in the middle by p99, in this order."""
    groups: dict[tuple[float, str, int], list[LoadRow]] = {}
    for row in rows:
        groups.setdefault((row.rate, row.client, row.processes), []).append(row)
    found = (middle_row(groups[key], lambda row: row.send_us.p99) for key in sorted(groups))
    return [row for row in found if row is not None]
