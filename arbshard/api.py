"""Defines the public Python API: ``docs/library.md`` describes it, and ``import arbshard`` provides these names.

Code of arbshard itself imports from the modules that define the names, not from here.
"""

from arbshard.clock import Clock, ManualClock, SystemClock
from arbshard.config import Config, load_config
from arbshard.data import (
    MarketDataProvider,
    RecordedMarketDataProvider,
    RestMarketDataProvider,
    WebSocketMarketDataProvider,
    find_universe,
)
from arbshard.engine.closing import gap_bps
from arbshard.engine.correlation import CorrelationMatrix
from arbshard.engine.series import SpreadSeries
from arbshard.errors import ArbshardError, ConfigError, FeedFailed, LedgerError, UsageError, VenueUnavailable
from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.model.market import FeeSchedule, Leg, Market, MarketRules, Pair, TickBand
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.model.universe import Universe
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.runner import ArbitrageLiveRunner, LoopMetrics, MetricsCollector, TradeReport
from arbshard.version import __version__

__all__ = (
    "ArbitrageLiveRunner",
    "ArbshardError",
    "BookTop",
    "Clock",
    "Config",
    "ConfigError",
    "CorrelationMatrix",
    "FeeSchedule",
    "FeedFailed",
    "LedgerError",
    "Leg",
    "LoopMetrics",
    "ManualClock",
    "Market",
    "MarketDataProvider",
    "MarketRules",
    "MetricsCollector",
    "OrderBookSnapshot",
    "Pair",
    "PortfolioState",
    "Position",
    "RecordedMarketDataProvider",
    "Refusal",
    "RestMarketDataProvider",
    "SpreadSeries",
    "SystemClock",
    "TickBand",
    "TradeReport",
    "Universe",
    "UsageError",
    "VenueUnavailable",
    "WebSocketMarketDataProvider",
    "__version__",
    "find_universe",
    "gap_bps",
    "load_config",
)
