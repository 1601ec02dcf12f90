"""The way of a frame: to its slot first, then to the shards that own it, and to nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import FrameError
from arbshard.model.universe import Universe
from arbshard.venues.base.market import ControlFrame, FrameKind
from supervisor.feeds.fanout import VenueFanout, targets_of


class Venue:
    """Frames are ``SYMBOL:content``; without a colon they are no books."""

    def route(self, frame):
        symbol, colon, _ = frame.decode().partition(":")
        return symbol if colon else None

    def classify(self, frame):
        return ControlFrame(FrameKind.STATUS, frame.decode())

    def sequence_number(self, frame):
        """The number behind ``#``."""
        _, _, number = frame.partition(b"#")
        return int(number) if number else None


class Books:
    def __init__(self, calls):
        self.calls = calls
        self.sequences = {}
        self.frames = {}

    def write(self, slot, frame, received_ns):
        if frame.endswith(b"huge"):
            raise FrameError("oversize")
        self.sequences[slot] = self.sequences.get(slot, 0) + 2
        self.frames[slot] = frame
        self.calls.append(("write", slot, frame, received_ns))

    def set_live(self, slot, live):
        self.sequences[slot] = self.sequences.get(slot, 0) + 2
        self.calls.append(("live", slot, live))

    def sequence(self, slot):
        return self.sequences.get(slot, 0)


class Notifier:
    def __init__(self, calls, shard):
        self.calls, self.shard = calls, shard

    def push(self, slot):
        self.calls.append(("push", self.shard, slot))


@pytest.fixture
def calls():
    return []


@pytest.fixture
def control():
    return []


@pytest.fixture
def fanout(calls, control):
    targets = {"KRW-BTC": (1, (0,)), "KRW-ETH": (3, (1,)), "KRW-USDT": (0, (0, 1))}
    notifiers = [Notifier(calls, 0), Notifier(calls, 1)]
    books = Books(calls)
    return VenueFanout(Venue(), targets, books, notifiers, control.append, books.frames.get)


@pytest.fixture
def lit(fanout, calls):
    """All markets have had a frame."""
    for symbol in ("KRW-BTC", "KRW-ETH", "KRW-USDT"):
        fanout(f"{symbol}:first".encode(), 1)
    calls.clear()
    return fanout


def test_frame_goes_to_its_slot_and_then_to_its_shard(lit, calls):
    lit(b"KRW-ETH:book", 77)
    assert calls == [("write", 3, b"KRW-ETH:book", 77), ("push", 1, 3)]


def test_fx_goes_to_every_shard(lit, calls):
    lit(b"KRW-USDT:book", 77)
    assert calls == [("write", 0, b"KRW-USDT:book", 77), ("push", 0, 0), ("push", 1, 0)]


def test_first_frame_lights_the_slot_once(fanout, calls):
    fanout(b"KRW-BTC:a", 1)
    fanout(b"KRW-BTC:b", 2)
    assert [call for call in calls if call[0] == "live"] == [("live", 1, True)]
    # The shard is told only when all is in place.
    assert [call[0] for call in calls].index("push") == 2


def test_an_observer_is_notified_after_the_shards_and_no_more_once_it_is_taken_away(lit, calls):
    before = dict(lit.targets)
    lit.observe("KRW-BTC", lambda slot: calls.append(("observed", slot)))
    assert [lit.is_observed(symbol) for symbol in lit.symbols] == [True, False, False]
    lit(b"KRW-BTC:b", 2)
    lit(b"KRW-ETH:c", 3)
    lit.retarget("KRW-BTC", (1,))
    lit(b"KRW-BTC:d", 4)
    notified = [call for call in calls if call[0] != "write"]
    assert notified == [("push", 0, 1), ("observed", 1), ("push", 1, 3), ("push", 1, 1), ("observed", 1)]
    lit.retarget("KRW-BTC", (0,))
    lit.observe("KRW-BTC", None)
    assert lit.targets == before


def test_other_frames_are_classified(lit, calls, control):
    lit(b"UP", 1)
    assert control == [ControlFrame(FrameKind.STATUS, "UP")]
    assert calls == []
    assert lit.refused == 0


@pytest.mark.parametrize("frame", [b"KRW-DOGE:book", b"KRW-BTC:huge"])
def test_frame_no_slot_takes_is_counted(lit, calls, frame):
    lit(frame, 1)
    assert calls == []
    assert (lit.refused, lit.frames) == (1, 4)


