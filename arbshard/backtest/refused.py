"""``RefusedTally`` sums what workers refused by themselves, as a tape has it (kind ``refused``) or their pages do."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from arbshard.tape.recorder import WorkerRefusals

_STAGES = ("wanted", "barred", "sized", "decided", "approved")


class RefusedCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The judgements of workers while a tape was recorded, or in a backtest of it."""

    reasons: dict[str, int]
    """Evaluations that ended with this reason."""
    edges: dict[str, int]
    """How many edges of all pairs came to this stage: wanted, barred, sized, decided, approved."""


class RefusedTally:
    """Counts of workers grow from their start; what one had counted before its first row is left out."""

    def __init__(self, rows: Iterable[tuple[str, WorkerRefusals]] = ()) -> None:
        """``rows``: the name of a worker and its changed counts, in their order."""
        self._known: dict[str, tuple[int, dict[tuple[str, str], int]]] = {}
        """By worker: its process, and its newest counts by (reason, "") or (stage, base)."""
        self._sums: Counter[str] = Counter()
        """By reason or stage."""
        for worker, counts in rows:
            self.add(worker, counts)

    def add(self, worker: str, counts: WorkerRefusals, *, from_start: bool = False) -> None:
        """Take in a row. ``from_start``: whether what its worker had counted before belongs to the sum."""
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
