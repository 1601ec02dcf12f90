"""Sends each message to its subscribers: this is the generator's hot path.

``ReplayHub`` replaces a venue's ``Hub``: connections join and leave streams as they do with the embedded
exchanges. All messages that are due in one turn leave in one write per connection.
"""

from collections.abc import Iterable, Mapping, Sequence

from typing_extensions import override

from arbshard.exchanges.hub import Hub, StreamSubscriber
from arbshard.exchanges.session import SharedStream
from arbshard.exchanges.wsframe import WsFrame
from perf.frames import FIRST_ID, IDS_PER_EVENT, VERSIONS, Diff, FrameMaker, Place, Plain
from perf.schedule import LATE_NS, Schedule
from perf.stamp import stamp_of

MESSAGES_MAX = 2_000
"""The most messages of one turn. The event loop then serves the sockets until the timer fires again."""


class Batch(WsFrame):
    """Joins several whole frames for one client. They are never compressed, which every client must accept."""

    __slots__ = ("_wire",)

    def __init__(self, wire: bytes) -> None:
        super().__init__(b"", binary=True)
        self._wire = wire

    @override
    def wire(self, window_bits: int) -> bytes:
        return self._wire


class _Outbox:
    """Collects what leaves for one client at the end of the turn."""

    __slots__ = ("number", "owner", "pieces", "streams")

    def __init__(self, owner: StreamSubscriber, number: int) -> None:
        self.owner = owner
        self.number = number
        self.pieces: list[bytes] = []
        self.streams = 0


class _Track:
    """Holds the subscribers of one market's streams."""

    __slots__ = ("diff", "plain", "updates")

    def __init__(self) -> None:
        self.plain: list[tuple[_Outbox, Plain]] = []
        self.diff: list[tuple[_Outbox, Diff]] = []
        self.updates = 0
        """Updates so far: they determine the next version, and number the diff events."""

    def connection(self) -> int:
        """Return the number of the connection that the market's messages leave through.

        The number is the lowest of several, and -1 when there is none.
        """
        return min((outbox.number for outbox, _ in (*self.plain, *self.diff)), default=-1)


class ReplayHub(Hub):
    """Forwards the subscriptions of one venue to the replay."""

    def __init__(self, venue: str, replay: "Replay", *, binary: bool) -> None:
        super().__init__(binary=binary)
        self._venue = venue
        self._replay = replay

    @override
    def change(self, who: StreamSubscriber, old: Iterable[SharedStream], new: Iterable[SharedStream]) -> None:
        for stream in old:
            self._replay.leave(self._venue, stream, who)
        for stream in new:
            self._replay.join(self._venue, stream, who)


class Replay:
    """Sends the messages of all markets of both venues when they are due. Time is an argument."""

    def __init__(self, places: Sequence[Place], maker: FrameMaker, schedule: Schedule) -> None:
        self._maker = maker
        self._schedule = schedule
        self._tracks: Mapping[tuple[str, str], _Track] = {
            (place.venue, place.market.symbol): _Track() for place in places
        }
        self._order = list(self._tracks.values())
        """The order of sending, with every market once per round."""
        self._is_sorted = True
        self._connections = 0
        self._outboxes: dict[StreamSubscriber, _Outbox] = {}
        self.sent = 0
        """Messages handed to connections."""
        self.late = 0
        """Those of them that left more than a millisecond after they were due."""
        self.behind_ns = 0
        """How late the oldest message of the last turn was, in nanoseconds."""

    def join(self, venue: str, stream: SharedStream, who: StreamSubscriber) -> None:
        """Send ``stream`` to ``who`` from now on. Nothing is ever sent on streams that are not books."""
        track = self._tracks[venue, stream.symbol]
        outbox = self._outboxes.get(who)
        if outbox is None:
            self._connections += 1
            outbox = self._outboxes[who] = _Outbox(who, self._connections)
        outbox.streams += 1
        self._is_sorted = False
        plain, diff = self._maker.plain(venue, stream), self._maker.diff(venue, stream)
        if plain is not None:
            track.plain.append((outbox, plain))
        if diff is not None:
            track.diff.append((outbox, diff))

    def leave(self, venue: str, stream: SharedStream, who: StreamSubscriber) -> None:
        """Stop sending ``stream`` to ``who``."""
        track = self._tracks[venue, stream.symbol]
        plain, diff = self._maker.plain(venue, stream), self._maker.diff(venue, stream)
        track.plain = [one for one in track.plain if one[0].owner is not who or one[1] is not plain]
        track.diff = [one for one in track.diff if one[0].owner is not who or one[1] is not diff]
        outbox = self._outboxes[who]
        outbox.streams -= 1
        if not outbox.streams:
            del self._outboxes[who]

    def last_id(self, symbol: str) -> int:
        """Return the update id of the last diff event of a Binance market, which a REST snapshot carries
        now.
        """
        return FIRST_ID + IDS_PER_EVENT * self._tracks["binance", symbol].updates

    def turn(self, now_ns: int) -> None:
        """Send what is due by ``now_ns``."""
        if not self._is_sorted:
            self._sort()
        order, count = self._order, len(self._order)
        touched: list[_Outbox] = []
        behind_ns = sent = 0
        for at_ns, first, end in self._schedule.take(now_ns, MESSAGES_MAX):
            stamp = stamp_of(at_ns)
            before = sent
            for position in range(first, end):
                track = order[position % count]
                updates = track.updates
                version = updates % VERSIONS
                for outbox, plain in track.plain:
                    pieces = outbox.pieces
                    if not pieces:
                        touched.append(outbox)
                    head, tail = plain[version]
                    pieces += (head, stamp, tail)
                    sent += 1
                for outbox, diff in track.diff:
                    pieces = outbox.pieces
                    if not pieces:
                        touched.append(outbox)
                    last = FIRST_ID + IDS_PER_EVENT * (updates + 1)
                    head, middle, levels, tail = diff[version]
                    pieces += (
                        head,
                        b"%d" % (last - IDS_PER_EVENT + 1),
                        middle,
                        b"%d" % last,
                        levels,
                        stamp,
                        tail,
                    )
                    sent += 1
                track.updates = updates + 1
            late_ns = now_ns - at_ns
            behind_ns = max(behind_ns, late_ns)
            if late_ns > LATE_NS:
                self.late += sent - before
        for outbox in touched:
            wire = b"".join(outbox.pieces)
            outbox.pieces.clear()
            outbox.owner.send(Batch(wire))
        self.sent += sent
        self.behind_ns = behind_ns

    def _sort(self) -> None:
        """Sort the markets by connection: a turn then needs few writes, in bursts as those of real venues."""
        self._order.sort(key=_Track.connection)
        self._is_sorted = True
