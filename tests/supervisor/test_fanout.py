"""The way of a frame: to its slot first, then to the shards that own it, and to nobody else."""

import pytest

from arbshard.errors import FrameError
from arbshard.model.universe import Universe
from arbshard.venues.base import ControlFrame, FrameKind
from supervisor.fanout import VenueFanout, targets_of


class Venue:
    """Frames are ``SYMBOL:content``; without a colon they are no books."""

    def route(self, frame):
        symbol, colon, _ = frame.decode().partition(":")
        return symbol if colon else None

    def classify(self, frame):
        return ControlFrame(FrameKind.STATUS, frame.decode())


class Books:
    def __init__(self, calls):
        self.calls = calls

    def write(self, slot, frame, received_ns):
        if frame.endswith(b"huge"):
            raise FrameError("oversize")
        self.calls.append(("write", slot, frame, received_ns))

    def set_live(self, slot, live):
        self.calls.append(("live", slot, live))


class Notifier:
    def __init__(self, calls, shard):
        self.calls, self.shard = calls, shard

    def push(self, slot):
        self.calls.append(("push", self.shard, slot))


class Bus:
    def __init__(self, calls):
        self.calls = calls
        self.topics = set()

    def wanted(self, topic):
        return topic in self.topics

    def publish(self, topic, payload):
        self.calls.append(("publish", topic, payload))


@pytest.fixture
def calls():
    return []


@pytest.fixture
def bus(calls):
    return Bus(calls)


@pytest.fixture
def control():
    return []


@pytest.fixture
def fanout(calls, bus, control):
    targets = {"KRW-BTC": (1, (0,)), "KRW-ETH": (3, (1,)), "KRW-USDT": (0, (0, 1))}
    notifiers = [Notifier(calls, 0), Notifier(calls, 1)]
    return VenueFanout(Venue(), targets, Books(calls), notifiers, bus, control.append)


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


def test_published_only_if_somebody_listens(lit, bus, calls):
    lit(b"KRW-BTC:a", 1)
    assert "publish" not in [call[0] for call in calls]
    bus.topics = {b"book.0."}
    lit(b"KRW-BTC:b", 2)
    lit(b"KRW-ETH:c", 3)
    published = [call for call in calls if call[0] == "publish"]
    assert published == [("publish", b"book.0.", ((1).to_bytes(4, "little"), b"KRW-BTC:b"))]


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
    lit.lose(["KRW-BTC"])
    calls.clear()
    lit(b"KRW-BTC:huge", 1)
    assert calls == []
    lit(b"KRW-BTC:good", 2)
    assert ("live", 1, True) in calls


def test_lost_connection_darkens_its_markets_and_tells_the_shards(lit, calls):
    lit.lose(["KRW-BTC", "KRW-USDT"])
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
