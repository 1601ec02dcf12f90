"""How late frames come: what is usual, what is late, and what has nothing to do with it."""

import asyncio
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.backtest.slots import TapeBooks
from arbshard.clock import ManualClock
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.venues.registry import get_venue
from supervisor.feeds.fanout import VenueFanout
from supervisor.feeds.lag import LagLimit, LagWatch
from support import virtual_time as v

MS = 1_000_000
S = 1_000 * MS
WALL_MS = 1_795_000_000_000
MAX_MS = 1_500


class Line:
    """A venue whose frames come ``lag_ms`` after they were sent; clocks may be off, and set."""

    def __init__(self, venue_ahead_ms=0):
        self.now_ns = 1_000 * S
        self.wall_ms = WALL_MS
        self.venue_ahead_ms = venue_ahead_ms
        self.limit = LagLimit(MAX_MS * MS)

    @property
    def venue_ms(self):
        return WALL_MS + (self.now_ns - 1_000 * S) // MS + self.venue_ahead_ms

    def differences(self, *lags_ms):
        return [self.now_ns - (self.venue_ms - lag_ms) * MS for lag_ms in lags_ms]

    def go_on(self, *lags_ms, seconds=1):
        for _ in range(seconds):
            self.now_ns += S
            self.wall_ms += 1_000
            self.limit.learn(self.differences(*lags_ms), self.now_ns, self.wall_ms)

    def is_late(self, lag_ms):
        (difference_ns,) = self.differences(lag_ms)
        late_after_ns = self.limit.late_after_ns(self.now_ns, self.wall_ms)
        assert late_after_ns < 0
        return difference_ns > late_after_ns


def test_nothing_is_known_before_the_first_frame():
    line = Line()
    line.go_on()
    limit = line.limit
    assert (limit.late_after_ns(line.now_ns, line.wall_ms), limit.max_ms(line.now_ns, line.wall_ms)) == (
        0,
        None,
    )
    assert limit.median_ms is None


@pytest.mark.parametrize("ahead_ms", [-2_000, -40, 0, 3_600_000])
def test_a_constant_difference_of_clocks_is_no_lag(ahead_ms):
    line = Line(ahead_ms)
    line.go_on(40)
    assert not line.is_late(40 + MAX_MS)
    assert line.is_late(41 + MAX_MS)
    assert line.limit.median_ms == 40 - ahead_ms
    assert line.limit.max_ms(line.now_ns, line.wall_ms) == 40 + MAX_MS - ahead_ms


def test_a_venue_that_is_late_from_the_beginning_is_late_though_nothing_else_is_known():
    line = Line()
    line.go_on(60_000)
    assert line.is_late(60_000)
    assert line.is_late(6_501)
    assert not line.is_late(6_500)  # the clock of this computer may be five seconds off


def test_a_lag_that_lasts_stays_late_for_an_hour():
    line = Line()
    line.go_on(40, seconds=60)
    line.go_on(4_000, seconds=3_500)
    assert line.is_late(4_000)
    line.go_on(4_000, seconds=200)
    assert not line.is_late(4_000)


def test_quiet_hours_are_not_forgotten():
    line = Line()
    line.go_on(40)
    line.go_on(seconds=7_200)
    line.go_on(4_000)
    assert line.is_late(4_000)


def test_one_wrong_time_among_many_markets_decides_nothing():
    line = Line()
    line.go_on(40, 40, -3_600_000)
    assert not line.is_late(1_000)


@pytest.mark.parametrize("step_ms", [-7_200_000, -2_000, 2_000, 7_200_000])
@pytest.mark.parametrize("is_same_clock", [False, True], ids=["a real venue", "embedded exchanges"])
def test_a_clock_that_is_set_is_no_lag(step_ms, is_same_clock):
    """The wall clock of this computer alone, or that of the exchanges with it."""
    line = Line()
    line.go_on(40, seconds=100)
    line.wall_ms += step_ms
    line.go_on(40, seconds=11)  # what was sent before and was under way for long
    if is_same_clock:
        line.venue_ahead_ms += step_ms
    line.go_on(40, seconds=100)
    if is_same_clock or step_ms < 5_000:
        assert not line.is_late(1_000)
    else:
        assert line.is_late(40)  # by a clock that is two hours fast every frame is two hours old
    if abs(step_ms) < 5_000:
        assert line.is_late(6_000)


