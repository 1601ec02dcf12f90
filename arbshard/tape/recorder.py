"""Contains ``Recorder``, which passes what a running instance publishes and what its ledger contains to
``TapeWriter``.

It is the loop of the process ``arbshard record``. The run never waits for it: the bus drops what it does not read in
time, and the sequence numbers show how many records those were. Needs pyarrow.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from arbshard.clock import Clock
from arbshard.errors import LedgerError, ProtocolError, SharedMemoryError, UsageError
from arbshard.ledger.reader import LedgerReader
from arbshard.log import get_logger
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.notes import WorkerNote
from arbshard.shm.pages import PageReader
from arbshard.tape.format import DECISION, DROPPED, REFUSED, UNIVERSE, Row
from arbshard.tape.writing import TapeWriter
from arbshard.wire import recording, topics
from arbshard.wire.bus import BusMessage, Subscriber

_AT_ONCE = 64
"""Number of messages of each socket that are read in one step: with 60 KB in each, some 4 MB."""
_READS_MAX = 128
"""Number of steps in which all waiting messages are read."""
_EMPTY_READS, _EMPTY_S = 4, 0.05
"""At the end, how often nothing must have come, with so many seconds between: what was published last may still be in
ZeroMQ's threads, which a busy machine runs late.
"""
_FLUSH_NS = 500_000_000
_LEDGER_NS = 1_000_000_000
_RAW = recording.RAW.encode()
_REFUSAL = "refusal_"
_note_decoder: msgspec.json.Decoder[WorkerNote] = msgspec.json.Decoder(WorkerNote)


class Recorder:
    """Records one run of an instance, from the moment it is made. Raises ``TransportError``."""

    def __init__(
        self,
        bus_endpoint: str,
        raw_endpoint: str,
        ledger: Path,
        universe: Path,
        worker_pages: Callable[[], Iterable[Path]],
        writer: TapeWriter,
        clock: Clock,
        wall_ns: Callable[[], int],
    ) -> None:
        # The order matters: a process that waits for the second subscription knows that the first one was sent
        # before.
        self._bus = Subscriber(
            bus_endpoint, (topics.VENUES.encode(), topics.CONTROL.encode(), topics.ALERT.encode())
        )
        self._raw = Subscriber(raw_endpoint, (_RAW,), high_water=recording.RAW_HIGH_WATER)
        self._ledger = LedgerTail(ledger)
        self._universe = UniverseTail(universe)
        self._refusals = RefusalTail(worker_pages)
        self._writer = writer
        self._clock = clock
        self._wall_ns = wall_ns
        self._offset_ns = 0
        """Wall time minus monotonic time in ns, measured whenever messages are read."""
        self._last: dict[bytes, int] = {}
        """Newest number of each topic: of its records, or of its messages."""
        self._unread: set[bytes] = set()
        """Topics with a message that could not be read since the last readable one."""
        self._flushed_ns = clock.monotonic_ns()
        self._tailed_ns = 0
        self.frames = 0
        self.decisions = 0
        self.refusals = 0
        """Number of rows about what workers refused."""
        self.missed = 0
        """Number of records and messages that the bus dropped because this process was too slow."""
        self.unreadable = 0
        self.is_over = False
        """Whether a topic's numbers have begun anew: this is another run, which needs another recording."""

    @property
    def last_ledger_error(self) -> str:
        """Return why the ledger cannot be read now; empty if it can."""
        return self._ledger.last_error

    def step(self, pause_s: float) -> None:
        """Read the messages that have come and write what is due; pause for ``pause_s`` if no message is left.

        The recorder is not woken by each message: nothing waits for it, and while it runs it takes CPU time from the
        run.
        """
        messages = self._read()
        self._take_universe()
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._tailed_ns >= _LEDGER_NS:
            self._take_decisions(now_ns)
            self._take_refusals(now_ns)
            self._tailed_ns = now_ns
        if now_ns - self._flushed_ns >= _FLUSH_NS:
            self._flush(now_ns)
        if messages < _AT_ONCE:
            time.sleep(pause_s)

    def close(self) -> None:
        """Read the messages that have come, write what is in memory, end the segment, and close the socket."""
        # Bounded, because an instance that continues to publish would never leave the queue empty.
        empty = 0
        for _ in range(_READS_MAX):
            empty = 0 if self._read() else empty + 1
            if empty > _EMPTY_READS:
                break
            if empty:
                time.sleep(_EMPTY_S)
        self._take_universe()
        now_ns = self._clock.monotonic_ns()
        self._take_decisions(now_ns)
        self._take_refusals(now_ns)
        self._writer.close(now_ns, self._clock.wall_ms())
        self._bus.close()
        self._raw.close()

    def _read(self) -> int:
        """Read some of the messages that have come. Returns how many those were."""
        messages = self._bus.drain(_AT_ONCE) + self._raw.drain(_AT_ONCE)
        now_ns = self._clock.monotonic_ns()
        self._offset_ns = self._wall_ns() - now_ns
        for message in messages:
            self._take(message, now_ns)
            if self._writer.is_full:
                self._flush(now_ns)
        return len(messages)

    def _flush(self, now_ns: int) -> None:
        self._flushed_ns = now_ns
        self._writer.flush(now_ns, self._clock.wall_ms())

    def _take(self, message: BusMessage, now_ns: int) -> None:
        topic, number, parts = message
        try:
            rows = self._rows_of(topic, number, parts, now_ns)
        except ProtocolError as error:
            self.unreadable += 1
            self._unread.add(topic)
            get_logger().error("a message of the bus cannot be read", error=str(error))
            return
        if not rows:
            return
        first = rows[0]
        lost = first.number - self._last.get(topic, first.number - 1) - 1
        self._last[topic] = rows[-1].number
        self.is_over = self.is_over or lost < 0
        if self.is_over:
            return
        if lost:
            self.missed += lost
            why = "messages could not be read" if topic in self._unread else "the recorder was too slow"
            mark = self._row(DROPPED, first.venue, first.at_ns, number=lost, detail=f"bus: {why}")
            self._writer.add(mark)
        self._unread.discard(topic)
        for row in rows:
            self._writer.add(row)

    def _rows_of(self, topic: bytes, number: int, parts: list[bytes], now_ns: int) -> list[Row]:
        """Return the rows of a message. Raises ``ProtocolError``."""
        if not topic.startswith(_RAW):
            message = topics.decode(parts)
            kind = str(message.__struct_config__.tag)
            return [self._row(kind, "", now_ns, number=number, data=msgspec.json.encode(message))]
        batch = recording.decode(parts)
        venue = topic.removeprefix(_RAW).rstrip(b".").decode(errors="replace")
        self.frames += sum(record.kind == "frame" for record in batch.records)
        return [
            Row(
                record.kind,
                venue,
                record.connection,
                record.symbol,
                record.at_ns,
                record.at_ns + self._offset_ns,
                record.began_ns,
                position,
                record.detail,
                record.data,
            )
            for position, record in enumerate(batch.records, batch.first)
        ]

    def _take_decisions(self, now_ns: int) -> None:
        for seq, at_ms, kind, pair, intent_id, body in self._ledger.poll():
            self.decisions += 1
            at_ns = at_ms * 1_000_000 - self._offset_ns
            self._writer.add(
                Row(DECISION, "", intent_id, pair, at_ns, at_ms * 1_000_000, 0, seq, kind, body.encode())
            )
        if self._ledger.missed:
            lost, self._ledger.missed = self._ledger.missed, 0
            self.missed += lost
            detail = "ledger: these events had gone to an archive before they were read"
            self._writer.add(self._row(DROPPED, "", now_ns, number=lost, detail=detail))

    def _take_universe(self) -> None:
        found = self._universe.poll()
        if found is not None:
            serial, wall_ns, data = found
            row = self._row(UNIVERSE, "", wall_ns - self._offset_ns, number=serial, data=data)
            self._writer.add(row)

    def _take_refusals(self, now_ns: int) -> None:
        for worker, counts in self._refusals.poll():
            self.refusals += 1
            row = self._row(REFUSED, "", now_ns, number=self.refusals, data=msgspec.json.encode(counts))
            self._writer.add(row._replace(connection=worker, began_ns=self._tailed_ns))

    def _row(
        self, kind: str, venue: str, at_ns: int, *, number: int, detail: str = "", data: bytes = b""
    ) -> Row:
        return Row(kind, venue, "", "", at_ns, at_ns + self._offset_ns, 0, number, detail, data)


