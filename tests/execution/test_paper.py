"""The paper venue: nothing better than a real one would give."""

from decimal import Decimal
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.config import PaperConfig
from arbshard.execution.paper import PaperVenue
from arbshard.model.money import exact

HONEST = PaperConfig(reject_share=0.0, depth_share=0.7)
WHOLE = PaperConfig(reject_share=0.0, depth_share=1.0)


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
        result = venue(paper=WHOLE).match(order, asks, Decimal(7))
        assert [(fill.quantity, fill.price) for fill in result.fills] == [
            (Decimal("0.01"), Decimal(100_000_000)),
            (Decimal("0.02"), Decimal(100_001_000)),
        ]
        assert result.state == "EXPIRED"
        assert result.filled == Decimal("0.03")
        assert result.decision_price == 7

    def test_whole_order(self, make, venue, asks):
        order = make.order(make.home, "buy", "0.015", 100_002_000)
        result = venue(paper=WHOLE).match(order, asks, Decimal(0))
        assert result.state == "FILLED"
        assert [fill.quantity for fill in result.fills] == [Decimal("0.01"), Decimal("0.005")]
        assert [fill.fill_id for fill in result.fills] == [f"{order.client_id}:0", f"{order.client_id}:1"]

    def test_sells_into_the_bids_down_to_the_limit(self, make, venue):
        book = make.book(make.home, [(100.0, 1000.0), (99.0, 1000.0), (98.0, 1000.0)], [(101.0, 1.0)])
        order = make.order(make.home, "sell", 2500, 99)
        result = venue(paper=WHOLE).match(order, book, Decimal(0))
        assert [fill.price for fill in result.fills] == [100, 99]
        assert result.filled == 2000

    def test_nothing_at_the_limit(self, make, venue, asks):
        result = venue().match(make.order(make.home, "buy", "0.05", 99_999_000), asks, Decimal(0))
        assert (result.state, result.fills) == ("EXPIRED", ())
        assert result.detail

    def test_finds_only_a_share_of_what_is_displayed(self, make, venue, asks):
        order = make.order(make.home, "buy", 1, 100_002_000)
        result = venue(paper=HONEST).match(order, asks, Decimal(0))
        assert [fill.quantity for fill in result.fills] == [
            Decimal("0.007"), Decimal("0.014"), Decimal("0.035"),
        ]  # fmt: skip

    def test_what_was_taken_stays_taken_until_the_level_changes(self, make, venue):
        one = venue(paper=WHOLE)
        book = make.book(make.home, [(99e6, 1.0)], [(100e6, 0.01)])
        first = make.order(make.home, "buy", "0.006", 100_000_000, "a-h0")
        second = make.order(make.home, "buy", "0.006", 100_000_000, "b-h0")
        assert one.match(first, book, Decimal(0)).filled == Decimal("0.006")
        assert one.match(second, book, Decimal(0)).filled == Decimal("0.004")
        assert one.match(second, book, Decimal(0)).state == "EXPIRED"
        fresh = make.book(make.home, [(99e6, 1.0)], [(100e6, 0.02)])
        assert one.match(second, fresh, Decimal(0)).filled == Decimal("0.006")

    def test_the_two_sides_of_a_price_are_apart(self, make, venue):
        one = venue(paper=WHOLE)
        before = make.book(make.home, [(99e6, 1.0)], [(100e6, 0.01)])
        after = make.book(make.home, [(100e6, 0.01)], [(101e6, 1.0)])
        buy = make.order(make.home, "buy", "0.01", 100_000_000)
        sell = make.order(make.home, "sell", "0.01", 100_000_000)
        assert one.match(buy, before, Decimal(0)).state == "FILLED"
        assert one.match(sell, after, Decimal(0)).state == "FILLED"

    def test_remembers_a_bounded_number_of_levels(self, make, venue):
        one = venue(paper=WHOLE)
        for n in range(1000):
            book = make.book(make.home, [(1e6, 1.0)], [(100e6 + 1000 * n, 0.01)])
            one.match(make.order(make.home, "buy", "0.01", 200_000_000), book, Decimal(0))
        assert len(one._taken) <= 256
        assert one.match(make.order(make.home, "buy", "0.01", 200_000_000), book, Decimal(0)).filled == 0

    @given(
        sizes=st.lists(st.floats(1e-5, 2.0), min_size=1, max_size=6),
        orders=st.lists(st.tuples(st.integers(1, 200_000), st.integers(-1, 7)), min_size=1, max_size=5),
        share=st.floats(0.05, 1.0),
        side=st.sampled_from(["buy", "sell"]),
    )
    def test_never_more_than_is_there_or_beyond_the_limit(self, make, venue, sizes, orders, share, side):
        one = venue("away", PaperConfig(reject_share=0.0, depth_share=share))
        sign = 1 if side == "buy" else -1
        levels = [(1000.0 + sign * n, size) for n, size in enumerate(sizes)]
        other = [(1000.0 - sign * 10, 1.0)]
        book = make.book(make.away, other, levels) if sign > 0 else make.book(make.away, levels, other)
        taken = {}
        for number, (lots, reach) in enumerate(orders):
            limit = Decimal(1000 + sign * reach)
            order = make.order(make.away, side, Decimal(lots) * Decimal("0.00001"), limit, f"o{number}")
            result = one.match(order, book, Decimal(0))
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
        result = venue(leg, WHOLE).match(make.order(market, side, quantity, price), book, Decimal(0))
        (fill,) = result.fills
        assert (fill.fee, fill.fee_currency) == (Decimal(fee), currency)


class TestRefusals:
    def test_without_a_book_the_venue_is_not_there(self, make, venue):
        result = venue().match(make.order(make.home, "buy", 1, 100_000_000), None, Decimal(3))
        assert (result.state, result.detail, result.fault) == ("REJECTED", "venue not connected", "busy")
        assert result.decision_price == 3

    @pytest.mark.parametrize(
        ("quantity", "limit"), [("0.00004", 100_000_000), ("0.000000001", 100_000_000), (11, 100_000_000)]
    )
    def test_below_the_minimum_or_above_the_maximum(self, make, venue, asks, quantity, limit):
        result = venue().match(make.order(make.home, "buy", quantity, limit), asks, Decimal(0))
        assert (result.state, result.fault) == ("REJECTED", "order")
        assert "minimum" in result.detail

    def test_refuses_its_share(self, make, asks):
        def refused(share):
            one = PaperVenue(make.home, PaperConfig(reject_share=share), Random(5))
            order = make.order(make.home, "buy", "0.001", 100_000_000)
            results = [one.match(order, asks, Decimal(0)) for _ in range(2000)]
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
        one = venue(paper=PaperConfig(reject_share=0.3), seed=seed)
        order = make.order(make.home, "buy", "0.0001", 100_002_000)
        return [(one.latency_ms(), one.match(order, asks, Decimal(0))) for _ in range(50)]

    assert history(1) == history(1)
    assert history(1) != history(2)
