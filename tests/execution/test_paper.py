"""The paper venue: nothing better than a real one would give."""

from decimal import Decimal
from itertools import pairwise
from math import exp
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.config import PaperConfig
from arbshard.execution.paper import PaperVenue
from arbshard.model.money import exact
from support.paper import KIND_PAPER

KIND = PaperConfig(**KIND_PAPER)
HONEST = replace(KIND, depth_share=0.7)
WHOLE = replace(KIND, depth_share=1.0)
SECOND_NS = 1_000_000_000


@pytest.fixture(scope="module")
def venue(make):
    def build(side="home", paper=HONEST, seed=1):
        return PaperVenue(make.home if side == "home" else make.away, paper, Random(seed))

    return build


@pytest.fixture(scope="module")
def asks(make):
    return make.book(
        make.home,
        [(99_000_000.0, 1.0)],
        [(100_000_000.0, 0.01), (100_001_000.0, 0.02), (100_002_000.0, 0.05)],
    )


class TestMatching:
    def test_fills_level_by_level_up_to_the_limit(self, make, venue, asks):
        order = make.order(make.home, "buy", "0.05", 100_001_000)
        result = venue(paper=WHOLE).match(order, asks, Decimal(7), 0)
        assert [(fill.quantity, fill.price) for fill in result.fills] == [
            (Decimal("0.01"), Decimal(100_000_000)),
            (Decimal("0.02"), Decimal(100_001_000)),
        ]
        assert result.state == "EXPIRED"
        assert result.filled == Decimal("0.03")
        assert result.decision_price == 7

    def test_whole_order(self, make, venue, asks):
        order = make.order(make.home, "buy", "0.015", 100_002_000)
        result = venue(paper=WHOLE).match(order, asks, Decimal(0), 0)
        assert result.state == "FILLED"
        assert [fill.quantity for fill in result.fills] == [Decimal("0.01"), Decimal("0.005")]
        assert [fill.fill_id for fill in result.fills] == [f"{order.client_id}:0", f"{order.client_id}:1"]

    def test_sells_into_the_bids_down_to_the_limit(self, make, venue):
        book = make.book(make.home, [(100.0, 1000.0), (99.0, 1000.0), (98.0, 1000.0)], [(101.0, 1.0)])
        order = make.order(make.home, "sell", 2500, 99)
        result = venue(paper=WHOLE).match(order, book, Decimal(0), 0)
        assert [fill.price for fill in result.fills] == [100, 99]
        assert result.filled == 2000

    def test_nothing_at_the_limit(self, make, venue, asks):
        result = venue().match(make.order(make.home, "buy", "0.05", 99_999_000), asks, Decimal(0), 0)
        assert (result.state, result.fills) == ("EXPIRED", ())
        assert result.detail

    def test_finds_only_a_share_of_what_is_displayed(self, make, venue, asks):
        order = make.order(make.home, "buy", 1, 100_002_000)
        result = venue(paper=HONEST).match(order, asks, Decimal(0), 0)
        assert [fill.quantity for fill in result.fills] == [
            Decimal("0.007"), Decimal("0.014"), Decimal("0.035"),
        ]  # fmt: skip

    def test_the_two_sides_of_a_price_are_apart(self, make, venue):
        one = venue(paper=WHOLE)
        before = make.book(make.home, [(99e6, 1.0)], [(100e6, 0.01)])
        after = make.book(make.home, [(100e6, 0.01)], [(101e6, 1.0)])
        buy = make.order(make.home, "buy", "0.01", 100_000_000)
        sell = make.order(make.home, "sell", "0.01", 100_000_000)
        assert one.match(buy, before, Decimal(0), 0).state == "FILLED"
        assert one.match(sell, after, Decimal(0), 0).state == "FILLED"

    @given(
        sizes=st.lists(st.floats(1e-5, 2.0), min_size=1, max_size=6),
        orders=st.lists(st.tuples(st.integers(1, 200_000), st.integers(-1, 7)), min_size=1, max_size=5),
        share=st.floats(0.05, 1.0),
        side=st.sampled_from(["buy", "sell"]),
    )
    def test_never_more_than_is_there_or_beyond_the_limit(self, make, venue, sizes, orders, share, side):
        one = venue("away", replace(KIND, depth_share=share))
        sign = 1 if side == "buy" else -1
        levels = [(1000.0 + sign * n, size) for n, size in enumerate(sizes)]
        other = [(1000.0 - sign * 10, 1.0)]
        book = make.book(make.away, other, levels) if sign > 0 else make.book(make.away, levels, other)
        taken = {}
        for number, (lots, reach) in enumerate(orders):
            limit = Decimal(1000 + sign * reach)
            order = make.order(make.away, side, Decimal(lots) * Decimal("0.00001"), limit, f"o{number}")
            result = one.match(order, book, Decimal(0), 0)
            assert result.is_final
            assert result.filled <= order.quantity
            assert (result.state == "FILLED") == (result.filled == order.quantity)
            for fill in result.fills:
                assert fill.price <= limit if side == "buy" else fill.price >= limit
                assert fill.quantity > 0
                assert fill.quantity % make.away.rules.lot == 0
                assert (fill.market, fill.side, fill.client_id) == (order.market, side, order.client_id)
                taken[fill.price] = taken.get(fill.price, Decimal(0)) + fill.quantity
        for price, size in levels:
            assert taken.get(exact(price), Decimal(0)) <= exact(size) * Decimal(str(share))


