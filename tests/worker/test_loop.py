"""The worker's loop with everything around it replaced: what wakes it, what it obeys, when it ends."""

import asyncio
import os

import pytest

from arbshard.config import Config, DataConfig
from arbshard.engine.engine import ArbitrageEngine, Entry, Exit
from arbshard.model.phase import Phase, WorkerState
from arbshard.model.refusal import Refusal
from arbshard.worker.desk import Desk as RealDesk
from arbshard.worker.loop import BUSY_TIMER_S, ShardLoop
from support.funds import give


class Books:
    phase = Phase.RUNNING
    beat_ns = back_ns = calls = 0
    torn = 0


class Waiter:
    """A pipe for the bell; ``park`` answers what it is told."""

    overflows = 0

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.may_sleep = True
        self.is_news = False
        """Whether something is in the ring that no bell has announced."""
        self.parked = False
        self.parks = 0
        self.spins = []
        self.come = []
        """Whether something comes, for the next times of looking."""

    def fileno(self):
        return self.reader

    def ring(self):
        os.write(self.writer, b"1")

    def clear(self):
        os.read(self.reader, 100)

    def is_behind(self):
        return self.is_news

    def comes_within(self, duration_ns):
        self.spins.append(duration_ns)
        return self.come.pop(0) if self.come else False

    def park(self):
        self.parks += 1
        self.parked = self.may_sleep
        return self.may_sleep

    def unpark(self):
        assert self.parked
        self.parked = False


class Feed:
    """Views to be found, by slot; each once."""

    def __init__(self):
        self.news = {}
        self.asked = 0

    def changed(self):
        self.asked += 1
        return list(self.news)

    def read(self, slot):
        return self.news.pop(slot, None)


class Desk:
    """Takes note of trades; what closes positions and says that a shard is drained is the real desk's."""

    close_positions = RealDesk.close_positions
    is_drained = RealDesk.is_drained

    def __init__(self):
        self._closed_ns = 0
        self.acts = []
        self.funded = 0
        self.pauses_ended = 0
        self.busy = 0
        self.open_positions = 0
        self.has_room = True
        self.looks = 0

    def may_send_entry(self, pair):
        return self.has_room

    def look_at_limits(self):
        self.looks += 1

    def act(self, state, trade):
        assert not state.busy
        state.busy = True
        self.acts.append(trade)

    def fund(self):
        self.funded += 1

    def end_exit_pauses(self):
        self.pauses_ended += 1


class Terms:
    """News about entries that never come."""

    def poll(self, now_ns):
        pass


class Orders:
    """What risk wants, as the test says."""

    def __init__(self):
        self.serial = 0
        self.halted = False
        self.stopped = False
        self.closing = {}
        self.apart = frozenset()
        self.looks = []

    def poll(self, now_ns):
        self.looks.append(now_ns)


class Meter:
    def __init__(self):
        self.latencies = []
        self.doubts = []
        self.beats = []
        self.states = []

    def decided(self, book, now_ns):
        self.latencies.append(now_ns - book.received_ns)

    def doubted(self, reason):
        self.doubts.append(reason)

    def beat(self, now_ns, late_ns, feed, overflows, torn, busy):
        self.beats.append((now_ns, late_ns, busy))

    def state(self, state):
        self.states.append(state)


NO_JUMPS = Config(data_quality=DataConfig(jump_bps=10_000.0))
"""One frame is enough to act on, however far it moves."""


class Shop:
    """All of it together."""

    def __init__(self, make, clock, spin_us=0):
        self.books, self.waiter, self.feed, self.desk, self.meter = Books(), Waiter(), Feed(), Desk(), Meter()
        self.orders = Orders()
        self.clock = clock
        self.engine = ArbitrageEngine([make.pair], make.fx_leg, NO_JUMPS)
        self.desk._engine, self.desk._clock = self.engine, clock
        self.state = self.engine.pairs["BTC"]
        give(self.engine, self.state)
        self.codes = []
        self.is_orphan = self.is_fenced = False
        self.loop = ShardLoop(
            self.books,
            self.waiter,
            self.feed,
            self.engine,
            self.desk,
            self.orders,
            Terms(),
            self.meter,
            clock,
            self.codes.append,
            lambda: self.is_orphan,
            spin_us,
            must_wait=lambda: self.is_fenced,
        )

    def hold(self, *positions):
        """Hold these, known from now on."""
        now = self.clock.monotonic_ns(), self.clock.wall_ms()
        self.engine.set_positions(self.state, (), *now)
        self.engine.set_positions(self.state, positions, *now)

    async def until(self, condition):
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.001)


