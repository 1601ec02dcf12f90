"""Takes the newest frames of this host's markets for the leader, which values positions and measures gaps by them."""

from collections.abc import Callable, Collection, Iterator

import msgspec

from arbshard.closable import Closable
from arbshard.errors import SharedMemoryError
from arbshard.log import get_logger
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksReader
from arbshard.wire.cluster import BookSample, Samples

_AGAIN_NS = 2_000_000_000
"""A frame that has not changed is taken again after so long, which shows that its connection lives."""
_MESSAGE_BYTES = 512 * 1024
"""A message is ended after so many bytes of frames."""


class FrameSampler(Closable):
    """Reads the frames of the markets whose pairs this host has, and of the FX rate."""

    def __init__(self, files: RunFiles, monotonic_ns: Callable[[], int]) -> None:
        self._files = files
        self._now_ns = monotonic_ns
        self._books: BooksReader | None = None
        self._version: tuple[int, int] | None = None
        """Inode and time of the universe's file as it was read."""
        self._universe: Universe | None = None
        self._sent: dict[int, tuple[int, int]] = {}
        """The sequence of each slot's frame that was taken last, and when (monotonic ns)."""

    def forget(self) -> None:
        """Take every frame again, for another leader."""
        self._sent.clear()

    def changed(self, shards: Collection[int]) -> Iterator[Samples]:
        """Yield the frames of these shards that have changed, or that were taken a while ago."""
        universe = self._newest()
        if universe is None or self._books is None:
            return
        now_ns = self._now_ns()
        books: list[BookSample] = []
        size = 0
        for slot in self._slots(universe, shards):
            found = self._books.read(slot) if slot < self._books.slot_count else None
            if found is None or not found[2]:
                continue  # there is no frame, or its connection has ended
            before = self._sent.get(slot)
            if before is not None and before[0] == found[0] and now_ns - before[1] < _AGAIN_NS:
                continue
            self._sent[slot] = found[0], now_ns
            books.append(BookSample(slot, max(now_ns - found[1], 0), found[3]))
            size += len(found[3])
            if size >= _MESSAGE_BYTES:
                yield Samples(universe.serial, tuple(books))
                books, size = [], 0
        if books:
            yield Samples(universe.serial, tuple(books))

    def close(self) -> None:
        """Close the books. May be called again."""
        if self._books is not None:
            self._books.close()
            self._books = None

    @staticmethod
    def _slots(universe: Universe, shards: Collection[int]) -> Iterator[int]:
        mine = {base for shard in shards if shard < len(universe.shards) for base in universe.shards[shard]}
        if mine:
            yield universe.fx.slot
        for pair in universe.pairs:
            if pair.base in mine:
                yield pair.home.slot
                yield pair.away.slot

    def _newest(self) -> Universe | None:
        """Return the universe in force on this host; None before there is one."""
        try:
            if self._books is None:
                self._books = BooksReader.attach(self._files.books)
            about = self._files.universe.stat()
            version = about.st_ino, about.st_mtime_ns
            if version != self._version:
                self._universe = msgspec.json.decode(self._files.universe.read_bytes(), type=Universe)
                self._version = version
                self._sent.clear()  # a slot may have been given to another market
        except (SharedMemoryError, FileNotFoundError):
            return None  # the supervisor has not made them yet
        except (OSError, msgspec.MsgspecError) as error:
            get_logger().error("the universe cannot be read", error=str(error))
            return None
        return self._universe
