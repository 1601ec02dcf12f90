"""Implements one venue's feed in a backtest: the supervisor's own code puts what is on the tape into the slots.

The fan-out, the books kept from changes, the confirmation of quiet books and the watch of lags are those of a run.
Connections are ``TapeConnection``s, which are open from a mark ``connect`` to a mark ``disconnect``, and responses
over REST are those of the tape. What a run would have done itself about a connection (reconnecting, renewing,
subscribing again) is not done here, because its outcome is on the tape.
"""

import asyncio
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, KeysView, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from arbshard.backtest.blocks import Glance, TapeMark
from arbshard.backtest.screening import Screen, ScreenedLane
from arbshard.backtest.slots import TapeBooks
from arbshard.backtest.timers import Rhythm
from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.errors import FrameError, UsageError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.model.notes import FeedState
from arbshard.model.universe import Universe
from arbshard.shm.doorbell import ShardNotifier
from arbshard.venues.base.client import Answer
from arbshard.venues.base.fusion import BookFuser, FusionCounts
from arbshard.venues.base.market import ControlFrame
from arbshard.venues.base.rest import BookRequest
from arbshard.venues.registry import get_adapter, get_venue
from supervisor.feeds.confirmation import CONFIRM_S, BookConfirmation
from supervisor.feeds.diff import DiffBooks
from supervisor.feeds.fanout import Lane, VenueFanout, targets_of
from supervisor.feeds.lag import MEASURE_S, LagWatch
from supervisor.feeds.link import Intake
from supervisor.feeds.venue import STALE_NS

DueTimes = npt.NDArray[np.int64]
"""When frames are due, in ns, in their order."""
_NO_FRAMES: DueTimes = np.empty(0, np.int64)
_CARRIES = "carries "
_ANSWER_S = 30.0
"""Time in seconds after which a snapshot counts as lost if the tape has no response to it."""
_UNASKED_NS = 5_000_000_000
"""Time in ns by which a response may come before its request here: a backtest sends it at nearly the same time as
the run did.
"""
_NAMES = re.compile(r"[^A-Za-z0-9-]+")
_STATUS = re.compile(r"(?P<path>\S+) HTTP (?P<status>\d{3})")


