"""``MarketDataProvider`` keeps the newest book of every market, from whatever source.

It is one interface for all sources of books (``websocket``, ``rest``, ``recorded``); ``runner`` trades on it, and a
notebook may use one alone. A provider lives on the event loop that started it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from arbshard.errors import FeedFailed
from arbshard.log import get_logger
from arbshard.model.book import OrderBookSnapshot
from arbshard.repeat import BackgroundTasks


class MarketDataProvider(ABC):
    """Keeps the newest book of each market. Reading one is O(1) and never waits."""

    def __init__(self) -> None:
        self._latest: dict[str, OrderBookSnapshot] = {}
        self._bad: set[str] = set()
        self._changed: set[str] = set()
        self._bell = asyncio.Event()
        self._tasks = BackgroundTasks(self._failed)
        self._failure: BaseException | None = None
        self._counters: Counter[str] = Counter()
        self.last_error = ""
        """The newest fault in one line; empty without one."""

    @property
    def latest_snapshots(self) -> Mapping[str, OrderBookSnapshot]:
        """Return the newest good book by market symbol (``KRW-BTC``, ``BTCUSDT``), of both venues, as a live view."""
        return MappingProxyType(self._latest)

    @property
    def counters(self) -> Mapping[str, int]:
        """Return how often each thing has happened, by name (``books``, ``bad_<venue>_<reason>``, ``lost_<venue>``,
        …).

        The result is a live view.
        """
        return MappingProxyType(self._counters)

    def get_latest_snapshot(self, symbol: str) -> OrderBookSnapshot | None:
        """Return the newest good book of a market; None when none has come or the market was not asked for."""
        return self._latest.get(symbol)

    async def aget_latest_snapshot(self, symbol: str) -> OrderBookSnapshot | None:
        """Return what ``get_latest_snapshot`` returns; it does not wait either."""
        return self._latest.get(symbol)

    @abstractmethod
    def is_live(self, symbol: str) -> bool:
        """Return whether the connection that brings the market's books is up."""

    def is_bad(self, symbol: str) -> bool:
        """Return whether the newest frame of a market was cut, crossed, empty or otherwise unusable."""
        return symbol in self._bad

    @abstractmethod
    async def start(self) -> None:
        """Start connecting or polling. Books arrive while the event loop runs."""

    async def stop(self) -> None:
        """Close connections and end all tasks. The newest books can still be read, and no market is live."""
        await self._tasks.close()

    async def changes(self, timeout_s: float) -> frozenset[str]:
        """Wait up to ``timeout_s`` seconds, and return the symbols that changed since the last call.

        A change is a new book, a connection that came up or was lost, or a bad frame. Only one caller may use this.
        Raises ``FeedFailed`` when a part of the provider has ended in a defect.
        """
        if not self._changed and self._failure is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._bell.wait()
        if self._failure is not None:
            raise FeedFailed(f"{type(self._failure).__name__}: {self._failure}") from self._failure
        self._bell.clear()
        changed = frozenset(self._changed)
        self._changed.clear()
        return changed

    def _take(self, symbol: str, book: OrderBookSnapshot) -> None:
        """Store a good book that has come."""
        self._latest[symbol] = book
        self._bad.discard(symbol)
        self._counters["books"] += 1
        self._touch(symbol)

    def _distrust(self, symbol: str, counter: str, why: str) -> None:
        """Mark the newest book of a market as bad."""
        self._bad.add(symbol)
        self._fault(counter, why)
        self._touch(symbol)

    def _touch(self, *symbols: str) -> None:
        self._changed.update(symbols)
        self._bell.set()

    def _fault(self, counter: str, why: str) -> None:
        self._counters[counter] += 1
        self.last_error = why

    def _failed(self, error: BaseException) -> None:
        get_logger().error("market data ended in a defect", exc_info=error)
        self._failure = error
        self._bell.set()
