"""Reads what workers and their rings show, and has each shard judged. ``assembly`` uses it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from arbshard.errors import SharedMemoryError
from arbshard.model.phase import WorkerState
from arbshard.model.rundir import RunFiles
from arbshard.risk.portfolio.state import Shard
from arbshard.risk.shards.liveness import Sample, ShardJudge
from arbshard.shm.doorbell import ShardFiles
from arbshard.shm.pages import PageReader
from arbshard.shm.rings import RingReader

_AT_WORK = (WorkerState.RUNNING, WorkerState.DRAINING)
_AGAIN_NS = 100_000_000
"""How often a page that does not change is opened anew, in ns: a successor writes another file."""


class WorkerWatch:
    """Judges the workers of all shards of a run."""

    def __init__(self, files: RunFiles, shards: int, stuck_after_ns: int) -> None:
        self._shards = [_Watched(files, shard, stuck_after_ns) for shard in range(shards)]

    def judge(self, now_ns: int, shards: Mapping[int, Shard]) -> dict[int, str]:
        """Return the shards that are stuck, and why. ``shards`` is what risk knows of them."""
        stuck: dict[int, str] = {}
        for number, watched in enumerate(self._shards):
            known = shards.get(number)
            epoch = known.epoch if known is not None and not known.is_fenced else 0
            verdict = watched.judge.judge(watched.sample(epoch, now_ns), epoch, now_ns)
            if verdict.health == "stuck":
                stuck[number] = verdict.reason
        return stuck

    def close(self) -> None:
        """Close the pages and rings."""
        for watched in self._shards:
            watched.close()


class _Watched:
    """Judges one shard's worker by its page and ring."""

    def __init__(self, files: RunFiles, shard: int, stuck_after_ns: int) -> None:
        self.judge = ShardJudge(stuck_after_ns)
        self._page_path = files.worker_page(shard)
        self._ring_path: Path = ShardFiles(files.dir, shard).ring
        self._page: PageReader | None = None
        self._read: Callable[[], tuple[int, ...]] = lambda: ()
        """Returns epoch, state, beats and what was seen, of the page."""
        self._ring: RingReader | None = None
        self._beats = -1
        self._page_file: tuple[int, int] | None = None
        """Device and inode of the page, which no other file has as long as it is mapped."""
        self._attached_ns = 0

    def sample(self, epoch: int, now_ns: int) -> Sample | None:
        """Return a sample of the incarnation ``epoch``; None as long as there is nothing."""
        found = self._read()
        is_still = not found or found[0] != epoch or found[2] == self._beats
        if (is_still or self._ring is None) and now_ns - self._attached_ns >= _AGAIN_NS:
            self._attached_ns = now_ns
            self._attach()
            found = self._read()
        ring = self._ring
        if not found or ring is None:
            return None
        shown, state, self._beats, seen = found
        head = ring.head  # after what was seen of it
        return Sample(shown, state in _AT_WORK, self._beats, seen, head)

    def close(self) -> None:
        if self._page is not None:
            self._page.close()
        if self._ring is not None:
            self._ring.close()
        self._page = self._ring = None
        self._read = lambda: ()

    def _attach(self) -> None:
        try:
            if self._ring is None:
                self._ring = RingReader.attach(self._ring_path)
            found = self._page_path.stat()
            page_file = found.st_dev, found.st_ino
            if self._page is not None and page_file == self._page_file:
                return  # it is the same one, and does not change
            page = PageReader.attach(self._page_path)
        except (SharedMemoryError, FileNotFoundError):
            return  # not made yet, or just being replaced
        if self._page is not None:
            self._page.close()
        self._page, self._page_file = page, page_file
        self._read = page.reader("epoch", "state", "beat", "seen")