@pytest.fixture
async def shop(make, clock):
    one = Shop(make, clock)
    one.feed.news = {
        0: make.view(make.fx_book()),
        1: make.view(make.home_book()),
        2: make.view(make.away_book()),
    }
    yield one
    one.loop.close()
    os.close(one.waiter.reader)
    os.close(one.waiter.writer)


async def test_looks_at_everything_once_and_sleeps(shop):
    shop.loop.start()
    assert shop.feed.asked == 1
    assert shop.feed.news == {}
    assert shop.waiter.parked
    assert shop.meter.states == [WorkerState.RUNNING]


async def test_bell_wakes_it_and_the_trade_is_acted_on(make, shop):
    shop.loop.start()
    shop.clock.advance_ms(3)
    shop.feed.news = {1: make.view(make.home_book(-100.0))}
    before = len(shop.meter.latencies)
    shop.waiter.ring()
    await shop.until(lambda: shop.desk.acts)
    (trade,) = shop.desk.acts
    assert isinstance(trade, Entry)
    assert shop.meter.latencies[before:] == [3_000_000]
    assert shop.waiter.parked


async def test_a_worker_that_must_wait_acts_on_no_book_and_goes_on_afterwards(make, shop):
    async def see(must_wait):
        """Have the timer look, and then a book come."""
        shop.is_fenced = must_wait
        beats = len(shop.meter.beats)
        await shop.until(lambda: len(shop.meter.beats) > beats + 1)
        shop.feed.news = {1: make.view(make.home_book(-100.0))}
        shop.waiter.ring()
        await shop.until(lambda: not shop.feed.news)

    shop.loop.start()
    shop.books.beat_ns = shop.clock.monotonic_ns()
    await see(must_wait=True)
    assert shop.desk.acts == []
    await see(must_wait=False)
    await shop.until(lambda: shop.desk.acts)


async def test_fx_alone_decides_nothing(make, shop):
    shop.loop.start()
    before = len(shop.meter.latencies)
    shop.feed.news = {0: make.view(make.fx_book(1300.0, 1301.0))}
    shop.waiter.ring()
    await shop.until(lambda: not shop.feed.news)
    assert len(shop.meter.latencies) == before


@pytest.mark.parametrize(("after_s", "counted"), [(29, []), (30, [Refusal.BOOK_MISSING])])
async def test_a_pair_that_waits_for_its_first_books_is_not_counted_at_the_start(
    make, shop, clock, after_s, counted
):
    shop.feed.news = {1: make.view(make.home_book())}
    shop.loop.start()
    assert (shop.state.refusal, shop.meter.doubts) == (Refusal.BOOK_MISSING, [])
    clock.advance_ms(after_s * 1000)
    shop.feed.news = {1: make.view(make.home_book())}
    shop.waiter.ring()
    await shop.until(lambda: not shop.feed.news)
    assert [one for one in shop.meter.doubts if one is Refusal.BOOK_MISSING] == counted


async def test_a_book_that_is_lost_again_is_counted_at_the_start_too(make, shop):
    shop.loop.start()
    shop.feed.news = {1: make.view(None)}
    shop.waiter.ring()
    await shop.until(lambda: shop.meter.doubts)
    assert shop.meter.doubts == [Refusal.BOOK_MISSING]


async def test_doubts_are_counted(make, shop):
    shop.loop.start()
    shop.meter.doubts.clear()
    shop.feed.news = {1: make.view(None, bad=True)}
    before = len(shop.meter.latencies)
    shop.waiter.ring()
    await shop.until(lambda: shop.meter.doubts)
    assert shop.meter.doubts == [Refusal.BOOK_BAD]
    assert len(shop.meter.latencies) == before  # no book, no latency