class TestRefill:
    """What was taken from a level comes back over seconds, however its display flickers."""

    @pytest.fixture
    def one(self, make):
        return PaperVenue(make.home, replace(WHOLE, refill_s=10.0), Random(1))

    @pytest.fixture
    def buy(self, make, one):
        def at(seconds, size, quantity, price=100_000_000):
            book = make.book(make.home, [(99e6, 1.0)], [(float(price), size)])
            order = make.order(make.home, "buy", quantity, price, f"o{seconds}-h0")
            return one.match(order, book, Decimal(0), int(seconds * SECOND_NS)).filled

        return at

    def test_comes_back_exponentially(self, buy):
        assert buy(0, 1.0, 1) == 1
        assert buy(0, 1.0, 1) == 0
        assert float(buy(10, 1.0, 1)) == pytest.approx(1 - exp(-1), rel=1e-6)
        # What was taken then comes back from then on, together with what was still missing.
        assert float(buy(20, 1.0, 1)) == pytest.approx(1 - exp(-1), rel=1e-6)

    def test_is_all_back_after_five_time_constants(self, buy):
        assert buy(0, 1.0, 1) == 1
        assert buy(50.1, 1.0, 1) == 1

    def test_flickering_size_brings_nothing(self, buy):
        """139.867 were bought in a second of a level that never showed more than 10."""
        bought = sum(buy(frame / 10, 9.999 + frame % 2 / 1000, 10) for frame in range(100))
        assert 10 <= bought <= Decimal("20.1")  # 10 s are one time constant: at most so much again

    def test_a_price_that_moves_by_ticks_brings_nothing(self, buy):
        bought = sum(buy(frame / 10, 9.999, 10, 100_000_000 + 1000 * (frame % 40)) for frame in range(100))
        assert 10 <= bought <= Decimal("20.1")

    def test_a_level_far_off_is_for_others(self, buy):
        assert buy(0, 1.0, 1) == 1
        assert buy(0, 1.0, 1, 100_060_000) == 1

    def test_smallest_size_since_is_the_most_there_is(self, buy):
        assert buy(0, 10.0, 1) == 1
        assert buy(1, 2.0, Decimal("0.00005")) > 0  # others have taken 8
        assert buy(4, 10.0, 10) < 2

    def test_what_is_missing_counts_once(self, make, one):
        levels = [(100_000_000.0 + 1000 * number, 1.0) for number in range(3)]
        book = make.book(make.home, [(99e6, 1.0)], levels)
        first = make.order(make.home, "buy", 1, 100_002_000, "a-h0")
        second = make.order(make.home, "buy", 3, 100_002_000, "b-h0")
        assert one.match(first, book, Decimal(0), 0).filled == 1
        assert one.match(second, book, Decimal(0), 0).filled == 2

    def test_remembers_a_bounded_number_of_levels(self, make, one):
        for number in range(1000):
            price = 100_000_000 + 100_000 * number
            book = make.book(make.home, [(1e6, 1.0)], [(float(price), 0.01)])
            one.match(make.order(make.home, "buy", "0.01", 900_000_000), book, Decimal(0), number)
        assert len(one._sides["buy"]) <= 256
        order = make.order(make.home, "buy", "0.01", 900_000_000)
        assert one.match(order, book, Decimal(0), 1000).filled == 0

    @given(
        frames=st.lists(
            st.tuples(st.floats(0.0, 3.0), st.floats(0.5, 10.0), st.integers(0, 30), st.integers(1, 2000)),
            min_size=1,
            max_size=30,
        ),
        share=st.floats(0.1, 1.0),
    )
    def test_never_more_than_one_book_and_what_has_come_back(self, make, frames, share):
        """Near one price, T seconds give at most the largest size displayed, and as much again per time constant."""
        one = PaperVenue(make.home, replace(KIND, depth_share=share, refill_s=10.0), Random(1))
        now_s, bought = 0.0, Decimal(0)
        for number, (wait_s, size, ticks, hundredths) in enumerate(frames):
            now_s += wait_s
            price = 100_000_000 + 1000 * ticks
            book = make.book(make.home, [(99e6, 1.0)], [(float(price), size)])
            order = make.order(make.home, "buy", Decimal(hundredths) / 100, price, f"o{number}-h0")
            bought += one.match(order, book, Decimal(0), int(now_s * SECOND_NS)).filled
        most = max(size for _, size, _, _ in frames) * share
        assert float(bought) <= most * (1 + now_s / 10.0) + 1e-6


