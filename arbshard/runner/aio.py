"""Provides the engine in one process, for code that has an event loop: ``AsyncRunner``.

``live`` adds the same for code without one. Orders are always on paper.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import localcontext
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from arbshard.clock import Clock, SystemClock
from arbshard.config import Config
from arbshard.data.provider import MarketDataProvider
from arbshard.engine.correlation import CorrelationMatrix
from arbshard.engine.series import SpreadSeries
from arbshard.errors import UsageError
from arbshard.model.market import Leg, Pair
from arbshard.model.money import MONEY_CONTEXT
from arbshard.model.universe import Universe
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.runner.report import TradeReport
from arbshard.runner.session import RunnerSession
from arbshard.sharding import split
from arbshard.shm.pages import Histogram
from arbshard.venues.listing import with_slots

OnReport = Callable[[TradeReport], None]

_OF_PROCESSES = frozenset(
    {
        "pid", "epoch", "state", "beat", "beat_ns", "frames", "conflated", "overflows", "torn", "busy", "errors",
    }
)  # fmt: skip
"""Counters of a worker's process and shared memory, which do not exist here."""


class AsyncRunner:
    """Watches pairs, trades their gaps on paper and keeps the accounts. Use it in ``async with``."""

    def __init__(
        self,
        config: Config,
        universe: Universe | Sequence[Pair],
        provider: MarketDataProvider,
        *,
        fx: Leg | None = None,
        ledger: Path | None = None,
        clock: Clock | None = None,
        warm_up_s: float = 5.0,
    ) -> None:
        """Store the arguments; nothing is opened before the first call.

        With a list of pairs ``fx`` is required: the market whose book is the FX rate, in home quote per away quote.
        ``ledger`` is an SQLite file that is continued if it exists; without one everything is in memory. The start
        waits up to ``warm_up_s`` seconds for a first book of every market. Raises ``UsageError`` without ``fx``.
        """
        self._universe = _universe_of(universe, fx)
        self._bases = tuple(pair.base for pair in self._universe.pairs)
        self._config = config
        self._provider = provider
        self._ledger = ledger
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._warm_up_s = warm_up_s
        self._session: RunnerSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working = False
        self._stopped = False
        self._asked_to_stop = False

    @property
    def portfolio(self) -> PortfolioState:
        """Return balances, positions, orders and results, as exact decimals in their own currencies.

        This is the live object and not a copy, so a script should read it between two calls. Raises ``UsageError``
        before the start.
        """
        return self._started.risk.state

    @property
    def provider(self) -> MarketDataProvider:
        """Return the provider that the books come from."""
        return self._provider

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Return the pairs that this runner trades."""
        return self._universe.pairs

    @property
    def reports(self) -> tuple[TradeReport, ...]:
        """Return the newest 10,000 reports at most, oldest first. Raises ``UsageError`` before the start."""
        return tuple(self._started.reports)

    @property
    def series(self) -> Mapping[str, SpreadSeries]:
        """Return the gap of each pair over time in basis points, by base, at the pace of ``[series]`` in the
        configuration.
        """
        return MappingProxyType(self._started.series)

    @property
    def correlations(self) -> CorrelationMatrix:
        """Return the correlations between the gaps of the pairs."""
        return self._started.correlations

    @property
    def counters(self) -> dict[str, int]:
        """Return the counters of trading (``ticks``, ``refusal_BOOK_STALE`` …) and of the provider, by name."""
        page = self._started.page.values()
        mine = {
            name: n for name, n in page.items() if name not in _OF_PROCESSES and not name.startswith("bad_")
        }
        return {**mine, **self._provider.counters}

    @property
    def decision_latency(self) -> Histogram:
        """Return the distribution of nanoseconds from receiving a book to the decision on it."""
        return self._started.page.histogram("receive_decision")

    @property
    def has_ended(self) -> bool:
        """Return whether the recording has ended; always False with live data."""
        return self._session is not None and self._session.pace.has_ended

    async def astart(self) -> None:
        """Open the ledger and the market data. The first call of any other method does it as well.

        Raises ``RunDirError`` when another process writes the ledger, ``LedgerError`` when the ledger cannot be
        trusted, and ``UsageError`` for a runner that was stopped or lives on another event loop.
        """
        self._bind()
        if self._stopped:
            raise UsageError("this runner has been stopped: make a new one")
        if self._session is None:
            with localcontext(MONEY_CONTEXT):
                self._session = RunnerSession(
                    self._config, self._universe, self._provider, self._ledger, self._clock
                )
                try:
                    await self._session.start(self._warm_up_s)
                except BaseException:
                    await self.astop(close_positions=False)
                    raise

    async def astop(self, *, close_positions: bool = True) -> list[TradeReport]:
        """Stop in order: enter nothing new, close what is open if ``close_positions``, and end the ledger.

        Returns the reports of what that closed. A position that cannot be closed within ``run.stop_timeout_s`` stays
        open, is logged, and can be found in ``portfolio``. Raises ``LedgerError`` when the end cannot be stored. A
        second call does nothing.
        """
        self._bind()
        if self._stopped or self._session is None:
            self._stopped = True
            return []
        self._stopped = True
        before = self._session.reported
        with localcontext(MONEY_CONTEXT):
            await self._session.stop(close_positions=close_positions)
        return self._since(before)

    async def arun_once(self) -> list[TradeReport]:
        """Decide on every pair at the newest books, wait for the trades to end, and return their reports.

        On a recording, this is one step, and the reports are of what ended during it. Raises what has ended the
        trading, if anything has: ``FeedFailed``, ``LedgerError``.
        """
        return await self._work(lambda session: self._decide_once(session, self._bases))

    async def arun_once_for_symbol(self, symbol: str) -> list[TradeReport]:
        """Decide on one pair as ``arun_once`` does on all. On a recording, take the steps up to the pair's next
        book.

        ``symbol`` is the base or either market's name. Raises ``UsageError`` for one that is not traded.
        """
        bases = (self._base_of(symbol),)

        async def work(session: RunnerSession) -> None:
            while not await self._decide_once(session, bases):
                if session.pace.has_ended:
                    return

        return await self._work(work)

    async def arun_multisymbol_loop(
        self,
        symbols: Sequence[str] = (),
        duration_s: float | None = None,
        on_report: OnReport | None = None,
    ) -> list[TradeReport]:
        """Trade ``symbols`` (without any: all pairs) as books come, each pair for itself; return the reports.

        The loop ends after ``duration_s`` seconds (of the recording, if there is one), with the recording, or by
        ``request_stop``. Positions stay open until ``astop``. At most the newest 10,000 reports are returned;
        ``on_report`` is called for each one. Raises ``UsageError`` for a symbol that is not traded.
        """
        wanted = frozenset(map(self._base_of, symbols))
        bases = tuple(base for base in self._bases if base in wanted) if symbols else self._bases
        return await self._work(lambda session: self._loop_over(session, bases, duration_s, on_report))

    def request_stop(self) -> None:
        """Have the running loop end soon. May be called from any thread, and from ``on_report``."""
        self._asked_to_stop = True

    async def __aenter__(self) -> Self:
        await self.astart()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.astop()

    @property
    def _started(self) -> RunnerSession:
        if self._session is None:
            raise UsageError("this runner has not been started")
        return self._session

    def _base_of(self, symbol: str) -> str:
        for pair in self._universe.pairs:
            if pair.answers_to(symbol.strip()):
                return pair.base
        raise UsageError(f"'{symbol}' is not traded by this runner")

    async def _decide_once(self, session: RunnerSession, bases: Sequence[str]) -> bool:
        """Decide once; return whether anything could be decided on."""
        if session.pace.is_stepped:
            return bool(await session.step(bases))
        await session.decide(bases)
        await session.settle(bases, self._config.run.stop_timeout_s)
        return True

    async def _loop_over(
        self,
        session: RunnerSession,
        bases: Sequence[str],
        duration_s: float | None,
        on_report: OnReport | None,
    ) -> None:
        clock = session.pace.clock
        until_ns = clock.monotonic_ns() + int(duration_s * 1e9) if duration_s is not None else None
        passed_on = session.reported
        while not self._asked_to_stop and not session.pace.has_ended:
            if until_ns is not None and clock.monotonic_ns() >= until_ns:
                break
            await session.step(bases)
            passed_on = self._pass_on(passed_on, on_report)
        await session.settle(bases, self._config.run.stop_timeout_s)
        self._pass_on(passed_on, on_report)

    def _pass_on(self, passed_on: int, on_report: OnReport | None) -> int:
        """Pass the reports after the first ``passed_on`` to ``on_report``; return how many there are now."""
        if on_report is not None:
            for report in self._since(passed_on):
                on_report(report)
        return self._started.reported

    async def _work(self, work: Callable[[RunnerSession], Coroutine[Any, Any, object]]) -> list[TradeReport]:
        """Do one thing at a time, in exact money; return the reports that it brings."""
        await self.astart()
        if self._working:
            raise UsageError("this runner is at work already: one call at a time")
        session = self._started
        before = session.reported
        self._working = True
        self._asked_to_stop = False
        try:
            with localcontext(MONEY_CONTEXT):
                await work(session)
        finally:
            self._working = False
        return self._since(before)

    def _since(self, count: int) -> list[TradeReport]:
        session = self._started
        new = session.reported - count
        return list(session.reports)[-new:] if new else []

    def _bind(self) -> None:
        """Bind the runner to the running event loop. Raises ``UsageError`` on any other one."""
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            raise UsageError("this runner lives on another event loop: use it from there only")


def _universe_of(given: Universe | Sequence[Pair], fx: Leg | None) -> Universe:
    if isinstance(given, Universe):
        return given
    if fx is None:
        raise UsageError("a list of pairs needs fx, the market whose book is the FX rate")
    pairs = with_slots(given)
    return Universe(fx, tuple(pairs), split([pair.base for pair in pairs], 1))
