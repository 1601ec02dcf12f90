"""ccxt's orders become fills, whole and exact, or are refused."""

from decimal import Decimal

import msgspec
import pytest

from arbshard.errors import VenueError
from arbshard.model.market import Market
from arbshard.model.order import Order
from arbshard.venues.unified.orders import UnifiedOrders

MARKET = Market("kraken", "BTC/USDT", "BTC", "USDT")
ORDER = Order("s1-0-1-1-a0", MARKET, "buy", Decimal("0.003"), Decimal(60_000))
ORDERS = UnifiedOrders("kraken")


def trade(number, amount="0.001", price="60000", **changes):
    fee = {"cost": "0.06", "currency": "USDT"}
    return {"id": str(number), "amount": amount, "price": price, "fee": fee, **changes}


def read(**changes):
    order = {"id": "o-1", "status": "closed", "filled": "0.003", "trades": [trade(1), trade(2, "0.002")]}
    return ORDERS.read(ORDER, msgspec.json.encode({**order, **changes}))


def test_what_goes_out():
    request = ORDERS.place(ORDER, "ab1cd-s1-0-1-1-a0")
    assert (request.method, request.path) == ("POST", "/create_order")
    assert request.params == {
        "symbol": "BTC/USDT", "side": "buy", "amount": "0.003", "price": "60000", "name": "ab1cd-s1-0-1-1-a0",
    }  # fmt: skip
    assert ORDERS.rehearse(ORDER, "x") is None


def test_fills_with_their_fees():
    standing = read()
    assert (standing.venue_order_id, standing.state, standing.filled) == ("o-1", "FILLED", Decimal("0.003"))
    assert [(fill.fill_id, fill.quantity, fill.fee, fill.fee_currency) for fill in standing.fills] == [
        ("kraken:BTC/USDT:1", Decimal("0.001"), Decimal("0.06"), "USDT"),
        ("kraken:BTC/USDT:2", Decimal("0.002"), Decimal("0.06"), "USDT"),
    ]


def test_a_fee_of_the_whole_order_is_shared():
    nothing = {"cost": None, "currency": None}
    rows = [trade(1, fee=nothing), trade(2, "0.002", fee=nothing)]
    standing = read(trades=rows, fees=[{"cost": "0.1", "currency": "USDT"}])
    fees = [fill.fee for fill in standing.fills]
    assert sum(fees) == Decimal("0.1")
    assert fees[1] == pytest.approx(2 * fees[0])


@pytest.mark.parametrize("fees", [None, [], [{"cost": "1", "currency": "A"}, {"cost": "1", "currency": "B"}]])
def test_fills_whose_fee_is_not_told_are_not_booked(fees):
    with pytest.raises(VenueError, match="without a fee"):
        read(trades=[trade(1, fee=None)], fees=fees)


def test_a_mere_acknowledgement_is_asked_about():
    standing = read(status=None, filled=None, trades=None)
    assert (standing.state, standing.filled, standing.fills) == ("ACCEPTED", 0, ())


@pytest.mark.parametrize(
    "changes",
    [
        {"filled": None},
        {"filled": "NaN"},
        {"filled": "-1"},
        {"id": None},
        {"trades": [trade(1, "NaN")]},
        {"trades": 7},
    ],
)
def test_an_answer_that_cannot_be_trusted_is_refused(changes):
    with pytest.raises(VenueError):
        read(**changes)


def test_trades_are_asked_for_and_must_have_fees():
    request = ORDERS.trades(MARKET, "o-1")
    assert (request.path, request.params) == ("/order_trades", {"symbol": "BTC/USDT", "id": "o-1"})
    (fill,) = ORDERS.read_trades(ORDER, msgspec.json.encode([trade(7)]))
    assert fill.fill_id == "kraken:BTC/USDT:7"
    with pytest.raises(VenueError, match="without a fee"):
        ORDERS.read_trades(ORDER, msgspec.json.encode([trade(7, fee=None)]))


def test_the_time_may_be_unknown():
    assert ORDERS.time_of(b'{"time":5}') == 5
    assert ORDERS.time_of(b'{"time":null}') is None
