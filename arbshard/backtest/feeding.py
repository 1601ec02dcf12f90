"""Feeds the rows of a tape to the feeds of a backtest, each when it is due and before anything that is due later.

``RowFeeder`` takes the rows one by one, or blocks of them under a screen, where only the frames are fed on which
something may be decided. What is quiet between two blocks is passed over (``resting``).
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from arbshard.backtest.blocks import FeedRow, RowBlock, TapeMark
from arbshard.backtest.feeds import FusedStream, TapeVenueFeed, UnmarkedStream, carried_by
from arbshard.backtest.resting import REST_ROWS, QuietSpans
from arbshard.backtest.screening import Screen, ScreenedLane
from arbshard.backtest.skipping import BlockScreen
from arbshard.backtest.timers import TapeLoop
from arbshard.clock import Clock
from arbshard.model.universe import Universe
from arbshard.tape.format import UNIVERSE
from arbshard.venues.base.fusion import BookFuser

_UNSCREENED_SHARE_MAX = 0.2
_SHORT_ROWS = 2048
_SHORT_NS = 3_000_000_000
"""Number of rows, and time in ns, that are fed before a span is looked for again that can be passed over."""


class RowFeeder:
    """Feeds the rows of one tape. Set ``screen`` and ``rest`` before ``feed``, where frames may be left out."""

    def __init__(
        self,
        loop: TapeLoop,
        clock: Clock,
        feeds: Mapping[str, TapeVenueFeed],
        recording: int,
        universe: Callable[[], Universe],
    ) -> None:
        """Begin without rows. ``feeds`` are by venue; ``recording`` is the one with which the tape begins.

        ``universe`` returns what is traded.
        """
        self._loop = loop
        self._clock = clock
        self._feeds = feeds
        self._recording = recording
        self._universe = universe
        self.follow_universe: Callable[[bytes], None] = _ignore
        """Trades what a row of the tape says. This and the next attribute are set when the system runs."""
        self.is_settled: Callable[[], bool] = _never
        """Returns whether worker and risk use the newest universe."""
        self._batches: Iterator[list[FeedRow] | RowBlock] = iter(())
        self.intakes: dict[str, Callable[[bytes, int], None]] = {}
        """What takes the frames of each stream, by connection."""
        self._screened: dict[str, ScreenedLane | UnmarkedStream] = {}
        """Intakes that use the glance at a frame, by connection."""
        self._rows: Iterator[FeedRow] = iter(())
        self._row: FeedRow | None = None
        self._ahead: RowBlock | None = None
        """Rows that were read, and come after those that are fed."""
        self.screen: Screen | None = None
        self.rest: QuietSpans | None = None
        self.block: BlockScreen | None = None
        """Rest of the block that is being fed, where its frames may be skipped; otherwise None."""
        self._is_recheck_due = False
        self._plans = 0
        """Number of the newest plan to feed rows; an older one is out of date."""
        self._planned_ns = 0
        self._fed: asyncio.Future[None] = loop.create_future()
        """Is done when all rows have been fed."""
        self.frames = 0

    async def feed(self, batches: Iterator[list[FeedRow] | RowBlock]) -> None:
        """Feed all rows of ``batches``."""
        self._batches = batches
        self._next()
        self._plan_feed()
        await self._fed

    def _plan_feed(self) -> None:
        """Plan to feed rows when the next of them is due, and not at the time planned before."""
        if self.block is not None:
            self._planned_ns = self.block.due_ns
        else:
            self._planned_ns = self._row[0] if self._row is not None else self._loop.now_ns
        self._plans += 1
        self._loop.deliver(None, self._planned_ns, self.feed_due, self._plans)

    def feed_due(self, number: int) -> None:
        """Feed rows until another event must come first."""
        if number != self._plans:
            return
        try:
            # Other events that are due at this instant come before rows, whenever they were planned.
            if not self._loop.can_skip_to(self._loop.now_ns) or self._feed_some():
                self._plan_feed()
            else:
                self._fed.set_result(None)
        except Exception as error:  # noqa: BLE001 - whoever waits for the end of the tape gets it
            self._fed.set_exception(error)

    def _feed_some(self) -> bool:
        """Feed rows until another event is due. Returns whether there are more rows."""
        while self.block is not None or self._row is not None:
            if self._hand_in_rows() if self.block is None else self._hand_in_block(self.block):
                return True
        return False

    def _hand_in_rows(self) -> bool:
        """Feed rows one by one until another event is due. Returns whether one is."""
        loop, row = self._loop, self._row
        while row is not None:
            due_ns = row[0]
            if due_ns > loop.now_ns:
                if not loop.can_skip_to(due_ns):
                    self._row = row
                    return True
                loop.now_ns = due_ns
            self._hand_in(row)
            row = next(self._rows, None)
        self._next()
        return False

    def _hand_in_block(self, block: BlockScreen) -> bool:
        """Feed those rows of a block that must be fed until another event is due. Returns whether one is."""
        loop = self._loop
        while True:
            due_ns = block.due_ns
            if due_ns > loop.now_ns:
                if not loop.can_skip_to(due_ns):
                    block.received(loop.now_ns)
                    return True
                loop.now_ns = due_ns
            if block.is_over:
                block.received(due_ns)
                self._end_block(block)
                self._next()
                return False
            number = block.next
            block.approach()
            self._hand_in(block.block.row(number))
            if not block.fed():
                continue
            self._end_block(block)
            rest = block.block.rest(number + 1)
            if rest is None:
                self._next()
            else:
                self._take_up(rest)
            return False

    def _hand_in(self, row: FeedRow) -> None:
        """Feed one row."""
        mark = row[4]
        if mark is not None:
            self._mark(row, mark)
            return
        lane = self._screened.get(row[2])
        if lane is not None:
            lane(row[3], row[1], row[6])
            return
        intake = self.intakes.get(row[2])
        if intake is None:
            intake = self._unmarked(row)
        intake(row[3], row[1])

    def _next(self) -> None:
        """Continue with the next rows of the tape."""
        self._row = None
        if self.screen is not None and self.screen.is_suspended and self.is_settled():
            assert self.rest is not None
            self.screen.renew(self._universe())
            self.rest.renew()
        while self.block is None and self._row is None:
            batch = self._read_on()
            if batch is None:
                return
            if isinstance(batch, RowBlock):
                rest = self._pass_over(batch)
                if rest is not None:
                    count = min(max(rest.count_within(_SHORT_NS), 1), _SHORT_ROWS)
                    self._ahead = rest.rest(count)
                    self._take_up(rest.head(count))
            else:
                self._rows = iter(batch)
                self._row = next(self._rows, None)

    def _read_on(self) -> list[FeedRow] | RowBlock | None:
        """Return the next rows of the tape; None at its end."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        batch = next(self._batches, None)
        if isinstance(batch, RowBlock):
            self.frames += batch.frames
        elif batch is not None:
            self.frames += sum(row[4] is None for row in batch)
        return batch

    def _pass_over(self, block: RowBlock) -> RowBlock | None:
        """Pass over what is quiet at the beginning of ``block`` and of those after it; return the rows from there on,
        None at the end of the tape.
        """
        rest, found = self.rest, block
        if rest is None or not block.has_glances or not rest.may_begin():
            return block
        while True:
            further: list[RowBlock] = []
            size = len(found.table)
            while size < REST_ROWS and isinstance(read := self._read_on(), RowBlock):
                further.append(read)
                size += len(read.table)
            found = found.followed_by(further)
            count = rest.pass_over(found)
            left = found.rest(count)
            if not count or left is None or not rest.may_begin():
                rest.end()
                return left
            found = left

    def _take_up(self, block: RowBlock) -> None:
        """Continue with the rows of a block: under a screen, or one by one."""
        is_screened = self.screen is not None and not self.screen.is_suspended
        if is_screened and block.has_glances and not self._is_unscreened(block):
            self._screen_block(block)
        else:
            self._rows = iter(block.rows())
            self._row = next(self._rows, None)

    def _is_unscreened(self, block: RowBlock) -> bool:
        """Return whether to feed a block row by row because most of its frames are not screened anyway."""
        unscreened = [name for name in self.intakes if name not in self._screened]
        return block.frames_without_market(unscreened) > _UNSCREENED_SHARE_MAX * block.frames

    def _screen_block(self, block: RowBlock) -> None:
        assert self.screen is not None
        self.block = self.screen.books.pending = BlockScreen(
            block, self.screen, self._lane_of, self._clock.monotonic_ns
        )

    def _end_block(self, block: BlockScreen) -> None:
        assert self.screen is not None
        block.bring_all()
        self.block = self.screen.books.pending = None

    def _lane_of(self, connection: str, symbol: str) -> ScreenedLane | None:
        """Return the lane of the frames of a stream and a market; None where they may not be skipped."""
        lane = self._screened.get(connection)
        return lane.screened(symbol) if lane is not None else None

    def resting_lane(self, connection: str, symbol: str) -> tuple[ScreenedLane | None, BookFuser | None]:
        """Return the lane of the frames of a stream and a market, also of the FX market, and what joins levels and
        touches before it; no lane where there is none that takes the frames and does nothing else.
        """
        intake = self.intakes.get(connection)
        if isinstance(intake, UnmarkedStream):
            intake = intake.intake_of(symbol)
        if isinstance(intake, FusedStream):
            return intake.unfused(), intake.fuser
        return (intake if isinstance(intake, ScreenedLane) else None), None

    def plan_recheck(self) -> None:
        """Plan to check again what may be skipped, since risk has answered. The check follows when the worker has
        processed the answer.
        """
        if self.block is not None and not self._is_recheck_due:
            self._is_recheck_due = True
            self._loop.deliver(None, self._loop.now_ns, self._recheck)

    def _recheck(self) -> None:
        self._is_recheck_due = False
        if self.block is not None:
            self.block.recheck()
            if self.block.due_ns != self._planned_ns:
                self._plan_feed()

    def _unmarked(self, row: FeedRow) -> Callable[[bytes, int], None]:
        """Return the function that takes the frames of a stream whose beginning is not in this part of the tape."""
        feed = self._feeds.get(row[5])
        intake: Callable[[bytes, int], None] = _ignore_frame
        if feed is not None:
            intake = feed.open_unmarked(row[2])
        self.take_by(row[2], intake)
        return intake

    def _mark(self, row: FeedRow, mark: TapeMark) -> None:
        _, received_ns, connection, data, _, venue, _ = row
        if self.screen is not None:
            self.screen.settle()
        if mark.recording != self._recording:
            self._recording = mark.recording
            self.intakes.clear()
            self._screened.clear()
            for feed in self._feeds.values():
                feed.close_all()
        own = self._feeds.get(venue)
        if mark.kind == UNIVERSE:
            self.follow_universe(data)
        elif own is not None and mark.kind == "connect":
            self.take_by(connection, own.open(connection, carried_by(mark.detail)))
        elif own is not None:
            if mark.kind == "disconnect":
                self.intakes.pop(connection, None)
                self._screened.pop(connection, None)
            own.mark(mark, connection, received_ns, data)
        if self.screen is not None:
            self.screen.refresh()

    def take_by(self, connection: str, intake: Callable[[bytes, int], None]) -> None:
        """Give the frames of a stream to ``intake``."""
        self.intakes[connection] = intake
        self._screened.pop(connection, None)
        if isinstance(intake, ScreenedLane) or (isinstance(intake, UnmarkedStream) and not intake.is_fused):
            self._screened[connection] = intake


def _never() -> bool:
    """Return False: there is no system yet."""
    return False


def _ignore(data: bytes) -> None:
    """Do nothing: there is no system yet."""
    del data


def _ignore_frame(frame: bytes, received_ns: int) -> None:
    """Do nothing: the tape has frames of a venue that the recorded run did not trade."""
    del frame, received_ns
