"""Writes a worker's counters and latencies to its page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from arbshard.engine.engine import PairState
from arbshard.engine.followed import FollowedOutcome
from arbshard.errors import SharedMemoryError
from arbshard.log import error_count
from arbshard.model.book import BookTop
from arbshard.model.notes import WorkerNote
from arbshard.model.order import OrderResult
from arbshard.model.phase import WorkerState
from arbshard.model.refusal import Refusal
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.worker.counters import DATA_REFUSALS, answer_histogram, wire_histogram
from arbshard.worker.feed import ShardFeed

_NOTE_EVERY_NS = 500_000_000
"""Pause in nanoseconds between two notes when something is missing that was not before."""
_FUNNEL_EVERY_NS = 2_000_000_000


class Ring(Protocol):
    """Is what changes are read from: ``shm.doorbell.ShardWaiter``."""

    @property
    def seen(self) -> int:
        """Return how many changes were read."""
        ...


class WorkerMeter:
    """Implements ``execution.live.executor.LiveObserver``; the tick path calls ``decided`` only."""

    further_histograms: tuple[str, ...] = ()
    """Names of histograms that it needs beside the usual ones."""

    def __init__(self, page: PageWriter, pid: int, epoch: int, pairs: int) -> None:
        self._page = page
        self._ticks = page.counter("ticks")
        self._decision = page.histogram("receive_decision")
        self._approval = page.histogram("decision_approval")
        self._wire = page.histogram("decision_wire")
        self._loop_gap = page.histogram("loop_gap")
        self._refusals = {reason: page.counter(f"refusal_{reason.name}") for reason in DATA_REFUSALS}
        self._add = page.add
        self._record = page.record
        self._ring: Ring | None = None
        gauges = ("beat_ns", "seen", "frames", "conflated", "overflows", "torn", "busy", "errors")
        self._gauges = tuple(page.counter(name) for name in gauges)
        self._beats = page.counter("beat")
        self._bad: dict[str, int] = {}
        """The counters of bad frames, by venue."""
        self._missing: dict[str, int] = {}
        """Number of entries not made for want of money or coins, by ``VENUE CURRENCY``: a part of the page's note."""
        self._is_missing_new = False
        self._pairs: Mapping[str, PairState] = {}
        self._note = b""
        self._noted_ns = 0
        self._set("pid", pid)
        self._set("epoch", epoch)
        self._set("pairs", pairs)

    def follow(self, ring: Ring) -> None:
        """Show with every beat how far the loop has read ``ring``: risk judges the worker by it."""
        self._ring = ring

    def go_on_from(self, missing: Mapping[str, int]) -> None:
        """Add what was missing for entries of this worker's predecessors, by ``VENUE CURRENCY``."""
        self._missing.update(missing)

    def publish_funnels(self, pairs: Mapping[str, PairState]) -> None:
        """Note from now on how far the edges of ``pairs`` come, which are the engine's and change with it."""
        self._pairs = pairs

    def decided(self, top: BookTop, now_ns: int) -> None:
        """Record that a pair was evaluated at ``now_ns`` because of a book with this ``top``."""
        self._add(self._ticks)
        self._record(self._decision, now_ns - top.received_ns)

    def doubted(self, reason: Refusal) -> None:
        """Count an evaluation that found its data not fit to trade on."""
        self._add(self._refusals[reason])

    def lacked(self, venue: str, currency: str) -> None:
        """Count an entry that was not made for want of a currency on a venue."""
        where = f"{venue} {currency}"
        self._missing[where] = self._missing.get(where, 0) + 1
        self._is_missing_new = True

    def followed(self, outcome: FollowedOutcome) -> None:
        """Record what a refused entry would have brought if it had been made."""
        name = outcome.reason.name
        self.count(f"followed_{name}")
        self._page.add(self._page.counter(f"would_win_{name}"), int(outcome.pnl > 0))
        self._page.add(self._page.counter(f"would_bring_{name}"), round(outcome.pnl))

    def count(self, name: str) -> None:
        """Add one to the counter ``name``."""
        self._page.add(self._page.counter(name))

    def approved(self, waited_ns: int) -> None:
        """Count an approved intent, and record its wait since the decision (nanoseconds)."""
        self.count("approved")
        self._record(self._approval, waited_ns)

    def sent(self, venue: str, waited_ns: int, since_book_ns: int) -> None:
        """Record how many nanoseconds after the decision a leg was handed to the socket, and how many after the book
        that led to it was received; 0 if none did.
        """
        self._record(self._wire, waited_ns)
        if since_book_ns:
            self._record(self._page.histogram(wire_histogram(venue)), since_book_ns)

    def order_done(self, result: OrderResult) -> None:
        """Count an order that reached its end, with its fills, by its result."""
        self.count("orders")
        self._page.add(self._page.counter("fills"), len(result.fills))
        if result.state == "REJECTED":
            self.count("rejected")
        elif result.fills and result.state != "FILLED":
            self.count("partial")

    def answered(self, venue: str, waited_ns: int) -> None:
        """Record how many nanoseconds after it was sent the end of an order that ``venue`` accepted was known."""
        self._record(self._page.histogram(answer_histogram(venue)), waited_ns)

    def late(self) -> None:
        """Count an approval that came when the opportunity had expired."""
        self.count("late")

    def beat(self, now_ns: int, late_ns: int, feed: ShardFeed, overflows: int, torn: int, busy: int) -> None:
        """Show that the loop is alive, with its gauges. Its timer came ``late_ns`` nanoseconds later than planned."""
        seen = self._ring.seen if self._ring is not None else 0
        set_gauge = self._page.set
        values = (now_ns, seen, feed.frames, feed.conflated, overflows, torn, busy, error_count())
        self._add(self._beats)
        for gauge, value in zip(self._gauges, values, strict=True):
            set_gauge(gauge, value)
        self._record(self._loop_gap, late_ns)
        if now_ns - self._noted_ns >= (_NOTE_EVERY_NS if self._is_missing_new else _FUNNEL_EVERY_NS):
            self._write_note(now_ns)
        for venue, bad in feed.bad.items():
            counter = self._bad.get(venue)
            if counter is None:
                counter = self._bad[venue] = self._page.counter(f"bad_{venue}")
            set_gauge(counter, bad)

    def carried_out(self, universe: int, pairs: int) -> None:
        """Show that the universe of this serial is carried out, with the number of the shard's pairs."""
        self._set("universe", universe)
        self._set("pairs", pairs)

    def state(self, state: WorkerState) -> None:
        """Show the state of the worker."""
        self._write_note(self._noted_ns)  # it may be the last one
        self._set("state", state)

    def _write_note(self, now_ns: int) -> None:
        self._is_missing_new, self._noted_ns = False, now_ns
        funnels = {base: state.funnel for base, state in self._pairs.items() if state.funnel.wanted}
        note = msgspec.json.encode(WorkerNote(self._missing, funnels)) if self._missing or funnels else b""
        if note and note != self._note:
            self._note = note
            self._page.write_note(note)

    def _set(self, name: str, value: int) -> None:
        self._page.set(self._page.counter(name), value)


def missing_by_predecessor(page: Path) -> dict[str, int]:
    """Return what the former owner of a worker's page has noted as missing for entries, by ``VENUE CURRENCY``."""
    try:
        with PageReader.attach(page) as former:
            note = former.note()
    except SharedMemoryError:
        return {}  # there is none
    return msgspec.json.decode(note, type=WorkerNote).missing if note else {}
