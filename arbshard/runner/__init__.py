"""The whole engine in one process, for scripts and notebooks: same core as the shards, no supervisor."""

from arbshard.runner.live import ArbitrageLiveRunner
from arbshard.runner.metrics import LoopMetrics, MetricsCollector
from arbshard.runner.report import TradeReport

__all__ = ("ArbitrageLiveRunner", "LoopMetrics", "MetricsCollector", "TradeReport")