async def test_an_entry_whose_orders_would_wait_is_counted_and_found_again_later(make, shop):
    shop.loop.start()
    shop.meter.doubts.clear()
    shop.desk.has_room = False
    shop.feed.news = {1: make.view(make.home_book(-100.0))}
    shop.waiter.ring()
    await shop.until(lambda: shop.meter.doubts)
    assert (shop.meter.doubts, shop.desk.acts, shop.state.busy) == ([Refusal.RATE_BUDGET], [], False)
    shop.desk.has_room = True
    shop.feed.news = {1: make.view(make.home_book(-100.0))}
    shop.waiter.ring()
    await shop.until(lambda: shop.desk.acts)
    assert isinstance(shop.desk.acts[0], Entry)


async def test_the_timer_looks_at_the_limits_for_entries(shop):
    shop.loop.start()
    await shop.until(lambda: shop.desk.looks > 1)


async def test_an_exit_is_decided_without_room_for_an_entry(make, shop):
    shop.loop.start()
    shop.desk.has_room = False
    shop.clock.advance_ms(1000)
    shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
    shop.orders.closing = {"BTC": "manual"}
    await shop.until(lambda: shop.desk.acts)
    assert isinstance(shop.desk.acts[0], Exit)
    assert Refusal.RATE_BUDGET not in shop.meter.doubts


async def test_timer_finds_what_no_bell_announced(make, shop):
    shop.loop.start()
    shop.feed.news = {1: make.view(make.home_book(-100.0))}
    shop.waiter.is_news = True
    await shop.until(lambda: shop.desk.acts)
    assert isinstance(shop.desk.acts[0], Entry)
    assert shop.feed.news == {}


async def test_timer_looks_at_nothing_when_the_ring_holds_nothing(shop):
    shop.loop.start()
    await shop.until(lambda: shop.waiter.parked)
    asked, parks = shop.feed.asked, shop.waiter.parks
    beats = len(shop.meter.beats)
    await shop.until(lambda: len(shop.meter.beats) > beats + 2)
    assert (shop.feed.asked, shop.waiter.parks) == (asked, parks)


async def test_a_call_of_the_supervisor_is_followed_before_the_timer(make, clock, shop):
    shop.loop.start()
    shop.loop._timer.cancel()
    shop.books.phase, shop.books.calls = Phase.DRAINING_KEEP, 1
    shop.waiter.ring()
    await shop.until(lambda: shop.orders.looks)
    assert shop.meter.states[-1] is WorkerState.DRAINED


async def test_a_bell_for_books_alone_follows_nothing_else(make, shop):
    shop.loop.start()
    shop.loop._timer.cancel()
    shop.feed.news = {1: make.view(make.home_book())}
    shop.waiter.ring()
    await shop.until(lambda: not shop.feed.news)
    assert shop.orders.looks == []


async def test_a_replaced_worker_follows_no_call(shop):
    shop.loop.start()
    shop.loop._timer.cancel()
    shop.is_fenced = True
    shop.books.phase, shop.books.calls = Phase.DRAINING_KEEP, 1
    shop.waiter.ring()
    await shop.until(lambda: shop.feed.asked > 1)
    assert (shop.orders.looks, shop.codes) == ([], [])


@pytest.mark.parametrize("engaged", ["held", "busy", "draining", None])
async def test_the_timer_is_faster_while_something_is_to_be_closed(make, shop, engaged):
    shop.loop.start()
    if engaged == "held":
        shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
    elif engaged == "busy":
        shop.state.busy = True
    elif engaged == "draining":
        shop.desk.busy, shop.books.phase = 1, Phase.DRAINING
    await shop.until(lambda: len(shop.meter.beats) >= 2)
    planned_s = shop.loop._timer.when() - asyncio.get_running_loop().time()
    assert (planned_s <= BUSY_TIMER_S) == (engaged is not None)


async def test_does_not_sleep_while_more_comes_in(shop):
    shop.waiter.may_sleep = False
    shop.loop.start()
    await shop.until(lambda: shop.feed.asked > 20)
    assert not shop.waiter.parked
    shop.waiter.may_sleep = True
    await shop.until(lambda: shop.waiter.parked)


async def test_looks_for_more_before_it_sleeps_only_when_told_to(make, clock, shop):
    shop.loop.start()
    assert shop.waiter.spins == []
    spinning = Shop(make, clock, spin_us=100)
    spinning.waiter.come = [True, True, False]
    spinning.loop.start()
    await spinning.until(lambda: spinning.waiter.parks >= 1)
    spinning.loop.close()
    assert spinning.waiter.spins == [100_000] * 3


