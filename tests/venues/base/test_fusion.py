"""Check that levels and touches make one book: rule by rule, then in any order of the two streams."""

from hypothesis import given
from hypothesis import strategies as st

from arbshard.venues.base.fusion import BEHIND_NS_MAX, MARKETS_MAX, BookFuser, FusionCounts, with_touch
from arbshard.venues.binance.exact import exact_levels
from arbshard.venues.binance.fusion import BinanceFused
from arbshard.venues.binance.market import Binance

BINANCE = Binance()
MS = 1_000_000


def side(levels):
    return ",".join(f'["{price:.8f}","{size:.8f}"]' for price, size in levels)


def depth(number, bids=((100.0, 1.0), (99.0, 2.0)), asks=((101.0, 1.0), (102.0, 2.0)), symbol="btcusdt"):
    body = f'{{"lastUpdateId":{number},"bids":[{side(bids)}],"asks":[{side(asks)}]}}'
    return f'{{"stream":"{symbol}@depth20@100ms","data":{body}}}'.encode()


def touch(number, bid=(100.5, 0.5), ask=(100.75, 0.25), symbol="btcusdt"):
    body = f'"u":{number},"s":"{symbol.upper()}","b":"{bid[0]:.8f}","B":"{bid[1]:.8f}"'
    body += f',"a":"{ask[0]:.8f}","A":"{ask[1]:.8f}"'
    return f'{{"stream":"{symbol}@bookTicker","data":{{{body}}}}}'.encode()


class Bench:
    def __init__(self):
        self.counts = FusionCounts()
        self.fuser = BookFuser(BinanceFused(), self.counts)

    def book(self, frame, at_ms=0):
        """Return the book that is passed on; None if there is none."""
        fused = self.fuser.fuse(frame, at_ms * MS)
        return None if fused is None else BINANCE.decode(fused, at_ms)

    @property
    def counted(self):
        counts = self.counts
        return counts.touches, counts.unused, counts.overdue, counts.mismatches


# ---- rules


def test_rule_1_of_the_same_id_the_depth_counts_alone():
    bench = Bench()
    assert bench.book(depth(7)).best_bid == 100.0
    assert bench.book(touch(7)) is None
    assert bench.book(touch(8)).best_bid == 100.5
    assert bench.book(depth(8)).best_bid == 100.0
    assert bench.counted == (1, 1, 0, 0)


def test_rule_2_a_newer_touch_takes_the_place_of_what_it_has_shown_to_be_gone():
    bench = Bench()
    bench.book(depth(7))
    book = bench.book(touch(8, bid=(99.5, 3.0), ask=(102.0, 0.5)))
    assert book.bids == ((99.5, 3.0), (99.0, 2.0))
    assert book.asks == ((102.0, 0.5),)
    inside = bench.book(touch(9, bid=(100.5, 3.0), ask=(100.75, 0.5)))
    assert inside.bids == ((100.5, 3.0), (100.0, 1.0), (99.0, 2.0))
    assert inside.asks == ((100.75, 0.5), (101.0, 1.0), (102.0, 2.0))


def test_rule_2_a_touch_beyond_all_levels_is_the_whole_book():
    bench = Bench()
    bench.book(depth(7))
    book = bench.book(touch(8, bid=(200.0, 1.0), ask=(201.0, 1.0)))
    assert (book.bids, book.asks) == (((200.0, 1.0), (100.0, 1.0), (99.0, 2.0)), ((201.0, 1.0),))


def test_rule_2_the_touch_stays_until_a_depth_has_it():
    bench = Bench()
    bench.book(depth(7))
    bench.book(touch(9))
    assert bench.book(depth(8), 10).best_bid == 100.5
    assert bench.book(depth(9), 20).best_bid == 100.0


def test_rule_3_an_older_touch_is_dropped():
    bench = Bench()
    bench.book(depth(7))
    bench.book(touch(9))
    assert bench.book(touch(8)) is None
    assert bench.book(touch(9)) is None
    assert bench.book(depth(10)).best_bid == 100.0
    assert bench.book(touch(10)) is None
    assert bench.counted == (1, 3, 0, 0)


