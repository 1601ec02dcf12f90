"""Provides market data in one process: the newest book of every market, from WebSockets, REST or a recording."""

from arbshard.data.listings import find_universe
from arbshard.data.provider import MarketDataProvider
from arbshard.data.recorded import RecordedMarketDataProvider
from arbshard.data.rest import RestMarketDataProvider
from arbshard.data.websocket import WebSocketMarketDataProvider

__all__ = (
    "MarketDataProvider",
    "RecordedMarketDataProvider",
    "RestMarketDataProvider",
    "WebSocketMarketDataProvider",
    "find_universe",
)
