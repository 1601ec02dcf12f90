"""``risk.position_marker``: what is open is valued once a second, and a lost venue leaves the last mark."""

import json
from decimal import Decimal

import pytest

from arbshard.risk.position_marker import PositionMarker
from support import world as w

S = 1_000_000_000
NOW_MS = w.NOW_MS
BASES = tuple(f"C{number:02}" for number in range(25))


def upbit(symbol: str, price: float) -> bytes:
    unit = {"ap": price, "bp": price - 0.01, "as": 1e6, "bs": 1e6}
    return json.dumps({"ty": "orderbook", "cd": symbol, "tms": 1, "obu": [unit], "st": "REALTIME"}).encode()


def binance(symbol: str, price: float) -> bytes:
    data = {"lastUpdateId": 1, "bids": [[f"{price:.8f}", "1e6"]], "asks": [[f"{price + 0.01:.8f}", "1e6"]]}
    data = {**data, "bids": [[f"{price:.8f}", "1000000"]], "asks": [[f"{price + 0.01:.8f}", "1000000"]]}
    return json.dumps({"stream": f"{symbol.lower()}@depth20@100ms", "data": data}).encode()


class Slots:
    """Frames as in shared memory."""

    def __init__(self, world) -> None:
        self.frames: dict[int, bytes] = {world.universe.fx.slot: upbit("KRW-USDT", 1400.0)}
        for pair in world.universe.pairs:
            self.frames[pair.home.slot] = upbit(pair.home.market.symbol, float(w.HOME_PRICE))
            self.frames[pair.away.slot] = binance(pair.away.market.symbol, float(w.AWAY_PRICE))
        self.received_ns: dict[int, int] = {}
        self.lost: set[int] = set()
        self.reads = 0

    def read(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        self.reads += 1
        frame = self.frames.get(slot)
        if frame is None:
            return None
        return 2, self.received_ns.get(slot, 0), slot not in self.lost, frame


@pytest.fixture
def world():
    made = w.World(BASES)
    for base in BASES[:12]:
        made.open_position(base)
    return made


@pytest.fixture
def slots(world):
    return Slots(world)


@pytest.fixture
def marker(world, slots):
    return PositionMarker(slots, world.universe, world.core.valuation)


def marks(world) -> dict:
    return {mark.pair: mark for mark in world.core.valuation.marks.values()}


def test_ten_at_a_tick_and_each_once_a_second(world, slots, marker) -> None:
    assert not marker.mark(S, NOW_MS)
    assert len(marks(world)) == 10
    assert marker.mark(S + S // 10, NOW_MS)
    assert len(marks(world)) == 12
    reads = slots.reads
    for tenth in range(2, 10):
        assert not marker.mark(S + tenth * S // 10, NOW_MS)
    assert slots.reads == reads
    assert not marker.mark(2 * S, NOW_MS)
    assert slots.reads > reads


def test_a_position_that_was_just_opened_does_not_wait(world, slots, marker) -> None:
    for tenth in range(3):
        marker.mark(S + tenth * S // 10, NOW_MS)
    world.open_position(BASES[20])
    marker.mark(S + 3 * S // 10, NOW_MS)
    assert BASES[20] in marks(world)


def test_new_positions_are_listed_in_the_order_in_which_they_were_opened(world) -> None:
    for base in BASES[30:20:-1]:
        world.open_position(base)
    not_valued = [pair for _, pair in world.core.valuation.not_valued()]
    assert not_valued == [*BASES[:12], *BASES[30:20:-1]]


def test_what_cannot_be_valued_costs_little_and_is_tried_again_each_second(world, slots, marker) -> None:
    slots.lost = set(slots.frames) - {world.universe.fx.slot}
    for tenth in range(30):
        marker.mark(S + tenth * S // 10, NOW_MS)
    assert marks(world) == {}
    assert slots.reads <= 3 * (12 * 2 + 2)
    slots.lost = set()
    for tenth in range(30, 50):
        marker.mark(S + tenth * S // 10, NOW_MS)
    assert len(marks(world)) == 12


def test_a_lost_venue_leaves_the_last_mark_and_its_age(world, slots, marker) -> None:
    pair = world.pairs[BASES[0]]
    slots.received_ns = {pair.home.slot: S, pair.away.slot: S // 2}
    marker.mark(S, NOW_MS)
    first = marks(world)[BASES[0]]
    assert first.books_ms == NOW_MS - 500  # of the older book
    slots.frames[pair.home.slot] = upbit(pair.home.market.symbol, 2e6)
    slots.lost = {pair.away.slot}
    for second in (2, 3, 4):
        for tenth in range(3):
            marker.mark(second * S + tenth * S // 10, NOW_MS + second * 1000)
    assert marks(world)[BASES[0]] == first
    slots.lost = set()
    for tenth in range(3):
        marker.mark(5 * S + tenth * S // 10, NOW_MS + 5000)
    later = marks(world)[BASES[0]]
    assert later.newest < first.newest - Decimal(400_000)
    assert later.newest_ms > first.newest_ms
    assert (later.pnl, later.books_ms) == (first.newest, first.newest_ms)  # what the books of before said
    for tenth in range(3):
        marker.mark(6 * S + tenth * S // 10, NOW_MS + 6000)
    last = marks(world)[BASES[0]]
    assert (last.pnl, last.books_ms) == (last.newest, last.newest_ms)


def test_a_bad_frame_is_counted_and_values_nothing(world, slots, marker) -> None:
    slots.frames[world.pairs[BASES[0]].home.slot] = b"cut"
    for tenth in range(3):
        marker.mark(S + tenth * S // 10, NOW_MS)
    assert BASES[0] not in marks(world)
    assert len(marks(world)) == 11
    assert marker.bad_frames == 1


def test_without_a_rate_nothing_is_valued(world, slots, marker) -> None:
    slots.lost = {world.universe.fx.slot}
    for tenth in range(20):
        assert not marker.mark(S + tenth * S // 10, NOW_MS)
    assert marks(world) == {}


def test_pairs_that_are_not_traded_keep_what_is_known(world, slots, marker) -> None:
    marker.set_universe(w.make_universe(*BASES[1:]))
    for tenth in range(3):
        marker.mark(S + tenth * S // 10, NOW_MS)
    assert BASES[0] not in marks(world)
