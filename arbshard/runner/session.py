"""Connects one engine, desk and risk over one provider, from start to stop, on one event loop.

It is to the runner what ``worker.loop`` is to a shard: it brings books to the engine and the engine's trades to the
desk. ``live`` is the public interface to it.
"""

import asyncio
import os
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.data.provider import MarketDataProvider
from arbshard.data.recorded import RecordedMarketDataProvider
from arbshard.engine.baseline import Baselines
from arbshard.engine.closing import gap_bps
from arbshard.engine.correlation import CorrelationMatrix
from arbshard.engine.engine import ArbitrageEngine, PairState
from arbshard.engine.series import SpreadSeries
from arbshard.errors import ArbshardError
from arbshard.log import get_logger
from arbshard.model.book import BookTop
from arbshard.model.market import Leg
from arbshard.model.phase import Phase
from arbshard.model.universe import Universe
from arbshard.risk.core import mode_of
from arbshard.runner.books import ProviderBooks
from arbshard.runner.local_risk import SHARD, LocalRisk
from arbshard.runner.pace import LivePace, Pace
from arbshard.runner.recording import RecordedPace
from arbshard.runner.report import TradeReport
from arbshard.shm.pages import private_page
from arbshard.worker.assembly import Trader
from arbshard.worker.counters import counters, histograms
from arbshard.worker.meter import WorkerMeter
from arbshard.worker.spare import Assignment

STEP_S = 0.02
"""How long a step waits for books, in seconds: time passes for positions even when none come."""
WATCH_NS = 20_000_000
"""How often positions without new books are evaluated."""
REPORTS_KEPT = 10_000
_FUND_TURNS = 64
_TERMS_NS = 100_000_000
"""How often the terms of entry of a few pairs are computed."""


