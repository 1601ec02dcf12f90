"""``GapCorrelations`` computes whose gaps move together, as far as the limit of correlated exposure needs it. Pure.

The limit asks how a pair that wants to enter moves with the pairs that are exposed, so only these cells are
computed, however many pairs there are: first those that the limit has asked for and did not find, then, in turn,
those of every exposed pair with all others. It computes a few at each tick, because each takes a tenth of a
millisecond and risk must answer meanwhile. A cell without a new sample on either side keeps its value, and is not
computed again.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from statistics import median

from arbshard.engine.correlation import correlation
from arbshard.engine.series import SpreadSeries
from arbshard.risk.rest import next_due

_CELLS_PER_UPDATE = 3
_CELLS_MAX = 50_000
_AGE_NS_MAX = 1_800_000_000_000
"""A cell that is older than this, in ns, is not used: half an hour."""
_WANTED_MAX = 4096
_TYPICAL_CELLS = 500
_TYPICAL_CELLS_MIN = 10
_TYPICAL_EVERY_NS = 5_000_000_000

BasePair = tuple[str, str]
"""(base, base) in alphabetical order."""


def _no_bases() -> Iterable[str]:
    return ()


class GapCorrelations:
    """Holds the correlations of the pairs' gaps: -1 to 1."""

    def __init__(self, exposed: Callable[[], Iterable[str]] = _no_bases) -> None:
        """Make the table. ``exposed`` returns the bases that have an open position or an intent under way."""
        self._exposed = exposed
        self._series: Mapping[str, SpreadSeries] = {}
        self._cells: OrderedDict[BasePair, tuple[float, int]] = OrderedDict()
        """(correlation, when it was computed in monotonic ns), the newest last."""
        self._computed: dict[BasePair, tuple[int, int]] = {}
        """The newest samples (``SpreadSeries.newest``) of both pairs when the cell was computed last."""
        self._wanted: dict[BasePair, None] = {}
        self._turn: Iterator[BasePair] = iter(())
        self._now_ns = 0
        self._typical_due_ns = 0
        self.typical: float | None = None
        """The median of the correlations computed last; None while too few are known."""

    def set_series(self, series: Mapping[str, SpreadSeries]) -> None:
        """Use these gaps, by base, from now on."""
        self._series = series
        self._turn = iter(())
        self._computed.clear()  # a pair that has come back has another series

    def set_known(self, cells: Mapping[BasePair, float], now_ns: int) -> None:
        """Replace what is known."""
        self._now_ns = max(self._now_ns, now_ns)
        self._cells = OrderedDict((cell, (value, now_ns)) for cell, value in cells.items())
        self._computed.clear()
        self._find_typical()

    @property
    def known(self) -> Mapping[BasePair, float]:
        """Return all known correlations."""
        oldest_ns = self._now_ns - _AGE_NS_MAX
        return {cell: value for cell, (value, at_ns) in self._cells.items() if at_ns >= oldest_ns}

    def get(self, a: str, b: str) -> float | None:
        """Return the correlation of two pairs, -1 to 1. None while it is not known; it is then computed soon."""
        cell = (a, b) if a < b else (b, a)
        found = self._cells.get(cell)
        if found is not None and found[1] >= self._now_ns - _AGE_NS_MAX:
            return found[0]
        if len(self._wanted) < _WANTED_MAX:
            self._wanted[cell] = None
        return None

    @property
    def is_idle(self) -> bool:
        """Return whether there is no cell to compute."""
        if self._wanted or any(True for _ in self._exposed()):
            return False
        planned = next(self._turn, None)
        if planned is not None:
            self._turn = chain((planned,), self._turn)
        return planned is None

    def rest(self, ticks: Sequence[int]) -> None:
        """Continue as if ``update`` had been called at each of ``ticks``, with no cell to compute."""
        due_ns = next_due(ticks, self._typical_due_ns, _TYPICAL_EVERY_NS)
        if due_ns != self._typical_due_ns:
            self._now_ns = due_ns - _TYPICAL_EVERY_NS
            self._typical_due_ns = due_ns
            self._find_typical()
        self._now_ns = ticks[-1]

    def update(self, now_ns: int) -> None:
        """Compute the next cells."""
        self._now_ns = now_ns
        for _ in range(_CELLS_PER_UPDATE):
            cell = self._next()
            if cell is None:
                break
            self._update(cell, now_ns)
        while len(self._cells) > _CELLS_MAX:
            cell, _ = self._cells.popitem(last=False)
            self._computed.pop(cell, None)
        if now_ns >= self._typical_due_ns:
            self._typical_due_ns = now_ns + _TYPICAL_EVERY_NS
            self._find_typical()

    def _update(self, cell: BasePair, now_ns: int) -> None:
        """Compute one cell, unless its pairs have no sample that is newer than what it was computed from."""
        a, b = self._series.get(cell[0]), self._series.get(cell[1])
        known = self._cells.pop(cell, None)
        if a is None or b is None:
            self._computed.pop(cell, None)
            return
        samples = a.newest, b.newest
        if known is not None and self._computed.get(cell) == samples:
            value: float | None = known[0]
        else:
            value = correlation(a, b)
        if value is not None:
            self._cells[cell] = value, now_ns
            self._computed[cell] = samples
        else:
            self._computed.pop(cell, None)

    def _next(self) -> BasePair | None:
        if self._wanted:
            cell = next(iter(self._wanted))
            del self._wanted[cell]
            return cell
        planned = next(self._turn, None)
        if planned is None:
            self._turn = self._all_of(tuple(self._exposed()), tuple(self._series))
            planned = next(self._turn, None)
        return planned

    @staticmethod
    def _all_of(exposed: tuple[str, ...], bases: tuple[str, ...]) -> Iterator[BasePair]:
        for one in exposed:
            for other in bases:
                if one != other:
                    yield (one, other) if one < other else (other, one)

    def _find_typical(self) -> None:
        oldest_ns = self._now_ns - _AGE_NS_MAX
        newest = islice(reversed(self._cells.values()), _TYPICAL_CELLS)
        values = [value for value, at_ns in newest if at_ns >= oldest_ns]
        self.typical = median(values) if len(values) >= _TYPICAL_CELLS_MIN else None
