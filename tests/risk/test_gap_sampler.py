"""Risk's own look at the gaps and at FX, and what the limit of correlated exposure makes of it."""

import json
import math

from msgspec.structs import replace

from arbshard.config import SeriesConfig
from arbshard.model.universe import Universe
from arbshard.risk.gap_sampler import GapWatch
from arbshard.risk.limits.correlations import GapCorrelations

S = 1_000_000_000
SERIES = SeriesConfig(window=60, sample_ms=1000.0)
AGE_NS = 1_500_000_000


def upbit(code, mid):
    unit = {"ap": mid + 1, "bp": mid - 1, "as": 1.0, "bs": 1.0}
    return json.dumps({"ty": "orderbook", "cd": code, "tms": 1, "obu": [unit], "st": "REALTIME"}).encode()


def binance(symbol, mid):
    data = {"lastUpdateId": 1, "bids": [[f"{mid * 0.9999:.8f}", "1"]], "asks": [[f"{mid * 1.0001:.8f}", "1"]]}
    return json.dumps({"stream": f"{symbol.lower()}@depth20@100ms", "data": data}).encode()


class Feed:
    """Slots with a frame each, all of one moment."""

    def __init__(self):
        self.slots = {}
        self.now_ns = 0

    def read(self, slot):
        frame = self.slots.get(slot)
        return (2, self.now_ns, True, frame) if frame is not None else None


def world(make, bases):
    pairs = []
    for number, base in enumerate(bases):
        pair = make.other_pair(base, (1 + 2 * number, 2 + 2 * number))
        pairs.append(replace(pair, base=base))
    return Universe(make.fx_leg, tuple(pairs), (tuple(bases),))


def play(make, gaps_of, seconds=50):
    """Gaps in basis points by base and second; the watch afterwards."""
    bases = ("AAA", "BBB", "CCC")
    feed = Feed()
    watch = GapWatch(feed, world(make, bases), SERIES, AGE_NS)
    feed.slots[0] = upbit("KRW-USDT", 1450)
    correlations = GapCorrelations(lambda: bases)
    correlations.set_series(watch.series)
    for second in range(seconds):
        feed.now_ns = second * S
        for number, base in enumerate(bases):
            feed.slots[1 + 2 * number] = upbit(f"KRW-{base}", 145_000 * (1 + gaps_of(base, second) / 1e4))
            feed.slots[2 + 2 * number] = binance(f"{base}USDT", 100.0)
        watch.sample(feed.now_ns)
    for _ in range(10):
        correlations.update(feed.now_ns)
    return watch, correlations


def test_gaps_that_move_together_are_found_and_others_are_not(make):
    def gaps(base, second):
        wave = 50 * math.sin(second / 3)
        return {"AAA": wave, "BBB": 2 * wave + 5, "CCC": 50 * math.sin(second * 1.7 + 1)}[base]

    watch, found = play(make, gaps)
    assert found.get("BBB", "AAA") > 0.99
    assert abs(found.get("AAA", "CCC")) < 0.5
    assert abs(watch.series["AAA"].last - gaps("AAA", 49)) < 1.0


def test_the_books_that_were_read_last_are_kept_as_a_view(make):
    watch, _ = play(make, lambda base, second: 10.0 * second, seconds=3)
    view = watch.views["BBB"]
    assert view.seen_ns == 2 * S
    assert view.home.best_ask == round(145_000 * 1.002) + 1
    assert abs(view.away.best_bid - 99.99) < 1e-9
    assert watch.views.keys() == {"AAA", "BBB", "CCC"}


def test_old_or_missing_books_tell_nothing(make):
    feed = Feed()
    watch = GapWatch(feed, world(make, ("AAA",)), SERIES, AGE_NS)
    feed.slots = {0: upbit("KRW-USDT", 1450), 1: upbit("KRW-AAA", 145_000)}
    watch.sample(1)
    assert watch.views == {}
    feed.slots[2] = binance("AAAUSDT", 100.0)
    watch.sample(3 * S)  # the books are of second 0
    assert watch.series["AAA"].count == 0
    feed.now_ns = 3 * S
    watch.sample(3 * S)
    assert watch.series["AAA"].count == 1
    feed.slots[1] = b"cut"
    feed.now_ns = 4 * S
    watch.sample(4 * S)
    assert watch.series["AAA"].count == 1
    assert watch.bad_frames == 1


def test_pairs_that_come_and_go_leave_what_is_known_of_the_others(make):
    def gaps(base, second):
        wave = 50 * math.sin(second / 3)
        return {"AAA": wave, "BBB": 2 * wave + 5, "CCC": 50 * math.sin(second * 1.7 + 1)}[base]

    watch, found = play(make, gaps)
    kept = watch.series["AAA"]
    watch.set_universe(world(make, ("BBB", "AAA", "DDD")))
    assert watch.series.keys() == {"AAA", "BBB", "DDD"}
    assert watch.series["AAA"] is kept
    found.set_series(watch.series)
    assert found.get("AAA", "BBB") > 0.99


def test_the_fx_book_is_read_at_each_tick_and_each_pair_once_a_second(make):
    rates, gaps = [], []
    feed = Feed()
    watch = GapWatch(feed, world(make, ("AAA", "BBB")), SERIES, AGE_NS)
    watch.on_rate = lambda top, now_ns: rates.append((top.mid, now_ns))
    watch.on_gap = lambda base, gap, implied, now_ns: gaps.append((base, round(gap), implied, now_ns))
    for slot, (code, mid) in {1: ("KRW-AAA", 145_145), 3: ("KRW-BBB", 145_000)}.items():
        feed.slots[slot] = upbit(code, mid)
    feed.slots[2], feed.slots[4] = binance("AAAUSDT", 100.0), binance("BBBUSDT", 100.0)
    for tenth in range(10):
        feed.now_ns = tenth * S // 10
        feed.slots[0] = upbit("KRW-USDT", 1450 + tenth)
        watch.sample(feed.now_ns)
    assert rates == [(1450 + tenth, tenth * S // 10) for tenth in range(10)]
    assert gaps == [("AAA", 10, 1451.45, 0), ("BBB", 0, 1450.0, 0)]
