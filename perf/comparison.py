"""Compares this system with a peer by their ratios over several turns, and decides what they prove. Pure.

All comparisons are factors: a ratio of 1.5 with a spread of 1.6 on either side proves nothing, and one of 3
does.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from perf.criterion import LADDER, LATE_SHARE_MAX, faults, step_above
from perf.figures import LoadRow, best_turns, turns_by_processes
from perf.results import ARBSHARD, PEERS, Highest, Results
from perf.steadiness import Noise, noise_of

TURNS_MIN = 3
"""Turns that a verdict needs."""
Verdict = Literal["better", "worse", "can't tell"]
Holding = Literal["held", "unclear", "not held"]
_UNKNOWN: Verdict = "can't tell"


class Extent(NamedTuple):
    """Holds the least, the median and the greatest value of several turns."""

    low: float
    median: float
    high: float

    @property
    def factor(self) -> float:
        """Return how many times the least value the greatest one is; infinite when the least one is 0."""
        return self.high / self.low if self.low > 0 else float("inf")


class Ratio(NamedTuple):
    """Holds how many times better this system is than a peer, turn by turn, and the verdict."""

    extent: Extent
    verdict: Verdict
    turns: int


class Figure(NamedTuple):
    """Is a figure of a row that clients are compared by; less is better."""

    name: str
    value: Callable[[LoadRow], float]
    noise_share: Callable[[Noise], float]
    """Returns the share of the figure that the machine may change."""
    noise_us: Callable[[Noise], float]
    """Returns the difference in microseconds that the machine may make, however large the figure is."""


FIGURES = (
    Figure("p50", lambda row: row.send_us.p50, lambda noise: noise.time_share, lambda noise: noise.p50_us),
    Figure("p99", lambda row: row.send_us.p99, lambda noise: noise.time_share, lambda noise: noise.p99_us),
    Figure("CPU", lambda row: row.client_cpu_us, lambda noise: noise.cpu_share, lambda _: 0.0),
)


class PeerAt(NamedTuple):
    """Compares a peer with this system at one rate."""

    client: str
    held: tuple[int, int]
    """The number of turns in which the peer held the rate, and the number of all turns."""
    ratios: tuple[Ratio | None, ...]
    """One for each of ``FIGURES``, None where no turn of both has it; empty where there is a ``note``."""
    note: str
    """Verdict and reason in the place of ratios, where one of both did not hold the rate in most turns."""
    is_unclear: bool
    """Whether the generator was late in too many turns, so that there is no verdict."""


class AtRate(NamedTuple):
    """Holds one rate, with this system's figures and every peer that was measured there."""

    rate: float
    held: tuple[int, int]
    ours: tuple[Extent, ...]
    """One for each of ``FIGURES``."""
    peers: tuple[PeerAt, ...]


class HighestHeld(NamedTuple):
    """Holds the highest sustained rate of a client, and the ratio to it; None for this system itself."""

    client: str
    processes: int
    rate: Extent
    ratio: Ratio | None


def extent_of(values: Sequence[float]) -> Extent:
    """Return the extent of ``values``, which has at least one value."""
    return Extent(min(values), statistics.median(values), max(values))


def compare(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    noise_share: float = 0.0,
    noise: float = 0.0,
    more_is_better: bool = False,
) -> Ratio:
    """Compare two clients by their values, turn by turn: as many of each, all above 0.

    The verdict is "can't tell" when there are fewer than ``TURNS_MIN`` turns, when the turns disagree about
    which client is better, or when the spread of either side (its greatest to its least value) or the noise
    is as large as the difference of the medians. ``noise_share`` is relative, ``noise`` is in the unit of
    the values.
    """
    pairs = list(zip(ours, theirs, strict=True))
    extent = extent_of([own / peer if more_is_better else peer / own for own, peer in pairs])
    own, peer = extent_of(ours), extent_of(theirs)
    difference = max(own.median, peer.median) / min(own.median, peer.median)
    hidden = max(own.factor, peer.factor, 1 + noise_share)
    verdict = _UNKNOWN
    is_clear = difference > hidden and abs(own.median - peer.median) > noise
    if len(pairs) >= TURNS_MIN and is_clear:
        if extent.low > 1:
            verdict = "better"
        elif extent.high < 1:
            verdict = "worse"
    return Ratio(extent, verdict, len(pairs))