def test_rule_4_a_touch_waits_for_the_first_depth():
    bench = Bench()
    assert bench.book(touch(8)) is None
    assert bench.book(depth(7)).best_bid == 100.5
    assert bench.counted == (0, 1, 0, 0)


def test_a_market_with_levels_alone_is_what_they_say():
    bench = Bench()
    assert [bench.book(depth(number)).best_bid for number in (7, 8, 9)] == [100.0] * 3
    assert bench.counted == (0, 0, 0, 0)


def test_a_market_with_touches_alone_has_no_book():
    bench = Bench()
    assert [bench.book(touch(number)) for number in (7, 8, 9)] == [None] * 3


def test_rule_5_nothing_is_made_of_touches_while_levels_are_missing_for_too_long():
    bench = Bench()
    bench.book(depth(7))
    late_ms = BEHIND_NS_MAX // MS
    # A quiet book may be old: it is behind since the first touch that differs.
    assert bench.book(touch(8), 60_000) is not None
    assert bench.book(touch(9), 60_000 + late_ms) is not None
    assert bench.book(touch(10), 60_001 + late_ms) is None
    assert bench.book(touch(11), 90_000) is None
    assert bench.counted == (2, 0, 2, 0)
    assert bench.book(depth(11), 90_001).best_bid == 100.0
    assert bench.book(touch(12), 90_002).best_bid == 100.5


def test_rule_5_levels_that_come_a_little_behind_are_no_reason():
    bench = Bench()
    number = 0
    for at_ms in range(0, 5_000, 100):
        number += 10
        assert bench.book(depth(number - 1), at_ms) is not None
        assert bench.book(touch(number), at_ms + 50).best_bid == 100.5
    assert bench.counted == (50, 0, 0, 0)


def test_rule_6_a_touch_that_no_depth_ever_reaches_is_forgotten():
    bench = Bench()
    bench.book(depth(7))
    bench.book(touch(10**18))
    late_ms = BEHIND_NS_MAX // MS
    assert bench.book(depth(8), late_ms).best_bid == 100.5
    assert bench.book(depth(9), late_ms + 1).best_bid == 100.0
    assert bench.counted == (1, 0, 0, 1)
    assert bench.book(touch(10), late_ms + 2).best_bid == 100.5


def test_rule_7_a_venue_that_counts_anew_is_followed():
    bench = Bench()
    bench.book(depth(1_000))
    bench.book(touch(1_001))
    assert bench.book(touch(5)) is None
    assert bench.book(depth(6)).best_bid == 100.0
    assert bench.book(touch(7)).best_bid == 100.5
    assert bench.counted == (2, 1, 0, 1)


def test_markets_do_not_touch_each_other():
    bench = Bench()
    bench.book(depth(7))
    assert bench.book(depth(1, symbol="ethusdt")).symbol == "ETHUSDT"
    assert bench.book(touch(8)).symbol == "BTCUSDT"
    assert bench.book(touch(2, symbol="ethusdt")).symbol == "ETHUSDT"


def test_what_is_forgotten_begins_anew():
    bench = Bench()
    bench.book(depth(7))
    bench.fuser.forget(["BTCUSDT", "ETHUSDT"])
    assert bench.book(touch(8)) is None
    assert bench.book(depth(7)).best_bid == 100.5


def test_other_frames_are_passed_on_as_they_are():
    bench = Bench()
    for frame in (b"", b'{"result":null,"id":1}', b'{"stream":"btcusdt@trade","data":{}}', depth(7)[:-9]):
        assert bench.fuser.fuse(frame, 0) == frame


def test_a_depth_without_an_id_voids_what_was_before():
    bench = Bench()
    bench.book(depth(7))
    bench.book(touch(8))
    without = depth(7).replace(b'"lastUpdateId":7,', b"")
    assert bench.fuser.fuse(without, 0) == without
    assert bench.book(touch(9)) is None


