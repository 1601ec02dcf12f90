"""``RestMarketDataProvider``: books by asking for them, again and again, inside each venue's rate limit.

For networks that let no WebSocket through, and for comparison. A book is dated from when it was asked for, the
oldest it can be, so the age and skew limits hold however slow the answers are.
"""

import asyncio
from collections.abc import Iterable, Sequence
from random import Random

import aiohttp

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.data.provider import MarketDataProvider
from arbshard.data.reconnect import Backoff
from arbshard.errors import FrameError, UsageError
from arbshard.log import get_logger
from arbshard.model.market import Market
from arbshard.venues.rest_books import Call, RestBooks, get_rest_books

_TIMEOUT_S = 5.0
_BODY_BYTES_MAX = 1 << 22
_LIMITED_S = 1.0
"""Pause after 429 where the venue does not say how long."""
_BANNED_S = 120.0
"""Pause after 418 where it does not: the shortest ban."""
_PAUSE_S_MAX = 3 * 24 * 3600.0


class RestMarketDataProvider(MarketDataProvider):
    """Polls the books of ``markets``, each round no sooner than ``poll_ms`` after the one before."""

    def __init__(
        self, config: Config, markets: Iterable[Market], clock: Clock, poll_ms: float = 200.0
    ) -> None:
        """Raises ``UsageError`` for a venue we do not know or whose ``rest_url`` is empty."""
        super().__init__()
        self._clock = clock
        self._poll_s = poll_ms / 1000
        self._live: set[str] = set()
        self._venues: list[_Polled] = []
        by_venue: dict[str, list[str]] = {}
        for market in markets:
            by_venue.setdefault(market.venue, []).append(market.symbol)
        for name, symbols in by_venue.items():
            settings = config.venues.get(name)
            if not settings.rest_url:
                raise UsageError(f"venues.{name}.rest_url is empty: where is {name} to be asked?")
            books = get_rest_books(name)
            calls = books.calls(list(dict.fromkeys(symbols)), settings.depth)
            self._venues.append(_Polled(name, settings.rest_url, books, calls))
        self._session: aiohttp.ClientSession | None = None

    def is_live(self, symbol: str) -> bool:
        """Whether the last call that asked about the market was answered."""
        return symbol in self._live

    async def start(self) -> None:
        """Begin to poll."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        for venue in self._venues:
            lanes = min(venue.books.lanes, len(venue.calls))
            for lane in range(lanes):
                # A market stays in its lane, so an older answer can never come after a newer one.
                work = self._poll(self._session, venue, venue.calls[lane::lanes])
                self._spawn(asyncio.create_task(work, name=f"{venue.name}-{lane}"))

    async def stop(self) -> None:
        """Stop polling."""
        await super().stop()
        self._live.clear()
        if self._session is not None:
            await self._session.close()

    async def _poll(self, session: aiohttp.ClientSession, venue: "_Polled", calls: Sequence[Call]) -> None:
        backoff = Backoff(Random(f"{venue.name}:{calls[0].symbols[0]}"))
        while True:
            began_ns = self._clock.monotonic_ns()
            for call in calls:
                await self._wait_turn(venue)
                if await self._ask(session, venue, call):
                    backoff.succeeded()
                else:
                    self._live.difference_update(call.symbols)
                    self._touch(*call.symbols)
                    await asyncio.sleep(backoff.after_loss(0))
            spent_s = (self._clock.monotonic_ns() - began_ns) / 1e9
            await asyncio.sleep(max(self._poll_s - spent_s, 0.0))

    async def _wait_turn(self, venue: "_Polled") -> None:
        """Until the venue's budget allows one more call."""
        while True:
            now_ns = self._clock.monotonic_ns()
            if now_ns >= venue.next_ns:
                venue.next_ns = now_ns + int(1e9 / venue.books.calls_per_s)
                return
            await asyncio.sleep((venue.next_ns - now_ns) / 1e9)

    async def _ask(self, session: aiohttp.ClientSession, venue: "_Polled", call: Call) -> bool:
        """Make one call; whether it was answered with books."""
        asked_ns = self._clock.monotonic_ns()
        self._counters["calls"] += 1
        try:
            async with session.get(venue.rest_url + call.path) as reply:
                if reply.status in (418, 429):
                    self._held_off(venue, reply.status, reply.headers.get("Retry-After"))
                    return False
                if reply.status != 200:
                    self._fault(f"http_{venue.name}", f"{venue.name}: HTTP {reply.status} to {call.path}")
                    return False
                body = await reply.content.read(_BODY_BYTES_MAX)
                while chunk := await reply.content.read(_BODY_BYTES_MAX - len(body)):
                    body += chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            self._fault(f"lost_{venue.name}", f"{venue.name}: {error or type(error).__name__}")
            return False
        try:
            for symbol, found in venue.books.decode(call, body, asked_ns):
                if isinstance(found, FrameError):
                    why = f"{venue.name}:{symbol}: {found}"
                    self._distrust(symbol, f"bad_{venue.name}_{found.reason}", why)
                else:
                    self._live.add(symbol)
                    self._take(symbol, found)
        except FrameError as error:
            self._fault(f"bad_{venue.name}_{error.reason}", f"{venue.name}: {call.path}: {error}")
            return False
        return True

    def _held_off(self, venue: "_Polled", status: int, retry_after: str | None) -> None:
        """The venue wants us to wait: all its lanes do."""
        pause_s = _LIMITED_S if status == 429 else _BANNED_S
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            pause_s = max(min(float(retry_after), _PAUSE_S_MAX), _LIMITED_S)
        until_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)
        venue.next_ns = max(venue.next_ns, until_ns)
        self._fault(f"limited_{venue.name}", f"{venue.name}: HTTP {status}, waiting {pause_s:g} s")
        get_logger().warning("rate limit", venue=venue.name, status=status, pause_s=pause_s)


class _Polled:
    """One venue: its calls, and when the next one may go out."""

    def __init__(self, name: str, rest_url: str, books: RestBooks, calls: Sequence[Call]) -> None:
        self.name = name
        self.rest_url = rest_url
        self.books = books
        self.calls = calls
        self.next_ns = 0