def rates_of(results: Results) -> tuple[AtRate, ...]:
    """Return every rate at which this system was measured, ascending."""
    noise = noise_of(results.conditions.steadiness)
    found = []
    for rate in sorted({row.rate for row in results.load}):
        ours = [row for row in results.load if row.rate == rate]
        peers = []
        for client in PEERS:
            rows = [row for row in results.equal if row.client == client and row.rate == rate]
            if rows:
                peers.append(_peer_at(client, ours, rows, noise))
        extents = tuple(extent_of([figure.value(row) for row in ours]) for figure in FIGURES)
        found.append(AtRate(rate, held_of(ours), extents, tuple(peers)))
    return tuple(found)


def held_of(rows: Sequence[LoadRow]) -> tuple[int, int]:
    """Return how many of ``rows`` held their rate, and how many there are."""
    return sum(not faults(row) for row in rows), len(rows)


def _peer_at(client: str, ours: Sequence[LoadRow], rows: Sequence[LoadRow], noise: Noise) -> PeerAt:
    """Compare at one rate. Each figure is that of the peer's better number of processes in this figure."""
    groups = turns_by_processes(rows)
    held = max(map(held_of, groups))
    own, peer = _holding([ours]), _holding(groups)
    is_unclear = "unclear" in (own, peer)
    if "not held" in (own, peer):
        return PeerAt(client, held, (), _note(own, peer, min(len(ours), held[1])), is_unclear)
    # Rows without decisions have a latency of 0, which must not count as the best.
    decided = [row for row in rows if row.decided]
    ratios: list[Ratio | None] = []
    for figure in FIGURES:
        by_turn = {row.turn: figure.value(row) for row in best_turns(decided, figure.value)}
        pairs = [(figure.value(row), by_turn[row.turn]) for row in ours if row.turn in by_turn]
        pairs = [(ours_us, peer_us) for ours_us, peer_us in pairs if ours_us > 0 and peer_us > 0]
        if not pairs:
            ratios.append(None)
            continue
        own_values, peer_values = zip(*pairs, strict=True)
        share, us = figure.noise_share(noise), figure.noise_us(noise)
        ratio = compare(own_values, peer_values, noise_share=share, noise=us)
        ratios.append(ratio._replace(verdict=_UNKNOWN) if is_unclear else ratio)
    return PeerAt(client, held, tuple(ratios), "", is_unclear)


def _holding(groups: Sequence[Sequence[LoadRow]]) -> Holding:
    """Return whether the client held its rate in most turns, with any number of processes.

    A turn in which the generator was late proves nothing about the client: other work on the machine makes
    it late, too.
    """
    found: set[Holding] = set()
    for rows in groups:
        held, count = held_of(rows)
        not_held = sum(bool(faults(row)) and row.late_share <= LATE_SHARE_MAX for row in rows)
        found.add("held" if 2 * held > count else "not held" if 2 * not_held > count else "unclear")
    order: tuple[Holding, ...] = ("held", "unclear", "not held")
    return next(one for one in order if one in found)


def _note(own: Holding, peer: Holding, turns: int) -> str:
    """Return what is known about a rate that not both have held, to be shown in the place of ratios."""
    if "unclear" in (own, peer):
        return f"{_UNKNOWN}: generator late"
    if own == peer:
        return f"{_UNKNOWN}: neither holds"
    verdict, why = ("better", "not held") if own == "held" else ("worse", "only it holds")
    return f"{verdict if turns >= TURNS_MIN else _UNKNOWN}: {why}"


def highest_of(results: Results) -> tuple[HighestHeld, ...]:
    """Return the highest sustained rates of this system and of each peer, with the peer's better number of processes.

    A rate below the lowest one tried counts as the lowest, and a difference of one step of the ladder as none.
    """
    noise = noise_of(results.conditions.steadiness)
    ours = results.turns_of_highest(ARBSHARD)
    if not ours:
        return ()
    found = [HighestHeld(ARBSHARD, ours[0].processes, _extent_of_rates(ours), None)]
    for client in PEERS:
        theirs = results.turns_of_highest(client)
        by_turn = {one.turn: one for one in theirs}
        pairs = [(own, by_turn[own.turn]) for own in ours if own.turn in by_turn]
        if not pairs:
            continue
        own_rates, peer_rates = (
            [float(max(one.rate, LADDER[0])) for one in side] for side in zip(*pairs, strict=True)
        )
        ladder_share = step_above(max(*own_rates, *peer_rates)) - 1
        ratio = compare(
            own_rates, peer_rates, noise_share=max(noise.time_share, ladder_share), more_is_better=True
        )
        found.append(HighestHeld(client, theirs[0].processes, _extent_of_rates(theirs), ratio))
    return tuple(found)


def _extent_of_rates(turns: Sequence[Highest]) -> Extent:
    return extent_of([float(one.rate) for one in turns])
