"""Fees, limits, rights and ticks as the venues tell them."""

import json
from decimal import Decimal

import pytest

from arbshard.errors import FrameError
from arbshard.venues.base.rules import Rates, ReportedLimit, Rights, RulesReply
from arbshard.venues.registry import get_adapter

UPBIT, BINANCE = get_adapter("upbit").rules, get_adapter("binance").rules


def reply(body, **headers):
    return RulesReply(
        json.dumps(body).encode(), {name.replace("_", "-"): value for name, value in headers.items()}
    )


def rates(taker, buyer="0", seller="0"):
    return {"maker": "0.9", "taker": taker, "buyer": buyer, "seller": seller}


def test_upbit_fees_and_limits():
    told = reply({"bid_fee": "0.0005", "ask_fee": "0.0006"}, remaining_req="group=default; min=1800; sec=27")
    assert UPBIT.rates_of("KRW-BTC", told) == Rates("KRW-BTC", Decimal(5), Decimal(6))
    assert UPBIT.limits_of(told) == (ReportedLimit("upbit_default", 30, 30, 2),)
    # Whatever ``min`` says, which the venue declares unused, and also without it.
    for header in ("group=default; min=0; sec=27", "group=default; min=60; sec=27", "group=default; sec=27"):
        assert UPBIT.limits_of(reply({}, remaining_req=header)) == (
            ReportedLimit("upbit_default", 30, 30, 2),
        )
    raised = reply({}, remaining_req="group=default; min=1800; sec=49")
    assert UPBIT.limits_of(raised) == (ReportedLimit("upbit_default", 50, 30, 0),)
    assert UPBIT.limits_of(reply({})) == ()


def test_upbit_tells_no_rights():
    assert UPBIT.rights_call() is None
    assert UPBIT.rights_of(None, reply({})) == Rights()


def test_upbit_ticks():
    calls = UPBIT.ticks_calls([f"KRW-{n}" for n in range(120)])
    assert [len(call.params["markets"].split(",")) for call in calls] == [50, 50, 20]
    body = [
        {"market": "KRW-BTC", "quote_currency": "KRW", "tick_size": "1000"},
        {"market": "KRW-X", "tick_size": 0.1},
    ]
    assert UPBIT.ticks_of(reply(body)) == {"KRW-BTC": Decimal(1000), "KRW-X": Decimal("0.1")}


def test_binance_fees_are_the_sum_of_their_parts():
    body = {
        "symbol": "BTCUSDT",
        "standardCommission": rates("0.001", buyer="0.0001"),
        "specialCommission": rates("0.0002"),
        "taxCommission": rates("0", seller="0.0003"),
        "discount": {"enabledForAccount": True, "enabledForSymbol": True, "discountAsset": "BNB"},
    }
    assert BINANCE.rates_of("BTCUSDT", reply(body)) == Rates("BTCUSDT", Decimal(13), Decimal(15), "BNB")
    body["discount"]["enabledForSymbol"] = False
    assert BINANCE.rates_of("BTCUSDT", reply(body)).paid_in == ""


def test_binance_limits():
    limits = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 50},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
    ]
    told = BINANCE.limits_of(reply({"rateLimits": limits}, x_mbx_used_weight_1m="123"))
    assert told == (
        ReportedLimit("binance_weight", 6000, 6000, 123),
        ReportedLimit("binance_orders_10s", 50, 100, 0),
    )


def test_binance_rights_are_the_keys_where_they_are_told():
    account = reply({"canTrade": True, "canWithdraw": True})
    key = {"ipRestrict": True, "enableWithdrawals": False, "enableSpotAndMarginTrading": True}
    assert BINANCE.rights_of(reply(key), account) == Rights(withdraw=False, trade=True, addresses_listed=True)
    assert BINANCE.rights_of(None, account) == Rights(withdraw=True, trade=True, by_account=True)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"bid_fee":"NaN","ask_fee":"1"}'])
def test_answers_that_cannot_be_trusted(body):
    given = RulesReply(body, {})
    for read in (
        lambda: UPBIT.rates_of("x", given),
        lambda: BINANCE.rates_of("x", given),
        lambda: BINANCE.limits_of(given),
    ):
        with pytest.raises(FrameError):
            read()
    with pytest.raises(FrameError):
        BINANCE.rights_of(None, given)
    with pytest.raises(FrameError):
        BINANCE.rights_of(given, given)
