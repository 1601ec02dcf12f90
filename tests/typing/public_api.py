"""The types of the public API, checked by mypy (``make check``). Nothing here is ever run."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import assert_type

import arbshard
from arbshard import (
    ArbitrageLiveRunner,
    ArbshardError,
    BookTop,
    Clock,
    Config,
    CorrelationMatrix,
    LoopMetrics,
    ManualClock,
    MarketDataProvider,
    MetricsCollector,
    OrderBookSnapshot,
    Pair,
    PortfolioState,
    Position,
    RecordedMarketDataProvider,
    Refusal,
    RestMarketDataProvider,
    SpreadSeries,
    SystemClock,
    TradeReport,
    Universe,
    UsageError,
    WebSocketMarketDataProvider,
    find_universe,
    gap_bps,
    load_config,
)


def check_config_and_version() -> Config:
    assert_type(arbshard.__version__, str)
    assert_type(load_config(None), Config)
    assert_type(load_config(Path("x.toml"), {"run": {"shards": 2}}), Config)
    return load_config(None)


def check_runner(config: Config, universe: Universe, books: list[OrderBookSnapshot]) -> None:
    with ArbitrageLiveRunner.create(config, ["BTC"], data_source="ws", ledger=Path("x.sqlite")) as runner:
        assert_type(runner, ArbitrageLiveRunner)
        assert_type(runner.run_once(), list[TradeReport])
        assert_type(runner.run_once_for_symbol("BTC"), list[TradeReport])
        assert_type(runner.run_multisymbol_loop(duration_s=1.0), list[TradeReport])
        assert_type(runner.stop(close_positions=False), list[TradeReport])
        assert_type(runner.portfolio, PortfolioState)
        assert_type(runner.pairs, tuple[Pair, ...])
        assert_type(runner.reports, tuple[TradeReport, ...])
        assert_type(runner.series, Mapping[str, SpreadSeries])
        assert_type(runner.correlations, CorrelationMatrix)
        assert_type(runner.counters, dict[str, int])
        assert_type(runner.has_ended, bool)
        runner.run_forever(on_report=check_report)
    ArbitrageLiveRunner(config, universe, RecordedMarketDataProvider(books), clock=ManualClock())
    ArbitrageLiveRunner.create(config, data_source=books, universe=universe)


async def check_runner_with_a_loop(config: Config) -> None:
    async with await ArbitrageLiveRunner.acreate(config, data_source="rest") as runner:
        assert_type(runner, ArbitrageLiveRunner)
        assert_type(await runner.arun_once(), list[TradeReport])
        assert_type(await runner.arun_multisymbol_loop(["BTC"], 1.0, check_report), list[TradeReport])
        assert_type(await runner.astop(), list[TradeReport])


async def check_metrics(runner: ArbitrageLiveRunner) -> None:
    with MetricsCollector(pair.base for pair in runner.pairs) as metrics:
        assert_type(metrics, MetricsCollector)
        assert_type(metrics.symbols, tuple[str, ...])
        metrics.update_loop_metrics(0.1, runner.run_once_for_symbol("BTC"), errors=1, symbol="BTC")
        await metrics.aupdate_loop_metrics(0.1, await runner.arun_once())
        assert_type(metrics.get("BTC"), LoopMetrics)
        assert_type(metrics.get().p99_ms, float)
        assert_type(metrics.get().results["opened"], int)
        metrics.update_loop_metrics("0.1")  # type: ignore[arg-type]


def check_report(report: TradeReport) -> None:
    assert_type(report.pair, str)
    assert_type(report.edge_bps, float)
    assert_type(report.at_ms, int)
    assert_type(report.position, Position | None)
    assert_type(report.refusal, Refusal | None)
    if report.position is not None:
        assert_type(report.position.pnl, Decimal | None)


async def check_market_data(config: Config) -> None:
    universe = await find_universe(config, ["BTC"], shards=1)
    assert_type(universe, Universe)
    markets = [leg.market for leg in universe.legs()]
    clock: Clock = SystemClock()
    providers: list[MarketDataProvider] = [
        WebSocketMarketDataProvider(config, markets, clock),
        RestMarketDataProvider(config, markets, clock),
    ]
    for provider in providers:
        await provider.start()
        assert_type(provider.get_latest_snapshot("KRW-BTC"), OrderBookSnapshot | None)
        assert_type(provider.latest_snapshots, Mapping[str, OrderBookSnapshot])
        assert_type(await provider.changes(1.0), frozenset[str])
        await provider.stop()


def check_analysis(home: OrderBookSnapshot, away: BookTop) -> None:
    assert_type(gap_bps(home, away, (1390.0, 1391.0)), float)
    series = SpreadSeries(window=300, sample_ms=1000.0)
    assert_type(series.add(0, 12.5), bool)
    assert_type(series.z_score, float | None)
    assert_type(series.half_life_s, float | None)
    assert_type(CorrelationMatrix({"BTC": series}).get("BTC", "ETH"), float | None)


def check_errors() -> None:
    try:
        asyncio.run(check_market_data(check_config_and_version()))
    except UsageError as error:
        assert_type(error, UsageError)
    except ArbshardError as error:
        assert_type(error, ArbshardError)