class RunnerSession:
    """Carries out one session, which is started, stepped and stopped once."""

    def __init__(
        self,
        config: Config,
        universe: Universe,
        provider: MarketDataProvider,
        ledger: Path | None,
        clock: Clock,
    ) -> None:
        """Open the ledger. Raises what ``LocalRisk.open`` raises."""
        self._config = config
        self._provider = provider
        self.reports: deque[TradeReport] = deque(maxlen=REPORTS_KEPT)
        self.reported = 0
        """Number of all reports ever made, including those no longer kept."""
        self.failure: BaseException | None = None
        """Why nothing can be traded any more."""
        self.pace: Pace
        if isinstance(provider, RecordedMarketDataProvider):
            # The results of a replay must not get into the ledger of a run.
            self.pace, mode = RecordedPace(provider), "recorded-paper"
        else:
            self.pace, mode = LivePace(provider, clock), mode_of(config)
        self.engine = ArbitrageEngine(universe.pairs, universe.fx, config)
        self._legs: dict[str, Leg] = {leg.market.symbol: leg for leg in universe.legs()}
        self._books = ProviderBooks(provider, self.pace, universe.fx, config.data_quality)
        traded = config.venues.traded
        self.page, self._writer = private_page(counters(traded), histograms(traded))
        self._meter = WorkerMeter(self._writer, os.getpid(), 1, len(universe.pairs))
        self.risk = LocalRisk.open(config, universe, ledger, mode, self.pace.clock, self._report)
        self._trader = Trader(
            Assignment(SHARD, self.risk.epoch),
            self.engine,
            config,
            self.pace.clock,
            self.risk,
            self._books,
            self._meter,
            self._failed,
            self.pace.make_executors,
        )
        self.desk = self._trader.desk
        self.baselines = Baselines(config.series, config.baseline)
        self.baselines.set_pairs(tuple(self.engine.pairs))
        self.risk.use_baselines(self.baselines)
        self.correlations = CorrelationMatrix(self.series)
        self._terms_serial = 0
        self._terms_due_ns = 0
        self._watched_ns = 0

    @property
    def series(self) -> Mapping[str, SpreadSeries]:
        """Return the gap of each pair over time, by base."""
        return self.baselines.series

    async def start(self, warm_up_s: float) -> None:
        """Take over what is open in the ledger, and wait for a first book of every market, at most ``warm_up_s``."""
        self._trader.take_over(await self._trader.introduce(os.getpid()))
        await self._provider.start()
        if self.pace.is_stepped:
            return
        until_ns = self.pace.clock.monotonic_ns() + int(warm_up_s * 1e9)
        while missing := self._legs.keys() - self._provider.latest_snapshots.keys():
            if self.pace.clock.monotonic_ns() >= until_ns:
                get_logger().warning("no book yet", symbols=sorted(missing)[:20], count=len(missing))
                return
            self._observe(await self.pace.changes(STEP_S))

    async def step(self, only: Sequence[str]) -> list[str]:
        """Wait for books, and decide on the pairs of ``only`` that they belong to; return the bases decided on."""
        touched = self._observe(await self.pace.changes(STEP_S))
        self.check()
        await self._fund()
        await self._update_terms()
        decided = [base for base in only if base in touched]
        for base in decided:
            state = self.engine.pairs[base]
            self._decide(state)
            top = _newest_top(state)
            if top is not None:
                self._meter.decided(top, self.pace.clock.monotonic_ns())
        self._watch(base for base in only if base not in touched)
        if self.pace.is_stepped and self.desk.busy:
            await self.pace.turn()
        self.check()
        return decided

    async def decide(self, only: Sequence[str]) -> None:
        """Decide on every pair of ``only`` at the newest books, whether they have changed or not."""
        self._observe(self._legs)
        await self._fund()
        await self._update_terms()
        for base in only:
            self._decide(self.engine.pairs[base])
        self.check()

    async def settle(self, only: Collection[str], timeout_s: float) -> None:
        """Wait until the trades of ``only`` have ended, at most ``timeout_s``.

        Trades on a recording end as its next books come; they are waited for here only when there are no more books.
        """
        if self.pace.is_stepped and not self.pace.has_ended:
            return
        until_ns = self.pace.clock.monotonic_ns() + int(timeout_s * 1e9)
        while any(self.engine.pairs[base].busy for base in only):
            self.check()
            if self.pace.clock.monotonic_ns() >= until_ns:
                return
            await self.pace.turn()
            if self.pace.is_stepped:
                await self.pace.changes(0.0)

    async def stop(self, *, close_positions: bool) -> None:
        """Stop: enter nothing new, close what is open if wanted, end running trades, and close everything.

        Raises ``LedgerError`` when the end cannot be stored.
        """
        self.engine.entering = False
        self.risk.phase = Phase.DRAINING if close_positions else Phase.DRAINING_KEEP
        clock = self.pace.clock
        until_ns = clock.monotonic_ns() + int(self._config.run.stop_timeout_s * 1e9)
        try:
            while self.failure is None and clock.monotonic_ns() < until_ns:
                if self.desk.is_drained(keep_positions=not close_positions):
                    break
                if close_positions:
                    self.desk.close_positions(dict.fromkeys(self.engine.pairs, "shutdown"))
                await self.pace.turn()
                self._observe(await self.pace.changes(STEP_S))
        except ArbshardError as error:
            self._failed(error)
        finally:
            await self._end(close_positions=close_positions)

    def check(self) -> None:
        """Raise what has ended the trading, if anything has."""
        if self.failure is not None:
            raise self.failure

    async def _end(self, *, close_positions: bool) -> None:
        if not self.desk.is_drained(keep_positions=not close_positions):
            left = sorted(self.risk.state.positions)
            get_logger().warning("left open", positions=left, trades_under_way=self.desk.busy)
        try:
            await self.desk.close()
            await self._provider.stop()
        finally:
            self.risk.close()

    def _observe(self, symbols: Collection[str]) -> set[str]:
        """Pass new books to the engine; return the pairs concerned."""
        touched: set[str] = set()
        for symbol in symbols:
            leg = self._legs.get(symbol)
            if leg is None:
                continue
            state = self.engine.observe(leg.slot, self._books.view(leg))
            if state is not None:
                touched.add(state.pair.base)
        return touched

    async def _fund(self) -> None:
        """Open the inventory of pairs whose price has become known, before they are decided on."""
        waiting = [
            state
            for state in self.engine.pairs.values()
            if not state.is_funded and state.home.top is not None
        ]
        if waiting:
            self.desk.fund()
            for _ in range(_FUND_TURNS):
                if all(state.is_funded for state in waiting):
                    return
                await asyncio.sleep(0)

    def _decide(self, state: PairState) -> None:
        if not state.may_act:
            return
        now_ns = self.pace.clock.monotonic_ns()
        trade = self.engine.evaluate(state, now_ns)
        self._sample(state, now_ns)
        if state.refusal is not None:
            self._meter.doubted(state.refusal)
        self.correlations.update(now_ns)
        if trade is not None:
            self.desk.act(state, trade)

    def _sample(self, state: PairState, now_ns: int) -> None:
        """Keep the pair's gap if its books are fit to trade on and a sample is due."""
        series = self.series[state.pair.base]
        home, away, rate = state.home.top, state.away.top, self.engine.fx.top
        if now_ns < series.due_ns or not self.engine.is_fit(state, now_ns):
            return
        assert home is not None and away is not None and rate is not None  # noqa: PT018 - is_fit() saw to it
        gap = gap_bps(home, away, (rate.best_bid, rate.best_ask))
        series.add(now_ns, gap)
        self.risk.note_gap(state.pair.base, gap, home.mid / away.mid, rate, now_ns)

    async def _update_terms(self) -> None:
        """Update the terms of entry from time to time, as a worker does from risk's page."""
        now_ns = self.pace.clock.monotonic_ns()
        if now_ns < self._terms_due_ns:
            return
        self._terms_due_ns = now_ns + _TERMS_NS
        self.baselines.refresh(now_ns)
        if self.risk.refresh_terms() != self._terms_serial:
            self._terms_serial = await self.desk.update_terms(self._terms_serial)

    def _watch(self, only: Iterable[str]) -> None:
        """Evaluate positions from time to time, because time passes for them even when no book comes."""
        now_ns = self.pace.clock.monotonic_ns()
        if now_ns - self._watched_ns < WATCH_NS:
            return
        self._watched_ns = now_ns
        for base in only:
            state = self.engine.pairs[base]
            if state.held and not state.busy:
                self._decide(state)

    def _report(self, report: TradeReport) -> None:
        self.reports.append(report)
        self.reported += 1

    def _failed(self, error: BaseException) -> None:
        if self.failure is None:
            get_logger().error("trading has ended in a defect", exc_info=error)
            self.failure = error


def _newest_top(state: PairState) -> BookTop | None:
    """Return the one of the pair's tops that was received last."""
    tops = [view.top for view in (state.home, state.away) if view.top is not None]
    return max(tops, key=lambda top: top.received_ns, default=None)