class LedgerTail:
    """Finds the events of a ledger that are new since the last call. The first call finds none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: int | None = None
        self.missed = 0
        """Number of events that were archived before they could be read."""
        self.last_error = ""

    def poll(self) -> list[tuple[int, int, str, str, str, str]]:
        """Return (seq, wall ms, kind, pair, intent id, body as JSON) of each new event."""
        if not self._path.is_file():
            self._last = 0 if self._last is None else self._last  # it is made later: all of it is new then
            return []
        try:
            with LedgerReader(self._path) as reader:
                if self._last is None:
                    self._last = reader.last_seq
                if reader.first_seq > self._last + 1:
                    self.missed += reader.first_seq - 1 - self._last
                rows = list(reader.rows(after=self._last))
        except (LedgerError, UsageError) as error:
            if not self.last_error:
                get_logger().warning(
                    "the ledger cannot be read: decisions are recorded later", error=str(error)
                )
            self.last_error = str(error)
            return []
        self.last_error = ""
        if rows:
            self._last = rows[-1][0]
        return rows


class _Serial(msgspec.Struct, frozen=True):
    """Is what the recorder must know of a universe."""

    serial: int = 0


class UniverseTail:
    """Finds what is traded whenever that changes. The file that is there at first is no change.

    Two changes between two calls are one, and only the later one is found: processes of the run read it in the same
    way.
    """

    def __init__(self, path: Path) -> None:
        """Begin. ``path`` is the file into which the supervisor writes the universe."""
        self._path = path
        self._known_ns = self._changed_ns()

    def poll(self) -> tuple[int, int, bytes] | None:
        """Return serial, wall time in ns of the change, and the universe as JSON; None if it has not changed."""
        changed_ns = self._changed_ns()
        if changed_ns in (0, self._known_ns):
            return None
        self._known_ns = changed_ns
        try:
            text = self._path.read_bytes()
            serial = msgspec.json.decode(text, type=_Serial).serial
        except (OSError, msgspec.MsgspecError) as error:
            get_logger().error(
                "a change of the pairs cannot be recorded", path=str(self._path), error=str(error)
            )
            return None
        return serial, changed_ns, text

    def _changed_ns(self) -> int:
        """Return when the file was written (wall time in ns); 0 while there is none."""
        try:
            return self._path.stat().st_mtime_ns
        except FileNotFoundError:  # the run has not begun, or is over
            return 0


class WorkerRefusals(msgspec.Struct, frozen=True):
    """Holds what one worker has refused by itself since it was started: only the counts that have changed."""

    pid: int
    """Process id of the worker. A new process begins to count anew."""
    reasons: dict[str, int]
    """Number of evaluations by the reason with which they ended."""
    edges: dict[str, EdgeFunnel]
    """Stages that the edges of a pair reached, by base; the difference of two stages was refused between them."""


class RefusalTail:
    """Reads what workers refuse from their pages, which have these counts in any case."""

    def __init__(self, pages: Callable[[], Iterable[Path]]) -> None:
        self._pages = pages
        self._known: dict[str, WorkerRefusals] = {}

    def poll(self) -> Iterator[tuple[str, WorkerRefusals]]:
        """Yield the name of each worker whose counts have changed since the last call, and these counts."""
        for path in self._pages():
            try:
                with PageReader.attach(path) as page:
                    counters, note = page.values(), page.note()
            except SharedMemoryError:
                continue  # its worker is being replaced
            now = WorkerRefusals(
                pid=counters.get("pid", 0),
                reasons={
                    name.removeprefix(_REFUSAL): count
                    for name, count in counters.items()
                    if name.startswith(_REFUSAL) and count
                },
                edges=_note_decoder.decode(note).funnel if note else {},
            )
            name = path.name.removeprefix("page-")
            before = self._known.get(name)
            self._known[name] = now
            if before is None or before.pid != now.pid:
                before = WorkerRefusals(now.pid, {}, {})
            reasons = {one: count for one, count in now.reasons.items() if count != before.reasons.get(one)}
            edges = {base: funnel for base, funnel in now.edges.items() if funnel != before.edges.get(base)}
            if reasons or edges:
                yield name, WorkerRefusals(now.pid, reasons, edges)