@given(
    st.lists(st.lists(st.integers(20, 300), max_size=5), min_size=1, max_size=30),
    st.integers(-3_000, 3_000),
    st.integers(0, 60_000),
)
def test_whatever_the_lags_were_a_usual_one_is_not_late_and_a_large_one_is(lags, ahead_ms, more_ms):
    line = Line(ahead_ms)
    line.go_on(100)
    for found in lags:
        line.go_on(*found)
    assert not line.is_late(20 + MAX_MS - 300)
    assert line.is_late(300 + MAX_MS + 1 + more_ms)


def frame(symbol, sent_ms, kind="REALTIME"):
    units = '[{"ap":11,"bp":10,"as":1,"bs":1}]'
    return f'{{"ty":"orderbook","cd":"{symbol}","tms":{sent_ms},"obu":{units},"st":"{kind}","lv":0}}'.encode()


class Notifier:
    def push(self, slot):
        pass


class World:
    """Upbit's fan-out into real slots, and what watches its lags, on virtual time."""

    SLOTS: ClassVar = {f"KRW-{letter}": number for number, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}

    def __init__(self, folder, max_lag_ms=MAX_MS):
        self.clock = v.LoopClock()
        self.writer = BooksWriter.create(folder / "books", 40, epoch=1)
        self.reader = BooksReader.attach(folder / "books")
        self.venue = get_venue("upbit")
        targets = {symbol: (slot, (0,)) for symbol, slot in self.SLOTS.items()}
        self.fanout = VenueFanout(self.venue, targets, self.writer, [Notifier()], lambda _: None)
        self.lane = self.fanout.lane(lambda _: None)
        self.lane.attach(self.SLOTS)
        self.watch = LagWatch(self.fanout, self.writer, self.reader.read, max_lag_ms, self.clock)
        self.task = asyncio.ensure_future(self.watch.run())

    def say(self, symbol, lag_ms, kind="REALTIME"):
        self.lane(frame(symbol, self.clock.wall_ms() - lag_ms, kind), self.clock.monotonic_ns())

    async def go_on(self, lags, seconds=1):
        for _ in range(seconds):
            for symbol, lag_ms in lags.items():
                self.say(symbol, lag_ms)
            await asyncio.sleep(1)

    def is_late(self, symbol):
        """As a worker judges it."""
        slot = self.SLOTS[symbol]
        _, received_ns, _, raw = self.reader.read(slot)
        book = self.venue.decode(raw, received_ns)
        limit_ns = self.reader.late_after_ns(slot)
        return bool(limit_ns and book.sent_ms is not None and received_ns - book.sent_ms * MS > limit_ns)

    def close(self):
        assert not self.task.done() or self.task.result() is None
        self.reader.close()
        self.writer.close()


def on(folder, work, **more):
    async def whole():
        world = World(folder, **more)
        try:
            return await work(world)
        finally:
            world.close()

    return v.run(whole())


USUAL = dict.fromkeys(World.SLOTS, 30)


def test_one_late_market_is_found_and_shown_and_is_well_again_with_its_next_frame(tmp_path):
    async def work(world):
        await world.go_on(USUAL, 3)
        watch = world.watch
        assert (watch.median_ms, watch.max_ms, watch.late) == (30, 30 + MAX_MS, ())
        await world.go_on({**USUAL, "KRW-C": 3_000}, 2)
        assert (watch.median_ms, watch.late, world.is_late("KRW-C")) == (30, ("KRW-C",), True)
        assert [symbol for symbol in World.SLOTS if world.is_late(symbol)] == ["KRW-C"]
        await world.go_on(USUAL, 2)
        assert (watch.late, world.is_late("KRW-C")) == ((), False)

    on(tmp_path, work)


ROUNDS = st.lists(
    st.dictionaries(
        st.sampled_from(["KRW-A", "KRW-B", "KRW-C", "KRW-GONE"]),
        st.one_of(st.none(), st.integers(20, 300), st.integers(1_000, 20_000)),
    ),
    min_size=1,
    max_size=15,
)


