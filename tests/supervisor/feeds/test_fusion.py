"""Two streams of each market into one slot: what is written, and what the end of a connection changes."""

import pytest

from arbshard.venues.base.market import FrameKind
from arbshard.venues.registry import get_adapter, get_venue
from supervisor.feeds.fanout import VenueFanout
from supervisor.feeds.fusion import FusedBooks

BINANCE = get_venue("binance")
MS = 1_000_000


def depth(number, bid="10.0", ask="12.0", symbol="ausdt"):
    body = f'{{"lastUpdateId":{number},"bids":[["{bid}","1.0"]],"asks":[["{ask}","1.0"]]}}'
    return f'{{"stream":"{symbol}@depth20@100ms","data":{body}}}'.encode()


def touch(number, bid="10.5", ask="11.5", symbol="ausdt"):
    body = f'{{"u":{number},"s":"{symbol.upper()}","b":"{bid}","B":"2.0","a":"{ask}","A":"2.0"}}'
    return f'{{"stream":"{symbol}@bookTicker","data":{body}}}'.encode()


class Slots:
    def __init__(self):
        self.frames = {}
        self.sequences = {}
        self.live = {}

    def write(self, slot, frame, received_ns):
        self.frames[slot] = frame
        self.sequences[slot] = self.sequence(slot) + 2

    def set_live(self, slot, live):
        self.live[slot] = live
        self.sequences[slot] = self.sequence(slot) + 2

    def sequence(self, slot):
        return self.sequences.get(slot, 0)


class Notifier:
    def __init__(self):
        self.pushed = []

    def push(self, slot):
        self.pushed.append(slot)


class Bench:
    def __init__(self):
        self.slots = Slots()
        self.notifier = Notifier()
        self.controls = []
        targets = {"AUSDT": (1, (0,)), "BUSDT": (2, (0,))}
        self.fanout = VenueFanout(
            BINANCE, targets, self.slots, [self.notifier], self.controls.append, self.slots.frames.get
        )
        self.books = FusedBooks(get_adapter("binance").fused, self.fanout)

    def lane(self):
        lane = self.books.lane(self.controls.append)
        lane.attach(["AUSDT", "BUSDT"])
        return lane

    def top(self, slot=1):
        book = BINANCE.decode(self.slots.frames[slot], 1)
        return book.best_bid, book.best_ask


@pytest.fixture
def bench():
    return Bench()


def test_levels_and_touches_go_into_one_slot_and_each_is_notified(bench):
    lane = bench.lane()
    lane(depth(5), 1)
    assert bench.top() == (10.0, 12.0)
    lane(touch(6), 2)
    assert bench.top() == (10.5, 11.5)
    assert bench.notifier.pushed == [1, 1]
    assert (lane.frames, lane.frames_received("AUSDT"), lane.frames_received("BUSDT")) == (2, 2, 0)
    assert bench.fanout.refused == 0


def test_an_old_touch_wakes_nobody(bench):
    lane = bench.lane()
    lane(depth(5), 1)
    lane(touch(5), 2)
    assert bench.notifier.pushed == [1]
    assert (lane.frames, bench.books.counts.unused) == (1, 1)


def test_a_market_is_not_live_by_touches_alone(bench):
    lane = bench.lane()
    lane(touch(6), 1)
    assert bench.fanout.is_down("AUSDT")
    assert (lane.frames, lane.frames_received("AUSDT")) == (0, 0)
    lane(depth(5), 2)
    assert not bench.fanout.is_down("AUSDT")
    assert bench.top() == (10.5, 11.5)


def test_a_stream_of_levels_that_has_stopped_leaves_the_slot_as_it_is(bench):
    lane = bench.lane()
    lane(depth(5), 0)
    for number in range(6, 60):
        lane(touch(number, bid=f"10.{number}"), number * 100 * MS)
    # From 600 ms on it counted as behind, and 500 ms later the last touch was used.
    assert bench.top() == (10.11, 11.5)
    assert bench.slots.sequence(1) == bench.slots.sequences[1]
    assert lane.frames_received("AUSDT") == 7
    assert bench.books.counts.overdue == 48


def test_answers_of_the_venue_are_classified(bench):
    lane = bench.lane()
    lane(b'{"result":null,"id":1}', 1)
    lane(b"garbage", 1)
    assert [one.kind for one in bench.controls] == [FrameKind.ACK, FrameKind.GARBAGE]


def test_a_new_connection_begins_without_what_the_old_one_knew(bench):
    old = bench.lane()
    old(depth(5), 1)
    old(touch(9), 2)
    old.close()
    assert bench.fanout.is_down("AUSDT")
    new = bench.lane()
    new(depth(7), 3)
    assert bench.top() == (10.0, 12.0)


def test_a_market_asked_for_again_begins_without_what_was_known(bench):
    lane = bench.lane()
    lane(depth(5), 1)
    lane.detach(["AUSDT"])
    lane.attach(["AUSDT"])
    lane(touch(9), 2)
    assert bench.fanout.is_down("AUSDT")
    lane(depth(6), 3)
    assert bench.top() == (10.5, 11.5)


def test_of_two_connections_the_newest_touch_or_depth_wins(bench):
    first, second = bench.lane(), bench.lane()
    first(depth(5), 1)
    second(depth(5), 2)
    first(touch(8), 3)
    second(touch(7, bid="10.25"), 4)
    assert bench.top() == (10.5, 11.5)
    second(depth(9, bid="10.75"), 5)
    assert bench.top() == (10.75, 12.0)
    first(depth(8), 6)
    assert bench.top() == (10.75, 12.0)
    assert bench.fanout.duplicates == 3


def test_the_loss_of_one_of_two_connections_leaves_the_other_whole(bench):
    first, second = bench.lane(), bench.lane()
    for lane in (first, second):
        lane(depth(5), 1)
    first(touch(8), 2)
    first.close()
    assert not bench.fanout.is_down("AUSDT")
    second(touch(8, bid="10.25"), 3)  # what was in the slot is as new
    assert bench.top() == (10.5, 11.5)
    second(touch(9, bid="10.25"), 4)
    assert bench.top() == (10.25, 11.5)