class TestUnkind:
    def test_a_market_refuses_for_minutes(self, make, asks):
        one = PaperVenue(make.home, replace(KIND, refusals_per_day=24.0, refusal_s=300.0), Random(3))
        order = make.order(make.home, "buy", "0.001", 100_000_000)
        results = [
            one.match(order, asks, Decimal(0), second * SECOND_NS) for second in range(0, 10 * 86_400, 20)
        ]
        refused = [result.state == "REJECTED" for result in results]
        spells = sum(now and not before for before, now in pairwise(refused))
        assert 150 < spells < 260  # 24 a day
        assert 200 < 20 * sum(refused) / spells < 400
        assert {result.fault for result in results} == {"", "market", "busy"}
        assert {result.detail for result in results if result.fault} == {
            "the market refuses all orders (paper.refusals_per_day)"
        }

    def test_some_orders_find_only_a_part(self, make):
        def filled(share):
            one = PaperVenue(make.home, replace(WHOLE, partial_share=share, refill_s=0.001), Random(3))
            order = make.order(make.home, "buy", "0.01", 100_000_000)
            book = make.book(make.home, [(99e6, 1.0)], [(100e6, 0.01)])
            return [one.match(order, book, Decimal(0), second * SECOND_NS).filled for second in range(2000)]

        assert set(filled(0.0)) == {Decimal("0.01")}
        parts = [one for one in filled(0.2) if one < Decimal("0.01")]
        assert 340 < len(parts) < 460
        assert 0.4 < float(sum(parts)) / len(parts) / 0.01 < 0.6

    def test_nothing_is_known_of_some_orders_for_a_while(self, make):
        one = PaperVenue(make.home, replace(KIND, unknown_share=0.1, unknown_s=3.0), Random(3))
        waits = [one.unknown_ns() for _ in range(5000)]
        unknown = [wait / SECOND_NS for wait in waits if wait]
        assert 400 < len(unknown) < 600
        assert 2.5 < sum(unknown) / len(unknown) < 3.5
        assert max(unknown) <= 30.001
        assert not any(PaperVenue(make.home, KIND, Random(3)).unknown_ns() for _ in range(100))