@given(ROUNDS)
def test_rounds_that_are_passed_leave_what_rounds_one_by_one_leave(rounds):
    clock = ManualClock()
    known = []
    for _ in range(2):
        slots = TapeBooks(40, 1)
        targets = {symbol: (slot, (0,)) for symbol, slot in World.SLOTS.items()}
        fanout = VenueFanout(get_venue("upbit"), targets, slots, [Notifier()], lambda _: None)
        known.append((slots, LagWatch(fanout, slots, lambda _: None, MAX_MS, clock)))
    (_, one_by_one), (_, passed) = known
    measured = {}
    for number, lags in enumerate(rounds, 1):
        clock.advance_ms(1_000)
        now_ns, wall_ms = clock.monotonic_ns(), clock.wall_ms()
        found = [
            (symbol, now_ns, None if lag_ms is None else wall_ms - lag_ms) for symbol, lag_ms in lags.items()
        ]
        measured |= dict.fromkeys(lags, now_ns)
        one_by_one.note(found)
        if number < len(rounds):
            differences = [now_ns - sent_ms * MS for _, _, sent_ms in found if sent_ms is not None]
            passed.pass_round(differences, lambda found=found: found)
        else:
            for symbol, received_ns in measured.items():
                passed.set_measured(symbol, received_ns)
            passed.note(found)
        assert (passed.late, passed.median_ms, passed.max_ms) == (
            one_by_one.late, one_by_one.median_ms, one_by_one.max_ms,
        )  # fmt: skip
    assert known[0][0]._late_after_ns == known[1][0]._late_after_ns
    assert one_by_one._measured == passed._measured


def test_the_first_late_frame_is_late_at_once(tmp_path):
    """The worker compares the frame itself; it waits for no round of the supervisor."""

    async def work(world):
        await world.go_on(USUAL, 3)
        world.say("KRW-A", 3_000)
        assert world.is_late("KRW-A")

    on(tmp_path, work)


def test_a_quiet_market_is_not_late(tmp_path):
    """An old time beside an equally old receipt is no lag, and the first frame of a subscription says nothing."""

    async def work(world):
        await world.go_on(USUAL, 3)
        quiet = {symbol: lag for symbol, lag in USUAL.items() if symbol != "KRW-Q"}
        await world.go_on(quiet, 600)
        assert not world.is_late("KRW-Q")
        assert world.watch.late == ()
        world.say("KRW-Q", 600_000, "SNAPSHOT")
        await world.go_on(quiet, 3)
        assert not world.is_late("KRW-Q")
        assert world.watch.late == ()

    on(tmp_path, work)


def test_a_venue_of_which_all_is_late_is_late(tmp_path):
    async def work(world):
        await world.go_on(USUAL, 60)
        await world.go_on(dict.fromkeys(World.SLOTS, 3_000), 120)
        assert len(world.watch.late) == 10
        assert world.is_late("KRW-Z")
        assert world.watch.median_ms == 3_000

    on(tmp_path, work)


def test_a_late_market_of_which_nothing_more_comes_is_shown_for_a_while(tmp_path):
    async def work(world):
        await world.go_on(USUAL, 3)
        world.say("KRW-C", 3_000)
        await asyncio.sleep(5)
        assert world.watch.late == ("KRW-C",)
        await asyncio.sleep(10)
        assert world.watch.late == ()
        assert world.is_late("KRW-C")  # its book is no better

    on(tmp_path, work)


def test_markets_come_and_go(tmp_path):
    async def work(world):
        await world.go_on(USUAL, 3)
        world.say("KRW-C", 3_000)
        await asyncio.sleep(2)
        world.fanout.remove(["KRW-C"])
        world.writer.clear(World.SLOTS["KRW-C"])
        await asyncio.sleep(2)
        assert world.watch.late == ()
        assert world.reader.late_after_ns(World.SLOTS["KRW-C"]) == 0
        world.fanout.add({"KRW-NEW": (30, (0,))})
        await asyncio.sleep(2)
        assert world.reader.late_after_ns(30) == world.reader.late_after_ns(0) < 0

    on(tmp_path, work)


def test_with_a_limit_of_nought_there_is_nothing_to_run(tmp_path):
    async def work(world):
        assert not world.watch.is_on
        assert world.watch.max_ms is None

    on(tmp_path, work, max_lag_ms=0.0)
