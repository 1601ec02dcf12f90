"""Writes books fetched over REST into the slots: of markets whose WebSocket is down, or of all if that is
configured.

``venue`` decides which markets; ``data.poller`` makes the calls.
"""

import asyncio
from collections.abc import Sequence

from arbshard.clock import Clock
from arbshard.data.poller import RestPoller
from arbshard.errors import FeedFailed
from arbshard.venues.base.client import Fetch
from arbshard.venues.base.market import ControlFrame
from arbshard.venues.base.rest import BookRequest
from arbshard.venues.registry import get_adapter
from supervisor.feeds.fanout import VenueFanout

_POLL_S = 0.2


class RestSource:
    """Fetches the books of one venue at intervals."""

    def __init__(self, fanout: VenueFanout, rest_url: str, depth: int, clock: Clock, fetch: Fetch) -> None:
        name = fanout.venue.name
        self._name = name
        self._books = get_adapter(name).rest
        self._lane = fanout.lane(self._on_control)
        self._depth = depth
        self._clock = clock
        self._poller = RestPoller(name, rest_url, self._books, clock, fetch, self, _POLL_S)
        self._symbols: tuple[str, ...] = ()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: list[asyncio.Task[None]] = []
        self.answers = 0
        self.bad = 0
        """Number of books in an answer that the venue's codec refused."""
        self.answered_ns = 0
        """When the newest answer was asked for (monotonic nanoseconds)."""
        self.last_error = ""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols that are asked for now."""
        return self._symbols

    def follow(self, symbols: Sequence[str]) -> None:
        """Ask for these symbols from now on, and for no others."""
        wanted = tuple(symbols)
        if wanted == self._symbols:
            return
        self._cancel()
        gone = [symbol for symbol in self._symbols if symbol not in wanted]
        self._symbols = wanted
        self._lane.detach(gone)
        self._lane.attach(wanted)
        self._tasks = [
            asyncio.create_task(lane, name=f"{self._name}-rest-{number}")
            for number, lane in enumerate(self._poller.lanes(wanted, self._depth))
        ]

    def answered(self, call: BookRequest, body: bytes, asked_ns: int) -> None:
        """Write the books of an answer; a market without a new book is stale. Implements ``poller.Taker``.

        Raises ``FrameError`` for an answer without books.
        """
        before = {symbol: self._lane.frames_received(symbol) for symbol in call.symbols}
        for frame in self._books.frames(call, body):
            self._lane(frame, asked_ns)
        self.answers += 1
        self.answered_ns = asked_ns
        self._lane.mark_stale(
            symbol for symbol, count in before.items() if self._lane.frames_received(symbol) == count
        )

    def missed(self, call: BookRequest, what: str, why: str) -> None:
        """Mark the markets of a call that brought no books as stale. Implements ``poller.Taker``."""
        self.last_error = f"{what}: {why}"
        self._lane.mark_stale(call.symbols)

    def check(self) -> None:
        """Raise ``FeedFailed`` if the poller has ended because of a defect."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                raise FeedFailed(f"{self._name}: the poller ended in a defect: {task.exception()!r}")

    async def stop(self) -> None:
        """Stop asking, and write no more books."""
        self._cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        self._lane.close()

    def _cancel(self) -> None:
        self._ending = [task for task in self._ending if not task.done()] + self._tasks
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def _on_control(self, _: ControlFrame) -> None:
        self.bad += 1
