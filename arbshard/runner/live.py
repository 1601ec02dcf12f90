"""Provides the engine in one process, for scripts and notebooks: ``ArbitrageLiveRunner``.

Every method exists twice: ``arun_once`` is for code that has an event loop, ``run_once`` for code without one. A
runner must be used in the way that was used first and raises ``UsageError`` for the other one.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from arbshard.clock import Clock, SystemClock
from arbshard.config import Config
from arbshard.data.listings import find_universe
from arbshard.data.provider import MarketDataProvider
from arbshard.data.recorded import Record, RecordedMarketDataProvider
from arbshard.data.rest import RestMarketDataProvider
from arbshard.data.websocket import WebSocketMarketDataProvider
from arbshard.errors import UsageError
from arbshard.model.market import Market
from arbshard.model.universe import Universe
from arbshard.runner.aio import AsyncRunner, OnReport
from arbshard.runner.background import BackgroundLoop, require_no_loop
from arbshard.runner.report import TradeReport
from arbshard.sharding import split
from arbshard.venues.listing import select_pairs

DataSource = Literal["ws", "rest"] | Iterable[Record]
"""``"ws"``: the venues' streams; ``"rest"``: polling; or the books of a recording in their order."""

Result = TypeVar("Result")


_LIVE: dict[str, Callable[[Config, list[Market], Clock], MarketDataProvider]] = {
    "ws": WebSocketMarketDataProvider,
    "rest": RestMarketDataProvider,
}


class ArbitrageLiveRunner(AsyncRunner):
    """Watches pairs, trades their gaps on paper and keeps the accounts.

    Use it in ``with`` or ``async with``: leaving the block closes what is open and ends the ledger. Only one call
    may run at a time.
    """

    _background: BackgroundLoop | None = None

    @classmethod
    async def acreate(
        cls,
        config: Config,
        symbols: Sequence[str] = (),
        data_source: DataSource = "ws",
        *,
        universe: Universe | None = None,
        ledger: Path | None = None,
        warm_up_s: float = 5.0,
    ) -> Self:
        """Make a runner for ``symbols``, after asking both venues over REST what they list.

        ``symbols`` are bases or names of either market, in any case; without any, all pairs are traded. With
        ``universe`` no venue is asked, which a recording without a network needs. ``ledger`` is an SQLite file that
        is continued if it exists; without one everything is in memory. The start waits up to ``warm_up_s`` seconds
        for a first book of every market.

        Raises ``UsageError`` for ``mode = "live"``, an unknown symbol or data source, and a missing address in the
        configuration; raises ``VenueUnavailable`` when a venue does not answer.
        """
        if config.mode == "live":
            raise UsageError(
                'mode = "live" needs the processes of `arbshard run`: the library trades on paper'
            )
        if universe is None:
            universe = await find_universe(config, symbols)
        elif symbols:
            pairs = select_pairs(universe.pairs, symbols)
            universe = Universe(universe.fx, tuple(pairs), split([pair.base for pair in pairs], 1))
        clock = SystemClock()
        provider = make_provider(config, universe, data_source, clock)
        return cls(config, universe, provider, ledger=ledger, clock=clock, warm_up_s=warm_up_s)

    @classmethod
    def create(
        cls,
        config: Config,
        symbols: Sequence[str] = (),
        data_source: DataSource = "ws",
        *,
        universe: Universe | None = None,
        ledger: Path | None = None,
        warm_up_s: float = 5.0,
    ) -> Self:
        """Make a runner as ``acreate`` does, for code without an event loop.

        Raises what ``acreate`` raises, and ``UsageError`` when an event loop is running.
        """
        require_no_loop("create")
        return asyncio.run(
            cls.acreate(config, symbols, data_source, universe=universe, ledger=ledger, warm_up_s=warm_up_s)
        )

    def start(self) -> None:
        """Open the ledger and the market data, as ``astart`` does, and raise what it raises."""
        self._call("start", self.astart)

    def stop(self, *, close_positions: bool = True) -> list[TradeReport]:
        """Stop in order, as ``astop`` does; return the reports of what that closed."""
        return self._call("stop", lambda: self.astop(close_positions=close_positions))

    def run_once(self) -> list[TradeReport]:
        """Decide on every pair once, as ``arun_once`` does; return the reports of the trades."""
        return self._call("run_once", self.arun_once)

    def run_once_for_symbol(self, symbol: str) -> list[TradeReport]:
        """Decide on one pair once, as ``arun_once_for_symbol`` does; return the reports of the trades."""
        return self._call("run_once_for_symbol", lambda: self.arun_once_for_symbol(symbol))

    def run_multisymbol_loop(
        self,
        symbols: Sequence[str] = (),
        duration_s: float | None = None,
        on_report: OnReport | None = None,
    ) -> list[TradeReport]:
        """Trade as books come, as ``arun_multisymbol_loop`` does; return the reports of the trades.

        ``on_report`` is called from the runner's own thread.
        """
        return self._call(
            "run_multisymbol_loop", lambda: self.arun_multisymbol_loop(symbols, duration_s, on_report)
        )

    def run_forever(self, on_report: OnReport | None = None) -> None:
        """Trade all pairs until Ctrl-C or ``request_stop``, then stop in order.

        ``on_report`` is called for each trade, from the runner's own thread. Raises what has ended the trading, if
        anything has.
        """
        try:
            self._call("run_forever", lambda: self.arun_multisymbol_loop(on_report=on_report))
        except KeyboardInterrupt:
            self.request_stop()  # Ctrl-C is the way to end it
        finally:
            self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _call(self, method: str, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        require_no_loop(method)
        if self._background is None:
            if self._loop is not None and not self._stopped:
                raise UsageError("this runner lives on another event loop: use it from there only")
            self._background = BackgroundLoop("arbshard-runner")
            self._loop = None
        try:
            return self._background.call(make)
        finally:
            if self._stopped:
                self._let_go()

    def _let_go(self) -> None:
        if self._background is not None:
            self._background.close()
            self._background = None


def make_provider(
    config: Config, universe: Universe, data_source: DataSource, clock: Clock
) -> MarketDataProvider:
    """Return the provider for ``universe``'s books that ``data_source`` names. Raises ``UsageError``."""
    if not isinstance(data_source, str):
        return RecordedMarketDataProvider(data_source)
    make = _LIVE.get(data_source)
    if make is None:
        raise UsageError(f"unknown data source {data_source!r}; known: 'ws', 'rest', or a list of snapshots")
    return make(config, [leg.market for leg in universe.legs()], clock)