async def test_beats_with_the_timer(shop):
    shop.desk.busy = 3
    shop.loop.start()
    await shop.until(lambda: len(shop.meter.beats) >= 3)
    assert all(now_ns == shop.clock.monotonic_ns() for now_ns, _, _ in shop.meter.beats)
    assert all(late_ns >= 0 for _, late_ns, _ in shop.meter.beats)
    assert shop.meter.beats[-1][2] == 3


async def test_time_passes_for_a_position_without_frames(make, shop):
    """A position that is too old is closed though no book changes."""
    shop.loop.start()
    shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
    await shop.until(lambda: len(shop.meter.beats) >= 2)
    assert shop.desk.acts == []
    opened_ms = shop.clock.wall_ms() - 20_000
    shop.hold(make.position(opened_ms=opened_ms))
    await shop.until(lambda: shop.desk.acts)
    (trade,) = shop.desk.acts
    assert isinstance(trade, Exit)
    assert trade.reason == "max_hold"


class TestPhases:
    async def test_running_funds_and_enters(self, shop):
        shop.loop.start()
        await shop.until(lambda: shop.desk.funded)
        assert shop.engine.entering

    async def test_starting_does_not_enter(self, shop):
        shop.books.phase = Phase.STARTING
        shop.loop.start()
        await shop.until(lambda: len(shop.meter.beats) >= 2)
        assert not shop.engine.entering
        assert shop.desk.funded == 0
        assert shop.codes == []

    async def test_draining_while_stopped_leaves_positions_open_and_ends(self, make, shop):
        shop.loop.start()
        shop.orders.halted = shop.orders.stopped = True
        shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
        shop.desk.open_positions = 1
        shop.books.phase = Phase.DRAINING
        await shop.until(lambda: shop.codes)
        assert shop.desk.acts == []
        assert shop.codes == [0]

    async def test_draining_closes_what_is_open_and_ends(self, make, shop):
        shop.loop.start()
        shop.clock.advance_ms(1000)
        shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
        shop.desk.open_positions = 1
        shop.books.phase = Phase.DRAINING
        await shop.until(lambda: shop.desk.acts)
        (trade,) = shop.desk.acts
        assert isinstance(trade, Exit)
        assert trade.reason == "shutdown"
        assert not shop.engine.entering
        assert shop.codes == []
        shop.desk.busy = 1
        shop.desk.open_positions = 0
        beats = len(shop.meter.beats)
        await shop.until(lambda: len(shop.meter.beats) > beats + 1)
        assert shop.codes == []  # an intent is still under way
        shop.desk.busy = 0
        await shop.until(lambda: shop.codes)
        assert set(shop.codes) == {0}
        assert shop.meter.states == [WorkerState.RUNNING, WorkerState.DRAINING, WorkerState.DRAINED]

    async def test_draining_tries_again_after_a_pause(self, make, shop):
        shop.loop.start()
        shop.clock.advance_ms(1000)
        shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
        shop.desk.open_positions = 1
        shop.books.phase = Phase.DRAINING
        await shop.until(lambda: shop.desk.acts)
        shop.state.busy = False  # refused
        beats = len(shop.meter.beats)
        await shop.until(lambda: len(shop.meter.beats) > beats + 2)
        assert len(shop.desk.acts) == 1
        shop.clock.advance_ms(200)
        await shop.until(lambda: len(shop.desk.acts) >= 2)
        assert shop.desk.pauses_ended == 1

    async def test_draining_can_keep_positions(self, make, shop):
        shop.loop.start()
        shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
        shop.desk.open_positions = 1
        shop.desk.busy = 1
        shop.books.phase = Phase.DRAINING_KEEP
        beats = len(shop.meter.beats)
        await shop.until(lambda: len(shop.meter.beats) > beats + 1)
        assert shop.codes == []
        shop.desk.busy = 0
        await shop.until(lambda: shop.codes)
        assert set(shop.codes) == {0}
        assert shop.desk.acts == []


