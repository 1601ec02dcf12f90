"""Writes the series: ``python -m arbshard.series --run-dir DIR --state-dir DIR``. Needs pyarrow.

The supervisor starts it once the run trades, at a low priority. It only reads pages and writes files of its own, so
whatever happens to it or to the disk costs series only. At SIGTERM it writes what it has in memory. Exit codes: 0
after SIGTERM, 1 for a defect (logged), 4 when the supervisor has died.
"""

import argparse
import os
import threading
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pyarrow as pa

from arbshard.clock import Clock, SystemClock
from arbshard.companion import run_companion
from arbshard.config import Config
from arbshard.log import get_logger, setup
from arbshard.model.notes import SupervisorNote
from arbshard.model.rundir import RunFiles
from arbshard.process import Parent, freeze_gc
from arbshard.series.counters import COUNTERS
from arbshard.series.reading import RunInfo, open_series
from arbshard.series.sampling import FUNNEL_COLUMNS, RunSampler
from arbshard.series.segments import SegmentWriter, SeriesBounds
from arbshard.shm.books import BooksReader
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.version import __version__

_NOTE_BYTES = 1024


class SeriesWriter:
    """Takes samples at an even pace, and ends segments."""

    def __init__(
        self,
        sampler: RunSampler,
        segments: SegmentWriter,
        page: PageWriter,
        clock: Clock,
        every_s: float,
        segment_s: float,
    ) -> None:
        self._sampler = sampler
        self._segments = segments
        self._page = page
        self._clock = clock
        self._every_ns = int(every_s * 1e9)
        self._segment_ns = int(segment_s * 1e9)
        self._due_ns = clock.monotonic_ns()
        self._segment_due_ns = self._due_ns + self._segment_ns
        self._error = ""

    def turn(self) -> float:
        """Take a sample, and end the segment if it is over; return the seconds until the next turn."""
        self._sample(is_last=False)
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._segment_due_ns:
            self._segment_due_ns += self._segment_ns
            self._segments.end_segment(self._clock.wall_ms())
        self._show()
        now_ns = self._clock.monotonic_ns()
        self._due_ns += self._every_ns
        if now_ns > self._due_ns:  # we were too late: missed samples are not made up for
            missed = -((self._due_ns - now_ns) // self._every_ns)
            self._due_ns += missed * self._every_ns
            self._count("missed", missed)
        return (self._due_ns - now_ns) / 1e9

    def end(self) -> None:
        """Take the last sample, and write everything that is in memory."""
        self._sample(is_last=True)
        self._segments.end_segment(self._clock.wall_ms())
        self._show()

    def _sample(self, *, is_last: bool) -> None:
        try:
            self._sampler.sample(is_last=is_last)
        except Exception as error:  # noqa: BLE001 - one sample that fails must not cost the others
            self._count("missed", 1)
            if not self._error:
                get_logger().error("a sample cannot be taken", exc_info=error)
            self._error = f"a sample cannot be taken: {error}"
        else:
            self._count("samples", 1)

    def _count(self, name: str, count: int) -> None:
        self._page.add(self._page.counter(name), count)

    def _show(self) -> None:
        segments, page = self._segments, self._page
        for name, value in (
            ("segments", segments.written),
            ("failures", segments.failures),
            ("lost_rows", segments.lost_rows),
            ("kept_bytes", segments.kept_bytes),
            ("beat_ns", self._clock.monotonic_ns()),
        ):
            page.set(page.counter(name), value)
        self._count("beat", 1)
        note = (segments.last_error or self._error).encode()[: _NOTE_BYTES - 100]
        if note:
            page.write_note(note)


def _work(given: argparse.Namespace, stop: threading.Event) -> int:
    files = RunFiles(given.run_dir)
    config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
    setup("series", given.state_dir / "logs", config.run.log_level)
    sampling, clock, parent = config.sampling, SystemClock(), Parent(given.parent_pid)
    with ExitStack() as cleanup:
        page = cleanup.enter_context(PageWriter.create(files.series_page, COUNTERS, (), _NOTE_BYTES))
        page.set(page.counter("pid"), os.getpid())
        books = cleanup.enter_context(BooksReader.attach(files.books))
        info = _describe(files, books, config)
        bounds = SeriesBounds(
            keep_ms=int(sampling.keep_hours * 3_600_000),
            keep_bytes=int(sampling.keep_mb * 1e6),
            free_bytes_min=int(config.run.disk_free_min_mb * 1e6),
        )
        segments = SegmentWriter(given.state_dir / "series", info.run, bounds)
        segments.write_run(msgspec.json.encode(info))
        funnel = _counted_before(given.state_dir, info.run)
        sampler = RunSampler(files, config, books, clock, segments.add, funnel)
        writer = SeriesWriter(sampler, segments, page, clock, sampling.every_s, sampling.segment_s)
        freeze_gc()
        while not stop.wait(writer.turn()):
            if parent.is_gone():
                get_logger().error("the supervisor is dead")
                writer.end()
                return 4
        writer.end()
    return 0


def _describe(files: RunFiles, books: BooksReader, config: Config) -> RunInfo:
    with PageReader.attach(files.supervisor_page) as page:
        note = msgspec.json.decode(page.note(), type=SupervisorNote)
    universe = UniverseFile(books, files.universe).load()
    return RunInfo(
        run=note.started_ms,
        version=__version__,
        name=config.name,
        mode=config.mode,
        data=config.data,
        regime=config.regime,
        seed=config.sim.seed if config.data == "sim" else None,
        shards=config.run.shards,
        pairs=tuple(pair.base for pair in universe.pairs),
        config=files.config.read_text(encoding="utf-8"),  # the supervisor has left its secrets out
    )


def _counted_before(state_dir: Path, run: int) -> dict[str, dict[str, float]]:
    """Return what an earlier writer had counted of each pair's funnel; empty if this is the first one of the run."""
    found = {}
    for row in open_series(state_dir).table("funnel", since_ms=run, run=run).to_pylist():
        found[row["pair"]] = {name: row[name] or 0 for name in FUNNEL_COLUMNS}
    return found


def main() -> int:
    """Sample until SIGTERM or until the supervisor has died; return the exit code."""
    pa.set_cpu_count(1)  # the cores belong to the run
    pa.set_io_thread_count(1)
    return run_companion("series", _work)
