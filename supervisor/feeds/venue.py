"""Runs all feeds of one venue: connections among which its symbols are divided, and REST while they are down."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

from arbshard.clock import Clock
from arbshard.config import DataConfig, VenueConfig
from arbshard.data.address_block import AddressBlock
from arbshard.data.clients import open_fetch
from arbshard.data.stream import Opener, Receiver, open_stream, target_of
from arbshard.errors import FeedFailed, UsageError
from arbshard.log import get_logger
from arbshard.model.notes import FeedState, VenueNote
from arbshard.model.universe import Universe
from arbshard.repeat import repeat
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.budget import Budget
from arbshard.shm.doorbell import ShardNotifier
from arbshard.venues.base.client import Fetch
from arbshard.venues.base.market import ControlFrame, Venue
from arbshard.venues.registry import ADAPTERS, get_adapter
from arbshard.wire.bus import Publisher
from supervisor.feeds.confirmation import BookConfirmation
from supervisor.feeds.connection import FeedConnection
from supervisor.feeds.diff import DiffBooks
from supervisor.feeds.fallback import RestSource
from supervisor.feeds.fanout import VenueFanout, targets_of
from supervisor.feeds.fusion import FusedBooks
from supervisor.feeds.lag import LagWatch
from supervisor.feeds.link import Dial
from supervisor.feeds.pacing import Bucket
from supervisor.feeds.recording import RecordTopic
from supervisor.feeds.topics import VenueTopics

STALE_NS = 5_000_000_000
"""A feed is stale when it is connected and no frame has come for this long."""
_LOOK_S = 0.5
"""Pause between two rounds in which silence is judged."""
_QUIET_SHOWN = 10
_LINES_SHOWN = 16

Group = tuple[FeedConnection, ...]
"""Connections that carry the same symbols: one, or two at the same time."""


class VenueFeed:
    """Keeps one venue's connections up from ``start`` to ``stop``."""

    def __init__(
        self,
        venue: Venue,
        config: VenueConfig,
        universe: Universe,
        books: BooksWriter,
        notifiers: Sequence[ShardNotifier],
        bus: Publisher,
        clock: Clock,
        receiver: Receiver = "auto",
        opener: Opener = open_stream,
        *,
        data_source: Literal["ws", "rest"] = "ws",
        fetch: Fetch | None = None,
        alert: Callable[[str], None] | None = None,
        quality: DataConfig = DataConfig(),  # noqa: B008 - it cannot be changed
        raw: Publisher | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Prepare the feed.

        ``opener`` and ``fetch`` connect to the venue, over sockets unless others are given. ``raw`` is where
        recorders subscribe; None if that is ``bus`` too. ``budget``: where other processes that call the venue learn
        that it refuses this address; None when there are none.

        Raises ``UsageError`` for a stream that the venue does not have, and for settings that cannot work.
        """
        diff = get_adapter(venue.name).diff if config.stream == "diff" else None
        fused = get_adapter(venue.name).fused if config.stream == "fused" else None
        if config.stream != "partial" and diff is None and fused is None:
            able = ", ".join(
                name for name, adapter in ADAPTERS.items() if getattr(adapter, config.stream) is not None
            )
            raise UsageError(f'venues.{venue.name}.stream = "{config.stream}": only {able} has such streams')
        self.name = venue.name
        self._config = config
        self._clock = clock
        self._alert = alert
        self._only_rest = data_source == "rest" or not venue.is_streamed
        self._http = open_fetch(venue.name, config)
        self._read_slot = _ReadSlot(books)
        targets = targets_of(universe, venue.name)
        self._fanout = VenueFanout(
            venue, targets, books, notifiers, self._on_stray_control, self._read_slot.frame
        )
        self._topics = VenueTopics(venue.name, self._fanout, self._read_slot, bus, clock)
        self._record = RecordTopic(
            venue.name, raw or bus, clock, lambda: self._fanout.symbols, self._newest_frame
        )
        block = self.block = AddressBlock(venue.name, clock, budget)
        self._fetch: Fetch = block.heeded_by(self._record.recorded(fetch or self._http))
        self._rest = RestSource(self._fanout, config.rest_url, config.depth, clock, self._fetch)
        self._confirmation = BookConfirmation(
            self._fanout,
            lambda: self._groups,
            books,
            self._read_slot,
            quality,
            universe.fx.slot,
            config.rest_url,
            config.depth,
            clock,
            self._fetch,
            self._warn,
        )
        self._lag = LagWatch(self._fanout, books, self._read_slot, quality.max_lag_ms, clock)
        self._diff: DiffBooks | None = None
        if diff is not None:
            self._diff = DiffBooks(diff, self._fanout, config.rest_url, self._fetch, clock, self._record)
        self._fused = FusedBooks(fused, self._fanout) if fused is not None else None
        streamed = diff or fused or venue
        rules = streamed.connection_rules
        self._dial = Dial(
            venue=streamed,
            depth=config.depth,
            target=target_of(venue.name, config, venue.ws_address(config.ws_url), rules.ping_interval_s),
            clock=clock,
            opener=opener,
            receiver=receiver,
            connects=Bucket(rules.connects),
            block=block,
            intake=(self._diff or self._fused or self._fanout).lane,
            record=self._record,
        )
        self._most = min(config.symbols_per_connection, rules.symbols_max)
        self._made = 0
        self._groups: list[Group] = []
        self._symbols = sorted(targets, key=lambda symbol: targets[symbol][0])
        self._unlisted: set[str] = set()
        """Symbols that no stream carries, because the venue does not list them any more."""
        if not self._only_rest:
            count = -(-len(self._symbols) // self._most)
            self._groups = [self._make_group(self._symbols[n::count]) for n in range(count)]
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving: list[asyncio.Task[None]] = []
        self._ended = _Ended()
        self._counted = (clock.monotonic_ns(), 0)
        self._rate = 0.0
        self._received_ns = clock.monotonic_ns()
        self._state: FeedState = "connecting"

    async def start(self) -> None:
        """Open all connections, no faster than the venue allows; they are kept up until ``stop``."""
        for connection in self._connections():
            connection.start()
        self._tasks.append(asyncio.create_task(self._watch(), name=f"{self.name}-watch"))
        confirmation = self._confirmation
        self._tasks.append(asyncio.create_task(confirmation.run(), name=f"{self.name}-confirmation"))
        if self._lag.is_on:
            self._tasks.append(asyncio.create_task(self._lag.run(), name=f"{self.name}-lag"))
        if self._config.rest_url:
            self._tasks.append(asyncio.create_task(confirmation.ask(), name=f"{self.name}-confirmation-rest"))
        if self._diff is not None:
            self._tasks.append(asyncio.create_task(self._diff.run(), name=f"{self.name}-snapshots"))

    async def stop(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._leaving, return_exceptions=True)
        closing = [task for connection in self._connections() for task in connection.cancel()]
        for end in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(end, Exception):
                get_logger().error("a connection ended in a defect", exc_info=end)
        await self._rest.stop()
        self._confirmation.close()
        if self._diff is not None:
            self._diff.close()
        await self._http.close()
        self._topics.close()
        self._record.close()
        self._read_slot.close()

    def check(self) -> None:
        """Raise ``FeedFailed`` if a part of it has ended because of a defect.

        Connections recover from losses by themselves.
        """
        for connection in self._connections():
            connection.check()
        self._rest.check()
        for task in self._tasks:
            if task.done() and not task.cancelled():
                raise FeedFailed(f"{task.get_name()} ended in a defect: {task.exception()!r}")

    def add(self, targets: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
        """Carry these symbols too; others continue without a gap. ``targets`` maps symbol to (slot, shards)."""
        self._fanout.add(targets)
        self._topics.follow(targets)
        self._symbols += targets
        if self._only_rest:
            self._rest.follow(self._symbols)
        else:
            self._stream(targets)

    def _stream(self, symbols: Iterable[str]) -> None:
        """Have these symbols carried by the connections that have the most room, or by new ones."""
        waiting = list(symbols)
        while waiting:
            group = min(self._groups, key=lambda one: len(one[0].symbols), default=())
            room = self._most - len(group[0].symbols) if group else 0
            if room <= 0:
                group = self._make_group(waiting[: self._most])
                self._groups.append(group)
                if self._tasks:
                    for connection in group:
                        connection.start()
                waiting = waiting[self._most :]
            else:
                for connection in group:
                    connection.change(waiting[:room], ())
                waiting = waiting[room:]

    def remove(self, symbols: Sequence[str]) -> None:
        """Carry these symbols no longer: their slots are free at once.

        The venue is asked to stop them as soon as its limits allow.
        """
        gone = set(symbols)
        self._symbols = [symbol for symbol in self._symbols if symbol not in gone]
        self._unlisted -= gone
        self._rest.follow([symbol for symbol in self._rest.symbols if symbol not in gone])
        for connection in self._connections():
            connection.change((), [symbol for symbol in connection.symbols if symbol in gone])
        if self._diff is not None:
            self._diff.remove(symbols)
        self._fanout.remove(symbols)
        for group in [group for group in self._groups if not group[0].symbols]:
            self._groups.remove(group)
            self._ended.add(group)
            closing = [task for connection in group for task in connection.cancel()]
            self._leaving = [task for task in self._leaving if not task.done()] + closing

    def set_unlisted(self, symbols: Collection[str]) -> None:
        """Let the streams ask for all but these ``symbols``, which the venue does not list any more.

        A venue may refuse a whole request because of a single unknown name, and with it every market of a new
        connection.
        """
        self._stream([symbol for symbol in self._unlisted if symbol not in symbols])
        self._unlisted = {symbol for symbol in self._symbols if symbol in symbols}
        for connection in self._connections():
            gone = [symbol for symbol in connection.symbols if symbol in self._unlisted]
            if gone:
                connection.change((), gone)

    def attend(self, slots: frozenset[int]) -> None:
        """Keep the books in these slots confirmed even if they do not change, as ``confirmation`` describes."""
        self._confirmation.attend(slots)

    def retarget(self, symbol: str, shards: tuple[int, ...]) -> None:
        """Give the frames of ``symbol`` to ``shards`` from the next one on."""
        self._fanout.retarget(symbol, shards)

    def report(self) -> VenueNote:
        """Return state and rates.

        It has to be called about once a second; the rate is counted since the last call.
        """
        now_ns = self._clock.monotonic_ns()
        then_ns, then_frames = self._counted
        frames = self._fanout.frames
        if now_ns - then_ns > 200_000_000:
            self._rate = (frames - then_frames) * 1e9 / (now_ns - then_ns)
            self._counted = (now_ns, frames)
        if frames != then_frames:
            self._received_ns = now_ns
        state = self._judge(now_ns)
        if state != self._state:
            self._state = state
            get_logger().info("venue", venue=self.name, state=state)
        connections = self._connections()
        ended, diff, fused = self._ended, self._diff, self._fused
        note = VenueNote(
            name=self.name,
            state=state,
            connections=sum(one.is_up for one in connections),
            symbols=len(self._symbols),
            frames=frames,
            msg_s=round(self._rate, 1),
            reconnects=ended.reconnects + sum(one.reconnects for one in connections),
            bad_frames=ended.garbage
            + sum(one.garbage for one in connections)
            + self._fanout.refused
            + self._rest.bad
            + self._confirmation.bad
            + (diff.bad if diff is not None else 0),
            last_error=self._last_error(connections),
            wanted=len(connections),
            planned=ended.planned + sum(one.planned for one in connections),
            duplicates=self._fanout.duplicates + (diff.duplicates if diff is not None else 0),
            stalls=ended.stalls + sum(one.stalls for one in connections),
            resyncs=diff.resyncs if diff is not None else 0,
            refusals=ended.refusals + sum(one.refusals for one in connections),
            source=self._source(),
            quiet=tuple(dict.fromkeys(symbol for one in connections for symbol in one.quiet))[:_QUIET_SHOWN],
            lines=tuple(one.line(now_ns) for one in connections[:_LINES_SHOWN]),
            confirmed=self._confirmation.confirmed,
            dead=self._confirmation.dead,
            lag_ms=self._lag.median_ms,
            lag_ms_max=self._lag.max_ms,
            late=self._lag.late,
            touches=fused.counts.touches if fused is not None else None,
            touches_overdue=fused.counts.overdue if fused is not None else 0,
            touch_mismatches=fused.counts.mismatches if fused is not None else 0,
        )
        self._topics.report(note)
        return note

    def _connections(self) -> list[FeedConnection]:
        return [connection for group in self._groups for connection in group]

    def _last_error(self, connections: Sequence[FeedConnection]) -> str:
        errors = [one.last_error for one in connections]
        errors += [self._rest.last_error, self._diff.last_error if self._diff is not None else ""]
        errors.append(self._confirmation.last_error)
        return next((error for error in errors if error), "")

    def _source(self) -> str:
        ws = "ws x2" if self._config.connections == 2 else "ws"
        followed = len(self._rest.symbols)
        if not followed:
            return ws
        return "rest" if followed == len(self._symbols) else f"{ws} + rest"

    def _judge(self, now_ns: int) -> FeedState:
        if not self._symbols:
            return "idle"
        up = sum(any(one.is_up for one in group) for group in self._groups)
        if up == 0 and self._rest.answered_ns and now_ns - self._rest.answered_ns <= STALE_NS:
            return "rest"
        if up == 0:
            return "connecting" if self._fanout.frames == 0 else "down"
        if now_ns - self._received_ns > STALE_NS:
            return "stale"
        return "connected" if up == len(self._groups) else "partly"

    def _make_group(self, symbols: Sequence[str]) -> Group:
        """Make as many connections as are configured, each with its own pauses."""
        self._made += 1
        connections = []
        for letter in "ab"[: self._config.connections]:
            name = f"{self.name}-{self._made}{letter if self._config.connections > 1 else ''}"
            ticket = f"{name}-{self._clock.wall_ms()}"
            connections.append(FeedConnection(name, self._dial, self._config, symbols, ticket))
        return tuple(connections)

    async def _watch(self) -> None:
        """Judge silences, and ask over REST for markets without a stream."""
        if self._only_rest:
            self._rest.follow(self._symbols)
        await repeat(partial(self._judge_next, deque()), first_after_s=_LOOK_S)

    def _judge_next(self, waiting: deque[FeedConnection]) -> float:
        """Judge the next connection; return the pause after it in seconds. Frames are handled in between."""
        if not waiting:
            waiting.extend(self._connections())
        now_ns = self._clock.monotonic_ns()
        if waiting:
            waiting.popleft().judge_silence(now_ns)
        if waiting:
            return 0.0
        if not self._only_rest:
            self._fall_back(now_ns)
        return _LOOK_S

    def _fall_back(self, now_ns: int) -> None:
        """Ask over REST for the markets of every group that has been down for too long, until a frame comes on it."""
        after_ns = int(self._config.rest_fallback_s * 1e9)
        if not after_ns or not self._config.rest_url:
            return
        downs = [(group, min(one.down_ns(now_ns) for one in group)) for group in self._groups]
        down = [symbol for group, down_ns in downs if down_ns >= after_ns for symbol in group[0].symbols]
        if bool(down) != bool(self._rest.symbols):
            line = f"{self.name}: " + (
                f"no stream for {self._config.rest_fallback_s:g} s, books of {len(down)} markets over REST"
                if down
                else "the streams are back"
            )
            if down:
                self._warn(line)
            else:
                get_logger().warning("rest fallback", what=line)
        self._rest.follow(down)

    def _warn(self, line: str) -> None:
        if self._alert is not None:
            self._alert(line)
        else:
            get_logger().warning("feed", what=line)

    def _newest_frame(self, symbol: str) -> tuple[int, bytes] | None:
        found = self._read_slot(self._fanout.slot_of(symbol)) if symbol in self._fanout.symbols else None
        return (found[1], found[3]) if found is not None else None

    def _on_stray_control(self, _: ControlFrame) -> None:
        raise AssertionError("no connection writes through the fan-out's own lane")


class _Ended:
    """Adds up what connections had counted that have been closed."""

    def __init__(self) -> None:
        self.reconnects = self.planned = self.garbage = self.stalls = self.refusals = 0

    def add(self, group: Group) -> None:
        for one in group:
            self.reconnects += one.reconnects
            self.planned += one.planned
            self.garbage += one.garbage
            self.stalls += one.stalls
            self.refusals += one.refusals


class _ReadSlot:
    """Reads the slots, to which it is attached when it is first called."""

    def __init__(self, books: BooksWriter) -> None:
        self._path = books.path
        self._reader: BooksReader | None = None

    def __call__(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        """Return (sequence, received_ns, live, frame) of the slot; None before the first frame."""
        if self._reader is None:
            self._reader = BooksReader.attach(self._path)
        return self._reader.read(slot)

    def frame(self, slot: int) -> bytes | None:
        """Return the slot's frame; None before the first one."""
        found = self(slot)
        return found[3] if found is not None else None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
