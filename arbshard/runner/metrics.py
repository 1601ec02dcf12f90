"""Counts what the loop of a script does and measures how long it takes, in total and by symbol.

``MetricsCollector`` counts on a page like those of the processes of a run, in memory of its own, so percentiles mean
the same in both. It is for scripts that drive a runner themselves, with an event loop and without.
"""

from collections.abc import Iterable, Sequence
from math import isfinite
from threading import Lock
from typing import get_args

import msgspec

from arbshard.closable import Closable
from arbshard.errors import UsageError
from arbshard.runner.report import Result, TradeReport
from arbshard.shm.pages import private_page

_RESULTS: tuple[Result, ...] = get_args(Result)
_COUNTERS = ("loops", "errors", *_RESULTS)
_LOOP = "loop"


class LoopMetrics(msgspec.Struct, frozen=True):
    """Holds what was counted so far. Durations are in milliseconds, percentiles at most 12.5 % above the truth."""

    loops: int
    errors: int
    results: dict[Result, int]
    """Trades by their result; see ``TradeReport.result``."""
    mean_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class MetricsCollector(Closable):
    """Counts turns of a loop. It may be used from several threads. Use it in ``with``, or call ``close``."""

    def __init__(self, symbols: Iterable[str] = ()) -> None:
        """Begin at zero; ``symbols`` are counted separately too, by base, such as the pairs of a runner."""
        self.symbols = tuple(dict.fromkeys(symbols))
        places = ("", *(f"_{symbol}" for symbol in self.symbols))
        self._page, self._writer = private_page(
            [f"{name}{place}" for place in places for name in _COUNTERS],
            [f"{_LOOP}{place}" for place in places],
        )
        self._lock = Lock()

    def update_loop_metrics(
        self,
        duration_s: float,
        reports: Sequence[TradeReport] = (),
        *,
        errors: int = 0,
        symbol: str | None = None,
    ) -> None:
        """Count a turn of the loop that took ``duration_s`` and brought ``reports``.

        ``errors`` is the number of errors in it. A turn for one ``symbol`` is counted there and in the total. Raises
        ``UsageError`` for a symbol that was not named at the start, and for a duration or a number below 0.
        """
        if not isfinite(duration_s) or duration_s < 0 or errors < 0:
            raise UsageError(f"metrics: duration_s {duration_s} and errors {errors} must be 0 or more")
        places = [self._place_of(None)] if symbol is None else [self._place_of(None), self._place_of(symbol)]
        add, counter = self._writer.add, self._writer.counter
        with self._lock:
            for place in places:
                self._writer.record(self._writer.histogram(f"{_LOOP}{place}"), int(duration_s * 1e9))
                add(counter(f"loops{place}"))
                add(counter(f"errors{place}"), errors)
                for report in reports:
                    add(counter(f"{report.result}{place}"))

    async def aupdate_loop_metrics(
        self,
        duration_s: float,
        reports: Sequence[TradeReport] = (),
        *,
        errors: int = 0,
        symbol: str | None = None,
    ) -> None:
        """Count a turn in code that has an event loop, as ``update_loop_metrics`` does; it never waits."""
        self.update_loop_metrics(duration_s, reports, errors=errors, symbol=symbol)

    def get(self, symbol: str | None = None) -> LoopMetrics:
        """Return what was counted for ``symbol``, or in total. Raises ``UsageError`` for an unknown symbol."""
        place = self._place_of(symbol)
        with self._lock:
            counts, loop = self._page.values(), self._page.histogram(f"{_LOOP}{place}")
        return LoopMetrics(
            loops=counts[f"loops{place}"],
            errors=counts[f"errors{place}"],
            results={result: counts[f"{result}{place}"] for result in _RESULTS},
            mean_ms=loop.mean_ns / 1e6,
            p50_ms=loop.percentile_ns(50) / 1e6,
            p99_ms=loop.percentile_ns(99) / 1e6,
            max_ms=loop.max_ns / 1e6,
        )

    def close(self) -> None:
        """Release the memory. Nothing can be counted or read afterwards; it may be called again."""
        self._page.close()
        self._writer.close()

    def _place_of(self, symbol: str | None) -> str:
        """Return the suffix of the counters of ``symbol``."""
        if symbol is None:
            return ""
        if symbol not in self.symbols:
            raise UsageError(
                f"metrics: there is no symbol {symbol}; known: {', '.join(self.symbols) or 'none'}"
            )
        return f"_{symbol}"