async def test_dead_supervisor_ends_it(shop):
    shop.books.beat_ns = shop.clock.monotonic_ns()
    shop.loop.start()
    await shop.until(lambda: len(shop.meter.beats) >= 2)
    assert shop.codes == []
    shop.is_orphan = True
    await shop.until(lambda: shop.codes)
    assert set(shop.codes) == {4}


async def test_a_replaced_worker_decides_nothing_on_its_timer(make, shop):
    shop.loop.start()
    shop.is_fenced = True
    shop.clock.advance_ms(30_000)
    shop.hold(make.position(opened_ms=shop.clock.wall_ms() - 20_000))
    shop.feed.news = {1: make.view(make.home_book(-100.0))}
    beats = len(shop.meter.beats)
    await shop.until(lambda: len(shop.meter.beats) > beats + 1)
    assert shop.desk.acts == []


class TestSilentSupervisor:
    """Its process lives, and its beat stands still: nothing is decided until it is back."""

    async def beats(self, shop, count=3):
        before = len(shop.meter.beats)
        await shop.until(lambda: len(shop.meter.beats) >= before + count)

    async def silence(self, shop):
        shop.books.beat_ns = shop.clock.monotonic_ns()
        shop.loop.start()
        await self.beats(shop, 1)
        shop.clock.advance_ms(1000.001)
        await self.beats(shop)

    async def be_back(self, shop):
        for number in range(2):
            shop.clock.advance_ms(501)
            shop.books.beat_ns = shop.clock.monotonic_ns()
            if not number:
                shop.books.back_ns = shop.books.beat_ns
            await self.beats(shop)

    async def test_it_does_not_end_for_it(self, shop):
        await self.silence(shop)
        shop.clock.advance_ms(3_600_000)
        await self.beats(shop)
        assert shop.codes == []

    async def test_one_that_never_beat_is_not_silent(self, shop):
        shop.clock.advance_ms(100_000)
        shop.loop.start()
        await self.beats(shop)
        assert shop.desk.funded > 0

    @pytest.mark.parametrize(("back_ms", "is_entered"), [(499, False), (500, True), (None, True)])
    async def test_one_that_begins_right_after_a_silence_waits_too(self, make, shop, back_ms, is_entered):
        """The frames waited while the supervisor was silent, and look new."""
        shop.books.beat_ns = shop.clock.monotonic_ns()
        shop.books.back_ns = shop.books.beat_ns - back_ms * 1_000_000 if back_ms is not None else 0
        shop.feed.news[1] = make.view(make.home_book(-100.0))
        shop.loop.start()  # decides before the first turn of the timer
        assert bool(shop.desk.acts) is is_entered
        assert (Refusal.SUPERVISOR_SILENT in shop.meter.doubts) is not is_entered

    async def test_nothing_is_entered_on_frames_that_waited(self, make, shop):
        await self.silence(shop)
        shop.feed.news = {1: make.view(make.home_book(-100.0)), 2: make.view(make.away_book())}
        shop.waiter.ring()
        await self.beats(shop)
        assert shop.desk.acts == []
        assert Refusal.SUPERVISOR_SILENT in shop.meter.doubts

    @pytest.mark.parametrize("is_back", [False, True])
    async def test_nothing_is_entered_on_frames_that_waited_before_the_timer_looks(self, make, shop, is_back):
        shop.books.beat_ns = shop.clock.monotonic_ns()
        shop.loop.start()
        shop.loop._timer.cancel()
        shop.clock.advance_ms(1000.001)
        now_ns = shop.clock.monotonic_ns()
        if is_back:
            shop.books.beat_ns = shop.books.back_ns = now_ns
        shop.feed.news = {
            0: make.view(make.fx_book(received_ns=now_ns)),
            1: make.view(make.home_book(-100.0, received_ns=now_ns)),
            2: make.view(make.away_book(received_ns=now_ns)),
        }
        shop.waiter.ring()
        await shop.until(lambda: shop.meter.doubts or shop.desk.acts)
        assert shop.desk.acts == []
        assert Refusal.SUPERVISOR_SILENT in shop.meter.doubts

    async def test_no_call_is_followed_before_the_timer_looks(self, shop):
        shop.books.beat_ns = shop.clock.monotonic_ns()
        shop.loop.start()
        shop.loop._timer.cancel()
        shop.clock.advance_ms(1000.001)
        shop.books.phase, shop.books.calls = Phase.DRAINING_KEEP, 1
        shop.waiter.ring()
        await shop.until(lambda: shop.orders.looks)
        assert WorkerState.DRAINED not in shop.meter.states

    async def test_nothing_is_closed_not_even_by_order(self, make, shop):
        shop.hold(make.position())
        await self.silence(shop)
        shop.orders.closing = {"BTC": "manual"}
        shop.books.phase = Phase.DRAINING
        await self.beats(shop)
        assert (shop.desk.acts, shop.codes) == ([], [])
        await self.be_back(shop)
        await shop.until(lambda: shop.desk.acts)
        assert isinstance(shop.desk.acts[0], Exit)

    async def test_trading_goes_on_when_it_is_back(self, make, shop):
        await self.silence(shop)
        await self.be_back(shop)
        now_ns = shop.clock.monotonic_ns()
        shop.feed.news = {
            0: make.view(make.fx_book(received_ns=now_ns)),
            1: make.view(make.home_book(-100.0, received_ns=now_ns)),
            2: make.view(make.away_book(received_ns=now_ns)),
        }
        shop.waiter.ring()
        await shop.until(lambda: shop.desk.acts)
        assert isinstance(shop.desk.acts[0], Entry)