def test_refused_frame_does_not_light_a_dark_slot(lit, calls):
    """The book in the slot is from before the connection was lost: it must not come back to life."""
    lit.mark_down(["KRW-BTC"])
    calls.clear()
    lit(b"KRW-BTC:huge", 1)
    assert calls == []
    lit(b"KRW-BTC:good", 2)
    assert ("live", 1, True) in calls


def test_lost_connection_darkens_its_markets_and_tells_the_shards(lit, calls):
    lit.mark_down(["KRW-BTC", "KRW-USDT"])
    assert calls == [
        ("live", 1, False), ("push", 0, 1), ("live", 0, False), ("push", 0, 0), ("push", 1, 0),
    ]  # fmt: skip
    calls.clear()
    lit(b"KRW-ETH:still there", 5)
    assert ("live", 3, True) not in calls
    lit(b"KRW-BTC:back", 6)
    assert ("live", 1, True) in calls


def test_targets_of_a_venue(make):
    eth = make.other_pair()
    universe = Universe(make.fx_leg, (make.pair, eth), (("ETH",), ("BTC",), ()))
    assert targets_of(universe, "upbit") == {
        "KRW-BTC": (1, (1,)), "KRW-ETH": (3, (0,)), "KRW-USDT": (0, (0, 1, 2)),
    }  # fmt: skip
    assert targets_of(universe, "binance") == {"BTCUSDT": (2, (1,)), "ETHUSDT": (4, (0,))}


def test_a_pair_on_its_way_goes_to_no_shard(make):
    universe = Universe(make.fx_leg, (make.pair,), ((), ()))
    assert targets_of(universe, "upbit") == {"KRW-BTC": (1, ()), "KRW-USDT": (0, (0, 1))}


def writes(calls):
    return [call[2] for call in calls if call[0] == "write"]


def lives(calls):
    return [call[1:] for call in calls if call[0] == "live"]


@pytest.fixture
def pair(lit, calls):
    """Two lanes of BTC; the first has brought a frame."""
    lanes = lit.lane(lambda _: None), lit.lane(lambda _: None)
    lanes[0].attach(["KRW-BTC"])
    lanes[0](b"KRW-BTC:a#10", 1)
    lanes[1].attach(["KRW-BTC"])
    calls.clear()
    return lanes


def test_of_two_lanes_the_first_frame_wins(lit, pair, calls):
    a, b = pair
    b(b"KRW-BTC:old#9", 2)
    b(b"KRW-BTC:same#10", 3)  # as the first has brought it, before there were two
    b(b"KRW-BTC:b#11", 4)
    a(b"KRW-BTC:b#11", 5)
    a(b"KRW-BTC:c#12", 6)
    assert writes(calls) == [b"KRW-BTC:b#11", b"KRW-BTC:c#12"]
    assert (lit.duplicates, lit.refused) == (3, 0)
    assert [lane.frames_received("KRW-BTC") for lane in pair] == [3, 3]


def test_of_two_lanes_a_frame_without_age_is_refused(lit, pair, calls):
    pair[0](b"KRW-BTC:when?", 2)
    assert writes(calls) == []
    assert lit.refused == 1


def test_one_of_two_lanes_goes_and_nothing_is_dark(lit, pair, calls):
    a, b = pair
    a.close()
    b(b"KRW-BTC:late#9", 2)  # behind what the other one had brought
    b(b"KRW-BTC:b#11", 3)
    b(b"KRW-BTC:without", 4)  # alone: nothing to compare
    assert writes(calls) == [b"KRW-BTC:b#11", b"KRW-BTC:without"]
    assert lives(calls) == []
    b.close()
    assert lives(calls) == [(1, False)]


def test_a_closed_lane_brings_nothing(lit, pair, calls):
    a, b = pair
    for lane in pair:
        lane.close()
    calls.clear()
    a(b"KRW-BTC:z#99", 2)
    b(b"KRW-ETH:z#99", 2)
    assert calls == []
    assert (lit.late, lit.refused) == (2, 0)


def test_frames_are_counted_on_past_the_end_of_their_lane(lit):
    before = lit.frames
    lane = lit.lane(lambda _: None)
    lane.attach(["KRW-BTC"])
    for number in range(3):
        lane(b"KRW-BTC:%d" % number, number)
    lane.close()
    lane.close()
    assert lit.frames == before + 3


