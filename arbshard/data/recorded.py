"""``RecordedMarketDataProvider`` plays books from a list, one step at a time. Its time is that of the recording."""

from collections.abc import Iterable, Iterator

from typing_extensions import override

from arbshard.data.provider import MarketDataProvider
from arbshard.errors import FrameError
from arbshard.model.book import OrderBookSnapshot
from arbshard.venues.frame import checked_book

Record = OrderBookSnapshot | tuple[str, OrderBookSnapshot]
"""A book, or (market symbol, book)."""


class RecordedMarketDataProvider(MarketDataProvider):
    """Plays ``records`` in their order, read as they are needed: a recording may be longer than memory."""

    def __init__(self, records: Iterable[Record]) -> None:
        super().__init__()
        self._records: Iterator[Record] = iter(records)
        self._next: Record | None = next(self._records, None)
        self.now_ns = _received_ns(self._next) if self._next is not None else 0
        """Monotonic time of the newest step, in ns: when its book was received. It never goes back."""
        self.wall_offset_ms = _wall_offset_ms(self._next)
        """Wall time less monotonic time, in ms, by the first book; 0 where that one carries no exchange time."""

    @property
    def exhausted(self) -> bool:
        """Return whether the recording has ended."""
        return self._next is None

    @property
    def next_ns(self) -> int:
        """Return the time of the step to come, in ns; that of the last one at the end."""
        return max(self.now_ns, _received_ns(self._next)) if self._next is not None else self.now_ns

    @override
    def is_live(self, symbol: str) -> bool:
        return symbol in self._latest

    @override
    async def start(self) -> None: ...

    def step(self) -> str | None:
        """Take the next book. Return the symbol it belongs to, None at the end.

        A book that breaks a codec's rules (empty, crossed, unsorted …) is counted and not trusted, like a bad frame.
        """
        record = self._next
        if record is None:
            return None
        self._next = next(self._records, None)
        symbol, book = record if isinstance(record, tuple) else (record.symbol, record)
        if book.received_ns < self.now_ns:
            self._counters["unordered"] += 1
        self.now_ns = max(self.now_ns, book.received_ns)
        try:
            checked_book(book.venue, symbol, book.bids, book.asks, book.exchange_ms, book.received_ns)
        except FrameError as error:
            self._distrust(symbol, f"bad_{book.venue}_{error.reason}", f"{book.venue}:{symbol}: {error}")
        else:
            self._take(symbol, book)
        return symbol

    async def changes(self, timeout_s: float) -> frozenset[str]:
        """Make one step, without waiting. Return the symbols that changed."""
        del timeout_s
        self.step()
        return await super().changes(0.0) if self._changed else frozenset()


def _received_ns(record: Record) -> int:
    return (record[1] if isinstance(record, tuple) else record).received_ns


def _wall_offset_ms(record: Record | None) -> int:
    book = record[1] if isinstance(record, tuple) else record
    if book is None or book.exchange_ms is None:
        return 0
    return book.exchange_ms - book.received_ns // 1_000_000
