"""What may be ordered, and the name of the error for what may not."""

from decimal import Decimal
from typing import Any

import pytest

from arbshard.exchanges.accounts.order import Ticket
from arbshard.exchanges.upbit.refusals import UpbitRefusal
from arbshard.exchanges.upbit.tickets import OrderTicket, check_identifier, ticket_of
from arbshard.exchanges.world import SimWorld

LIMIT = {"market": "KRW-BTC", "side": "bid", "ord_type": "limit", "price": "100000000", "volume": "0.001"}
PRICE = {"market": "KRW-BTC", "side": "bid", "ord_type": "price", "price": "9950.20707711"}
MARKET = {"market": "KRW-BTC", "side": "ask", "ord_type": "market", "volume": "0.001"}
BEST = {"market": "KRW-BTC", "side": "bid", "ord_type": "best", "price": "6000", "time_in_force": "ioc"}


def make(world: SimWorld, terms: dict[str, Any]) -> Ticket:
    return ticket_of(OrderTicket(**({"market": None, "side": None, "ord_type": None} | terms)), world.upbit)


def test_the_four_kinds(world: SimWorld) -> None:
    limit = make(world, LIMIT)
    assert limit == Ticket(
        "KRW-BTC", "buy", "limit", "gtc", Decimal(100_000_000), Decimal("0.001"),
        venue_kind="limit", self_trade="cancel_maker",
    )  # fmt: skip
    by_total = make(world, PRICE)
    assert (by_total.kind, by_total.funds, by_total.quantity) == ("market", Decimal("9950.20707711"), None)
    sell = make(world, MARKET)
    assert (sell.side, sell.kind, sell.quantity, sell.price) == ("sell", "market", Decimal("0.001"), None)
    market = world.upbit["KRW-BTC"]
    best = make(world, BEST)
    assert (best.funds, best.price, best.tif) == (6000, Decimal(market.best_ask) / 10**8, "ioc")
    best = make(world, MARKET | {"ord_type": "best", "time_in_force": "fok"})
    assert (best.quantity, best.price, best.tif) == (
        Decimal("0.001"),
        Decimal(market.best_bid) / 10**8,
        "fok",
    )


@pytest.mark.parametrize("tif", ["ioc", "fok", "post_only"])
def test_times_in_force_of_a_limit_order(world: SimWorld, tif: str) -> None:
    assert make(world, LIMIT | {"time_in_force": tif}).tif == tif


def test_self_trade_rule(world: SimWorld) -> None:
    assert make(world, LIMIT | {"smp_type": "reduce"}).self_trade == "reduce"
    assert make(world, LIMIT | {"smp_type": "none"}).self_trade == ""
    assert make(world, LIMIT | {"time_in_force": "post_only"}).self_trade == ""
    assert make(world, LIMIT | {"time_in_force": "post_only", "smp_type": "none"}).self_trade == ""


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        (LIMIT | {"market": None}, "validation_error"),
        (LIMIT | {"market": "KRW-NONE"}, "notfoundmarket"),
        (LIMIT | {"side": None}, "validation_error"),
        (LIMIT | {"side": "buy"}, "invalid_parameter"),
        (LIMIT | {"ord_type": None}, "validation_error"),
        (LIMIT | {"ord_type": "stop"}, "invalid_parameter"),
        (LIMIT | {"price": None}, "validation_error"),
        (LIMIT | {"volume": None}, "validation_error"),
        (LIMIT | {"price": "100000500"}, "invalid_price_bid"),
        (LIMIT | {"price": "100000000.5", "side": "ask"}, "invalid_price_ask"),
        (LIMIT | {"price": "1e8"}, "invalid_price_bid"),
        (LIMIT | {"price": "NaN"}, "invalid_price_bid"),
        (LIMIT | {"price": "0"}, "invalid_price_bid"),
        (LIMIT | {"price": "-1"}, "invalid_price_bid"),
        (LIMIT | {"price": "٣"}, "invalid_price_bid"),
        (LIMIT | {"volume": "0.001000001"}, "invalid_volume_bid"),
        (LIMIT | {"volume": "0", "side": "ask"}, "invalid_volume_ask"),
        (LIMIT | {"volume": "0.00004999"}, "under_min_total_bid"),
        (LIMIT | {"volume": "0.00004999", "side": "ask"}, "under_min_total_ask"),
        (LIMIT | {"volume": "10.00000001"}, "over_krw_funds_bid"),
        (LIMIT | {"volume": "10.00000001", "side": "ask"}, "over_krw_funds_ask"),
        (LIMIT | {"time_in_force": "gtc"}, "invalid_time_in_force"),
        (LIMIT | {"smp_type": "all"}, "invalid_parameter"),
        (LIMIT | {"time_in_force": "post_only", "smp_type": "cancel_maker"}, "invalid_post_only"),
        (PRICE | {"price": "4999.99"}, "under_min_total_bid"),
        (PRICE | {"price": "9950.207077111"}, "invalid_price_bid"),
        (PRICE | {"side": "ask"}, "invalid_parameter"),
        (PRICE | {"volume": "1"}, "invalid_parameter"),
        (PRICE | {"time_in_force": "ioc"}, "invalid_time_in_force"),
        (PRICE | {"price": "900000000"}, "create_bid_error"),
        (PRICE | {"price": "1000000001"}, "over_krw_funds_bid"),
        (MARKET | {"side": "bid"}, "invalid_parameter"),
        (MARKET | {"price": "100"}, "invalid_parameter"),
        (MARKET | {"volume": "0.00001"}, "under_min_total_ask"),
        (MARKET | {"volume": "6"}, "create_ask_error"),
        (BEST | {"time_in_force": None}, "invalid_time_in_force"),
        (BEST | {"time_in_force": "post_only"}, "invalid_time_in_force"),
        (BEST | {"price": "1"}, "under_min_total_bid"),
    ],
)
def test_refusals_have_the_venues_names(world: SimWorld, terms: dict[str, Any], name: str) -> None:
    with pytest.raises(UpbitRefusal) as refused:
        make(world, terms)
    assert f'"name":"{name}"' in refused.value.body.decode()
    assert refused.value.status == (404 if name == "notfoundmarket" else 400)


def test_least_total_and_tick_of_every_band(world: SimWorld) -> None:
    assert make(world, LIMIT | {"volume": "0.00005"}).quantity == Decimal("0.00005")
    for price, tick in ((3_000, 1), (150, 1), (99, "0.1"), (7_000, 5), (20_000, 10), (600_000, 500)):
        fits = Decimal(price)
        volume = "500000" if price < 1000 else "100"
        assert make(world, LIMIT | {"price": str(fits), "volume": volume}).price == fits
        with pytest.raises(UpbitRefusal, match="invalid_price_bid"):
            make(world, LIMIT | {"price": str(fits + Decimal(tick) / 2), "volume": volume})


def test_identifiers_of_64_characters_at_most() -> None:
    check_identifier("x" * 64)
    with pytest.raises(UpbitRefusal, match="identifier"):
        check_identifier("x" * 65)
