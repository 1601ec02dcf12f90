"""A part of a venue's symbols, on one connection or on two at the same time. Used by ``venue``."""

import asyncio
from collections.abc import Iterable, Sequence

from arbshard.errors import FeedFailed
from arbshard.log import get_logger
from supervisor.feeds.connection import Connection


class Share:
    """The connections that carry the same symbols."""

    def __init__(self, connections: Sequence[Connection], now_ns: int) -> None:
        self.connections = tuple(connections)
        self._tasks: list[asyncio.Task[None]] = []
        self._spoke_ns = now_ns
        """When one of them was last up and had brought something; at first, when it was made."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """What all of them carry."""
        return self.connections[0].symbols

    @property
    def is_up(self) -> bool:
        """Whether one of them is."""
        return any(one.is_up for one in self.connections)

    def start(self) -> None:
        """Open them and keep them up."""
        self._tasks = [asyncio.create_task(one.run(), name=one.name) for one in self.connections]

    def check(self) -> None:
        """Raises ``FeedFailed`` when one has ended in a defect; losses are its own to mend."""
        for one, task in zip(self.connections, self._tasks, strict=False):
            if task.done() and not task.cancelled():
                raise FeedFailed(f"{one.name}: a connection ended in a defect: {task.exception()!r}")

    def change(self, added: Iterable[str], removed: Iterable[str]) -> None:
        """Carry other symbols."""
        added, removed = tuple(added), tuple(removed)
        for one in self.connections:
            one.change(added, removed)

    def judge_silence(self, now_ns: int) -> None:
        """Judge the silence of each."""
        for one in self.connections:
            one.judge_silence(now_ns)

    def down_ns(self, now_ns: int) -> int:
        """How long nothing can have come by any of them; 0 while it can."""
        if any(one.is_up and one.has_received for one in self.connections):
            self._spoke_ns = now_ns
        return now_ns - self._spoke_ns

    def cancel(self) -> list["asyncio.Task[None]"]:
        """Close them; what is to be waited for."""
        for task in self._tasks:
            task.cancel()
        return self._tasks


async def close_all(shares: Iterable[Share]) -> None:
    """Close all of these and wait until they are."""
    tasks = [task for share in shares for task in share.cancel()]
    for end in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(end, Exception):
            get_logger().error("a connection ended in a defect", exc_info=end)
