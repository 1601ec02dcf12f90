"""``RestMarketDataProvider`` asks for books over REST, for networks that allow no WebSocket, and for comparison.

``poller`` makes the requests.
"""

from collections.abc import Iterable

from typing_extensions import override

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.data.ccxt_client import CcxtClient
from arbshard.data.clients import open_fetch
from arbshard.data.http import HttpFetch
from arbshard.data.poller import RestPoller
from arbshard.data.provider import MarketDataProvider
from arbshard.errors import FrameError, UsageError
from arbshard.model.market import Market
from arbshard.venues.base.rest import BookRequest, Found, RestBooks
from arbshard.venues.registry import get_adapter


class RestMarketDataProvider(MarketDataProvider):
    """Asks for the books of ``markets``, each round no sooner than ``poll_ms`` after the one before."""

    def __init__(
        self, config: Config, markets: Iterable[Market], clock: Clock, poll_ms: float = 200.0
    ) -> None:
        """Prepare a poller for each venue. Raises ``UsageError`` for an unknown venue or one whose ``rest_url`` is
        empty.
        """
        super().__init__()
        self._live: set[str] = set()
        self._polled: list[tuple[RestPoller, list[str], int, str]] = []
        self._fetches: list[HttpFetch | CcxtClient] = []
        by_venue: dict[str, list[str]] = {}
        for market in markets:
            by_venue.setdefault(market.venue, []).append(market.symbol)
        for name, symbols in by_venue.items():
            settings = config.venues.get(name)
            if not settings.rest_url and settings.adapter == "folder":
                raise UsageError(f"venues.{name}.rest_url is empty: where is {name} to be asked?")
            books = get_adapter(name).rest
            fetch = open_fetch(name, settings)
            self._fetches.append(fetch)
            taker = _Taker(self, name, books)
            poller = RestPoller(name, settings.rest_url, books, clock, fetch, taker, poll_ms / 1000)
            self._polled.append((poller, symbols, settings.depth, name))

    @override
    def is_live(self, symbol: str) -> bool:
        return symbol in self._live

    @override
    async def start(self) -> None:
        for poller, symbols, depth, name in self._polled:
            for number, lane in enumerate(poller.lanes(symbols, depth)):
                self._tasks.start(lane, name=f"{name}-{number}")

    @override
    async def stop(self) -> None:
        await super().stop()
        self._live.clear()
        for fetch in self._fetches:
            await fetch.close()

    def count_call(self) -> None:
        """Count a call."""
        self._counters["calls"] += 1

    def take_answer(self, name: str, found: Iterable[Found]) -> None:
        """Store the books that an answer of the venue ``name`` holds. Raises ``FrameError``."""
        for symbol, book in found:
            if isinstance(book, FrameError):
                self._distrust(symbol, f"bad_{name}_{book.reason}", f"{name}:{symbol}: {book}")
            else:
                self._live.add(symbol)
                self._take(symbol, book)

    def take_miss(self, symbols: Iterable[str], counter: str, why: str) -> None:
        """Count a call without books, and mark its markets as not live."""
        self._fault(counter, why)
        self._live.difference_update(symbols)
        self._touch(*symbols)


class _Taker:
    """Decodes what one venue answers for the provider."""

    def __init__(self, provider: RestMarketDataProvider, name: str, books: RestBooks) -> None:
        self._provider = provider
        self._name = name
        self._books = books

    def answered(self, call: BookRequest, body: bytes, asked_ns: int) -> None:
        """Count the call, and give its books to the provider."""
        self._provider.count_call()
        self._provider.take_answer(self._name, self._books.decode(call, body, asked_ns))

    def missed(self, call: BookRequest, what: str, why: str) -> None:
        """Report a call without books to the provider."""
        if not what.startswith("bad_"):  # such a call was answered, and is counted already
            self._provider.count_call()
        self._provider.take_miss(call.symbols, _counter(self._name, what), why)


def _counter(name: str, what: str) -> str:
    kind, _, reason = what.partition("_")
    return f"{kind}_{name}_{reason}" if reason else f"{kind}_{name}"
