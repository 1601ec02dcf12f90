"""Books over REST into the same slots: for markets whose WebSocket is down, or for all where that is wanted.

``venue`` says which markets; ``data.poller`` does the asking.
"""

import asyncio
from collections.abc import Sequence

from arbshard.clock import Clock
from arbshard.data.http import Fetch
from arbshard.data.poller import RestPoller
from arbshard.errors import FeedFailed
from arbshard.venues.base.market import ControlFrame
from arbshard.venues.base.rest import BookRequest
from arbshard.venues.registry import get_adapter
from supervisor.feeds.fanout import VenueFanout

_POLL_S = 0.2


class RestSource:
    """One venue's poller."""

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
        """Books in an answer that the venue's codec would not take."""
        self.answered_ns = 0
        """When the newest answer was asked for."""
        self.last_error = ""

    @property
    def symbols(self) -> tuple[str, ...]:
        """What is asked for now."""
        return self._symbols

    def follow(self, symbols: Sequence[str]) -> None:
        """Ask for these from now on, and for no others."""
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
        """See ``poller.Taker``."""
        before = {symbol: self._lane.frames_received(symbol) for symbol in call.symbols}
        for frame in self._books.frames(call, body):
            self._lane(frame, asked_ns)
        self.answers += 1
        self.answered_ns = asked_ns
        self._lane.mark_stale(
            symbol for symbol, heard in before.items() if self._lane.frames_received(symbol) == heard
        )

    def missed(self, call: BookRequest, what: str, why: str) -> None:
        """See ``poller.Taker``."""
        self.last_error = f"{what}: {why}"
        self._lane.mark_stale(call.symbols)

    def check(self) -> None:
        """Raises ``FeedFailed`` when it has ended in a defect."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                raise FeedFailed(f"{self._name}: the poller ended in a defect: {task.exception()!r}")

    async def stop(self) -> None:
        """Ask for nothing any more."""
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
