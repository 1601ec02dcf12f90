"""Observes the running system through its pages and the operating system; two readings make a ``LoadRow``.

No process is asked for anything, so neither supervisor nor workers are disturbed. ``load`` uses this.
"""

import time
from typing import NamedTuple

import psutil

from arbshard.errors import SharedMemoryError
from arbshard.shm.books import BooksReader
from arbshard.shm.pages import Histogram, PageReader
from perf.figures import LoadRow, percentiles_of
from perf.generator import PAGE
from perf.running import MeasurementFailed, System
from perf.worker import SEND_DECISION

_RECEIVE_DECISION = "receive_decision"
_MB = 1e6
_TRIES = 5


class Reading(NamedTuple):
    """Holds all counters and the memory at one moment."""

    at_ns: int
    written: int
    """Frames written to all slots since the start."""
    cpu_s: dict[str, float]
    receive: Histogram
    send: Histogram
    ticks: int
    conflated: int
    bad_frames: int
    errors: int
    lost: int
    sent: int
    late: int
    skipped: int
    rss_mb: dict[str, float]
    uss_mb: dict[str, float]


def cpu_s_of(process: psutil.Process) -> float:
    """Return the CPU seconds used so far by all threads. Raises ``MeasurementFailed`` when the process has
    ended.
    """
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess as error:
        raise MeasurementFailed(f"process {process.pid} has ended") from error
    return float(times.user + times.system)


class Observer:
    """Takes readings of one running system, and checks the age of its slots in between."""

    def __init__(self, system: System, shards: int, rate: float, coins: int) -> None:
        self._system = system
        self._shards = shards
        self._rate = rate
        self._coins = coins
        self._books = BooksReader.attach(system.files.books)
        self._interval_ns = int(self._books.slot_count / rate * 1e9)
        self._next_slot = 0
        self._oldest_ns = 0

    def close(self) -> None:
        """Unmap the books."""
        self._books.close()

    def read(self) -> Reading:
        """Return a reading of now. Raises ``MeasurementFailed`` when a part of the system is missing."""
        self._system.require_alive()
        try:
            return self._read()
        except SharedMemoryError as error:
            raise MeasurementFailed(f"a page is missing: {error}") from error

    def _read(self) -> Reading:
        processes = self._system.processes()
        receive, send = Histogram.of(()), Histogram.of(())
        ticks = conflated = bad = errors = 0
        at_ns = time.monotonic_ns()
        cpu_s = {_name(name): cpu_s_of(process) for name, process in processes.items()}
        written = sum(self._books.sequence(slot) // 2 for slot in range(self._books.slot_count))
        for shard in range(self._shards):
            with PageReader.attach(self._system.files.worker_page(shard)) as page:
                received, sent = _both(page)
                receive, send = receive.merge(received), send.merge(sent)
                values = page.values()
            ticks += values["ticks"]
            conflated += values["conflated"]
            bad += sum(value for name, value in values.items() if name.startswith("bad_"))
            errors += values["errors"]
        with PageReader.attach(self._system.files.sim_ready.with_name(PAGE)) as page:
            generator = page.values()
        note = self._system.note()
        venues = note.venues if note is not None else ()
        memory = {_name(name): process.memory_full_info() for name, process in processes.items()}
        return Reading(
            at_ns=at_ns,
            written=written,
            cpu_s=cpu_s,
            receive=receive,
            send=send,
            ticks=ticks,
            conflated=conflated,
            bad_frames=bad + sum(venue.bad_frames for venue in venues),
            errors=errors,
            lost=generator["dropped"] + sum(venue.reconnects for venue in venues),
            sent=generator["sent"],
            late=generator["late"],
            skipped=generator["skipped"],
            rss_mb={name: round(found.rss / _MB, 1) for name, found in memory.items()},
            uss_mb={name: round(found.uss / _MB, 1) for name, found in memory.items()},
        )

    def check_slots(self, share: float = 0.1) -> None:
        """Note the age of the oldest of some live slots.

        Each call reads only the next ones, because reading them costs the system time.
        """
        books = self._books
        for _ in range(max(int(books.slot_count * share), min(books.slot_count, 64))):
            self._next_slot = (self._next_slot + 1) % books.slot_count
            found = books.read(self._next_slot)
            if found is not None and found[2]:
                self._oldest_ns = max(self._oldest_ns, time.monotonic_ns() - found[1])

    def forget_slots(self) -> None:
        """Forget the oldest age, because the measured window starts."""
        self._oldest_ns = 0

    def row(self, first: Reading, last: Reading) -> LoadRow:
        """Return what happened between the two readings."""
        span_s = (last.at_ns - first.at_ns) / 1e9
        send, receive = last.send.minus(first.send), last.receive.minus(first.receive)
        return LoadRow(
            client="arbshard",
            processes=self._shards,
            rate=self._rate,
            coins=self._coins,
            seconds=round(span_s, 3),
            offered=last.sent + last.skipped - first.sent - first.skipped,
            delivered=last.written - first.written,
            receive_us=percentiles_of(receive),
            send_us=percentiles_of(send),
            decided=last.ticks - first.ticks,
            conflated=last.conflated - first.conflated,
            unstamped=max(receive.count - send.count, 0),
            cpu_s={name: round(used - first.cpu_s.get(name, 0.0), 3) for name, used in last.cpu_s.items()},
            rss_mb=last.rss_mb,
            uss_mb=last.uss_mb,
            slot_age_ms=round(max(self._oldest_ns - self._interval_ns, 0) / 1e6, 2),
            late=last.late - first.late,
            skipped=last.skipped - first.skipped,
            lost=last.lost - first.lost,
            errors=last.errors - first.errors,
            bad_frames=last.bad_frames - first.bad_frames,
        )


def _both(page: PageReader) -> tuple[Histogram, Histogram]:
    """Return the histograms since receiving and since sending, of the same decisions if the worker rests a moment.

    Where this process had to wait between the two, decisions that only one of them has would seem to lack a stamp.
    """
    for _ in range(_TRIES):
        received = page.histogram(_RECEIVE_DECISION)
        sent = page.histogram(SEND_DECISION)
        if page.histogram(_RECEIVE_DECISION).count == received.count:
            break
    return received, sent


def _name(child: str) -> str:
    """Return the name of a child in the row: in the place of ``sim``, the exchanges, the generator runs."""
    return "generator" if child == "sim" else child
