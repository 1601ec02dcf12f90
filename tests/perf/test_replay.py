import json
from itertools import pairwise

import pytest

from perf.frames import IDS_PER_EVENT, FrameMaker
from perf.replay import Replay, ReplayHub
from perf.schedule import GRID_NS, LATE_NS, Schedule

START_NS = 1_000_000_000


class Client:
    """A subscriber that keeps what it is sent."""

    def __init__(self):
        self.writes = []

    def send(self, frame):
        self.writes.append(frame.wire(0))

    @property
    def payloads(self):
        found = []
        for left in self.writes:
            wire = left
            while wire:
                length = int.from_bytes(wire[2:4], "big")
                found.append(json.loads(wire[4 : 4 + length]))
                wire = wire[4 + length :]
        return found


@pytest.fixture
def replay(prepared):
    """7 markets, 35,000 messages a second: each market once in a grid point of 200 us."""
    return Replay(prepared.places, FrameMaker(prepared.by_name, 1), Schedule(START_NS, 35_000))


def test_a_subscriber_gets_its_market_once_a_round(prepared, replay):
    client = Client()
    ReplayHub("upbit", replay, binary=True).change(client, (), (prepared.upbit(),))
    for point in range(1, 6):
        replay.turn(START_NS + point * GRID_NS)
    assert [payload["cd"] for payload in client.payloads] == ["KRW-BTC"] * 5
    assert replay.sent == 5


def test_what_is_due_in_a_turn_leaves_in_one_write(prepared, replay):
    client = Client()
    streams = tuple(prepared.upbit(f"KRW-{base}") for base in ("BTC", "ETH", "USDT"))
    ReplayHub("upbit", replay, binary=True).change(client, (), streams)
    replay.turn(START_NS + GRID_NS)
    assert len(client.writes) == 1
    assert {payload["cd"] for payload in client.payloads} == {"KRW-BTC", "KRW-ETH", "KRW-USDT"}


def test_frames_carry_the_time_at_which_they_were_due_not_when_they_left(prepared, replay):
    client = Client()
    ReplayHub("upbit", replay, binary=True).change(client, (), (prepared.upbit(),))
    replay.turn(START_NS + 3 * GRID_NS + LATE_NS)
    stamps = [payload["obu"][0]["bs"] - 10**14 for payload in client.payloads]
    assert stamps[:3] == [(START_NS + n * GRID_NS) // 1000 for n in (1, 2, 3)]


def test_late_messages_are_counted(prepared, replay):
    ReplayHub("upbit", replay, binary=True).change(Client(), (), (prepared.upbit(),))
    replay.turn(START_NS + GRID_NS)
    assert replay.late == 0
    replay.turn(START_NS + 2 * GRID_NS + LATE_NS + 1)
    assert replay.late == 1


def test_nobody_is_sent_anything_after_leaving(prepared, replay):
    client, other = Client(), Client()
    hub = ReplayHub("upbit", replay, binary=True)
    hub.change(client, (), (prepared.upbit(),))
    hub.change(other, (), (prepared.upbit(),))
    hub.change(client, (prepared.upbit(),), ())
    replay.turn(START_NS + GRID_NS)
    assert client.writes == []
    assert len(other.payloads) == 1


def test_diff_ids_have_no_gap_whoever_came_when(prepared, replay):
    early, late = Client(), Client()
    hub = ReplayHub("binance", replay, binary=False)
    hub.change(early, (), (prepared.diff(),))
    for point in range(1, 4):
        replay.turn(START_NS + point * GRID_NS)
    snapshot = replay.last_id("BTCUSDT")
    hub.change(late, (), (prepared.diff(), prepared.diff("ETHUSDT")))
    for point in range(4, 8):
        replay.turn(START_NS + point * GRID_NS)
    events = [payload for payload in early.payloads if payload["s"] == "BTCUSDT"]
    assert len(events) == 7
    for before, after in pairwise(events):
        assert after["U"] == before["u"] + 1
        assert after["u"] - after["U"] + 1 == IDS_PER_EVENT
    first = next(payload for payload in late.payloads if payload["s"] == "BTCUSDT")
    assert first["U"] == snapshot + 1
    assert replay.last_id("BTCUSDT") == events[-1]["u"]


def test_markets_of_one_connection_leave_together(prepared, replay):
    """Seven markets over two connections, a grid point for three and a half: mostly one write each."""
    one, two = Client(), Client()
    slow = Replay(prepared.places, FrameMaker(prepared.by_name, 1), Schedule(START_NS, 15_000))
    hub = ReplayHub("binance", slow, binary=False)
    hub.change(one, (), tuple(prepared.depth(f"{base}USDT") for base in ("BTC", "ETH", "XRP")))
    ReplayHub("upbit", slow, binary=True).change(two, (), (prepared.upbit("KRW-ETH"), prepared.upbit()))
    for point in range(1, 8):
        slow.turn(START_NS + point * GRID_NS)
    assert len(one.payloads) == 9
    assert len(one.writes) < 9