def test_the_number_of_markets_is_bounded():
    bench = Bench()
    for number in range(MARKETS_MAX):
        bench.fuser.fuse(depth(7, symbol=f"c{number}usdt"), 0)
    more = depth(7, symbol="moreusdt")
    assert bench.fuser.fuse(more, 0) == more
    one_more = touch(8, symbol="moreusdt")
    assert bench.fuser.fuse(one_more, 0) == one_more


def test_sides_that_cannot_be_used_are_left_for_the_check_of_the_book():
    crossed = ((102.0, 1.0),), ((101.0, 1.0),)
    assert with_touch(*crossed, (100.0, 1.0), (103.0, 1.0)) == crossed
    assert with_touch((), ((101.0, 1.0),), (100.0, 1.0), (103.0, 1.0)) == ((), ((101.0, 1.0),))


# ---- any order


@st.composite
def histories(draw):
    """Draw what a venue sends of a book: whether it is levels, its id, its frame, and what the frame means."""
    bids, asks = {100 - n: n + 1 for n in range(6)}, {101 + n: n + 1 for n in range(6)}
    number, depths, touches = 10, [], []
    best = None
    for _ in range(draw(st.integers(1, 14))):
        number += draw(st.integers(1, 3))
        on_bids = draw(st.booleans())
        mine, others = (bids, asks) if on_bids else (asks, bids)
        price = draw(st.integers(90, 112))
        size = draw(st.integers(0, 5))
        if size:
            mine[price] = size
            for gone in [one for one in others if (one <= price if on_bids else one >= price)]:
                del others[gone]
        else:
            mine.pop(price, None)
        if not bids:
            bids[min(asks) - 1] = 1
        if not asks:
            asks[max(bids) + 1] = 1
        best_first = sorted(bids.items(), reverse=True), sorted(asks.items())
        top = best_first[0][0], best_first[1][0]
        if top != best:
            best = top
            touches.append((number, touch(number, *top), top))
        if draw(st.booleans()):
            levels = draw(st.integers(1, 5))
            sides = tuple(tuple(one[:levels]) for one in best_first)
            depths.append((number, depth(number, *sides), sides))
    order = draw(st.permutations([True] * len(depths) + [False] * len(touches)))
    left = {True: iter(depths), False: iter(touches)}
    return [(is_depth, *next(left[is_depth])) for is_depth in order]


@given(histories())
def test_whatever_order_the_top_is_the_newest_and_no_level_is_at_it_or_better(history):
    fuser = BookFuser(BinanceFused(), FusionCounts())
    newest_depth = newest_touch = None
    for is_depth, number, frame, said in history:
        fused = fuser.fuse(frame, 0)
        if is_depth:
            newest_depth = number, said
        elif newest_touch is None or number > newest_touch[0]:
            newest_touch = number, said
        if newest_depth is None:
            assert fused is None
            continue
        touch_counts = newest_touch is not None and newest_touch[0] > newest_depth[0]
        if fused is None:
            # Only what changes nothing is not passed on.
            assert not is_depth
            assert not touch_counts or newest_touch[0] > number
            continue
        book = BINANCE.decode(fused, 5)
        levels = newest_depth[1]
        top = newest_touch[1] if touch_counts else (levels[0][0], levels[1][0])
        assert (book.bids[0], book.asks[0]) == top
        assert BINANCE.top_of_book(fused, 5) == book.top
        assert BINANCE.route(fused) == "BTCUSDT"
        assert BINANCE.sequence_number(fused) == max(newest_depth[0], newest_touch[0] if touch_counts else 0)
        assert book.bids[1:] == tuple(one for one in levels[0] if one[0] < top[0][0])
        assert book.asks[1:] == tuple(one for one in levels[1] if one[0] > top[1][0])
        exact = exact_levels(fused)
        assert exact == (book.bids, book.asks)
