"""Provides the whole engine in one process, for scripts and notebooks: the core of the shards, without a
supervisor.
"""

from arbshard.runner.live import ArbitrageLiveRunner
from arbshard.runner.metrics import LoopMetrics, MetricsCollector
from arbshard.runner.report import TradeReport

__all__ = ("ArbitrageLiveRunner", "LoopMetrics", "MetricsCollector", "TradeReport")
