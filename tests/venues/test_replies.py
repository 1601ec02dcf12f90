"""Answers become fills, whole and exact."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arbshard.errors import VenueError
from arbshard.risk.validation import is_amount
from arbshard.venues.base.orders import shares
from arbshard.venues.registry import get_adapter


def read_order(order, body):
    return get_adapter(order.market.venue).orders.read(order, body)


def read_trades(order, body):
    return get_adapter(order.market.venue).orders.read_trades(order, body)


class TestBinance:
    def test_full_reply(self, ask, said):
        fills = [
            (5, "60001.00000000", "0.00040000", "0.02400040", "USDT"),
            (6, "60000.00000000", "0.00060000", "0.00001234", "BNB"),
        ]
        standing = read_order(ask, said.answer(said.binance(fills=fills)).body)
        assert (standing.venue_order_id, standing.state, standing.filled) == ("7", "FILLED", Decimal("0.001"))
        first, second = standing.fills
        assert (first.fill_id, first.client_id) == ("binance:BTCUSDT:5", "s1-0-1-1-a0")
        assert (first.quantity, first.price) == (Decimal("0.0004"), Decimal(60001))
        assert (first.fee, first.fee_currency) == (Decimal("0.0240004"), "USDT")
        assert (second.fee, second.fee_currency) == (Decimal("0.00001234"), "BNB")

    @pytest.mark.parametrize(
        ("status", "state"),
        [
            ("NEW", "ACCEPTED"), ("PARTIALLY_FILLED", "PARTIAL"), ("CANCELED", "CANCELED"),
            ("EXPIRED", "EXPIRED"), ("EXPIRED_IN_MATCH", "EXPIRED"), ("REJECTED", "REJECTED"),
        ],
    )  # fmt: skip
    def test_states(self, ask, said, status, state):
        assert read_order(ask, said.answer(said.binance(status, "0.0")).body).state == state

    def test_query_lists_no_fills(self, ask, said):
        body = said.binance()
        del body["fills"]
        standing = read_order(ask, said.answer(body).body)
        assert standing.filled == Decimal("0.001")
        assert standing.fills == ()

    def test_trades_are_the_same_fills(self, ask, said):
        (placed,) = read_order(ask, said.answer(said.binance()).body).fills
        row = {
            "symbol": "BTCUSDT", "id": 5, "orderId": 7, "price": "60001.00000000", "qty": "0.00100000",
            "commission": "0.00000100", "commissionAsset": "BTC",
        }  # fmt: skip
        assert read_trades(ask, msgspec.json.encode([row])) == (placed,)


class TestUpbit:
    def test_fees_are_shared_by_the_money(self, bid, said):
        trades = [("t-1", "146000000", "0.0004", "58400"), ("t-2", "145000000", "0.0006", "87000")]
        standing = read_order(bid, said.answer(said.upbit(paid_fee="72.7", trades=trades)).body)
        assert (standing.venue_order_id, standing.state) == ("u-1", "FILLED")
        assert [fill.fill_id for fill in standing.fills] == ["upbit:KRW-BTC:t-1", "upbit:KRW-BTC:t-2"]
        assert [fill.fee for fill in standing.fills] == [Decimal("29.2"), Decimal("43.5")]
        assert {fill.fee_currency for fill in standing.fills} == {"KRW"}

    def test_as_it_is_created(self, bid, said):
        """The answer to a new order is the order before it met the book."""
        body = said.upbit("wait", "0", "0")
        del body["trades"]
        standing = read_order(bid, said.answer(body, 201).body)
        assert (standing.state, standing.filled, standing.fills) == ("ACCEPTED", Decimal(0), ())

    def test_cancelled_with_fills_is_an_ioc_that_found_too_little(self, bid, said):
        standing = read_order(bid, said.answer(said.upbit("cancel", "0.0004")).body)
        assert standing.state == "EXPIRED"
        assert standing.filled == Decimal("0.0004")

    def test_numbers_instead_of_texts(self, bid, said):
        body = said.upbit()
        body["paid_fee"] = 73
        assert read_order(bid, said.answer(body).body).fills[0].fee == 73


AMOUNTS = st.decimals("0.00000001", "1e9", places=8)


@example(Decimal("0.00000187"), [Decimal("0.00001064"), Decimal("0.00006075")])
@example(Decimal("499.78"), [Decimal(333408), Decimal("666145.375")])
@example(Decimal(1), [Decimal("0.00000001"), Decimal("1e9"), Decimal("0.00000001")])
@given(
    st.decimals("0", "1e9", places=8) | st.decimals("0", "1", places=25),
    st.lists(AMOUNTS, min_size=1, max_size=40),
)
def test_shares_add_up_and_are_what_risk_takes(total, weights):
    parts = shares(total, weights)
    assert sum(parts) == total
    assert len(parts) == len(weights)
    assert all(is_amount(part) for part in parts), parts


@given(st.decimals("0.0001", "0.01", places=4), st.lists(AMOUNTS, min_size=1, max_size=10))
def test_a_proportional_fee_is_the_same_whatever_trades_follow(rate, weights):
    """An order is asked about while it is being filled: a trade that is booked must not get another fee later."""
    fees = [rate * weight for weight in weights]
    for count in range(1, len(weights) + 1):
        assert shares(sum(fees[:count]), weights[:count]) == fees[:count]


def test_no_weights_no_parts():
    assert shares(Decimal(5), []) == []


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff", b'{"orderId":1,"executedQty":"0"}'])
def test_unreadable(ask, bid, body):
    for order in (ask, bid):
        with pytest.raises(VenueError, match="cannot be read"):
            read_order(order, body)


class TestNoAmounts:
    """A text that reads as a decimal is not yet an amount."""

    @pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-0.001", "1E+999999"])
    def test_binance(self, ask, said, text):
        fills = [(5, "60001.0", "0.0004", text, "USDT")]
        if text != "1E+999999":
            with pytest.raises(VenueError):
                read_order(ask, said.answer(said.binance(fills=fills)).body)
            with pytest.raises(VenueError):
                read_order(ask, said.answer(said.binance(executedQty=text)).body)
        row = {"id": 5, "price": text, "qty": "-1", "commission": "0", "commissionAsset": "BTC"}
        with pytest.raises(VenueError):
            read_trades(ask, msgspec.json.encode([row]))

    @pytest.mark.parametrize("text", ["NaN", "-Infinity", "-73"])
    def test_upbit(self, bid, said, text):
        for changed in ({"paid_fee": text}, {"executed_volume": text}):
            with pytest.raises(VenueError):
                read_order(bid, said.answer({**said.upbit(), **changed}).body)

    def test_a_sum_beyond_all_bounds(self, bid, said):
        trades = [("t-1", "1", "1", "1E+999999"), ("t-2", "1", "1", "1E+999999")]
        with pytest.raises(VenueError):
            read_order(bid, said.answer(said.upbit(paid_fee="1E+999999", trades=trades)).body)

    def test_deeper_than_anybody_goes(self, ask):
        with pytest.raises(VenueError):
            read_order(ask, b'{"x":' * 100_000)
        with pytest.raises(VenueError):
            read_trades(ask, b"[" * 100_000)
