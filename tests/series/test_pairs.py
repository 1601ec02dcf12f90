"""Gaps, edges and the first stages of the funnel, against the engine's own reading of the same books."""

import json

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.engine.edge import terms_of, top_edge_bps
from arbshard.engine.engine import ArbitrageEngine, Entry
from arbshard.engine.quality import View
from arbshard.model.universe import Universe
from arbshard.series.pairs import PairSampler
from arbshard.venues.registry import get_venue
from support.funds import Funds, give

S = 1_000_000_000
NOW = 100 * S
RATE = 1450.0


def upbit(code, bid, ask, size=1.0):
    units = [{"ap": ask * (1 + n / 1e4), "bp": bid * (1 - n / 1e4), "as": size, "bs": size} for n in range(5)]
    return json.dumps({"ty": "orderbook", "cd": code, "tms": 1, "obu": units, "st": "REALTIME"}).encode()


def binance(symbol, bid, ask, size=1.0):
    sides = {
        "bids": [[bid * (1 - n / 1e4), size] for n in range(5)],
        "asks": [[ask * (1 + n / 1e4), size] for n in range(5)],
    }
    levels = {side: [[f"{price:.6f}", f"{amount}"] for price, amount in rows] for side, rows in sides.items()}
    data = {"lastUpdateId": 1, **levels}
    return json.dumps({"stream": f"{symbol.lower()}@depth20@100ms", "data": data}).encode()


class Slots:
    """Frames by slot; each that is set has a new sequence."""

    def __init__(self):
        self.frames = {}
        self.reads = 0
        self.late_after = 0

    def set(self, slot, frame, at_ns=NOW, live=True):
        before = self.frames.get(slot, (0,))[0]
        self.frames[slot] = (before + 2, at_ns, live, frame)

    def sequence(self, slot):
        return self.frames.get(slot, (0,))[0]

    def late_after_ns(self, slot):
        return self.late_after

    def read(self, slot):
        self.reads += 1
        return self.frames.get(slot)


@pytest.fixture
def slots(make):
    """Home is 1 % cheaper than away."""
    slots = Slots()
    slots.set(0, upbit("KRW-USDT", RATE - 0.5, RATE + 0.5))
    slots.set(1, upbit("KRW-BTC", 99.0 * RATE, 99.02 * RATE))
    slots.set(2, binance("BTCUSDT", 100.0, 100.02))
    return slots


@pytest.fixture
def sampler(make, slots):
    return PairSampler(slots, Universe(make.fx_leg, (make.pair,), (("BTC",),)), Config())


def sample(sampler, now_ns=NOW, levels=None):
    return list(sampler.sample(now_ns, levels or {}))


def test_edges_are_those_of_the_engine(make, slots, sampler):
    (row,) = sample(sampler)
    buy_home, buy_away = terms_of(make.pair, "buy_home"), terms_of(make.pair, "buy_away")
    assert row["home_edge_bps"] == pytest.approx(
        top_edge_bps(99.02 * RATE, 100.0, buy_home, RATE - 0.5), abs=1e-3
    )
    assert row["away_edge_bps"] == pytest.approx(
        top_edge_bps(100.02, 99.0 * RATE, buy_away, RATE + 0.5), abs=1e-3
    )
    assert row["gap_bps"] == pytest.approx((99.01 / 100.01 - 1) * 1e4, abs=1e-3)
    assert 0 < row["depth_edge_bps"] < row["home_edge_bps"]
    assert (row["pair"], row["level_bps"], row["age_ms"]) == ("BTC", None, 0.0)


