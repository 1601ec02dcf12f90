"""Sums what workers refused by themselves: ``RefusedTally`` reads it as a tape (kind ``refused``) or their pages
have it.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from arbshard.tape.recorder import WorkerRefusals

_STAGES = ("wanted", "barred", "sized", "decided", "approved")


class RefusedCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the refusals of workers while a tape was recorded, or in a backtest of it."""

    reasons: dict[str, int]
    """Number of evaluations by the reason with which they ended."""
    edges: dict[str, int]
    """Number of edges of all pairs that reached each stage: wanted, barred, sized, decided, approved."""


class RefusedTally:
    """Sums the counts of workers, which grow from their start; the counts before a worker's first row are
    left out.
    """

    def __init__(self, rows: Iterable[tuple[str, WorkerRefusals]] = ()) -> None:
        """Sum ``rows``: the name of a worker and its changed counts, in their order."""
        self._known: dict[str, tuple[int, dict[tuple[str, str], int]]] = {}
        """Process and newest counts of each worker; the counts are by (reason, "") or (stage, base)."""
        self._sums: Counter[str] = Counter()
        """Sums by reason or stage."""
        for worker, counts in rows:
            self.add(worker, counts)

    def add(self, worker: str, counts: WorkerRefusals, *, from_start: bool = False) -> None:
        """Add a row. ``from_start`` is whether what its worker had counted before belongs to the sum."""
        pid, known = self._known.get(worker, (0, {}))
        is_counted = from_start or pid
        if pid != counts.pid:
            known = {}
        now = {(reason, ""): count for reason, count in counts.reasons.items()}
        for base, funnel in counts.edges.items():
            now |= {(stage, base): getattr(funnel, stage) for stage in _STAGES}
        if is_counted:
            for key, count in now.items():
                self._sums[key[0]] += count - known.get(key, 0)
        self._known[worker] = counts.pid, {**known, **now}

    @property
    def counts(self) -> RefusedCounts:
        """Return the sums so far, without those that are 0."""
        found = {name: count for name, count in sorted(self._sums.items()) if count}
        return RefusedCounts(
            reasons={name: count for name, count in found.items() if name not in _STAGES},
            edges={stage: found[stage] for stage in _STAGES if stage in found},
        )