async def test_after_close_nothing_is_looked_at_or_traded(make, shop):
    """What it reads from is unmapped next; a turn of the loop that was already planned must do nothing."""
    shop.waiter.may_sleep = False
    shop.loop.start()
    shop.loop.close()
    asked, beats = shop.feed.asked, len(shop.meter.beats)
    shop.feed.news = {1: make.view(make.home_book(-100.0))}
    shop.waiter.ring()
    await asyncio.sleep(0.06)
    assert shop.feed.asked == asked
    assert len(shop.meter.beats) == beats
    assert shop.desk.acts == []


class TestOrders:
    """What risk wants beside trading."""

    async def until_beats(self, shop, count=2):
        beats = len(shop.meter.beats)
        await shop.until(lambda: len(shop.meter.beats) >= beats + count)

    async def test_looks_with_every_timer(self, shop):
        shop.loop.start()
        await self.until_beats(shop)
        assert len(shop.orders.looks) == len(shop.meter.beats)

    async def test_halted_enters_nothing_and_resumed_does(self, make, shop):
        shop.loop.start()
        shop.orders.halted = True
        await self.until_beats(shop)
        assert not shop.engine.entering
        shop.feed.news = {1: make.view(make.home_book(-100.0))}
        shop.waiter.ring()
        await shop.until(lambda: not shop.feed.news)
        assert shop.desk.acts == []
        shop.orders.halted = False
        await self.until_beats(shop)
        assert shop.engine.entering

    async def test_halted_keeps_what_is_open_and_closes_it_by_the_rules(self, make, shop):
        shop.loop.start()
        shop.orders.halted = True
        shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
        await self.until_beats(shop)
        assert shop.desk.acts == []
        shop.hold(make.position(opened_ms=shop.clock.wall_ms() - 20_000))
        await shop.until(lambda: shop.desk.acts)
        assert shop.desk.acts[0].reason == "max_hold"

    async def test_stopped_keeps_what_is_open_and_closes_it_by_order_alone(self, make, shop):
        shop.loop.start()
        shop.orders.halted = shop.orders.stopped = True
        shop.hold(make.position(opened_ms=shop.clock.wall_ms() - 20_000))
        await self.until_beats(shop)
        assert shop.desk.acts == []
        shop.orders.closing = {"BTC": "manual"}
        shop.clock.advance_ms(1000)
        await shop.until(lambda: shop.desk.acts)
        assert shop.desk.acts[0].reason == "manual"

    async def test_closes_what_it_is_told_to_for_the_reason_given(self, make, shop):
        shop.loop.start()
        shop.clock.advance_ms(1000)
        shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
        shop.orders.closing = {"ELSEWHERE": "manual", "BTC": "kill_switch"}
        await shop.until(lambda: shop.desk.acts)
        (trade,) = shop.desk.acts
        assert isinstance(trade, Exit)
        assert trade.reason == "kill_switch"

    async def test_tries_again_after_a_pause_until_it_is_flat(self, make, shop):
        shop.loop.start()
        shop.clock.advance_ms(1000)
        shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
        shop.orders.closing = {"BTC": "manual"}
        await shop.until(lambda: shop.desk.acts)
        shop.state.busy = False  # refused
        await self.until_beats(shop)
        assert len(shop.desk.acts) == 1
        shop.clock.advance_ms(200)
        await shop.until(lambda: len(shop.desk.acts) >= 2)
        shop.state.busy = False
        shop.hold()
        shop.clock.advance_ms(200)
        await self.until_beats(shop)
        assert len(shop.desk.acts) == 2

    async def test_a_pair_being_closed_enters_nothing(self, make, shop):
        shop.loop.start()
        shop.orders.closing = {"BTC": "manual"}
        shop.feed.news = {1: make.view(make.home_book(-100.0))}
        shop.waiter.ring()
        await shop.until(lambda: not shop.feed.news)
        assert shop.desk.acts == []
        shop.orders.closing = {}
        shop.feed.news = {1: make.view(make.home_book(-100.0))}
        shop.waiter.ring()
        await shop.until(lambda: shop.desk.acts)
        assert isinstance(shop.desk.acts[0], Entry)

    async def test_a_pair_set_apart_enters_nothing(self, make, shop):
        shop.loop.start()
        shop.orders.apart = frozenset({"BTC"})
        shop.feed.news = {1: make.view(make.home_book(-100.0))}
        shop.waiter.ring()
        await shop.until(lambda: not shop.feed.news)
        assert shop.desk.acts == []
        shop.orders.apart = frozenset({"ELSEWHERE"})
        shop.feed.news = {1: make.view(make.home_book(-100.0))}
        shop.waiter.ring()
        await shop.until(lambda: shop.desk.acts)
        assert isinstance(shop.desk.acts[0], Entry)

    async def test_draining_keeps_the_reason_of_an_order(self, make, shop):
        shop.loop.start()
        shop.clock.advance_ms(1000)
        shop.hold(make.position(opened_ms=shop.clock.wall_ms()))
        shop.desk.open_positions = 1
        shop.orders.closing = {"BTC": "kill_switch"}
        shop.books.phase = Phase.DRAINING
        await shop.until(lambda: shop.desk.acts)
        assert shop.desk.acts[0].reason == "kill_switch"


