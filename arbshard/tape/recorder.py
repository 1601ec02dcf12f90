"""``Recorder``: takes what a running instance publishes and what its ledger says, and hands it to ``TapeWriter``.

It is the loop of the process ``arbshard record``. The run never waits for it: what it does not read in time, the bus
drops, and the sequence numbers say how many records those were. Needs pyarrow.
"""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from arbshard.clock import Clock
from arbshard.errors import LedgerError, ProtocolError, UsageError
from arbshard.ledger.reader import LedgerReader
from arbshard.log import get_logger
from arbshard.tape.format import DECISION, DROPPED, Row
from arbshard.tape.writing import TapeWriter
from arbshard.wire import recording, topics
from arbshard.wire.bus import BusMessage, Subscriber

HIGH_WATER = 8192
"""Messages that are kept while a batch is written. Each holds some 8 KB at most, as feeds gather records."""
_AT_ONCE = 1024
"""Messages that are read in one step."""
_FLUSH_NS = 500_000_000
_LEDGER_NS = 1_000_000_000
_RAW = recording.RAW.encode()


class Recorder:
    """Records one run of an instance, from the moment it is made. Raises ``TransportError``."""

    def __init__(
        self, bus_endpoint: str, ledger: Path, writer: TapeWriter, clock: Clock, wall_ns: Callable[[], int]
    ) -> None:
        self._subscriber = Subscriber(
            bus_endpoint,
            (_RAW, topics.VENUES.encode(), topics.CONTROL.encode(), topics.ALERT.encode()),
            high_water=HIGH_WATER,
        )
        self._ledger = LedgerTail(ledger)
        self._writer = writer
        self._clock = clock
        self._wall_ns = wall_ns
        self._offset_ns = 0
        """Wall time minus monotonic time, measured whenever messages are read."""
        self._last: dict[bytes, int] = {}
        """The newest number of each topic: of its records, or of its messages."""
        self._unread: set[bytes] = set()
        """Topics with a message that could not be read since the last one that could."""
        self._flushed_ns = clock.monotonic_ns()
        self._tailed_ns = 0
        self.frames = 0
        self.decisions = 0
        self.missed = 0
        """Records and messages that the bus dropped because this process was too slow."""
        self.unreadable = 0
        self.is_over = False
        """Whether a topic's numbers have begun anew: this is another run, which is to be another recording."""

    @property
    def last_ledger_error(self) -> str:
        """Why the ledger cannot be read now; empty if it can."""
        return self._ledger.last_error

    def step(self, pause_s: float) -> None:
        """Take what has come and write what is due; if that was all there is, pause.

        It is not woken by each message: nothing waits for a recorder, and each time it runs the run does not.
        """
        messages = self._subscriber.drain(_AT_ONCE)
        now_ns = self._clock.monotonic_ns()
        self._offset_ns = self._wall_ns() - now_ns
        for message in messages:
            self._take(message, now_ns)
            if self._writer.is_full:
                self._flush(now_ns)
        if now_ns - self._tailed_ns >= _LEDGER_NS:
            self._tailed_ns = now_ns
            self._take_decisions(now_ns)
        if now_ns - self._flushed_ns >= _FLUSH_NS:
            self._flush(now_ns)
        if len(messages) < _AT_ONCE:
            time.sleep(pause_s)

    def close(self) -> None:
        """Write what is in memory, end the segment, and close the socket."""
        now_ns = self._clock.monotonic_ns()
        self._take_decisions(now_ns)
        self._writer.close(now_ns, self._clock.wall_ms())
        self._subscriber.close()

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
        """The rows of a message. Raises ``ProtocolError``."""
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

    def _row(
        self, kind: str, venue: str, at_ns: int, *, number: int, detail: str = "", data: bytes = b""
    ) -> Row:
        return Row(kind, venue, "", "", at_ns, at_ns + self._offset_ns, 0, number, detail, data)


class LedgerTail:
    """Gives the events of a ledger that are new since the last call. The first call gives none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: int | None = None
        self.missed = 0
        """Events that were archived before they could be read."""
        self.last_error = ""

    def poll(self) -> list[tuple[int, int, str, str, str, str]]:
        """(seq, wall ms, kind, pair, intent id, body as JSON) of each new event."""
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
