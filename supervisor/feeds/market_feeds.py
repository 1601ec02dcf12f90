"""``MarketFeeds`` carries the markets of all venues, and keeps the memory, doorbells and bus of their frames."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from arbshard.config import Config
from arbshard.model.notes import VenueNote
from arbshard.model.risk_note import open_pairs
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksWriter
from arbshard.shm.budget import Budget
from arbshard.shm.doorbell import ShardNotifier
from arbshard.venues.registry import get_venue, rate_windows
from arbshard.wire.bus import HIGH_WATER, Publisher
from arbshard.wire.recording import RAW_HIGH_WATER
from supervisor.feeds.venue import VenueFeed
from supervisor.ports import SupervisorPorts

_SLOT_BYTES = 8192


class MarketFeeds:
    """Carries the markets of a run from ``start`` to ``stop``; ``close`` follows when all processes have ended."""

    def __init__(
        self,
        config: Config,
        files: RunFiles,
        ports: SupervisorPorts,
        slots: int,
        alert: Callable[[str], None],
    ) -> None:
        """Make what is written to: room for ``slots`` markets, doorbells, and the sockets of the bus.

        Raises ``SharedMemoryError`` or ``TransportError``.
        """
        self._config = config
        self._ports = ports
        self._alert = alert
        self.venues: dict[str, VenueFeed] = {}
        """The feed of each venue, by its name; empty until the start."""
        self.frames = 0
        """Number of frames that all feeds had received at the last report."""
        self._attended_for: tuple[bytes, int, int] | None = None
        """Risk's note, the universe and the number of feeds by which the feeds last learned what to confirm."""
        with ExitStack() as opened:
            self.books = opened.enter_context(
                BooksWriter.create(files.books, slots, _SLOT_BYTES, epoch=ports.pid)
            )
            self.books.beat(ports.clock.monotonic_ns())
            self.bus = self._open_bus(opened, files.bus_endpoint, HIGH_WATER)
            self.raw = self._open_bus(opened, files.raw_endpoint, RAW_HIGH_WATER)
            self._budget: Budget | None = None
            if config.mode == "live":
                windows = rate_windows(config.venues.traded)
                self._budget = opened.enter_context(closing(Budget.open(files.dir, "supervisor", windows)))
            self._notifiers = [
                opened.enter_context(self._notifier(files, shard)) for shard in range(config.run.shards)
            ]
            self._opened = opened.pop_all()

    async def start(self, universe: Universe) -> None:
        """Connect to the venues, and carry the markets of ``universe``."""
        self.venues = {
            name: VenueFeed(
                get_venue(name),
                self._config.venues.get(name),
                universe,
                self.books,
                self._notifiers,
                self.bus,
                self._ports.clock,
                self._config.run.receiver,
                self._ports.opener,
                data_source=self._config.data_source,
                fetch=self._ports.fetch,
                alert=self._alert,
                quality=self._config.data_quality,
                raw=self.raw,
                budget=self._budget,
            )
            for name in self._config.venues.traded
        }
        for feed in self.venues.values():
            await feed.start()

    def check(self) -> None:
        """Check each feed, at each tick of the run."""
        for feed in self.venues.values():
            feed.check()

    def wake_workers(self) -> None:
        """Let the workers follow a change of the phase or of the universe at once."""
        for notifier in self._notifiers:
            notifier.wake()

    def attend(self, note: bytes, universe: Universe) -> None:
        """Make the feeds confirm the quiet books of all pairs whose positions may have to be closed.

        ``note``: what risk shows. Nothing is done when it is the one of the last call.
        """
        basis = note, universe.serial, len(self.venues)
        if basis == self._attended_for:
            return
        self._attended_for = basis
        pairs = open_pairs(note)
        slots = {leg.slot for pair in universe.pairs if pair.base in pairs for leg in (pair.home, pair.away)}
        if slots:
            slots.add(universe.fx.slot)
        for feed in self.venues.values():
            feed.attend(frozenset(slots))

    def report(self) -> Sequence[VenueNote]:
        """Return what status shows of each feed."""
        notes = tuple(feed.report() for feed in self.venues.values())
        self.frames = sum(note.frames for note in notes)
        return notes

    async def stop(self) -> None:
        """End the connections."""
        for feed in self.venues.values():
            await feed.stop()

    def close(self) -> None:
        """Close what was written to."""
        self._opened.close()

    def _open_bus(self, opened: ExitStack, endpoint: str, high_water: int) -> Publisher:
        bus = opened.enter_context(self._ports.open_bus(endpoint, high_water))
        bus.start()
        return bus

    def _notifier(self, files: RunFiles, shard: int) -> ShardNotifier:
        return ShardNotifier.create(files.dir, shard, ringer=self._ports.open_ringer(self.bus, shard))