class Membership:
    """Which pairs leave, and whether all is as it should be, as the test says."""

    def __init__(self):
        self.leaving = frozenset()
        self.is_settled = True
        self.looks = 0

    def poll(self, now_ns):
        self.looks += 1


class TestMembership:
    @pytest.fixture
    def pairs(self, shop):
        shop.loop._membership = Membership()
        return shop.loop._membership

    async def test_is_looked_at_on_the_timer(self, shop, pairs):
        shop.loop.start()
        await shop.until(lambda: pairs.looks >= 2)
        assert shop.desk.acts == []  # that nothing rang is no reason to trade

    async def test_nothing_is_entered_of_a_pair_that_leaves(self, make, shop, pairs):
        pairs.leaving = frozenset({"BTC"})
        shop.loop.start()
        shop.feed.news = {1: make.view(make.home_book(-100.0))}
        shop.waiter.ring()
        await shop.until(lambda: not shop.feed.news and shop.waiter.parked)
        assert shop.desk.acts == []

    async def test_what_it_holds_is_closed(self, make, shop, pairs):
        shop.hold(make.position())
        shop.loop.start()
        await shop.until(lambda: pairs.looks >= 2)
        assert shop.desk.acts == []
        shop.clock.advance_ms(250)
        pairs.leaving = frozenset({"BTC"})
        await shop.until(lambda: shop.desk.acts)
        (trade,) = shop.desk.acts
        assert isinstance(trade, Exit)
        assert trade.reason == "manual"

    async def test_it_does_not_end_while_pairs_are_on_their_way(self, shop, pairs):
        pairs.is_settled = False
        shop.loop.start()
        shop.books.phase = Phase.DRAINING
        await shop.until(lambda: pairs.looks >= 3)
        assert shop.codes == []
        pairs.is_settled = True
        await shop.until(lambda: shop.codes)
        assert shop.codes == [0]
