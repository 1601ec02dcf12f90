"""Fills and what they do to balances; results and their ends."""

from decimal import Decimal
from typing import get_args

import pytest

from arbshard.model.order import FINAL_STATES, OrderResult, OrderState


@pytest.mark.parametrize(
    ("leg", "side", "changes"),
    [
        ("home", "buy", {"BTC": "0.01", "KRW": "-1460730"}),  # 1,460,000 and 5 bps of it
        ("home", "sell", {"BTC": "-0.01", "KRW": "1459270"}),
        ("away", "buy", {"BTC": "0.00999", "USDT": "-1050"}),  # 10 bps of the coin
        ("away", "sell", {"BTC": "-0.01", "USDT": "1048.95"}),
    ],
)
def test_changes_of_the_balances(make, leg, side, changes):
    market, price = (make.home, 146_000_000) if leg == "home" else (make.away, 105_000)
    fill = make.fill(make.order(market, side, "0.01", price), "0.01", price)
    total = {}
    for currency, amount in fill.changes():
        total[currency] = total.get(currency, Decimal(0)) + amount
    assert total == {currency: Decimal(amount) for currency, amount in changes.items()}


def test_filled_is_the_sum_before_fees(make):
    order = make.order(make.away, "buy", "0.01", 105_000)
    fills = (make.fill(order, "0.003", 105_000), make.fill(order, "0.004", 104_999, 1))
    assert OrderResult(order, "PARTIAL", fills).filled == Decimal("0.007")
    assert OrderResult(order, "SENT").filled == 0


def test_final_states():
    final = {"FILLED", "CANCELED", "REJECTED", "EXPIRED", "NOT_ACCEPTED"}
    assert final == FINAL_STATES
    assert final < set(get_args(OrderState))


@pytest.mark.parametrize("state", get_args(OrderState))
def test_is_final(make, state):
    order = make.order(make.home, "buy", "0.01", 146_000_000)
    open_states = ("INTENT", "SENT", "ACCEPTED", "PARTIAL", "UNKNOWN")
    assert OrderResult(order, state).is_final is (state not in open_states)