def test_what_is_deep_is_what_the_engine_would_enter(make, slots, sampler):
    sample(sampler)
    engine = ArbitrageEngine([make.pair], make.fx_leg, Config())
    state = engine.pairs["BTC"]
    give(engine, state, Funds(1e12, 1e9, 1e9, 1e9))
    for slot, leg in ((0, make.fx_leg), (1, make.home), (2, make.away)):
        book = get_venue(leg.market.venue).decode(slots.frames[slot][3], NOW)
        engine.observe(slot, View(book, live=True, bad=False))
    entry = engine.evaluate(state, NOW)
    assert isinstance(entry, Entry)
    counts = sampler.funnel["BTC"]
    assert (counts["sampled"], counts["gross"], counts["net"], counts["deep"], counts["sound"]) == (
        2,
        1,
        1,
        1,
        1,
    )
    assert counts["deep_bps"] == counts["sound_bps"] == entry.edge.net_bps
    assert counts["gross_bps"] > counts["net_bps"] > counts["deep_bps"]
    assert state.funnel.decided == 1
    assert state.funnel.decided_bps == entry.edge.net_bps


@pytest.mark.parametrize(
    ("home", "size", "reached"),
    [
        (100.00, 1.0, "sampled"),  # away is hardly dearer than home asks
        (99.95, 1.0, "gross"),
        (99.75, 1.0, "net"),
        (99.00, 1e-9, "net"),
        (99.00, 1.0, "sound"),
    ],
)
def test_how_far_an_edge_comes(slots, sampler, home, size, reached):
    slots.set(1, upbit("KRW-BTC", (home - 0.01) * RATE, home * RATE, size))
    sample(sampler)
    counts = sampler.funnel["BTC"]
    stages = ["gross", "net", "deep", "sound"]
    expected = stages.index(reached) + 1 if reached in stages else 0
    assert [counts[stage] for stage in stages] == [1] * expected + [0] * (4 - expected), counts


def test_an_edge_must_net_more_where_the_gap_stands_at_its_level(sampler):
    sample(sampler, levels={"BTC": -100.0})
    assert (sampler.funnel["BTC"]["net"], sampler.funnel["BTC"]["deep"]) == (1, 0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda slots: slots.set(1, slots.frames[1][3], at_ns=NOW - 60 * S),
        lambda slots: slots.set(2, slots.frames[2][3], live=False),
        lambda slots: slots.set(0, slots.frames[0][3], at_ns=NOW - 60 * S),
        lambda slots: setattr(slots, "late_after", 1),
    ],
)
def test_books_that_are_not_fit_to_trade_on_have_no_edge_and_end_at_deep(slots, sampler, spoil):
    spoil(slots)
    (row,) = sample(sampler)
    assert [row[name] for name in ("gap_bps", "home_edge_bps", "away_edge_bps", "depth_edge_bps")] == [
        None
    ] * 4
    assert (sampler.funnel["BTC"]["deep"], sampler.funnel["BTC"]["sound"]) == (1, 0)


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_without_a_good_book_nothing_is_sampled(slots, sampler, slot):
    slots.set(slot, b"{")
    (row,) = sample(sampler)
    assert row["gap_bps"] is None
    assert sampler.bad_frames == 1
    assert sampler.funnel == {}
    del slots.frames[slot]


def test_a_pair_has_a_row_when_it_has_changed_and_once_a_minute(slots, sampler):
    assert len(sample(sampler)) == 1
    reads = slots.reads
    assert sample(sampler, NOW + S // 2) == []
    assert slots.reads == reads  # and nothing was decoded again
    slots.set(2, binance("BTCUSDT", 100.1, 100.12), NOW + S)
    assert len(sample(sampler, NOW + S)) == 1
    assert len(sample(sampler, NOW + 3 * S)) == 1  # its books are too old by now
    assert [len(sample(sampler, NOW + second * S)) for second in (4, 62, 63, 64, 123)] == [0, 0, 1, 0, 1]
    assert len(sample(sampler, NOW + 124 * S, {"BTC": 3.0})) == 1


def test_pairs_that_come_and_go(make, slots, sampler):
    sample(sampler)
    other = replace(make.other_pair("ETH"), base="ETH")
    slots.set(3, upbit("KRW-ETH", 99.0 * RATE, 99.02 * RATE))
    slots.set(4, binance("ETHUSDT", 100.0, 100.02))
    sampler.set_universe(Universe(make.fx_leg, (other,), (("ETH",),)))
    assert [row["pair"] for row in sample(sampler)] == ["ETH"]