class TestFees:
    @pytest.mark.parametrize(
        ("leg", "side", "quantity", "price", "fee", "currency"),
        [
            ("home", "buy", "0.01234511", 100_001_000, "617.261672555", "KRW"),  # 5 bps of 1,234,523.34511
            ("home", "sell", "0.01234511", 100_001_000, "617.261672555", "KRW"),
            ("away", "buy", "0.01234", 100_000, "0.00001234", "BTC"),  # 10 bps of the coin
            ("away", "sell", "0.01234", 100_001, "1.23401234", "USDT"),
        ],
    )
    def test_to_the_last_digit(self, make, venue, leg, side, quantity, price, fee, currency):
        market = make.home if leg == "home" else make.away
        book = make.book(market, [(float(price), 1.0)], [(float(price), 1.0)])
        result = venue(leg, WHOLE).match(make.order(market, side, quantity, price), book, Decimal(0), 0)
        (fill,) = result.fills
        assert (fill.fee, fill.fee_currency) == (Decimal(fee), currency)


class TestRefusals:
    def test_without_a_book_the_venue_is_not_there(self, make, venue):
        result = venue().match(make.order(make.home, "buy", 1, 100_000_000), None, Decimal(3), 0)
        assert (result.state, result.detail, result.fault) == ("REJECTED", "venue not connected", "busy")
        assert result.decision_price == 3

    @pytest.mark.parametrize(
        ("quantity", "limit"), [("0.00004", 100_000_000), ("0.000000001", 100_000_000), (11, 100_000_000)]
    )
    def test_below_the_minimum_or_above_the_maximum(self, make, venue, asks, quantity, limit):
        result = venue().match(make.order(make.home, "buy", quantity, limit), asks, Decimal(0), 0)
        assert (result.state, result.fault) == ("REJECTED", "order")
        assert "minimum" in result.detail

    def test_refuses_its_share(self, make, asks):
        def refused(share):
            one = PaperVenue(make.home, replace(KIND, reject_share=share), Random(5))
            order = make.order(make.home, "buy", "0.001", 100_000_000)
            results = [one.match(order, asks, Decimal(0), 0) for _ in range(2000)]
            assert {(one.state == "REJECTED", one.fault) for one in results} <= {(True, "busy"), (False, "")}
            return sum(one.state == "REJECTED" for one in results)

        assert refused(0.0) == 0
        assert refused(1.0) == 2000
        assert 340 < refused(0.2) < 460


class TestLatency:
    def test_is_positive_and_about_its_median(self, venue):
        one = venue(paper=PaperConfig(latency_ms=40.0, latency_sigma=0.5))
        seen = [one.latency_ms() for _ in range(4000)]
        assert min(seen) > 0
        assert median(seen) == pytest.approx(40.0, rel=0.05)
        assert sorted(seen)[int(0.84 * 4000)] == pytest.approx(40.0 * 2.718281828**0.5, rel=0.1)

    def test_without_spread_it_is_constant(self, venue):
        one = venue(paper=PaperConfig(latency_ms=12.0, latency_sigma=0.0))
        assert {one.latency_ms() for _ in range(10)} == {12.0}


def test_same_seed_same_venue(make, venue, asks):
    def history(seed):
        one = venue(paper=replace(KIND, reject_share=0.3), seed=seed)
        order = make.order(make.home, "buy", "0.0001", 100_002_000)
        return [(one.latency_ms(), one.match(order, asks, Decimal(0), 0)) for _ in range(50)]

    assert history(1) == history(1)
    assert history(1) != history(2)