class TapeConnection:
    """Represents one stream of the tape. Implements ``confirmation.Carrier``."""

    def __init__(self, name: str, intake: Intake, books: TapeBooks) -> None:
        self.name = name
        self.intake = intake
        self._books = books
        self._symbols: dict[str, None] = {}
        self._frames = 0
        self._counted_ns = 0
        self._alive_ns = 0

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols of the markets that the stream carries."""
        return tuple(self._symbols)

    def carry(self, symbols: Sequence[str]) -> None:
        """Add these markets to those that the stream carries."""
        self._symbols.update(dict.fromkeys(symbols))
        self.intake.attach(symbols)

    def carries(self, symbol: str) -> bool:
        """Return whether the stream carries a market."""
        return symbol in self._symbols

    def let_go(self, symbols: Collection[str]) -> None:
        """Carry none of these markets any more."""
        gone = [symbol for symbol in self._symbols if symbol in symbols]
        for symbol in gone:
            del self._symbols[symbol]
        self.intake.detach(gone)

    def alive_ns(self, now_ns: int) -> int:
        """Return until when the stream is known to have carried what the venue sent (monotonic ns): the time of the
        last frame.

        A frame counts from the call before it, as in ``FeedConnection``. Responses to pings are not on the tape.
        """
        frames = self.intake.frames + self._books.count_pending(self.intake)
        if frames != self._frames:
            self._frames, self._alive_ns = frames, self._counted_ns
        self._counted_ns = now_ns
        return self._alive_ns

    def rest(self, rounds: Sequence[int], due_ns: DueTimes) -> None:
        """Continue as if ``alive_ns`` had been called at each of ``rounds`` while frames came at ``due_ns``, which
        are not counted yet.
        """
        if not rounds:
            return
        count = int(np.searchsorted(due_ns, rounds[-1]))
        if count:
            counted = bisect_right(rounds, int(due_ns[count - 1]))  # the first round after the last frame
            self._alive_ns = rounds[counted - 1] if counted else self._counted_ns
            self._frames = self.intake.frames + count
        elif self.intake.frames != self._frames:
            self._frames, self._alive_ns = self.intake.frames, self._counted_ns
        self._counted_ns = rounds[-1]

    def ping(self, now_ns: int, pause_ns: int) -> None:
        """Do nothing: the tape answers no pings."""
        del now_ns, pause_ns

    def frames_received(self, symbol: str) -> int:
        """Return the number of frames of a market on this stream."""
        return self.intake.frames_received(symbol) if symbol in self._symbols else 0

    def ask_again(self, symbol: str) -> None:
        """Do nothing: what the run did about it is on the tape."""
        del symbol

    def renew(self) -> None:
        """Do nothing: what the run did about it is on the tape."""


class FeedTimes(NamedTuple):
    """Holds the times of rounds in a span that is passed over, in ns."""

    rounds: Sequence[int]
    """Rounds of the confirmation of quiet books."""
    lags: Sequence[int]
    """Rounds of the watch of lags."""


class FusedStream:
    """Joins the levels and touches of a stream as the recorded run did."""

    def __init__(self, fuser: BookFuser, intake: Callable[[bytes, int], None]) -> None:
        self.fuser = fuser
        self._fuse = fuser.fuse
        self._intake = intake

    def unfused(self) -> ScreenedLane | None:
        """Return the lane that takes the joined frames; None where they are not screened."""
        return self._intake if isinstance(self._intake, ScreenedLane) else None

    def __call__(self, frame: bytes, received_ns: int, glance: Glance | None = None) -> None:
        """Process a frame. Without a ``glance``, or with one that has no market, the market is found in the frame."""
        fused = self._fuse(frame, received_ns)
        if fused is not None:
            _hand_in(self._intake, fused, received_ns, glance if fused is frame else None)


class UnmarkedStream:
    """Represents a stream of which the tape does not say which markets it carries: it carries each from its first
    frame on.
    """

    def __init__(
        self, fanout: VenueFanout, connection: TapeConnection, intake: Callable[[bytes, int], None]
    ) -> None:
        self._fanout = fanout
        self._connection = connection
        self._intake = intake

    def __call__(self, frame: bytes, received_ns: int, glance: Glance | None = None) -> None:
        """Process a frame. Without a ``glance``, or with one that has no market, the market is found in the frame."""
        symbol = glance[0] if glance is not None and glance[0] else self._fanout.venue.route(frame)
        if symbol is not None and not self._connection.carries(symbol) and symbol in self._fanout.symbols:
            self._connection.carry((symbol,))
        _hand_in(self._intake, frame, received_ns, glance)

    @property
    def is_fused(self) -> bool:
        """Return whether its frames are joined before they go into slots, so that none may be skipped unread."""
        return isinstance(self._intake, FusedStream)

    def intake_of(self, symbol: str) -> Callable[[bytes, int], None] | None:
        """Return what takes the frames of a market that the stream has carried before; None for any other."""
        return self._intake if self._connection.carries(symbol) else None

    def screened(self, symbol: str) -> ScreenedLane | None:
        """Return the lane for frames of a market that the stream has carried before; None where they may not be
        skipped.
        """
        if self._connection.carries(symbol) and isinstance(self._intake, ScreenedLane):
            return self._intake.screened(symbol)
        return None


def _hand_in(
    intake: Callable[[bytes, int], None], frame: bytes, received_ns: int, glance: Glance | None
) -> None:
    if isinstance(intake, ScreenedLane | FusedStream):
        intake(frame, received_ns, glance)
    else:
        intake(frame, received_ns)


class TapeVenueFeed:
    """Feeds everything that the tape has of one venue into its slots."""

    def __init__(
        self,
        name: str,
        config: Config,
        universe: Universe,
        books: TapeBooks,
        notifiers: Sequence[ShardNotifier],
        clock: Clock,
        screen: Screen | None,
    ) -> None:
        """Make the feed. Raises ``UsageError`` for a stream that the venue does not have."""
        self.name = name
        venue, settings = get_venue(name), config.venues.get(name)
        self._clock = clock
        self._rest = get_adapter(name).rest
        self._fetch = TapeFetch(clock)
        targets = targets_of(universe, name)
        self.fanout = VenueFanout(
            venue, targets, books, notifiers, _ignore_control, lambda slot: books.newest(slot) or None
        )
        self._screen = screen
        self._books = books
        self._other = self.fanout.lane(_ignore_control)
        """Lane for books that came by no stream: those known before the recording, and those over REST."""
        self._connections: dict[str, TapeConnection] = {}
        self._confirmation = BookConfirmation(
            self.fanout, self._groups, books, books.read, config.data_quality, universe.fx.slot, "",
            settings.depth, clock, self._fetch, _log_alert,
        )  # fmt: skip
        self.lag = LagWatch(self.fanout, books, books.read, config.data_quality.max_lag_ms, clock)
        self._diff: DiffBooks | None = None
        if settings.stream == "diff":
            diff = get_adapter(name).diff
            if diff is None:
                raise UsageError(f'{name}: there is no stream "diff"')
            self._diff = DiffBooks(diff, self.fanout, "", self._fetch, clock)
        self._fused = get_adapter(name).fused if settings.stream == "fused" else None
        self._fusers: dict[str, BookFuser] = {}
        """Joins touches to levels, one for each connection."""
        self._tasks: list[asyncio.Task[None]] = []
        self.rhythms: list[Rhythm] = []
        """What is done regularly beside the frames: the confirmation of quiet books, and the watch of lags if it is
        on.
        """
        self._counted = (clock.monotonic_ns(), 0)
        self.unreadable = 0
        """Number of marks and responses over REST that could not be used."""

    def start(self) -> None:
        """Start the tasks that run in addition to the frames."""
        self.rhythms.append(Rhythm(self._confirmation.turns(), CONFIRM_S, first_after_s=CONFIRM_S))
        if self.lag.is_on:
            self.rhythms.append(Rhythm(self.lag.turns(), MEASURE_S, first_after_s=MEASURE_S))
        if self._diff is not None:
            self._tasks.append(asyncio.create_task(self._diff.run()))

    async def stop(self) -> None:
        """Stop these tasks."""
        for rhythm in self.rhythms:
            rhythm.stop()
        for task in self._tasks:
            task.cancel()
        for end in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(end, Exception):
                raise end
        self._confirmation.close()
        if self._diff is not None:
            self._diff.close()

    def attend(self, slots: frozenset[int]) -> None:
        """Keep the books in these slots confirmed by the REST responses on the tape."""
        self._confirmation.attend(slots)

    def state(self, now_ns: int) -> FeedState:
        """Return the state of the feed at ``now_ns``, by the rules of ``VenueFeed``."""
        then_ns, frames = self._counted
        received = self.fanout.frames + sum(
            self._books.count_pending(one.intake) for one in self._connections.values()
        )
        if received != frames:
            self._counted = then_ns, frames = now_ns, received
        if not self._connections:
            return "down" if frames else "connecting"
        return "stale" if now_ns - then_ns > STALE_NS else "connected"

    @property
    def connections(self) -> KeysView[str]:
        """Return the names of the streams that are open."""
        return self._connections.keys()

    @property
    def is_at_rest(self) -> bool:
        """Return whether nothing but frames and time changes anything, and no book has to be kept confirmed."""
        return bool(self._connections) and self._diff is None and not self._confirmation.is_attending

    @property
    def counted_ns(self) -> int:
        """Return when ``state`` last found further frames."""
        return self._counted[0]

    def pass_timers(self, passed: Callable[[asyncio.TimerHandle, float], list[int]]) -> "FeedTimes":
        """Return when the rounds of a span would be, as ``passed`` says of a timer and its period."""
        times: list[list[int]] = []
        for rhythm in self.rhythms:
            assert rhythm.handle is not None
            times.append(passed(rhythm.handle, rhythm.period_s))
        return FeedTimes(times[0], times[1] if len(times) > 1 else [])

    def rest(self, beats: Sequence[int], times: "FeedTimes", due_ns: Mapping[str, DueTimes]) -> None:
        """Continue as if the frames of a span had come at ``due_ns``, by stream, before they are counted.

        ``beats`` are the times at which ``state`` would have been asked for.
        """
        received = self.fanout.frames
        if beats:
            counts = {name: int(np.searchsorted(every, beats[-1])) for name, every in due_ns.items()}
            last_ns = max(
                (int(due_ns[name][count - 1]) for name, count in counts.items() if count), default=None
            )
            if last_ns is not None:
                self._counted = beats[bisect_right(beats, last_ns)], received + sum(counts.values())
            elif received != self._counted[1]:
                self._counted = beats[0], received
        for name, one in self._connections.items():
            one.rest(times.rounds, due_ns.get(name, _NO_FRAMES))

    def open(self, name: str, symbols: Sequence[str] = ()) -> Callable[[bytes, int], None]:
        """Open a stream that carries ``symbols``. Returns the function that takes its frames with their times of
        receipt in ns.
        """
        known = self._connections.get(name)
        if known is None:
            make = self.fanout.lane if self._diff is None else self._diff.lane
            known = self._connections[name] = TapeConnection(name, make(_ignore_control), self._books)
        mine = [symbol for symbol in symbols if symbol in self.fanout.symbols]
        known.carry(mine)
        self._other.detach(mine)
        intake: Callable[[bytes, int], None] = known.intake
        if self._screen is not None and isinstance(intake, Lane):
            intake = self._screen.lane(self.fanout, intake)
        if self._fused is None:
            return intake
        if name not in self._fusers:
            self._fusers[name] = BookFuser(self._fused, FusionCounts())
        return FusedStream(self._fusers[name], intake)

    def open_unmarked(self, name: str) -> "UnmarkedStream":
        """Open a stream whose beginning is not in this part of the tape. Returns the function that takes
        its frames.
        """
        return self.unmarked(name, self.open(name))

    def unmarked(self, name: str, intake: Callable[[bytes, int], None]) -> "UnmarkedStream":
        """Return the function that takes the frames of an open stream, which may carry further markets from now on.
        ``intake`` has taken them until now.
        """
        if isinstance(intake, UnmarkedStream):
            return intake
        return UnmarkedStream(self.fanout, self._connections[name], intake)

    # What is traded changes: these methods implement ``routing.RoutedFeed`` as ``VenueFeed`` does.

    def add(self, targets: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
        """Feed these markets too; a stream that is open carries each of them from its first frame on."""
        self.fanout.add(targets)

    def remove(self, symbols: Sequence[str]) -> None:
        """Feed these markets no longer."""
        self._let_go(symbols)
        if self._diff is not None:
            self._diff.remove(symbols)
        self.fanout.remove(symbols)

    def retarget(self, symbol: str, shards: tuple[int, ...]) -> None:
        """Give the frames of ``symbol`` to ``shards`` from the next one on."""
        self.fanout.retarget(symbol, shards)

    def set_unlisted(self, symbols: Collection[str]) -> None:
        """Let no stream carry these markets, which the venue does not list any more."""
        self._let_go(symbols)

    def _let_go(self, symbols: Collection[str]) -> None:
        for one in self._connections.values():
            one.let_go(symbols)

    @property
    def carries_all(self) -> bool:
        """Return whether each market is carried by a stream that is open."""
        return self.fanout.symbols <= {symbol for one in self._connections.values() for symbol in one.symbols}

    def close(self, name: str) -> None:
        """Close a stream: a market that no other stream carries is no longer live."""
        connection = self._connections.pop(name, None)
        self._fusers.pop(name, None)
        if connection is not None:
            connection.intake.close()

    def close_all(self) -> None:
        """Close all streams because another recording begins: nothing is known of those of the last one."""
        for name in tuple(self._connections):
            self.close(name)

    def mark(self, mark: TapeMark, name: str, received_ns: int, data: bytes) -> None:
        """Act on a mark of this venue as the run did on the event that it records."""
        if mark.kind == "known":
            self._know(mark.symbol, received_ns, data)
        elif mark.kind == "rest":
            self._answer(mark, received_ns, data)
        elif mark.kind == "dropped":
            # The content of these frames is unknown: the books count as lost until the next frames arrive.
            self.fanout.mark_down(
                [symbol for symbol in self.fanout.symbols if not self.fanout.is_down(symbol)]
            )
        elif mark.kind == "disconnect":
            self.close(name)

    def _know(self, symbol: str, received_ns: int, frame: bytes) -> None:
        if symbol not in self.fanout.symbols or not self.fanout.is_down(symbol):
            return
        carriers = [one for one in self._connections.values() if symbol in one.symbols]
        if self._diff is None and carriers:
            carriers[0].intake(frame, received_ns)
            for fuser in (self._fusers.get(one.name) for one in carriers):
                if fuser is not None:
                    fuser.resume(symbol, frame, received_ns)
            return
        self._other.attach((symbol,))
        self._other(frame, received_ns)

    def _answer(self, mark: TapeMark, now_ns: int, body: bytes) -> None:
        found = _STATUS.fullmatch(mark.detail)
        if found is None:
            self._fetch.answered(mark.detail.split(" ", 1)[0], None, now_ns)
            return
        answer = Answer(int(found["status"]), body, {})
        if self._fetch.answered(found["path"], answer, now_ns) or answer.status != 200:
            return
        names = dict.fromkeys(_NAMES.split(unquote(found["path"])))
        symbols = tuple(name for name in names if name in self.fanout.symbols)
        if not symbols:
            return
        call = BookRequest(found["path"], symbols)
        carried = {symbol for one in self._connections.values() for symbol in one.symbols}
        try:
            if carried.issuperset(symbols):
                self._confirmation.answered(call, body, mark.began_ns)
            else:
                self._other.attach([symbol for symbol in symbols if symbol not in carried])
                for frame in self._rest.frames(call, body):
                    if self.fanout.venue.route(frame) not in carried:
                        self._other(frame, mark.began_ns)
        except FrameError as error:
            self.unreadable += 1
            get_logger().warning("an answer over REST cannot be read", venue=self.name, error=str(error))

    def _groups(self) -> Sequence[Sequence[TapeConnection]]:
        groups: dict[tuple[str, ...], list[TapeConnection]] = {}
        for one in self._connections.values():
            groups.setdefault(one.symbols, []).append(one)
        return tuple(groups.values())


class TapeFetch:
    """Serves the REST responses on the tape. Implements ``venues.base.client.Fetch``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[str, asyncio.Future[Answer | None]] = {}
        self._unasked: dict[str, tuple[int, Answer | None]] = {}

    async def __call__(self, address: str) -> Answer:
        """Return the next response on the tape, or the one that came just before. Raises ``VenueUnavailable`` if
        there is none.
        """
        unasked = self._unasked.pop(address, None)
        if unasked is not None and self._clock.monotonic_ns() - unasked[0] <= _UNASKED_NS:
            return _or_unavailable(unasked[1])
        coming: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._waiting[address] = coming
        try:
            async with asyncio.timeout(_ANSWER_S):
                return _or_unavailable(await coming)
        except TimeoutError:
            raise VenueUnavailable("the tape has no answer to this request") from None
        finally:
            self._waiting.pop(address, None)

    def answered(self, path: str, answer: Answer | None, now_ns: int) -> bool:
        """Deliver a response of the tape; ``answer`` is None for a failure. Returns whether a request
        waits for it.
        """
        waiting = self._waiting.get(path)
        if waiting is None or waiting.done():
            self._unasked[path] = now_ns, answer
            return False
        waiting.set_result(answer)
        return True


def _or_unavailable(answer: Answer | None) -> Answer:
    if answer is None:
        raise VenueUnavailable("the request failed in the run that was recorded")
    return answer


def carried_by(detail: str) -> tuple[str, ...]:
    """Return the symbols of the markets that a mark ``connect`` names."""
    return tuple(detail.removeprefix(_CARRIES).split()) if detail.startswith(_CARRIES) else ()


def _ignore_control(_: ControlFrame) -> None:
    """Do nothing: what the run did about it is on the tape."""


def _log_alert(line: str) -> None:
    get_logger().warning(line)