def test_heard_counts_what_a_lane_has_brought_and_nothing_else(lit, calls):
    a, b = lit.lane(lambda _: None), lit.lane(lambda _: None)
    a.attach(["KRW-BTC"])
    assert a.frames_received("KRW-BTC") == 0
    a(b"KRW-BTC:x#1", 1)
    a(b"KRW-BTC:x#2", 1)
    b.attach(["KRW-BTC"])
    b(b"KRW-BTC:x#2", 1)
    a(b"KRW-BTC:x#3", 1)
    assert (a.frames_received("KRW-BTC"), b.frames_received("KRW-BTC")) == (3, 1)
    a.close()
    b(b"KRW-BTC:x#3", 1)
    assert b.frames_received("KRW-BTC") == 2
    b.mark_stale(["KRW-BTC"])
    b(b"KRW-BTC:x#4", 1)
    b(b"KRW-BTC:x#5", 1)
    assert 4 <= b.frames_received("KRW-BTC") <= 5


def test_what_falters_is_dark_unless_another_brings_it(lit, pair, calls):
    a, b = pair
    a.mark_stale(["KRW-BTC"])
    assert lives(calls) == []
    b.close()
    a.mark_stale(["KRW-BTC"])
    a.mark_stale(["KRW-BTC"])
    assert lives(calls) == [(1, False)]
    a(b"KRW-BTC:c#12", 6)
    assert lives(calls) == [(1, False), (1, True)]


def test_a_market_comes_and_goes(lit, calls):
    lit.remove(["KRW-ETH"])
    assert lives(calls) == [(3, False)]
    lit(b"KRW-ETH:still", 1)
    assert writes(calls) == []
    assert (lit.late, lit.refused) == (1, 0)
    lit.add({"KRW-SOL": (3, (0,)), "KRW-ETH": (5, (1,))})
    calls.clear()
    lit(b"KRW-SOL:first", 2)
    assert calls == [("write", 3, b"KRW-SOL:first", 2), ("live", 3, True), ("push", 0, 3)]
    lit(b"KRW-ETH:again", 3)
    assert ("write", 5, b"KRW-ETH:again", 3) in calls


def test_another_shard_from_the_next_frame_on(lit, calls):
    lit.retarget("KRW-ETH", ())
    lit(b"KRW-ETH:nobody", 1)
    lit.retarget("KRW-ETH", (0,))
    lit(b"KRW-ETH:first", 2)
    assert calls == [
        ("write", 3, b"KRW-ETH:nobody", 1), ("write", 3, b"KRW-ETH:first", 2), ("push", 0, 3),
    ]  # fmt: skip


def test_another_shard_while_two_lanes_bring_it(lit, pair, calls):
    lit.retarget("KRW-BTC", (1,))
    pair[1](b"KRW-BTC:b#11", 4)
    assert ("push", 1, 1) in calls
    assert ("push", 0, 1) not in calls


def test_taken_out_while_two_lanes_bring_it(lit, pair, calls):
    lit.remove(["KRW-BTC"])
    for lane in pair:
        lane(b"KRW-BTC:b#11", 4)
        lane.close()
    assert writes(calls) == []
    assert lit.late == 2


@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "end", "frame"]), st.integers(0, 2), st.integers(0, 4)),
        max_size=80,
    )
)
def test_whatever_lanes_come_and_go_no_book_goes_back(script):
    """Each lane is as far behind the truth as it likes, but goes forward; live is whatever has a lane that spoke."""
    calls = []
    books = Books(calls)
    fanout = VenueFanout(Venue(), {"X": (0, ())}, books, [], lambda _: None, books.frames.get)
    lanes, said = {}, {}
    newest, spoken, live = -1, set(), False
    for truth, (what, number, lag) in enumerate(script, start=1):
        if what == "begin" and number not in lanes:
            lanes[number] = fanout.lane(lambda _: None)
            lanes[number].attach(["X"])
        elif what == "end" and number in lanes:
            lanes.pop(number).close()
            said.pop(number, None)
            spoken.discard(number)
        elif what == "frame" and number in lanes:
            mark = said[number] = max(said.get(number, 0), truth - lag)
            before = lanes[number].frames_received("X")
            calls.clear()
            lanes[number](b"X:#%d" % mark, truth)
            assert lanes[number].frames_received("X") > before
            spoken.add(number)
            for frame in writes(calls):
                written = int(frame.partition(b"#")[2])
                assert written >= newest or not live
                newest, live = written, True
        if not lanes:
            newest, live = -1, False
        assert live is (0 not in fanout.down)
        assert not spoken or live
