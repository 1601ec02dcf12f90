"""The feeds of all venues of a run: made, started, checked and ended together. Used by ``run``."""

import asyncio
from collections.abc import Callable, Sequence

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.model.notes import VenueNote
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.venues.registry import AWAY, HOME, get_venue
from arbshard.wire.bus import Publisher
from supervisor.feeds.venue import VenueFeed


class Markets:
    """One ``VenueFeed`` per venue."""

    def __init__(
        self,
        config: Config,
        universe: Universe,
        books: BooksWriter,
        notifiers: Sequence[ShardNotifier],
        bus: Publisher,
        clock: Clock,
        alert: Callable[[str], None] | None = None,
    ) -> None:
        self.feeds: dict[str, VenueFeed] = {
            name: VenueFeed(
                get_venue(name),
                config.venues.get(name),
                universe,
                books,
                notifiers,
                bus,
                clock,
                config.run.receiver,
                data_source=config.data_source,
                alert=alert,
            )
            for name in (HOME, AWAY)
        }
        self._frames = 0

    async def start(self) -> None:
        """Open all connections."""
        await asyncio.gather(*(feed.start() for feed in self.feeds.values()))

    async def stop(self) -> None:
        """Close all connections."""
        for feed in self.feeds.values():
            await feed.stop()

    def check(self) -> None:
        """Raises ``FeedFailed`` when a connection has ended in a defect."""
        for feed in self.feeds.values():
            feed.check()

    def report(self) -> tuple[VenueNote, ...]:
        """State and rates of each; call about once a second."""
        notes = tuple(feed.report() for feed in self.feeds.values())
        self._frames = sum(note.frames for note in notes)
        return notes

    @property
    def frames(self) -> int:
        """Received so far, as of the last report."""
        return self._frames
