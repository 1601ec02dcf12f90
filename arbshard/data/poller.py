"""Asks for books, again and again, inside a venue's rate limit. ``rest`` and the feeds share this loop.

The time of a book is the time at which it was requested, the earliest it can be, so the age and skew limits hold
however slow the answers are.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Protocol

from arbshard.clock import Clock
from arbshard.data.address_block import blocked_s
from arbshard.data.reconnect import Backoff
from arbshard.errors import FrameError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.venues.base.client import Fetch
from arbshard.venues.base.rest import BookRequest, RestBooks

_NOT_FOUND = 404
_UNLISTED_NS = 60_000_000_000


class Taker(Protocol):
    """Receives the answers."""

    def answered(self, call: BookRequest, body: bytes, asked_ns: int) -> None:
        """Handle an answer with books. Raises ``FrameError`` when it holds none after all."""
        ...

    def missed(self, call: BookRequest, what: str, why: str) -> None:
        """Handle a call without books. ``what`` is one word to count by: ``http``, ``lost``, ``limited``,
        ``bad_cut`` …
        """
        ...


class RestPoller:
    """Makes one venue's calls, and decides when the next one may be sent."""

    def __init__(
        self,
        name: str,
        rest_url: str,
        books: RestBooks,
        clock: Clock,
        fetch: Fetch,
        taker: Taker,
        poll_s: float,
        share: float = 1.0,
    ) -> None:
        """Prepare the calls. Each round begins no sooner than ``poll_s`` after the one before.

        ``share``: the part of the venue's budget that may be used.
        """
        self._name = name
        self._rest_url = rest_url
        self._books = books
        self._clock = clock
        self._fetch = fetch
        self._taker = taker
        self._poll_s = poll_s
        self._gap_ns = int(1e9 / (books.calls_per_s * share))
        self._next_ns = 0
        self._unlisted: dict[str, int] = {}
        """Markets that the venue did not know, and until when they are left out (monotonic ns)."""

    def lanes(self, symbols: Sequence[str], depth: int) -> list[Coroutine[None, None, None]]:
        """Return what is to be run, each in a task, until it is cancelled. Use one set at a time."""
        calls = self._books.calls(list(dict.fromkeys(symbols)), depth)
        count = min(self._books.lanes, len(calls))
        # A market stays in its lane, so an older answer can never come after a newer one.
        return [self._poll(calls[lane::count], depth) for lane in range(count)]

    async def ask_once(self, symbols: Sequence[str], depth: int) -> bool:
        """Ask for the books of ``symbols`` once, within the budget. Return whether every call was answered with
        books.
        """
        is_answered = True
        for call in self._books.calls(symbols, depth):
            is_answered = await self._ask(call, depth) and is_answered
        return is_answered

    async def _poll(self, calls: Sequence[BookRequest], depth: int) -> None:
        backoff = Backoff(Random(f"{self._name}:{calls[0].symbols[0]}"))
        while True:
            began_ns = self._clock.monotonic_ns()
            for call in calls:
                if await self._ask(call, depth):
                    backoff.succeeded()
                else:
                    await asyncio.sleep(backoff.after_loss(0))
            spent_s = (self._clock.monotonic_ns() - began_ns) / 1e9
            await asyncio.sleep(max(self._poll_s - spent_s, 0.0))

    async def _wait_turn(self) -> None:
        """Wait until the venue's budget allows one more call."""
        while True:
            now_ns = self._clock.monotonic_ns()
            if now_ns >= self._next_ns:
                self._next_ns = now_ns + self._gap_ns
                return
            await asyncio.sleep((self._next_ns - now_ns) / 1e9)

    async def _ask(self, call: BookRequest, depth: int) -> bool:
        """Make one call. Return whether it was answered with books.

        A venue that answers 404 for all markets because of one is asked for each half, until that one is found. It
        is left out for a while: at most two calls for each market of the call, and then none for it.
        """
        now_ns = self._clock.monotonic_ns()
        wanted = [symbol for symbol in call.symbols if self._unlisted.get(symbol, 0) <= now_ns]
        if not wanted:
            return self._miss(call, "unlisted", f"it does not list {', '.join(call.symbols)}")
        if len(wanted) < len(call.symbols):
            (call,) = self._books.calls(wanted, depth)
        await self._wait_turn()
        asked_ns = self._clock.monotonic_ns()
        try:
            answer = await self._fetch(self._rest_url + call.path)
        except VenueUnavailable as error:
            return self._miss(call, "lost", str(error))
        wait_s = blocked_s(self._name, answer)
        if wait_s:
            until_ns = self._clock.monotonic_ns() + int(wait_s * 1e9)
            self._next_ns = max(self._next_ns, until_ns)  # all lanes wait
            get_logger().warning("rate limit", venue=self._name, status=answer.status, blocked_s=wait_s)
            return self._miss(call, "limited", f"HTTP {answer.status}, waiting {wait_s:g} s")
        if answer.status == _NOT_FOUND and len(wanted) > 1:
            middle = len(wanted) // 2
            halves = [self._books.calls(half, depth)[0] for half in (wanted[:middle], wanted[middle:])]
            return all([await self._ask(half, depth) for half in halves])
        if answer.status == _NOT_FOUND:
            self._unlisted[wanted[0]] = self._clock.monotonic_ns() + _UNLISTED_NS
            return self._miss(call, "unlisted", f"it does not list {wanted[0]}")
        if answer.status != 200:
            return self._miss(call, "http", f"HTTP {answer.status} to {call.path}")
        try:
            self._taker.answered(call, answer.body, asked_ns)
        except FrameError as error:
            return self._miss(call, f"bad_{error.reason}", f"{call.path}: {error}")
        return True

    def _miss(self, call: BookRequest, what: str, why: str) -> bool:
        self._taker.missed(call, what, f"{self._name}: {why}")
        return False
