"""The judge itself: whatever is wrong in either set of books must be found."""

from copy import deepcopy
from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.ledger.events import (
    Deposited,
    DifferenceFound,
    IntentApproved,
    IntentConcluded,
    OrderReported,
    PositionOpened,
)
from arbshard.model.money import plain
from kills.agreement import LedgerView, disagreements

TAG = "abc12"


def fill_of(order, quantity, price, trade_id):
    fee = Decimal("0.5")
    return {
        "trade_id": trade_id, "price": plain(price), "quantity": plain(quantity), "fee": plain(fee),
        "fee_currency": order.market.quote,
    }  # fmt: skip


@pytest.fixture
def events(make):
    """One entry whose legs filled whole, one fill each."""
    intent = make.intent()
    told = []
    for order in (intent.home, intent.away):
        market = order.market
        one = make.fill(order, order.quantity, order.limit)
        one = replace(
            one, fill_id=f"{market.venue}:{market.symbol}:7", fee=Decimal("0.5"), fee_currency=market.quote
        )
        told.append(
            OrderReported(
                at_ms=1,
                intent_id=intent.intent_id,
                pair="BTC",
                client_id=order.client_id,
                state="FILLED",
                detail="",
                decision_price=Decimal(0),
                fills=(one,),
            )
        )
    deposits = [
        Deposited(at_ms=0, venue=venue, currency=currency, amount=Decimal(amount), why="opening")
        for venue, currency, amount in (
            ("upbit", "KRW", 1_000_000), ("upbit", "BTC", 1), ("binance", "USDT", 1_000), ("binance", "BTC", 1),
        )
    ]  # fmt: skip
    concluded = IntentConcluded(
        at_ms=2, intent_id=intent.intent_id, pair="BTC", mark=Decimal(1), fx=make.quote, done=False,
        position_id="", position_state=None,
    )  # fmt: skip
    return [*deposits, IntentApproved(at_ms=1, intent=intent, holds=()), *told, concluded]


@pytest.fixture
def books(make, events):
    """The exchange's books of the same."""
    intent = make.intent()
    ledger = LedgerView(TAG, events)
    found = {}
    for order in (intent.home, intent.away):
        venue = order.market.venue
        opening = {c: plain(a) for (v, c), a in ledger.deposits.items() if v == venue}
        now = {c: {"free": plain(a), "locked": "0"} for (v, c), a in ledger.balances.items() if v == venue}
        found[venue] = {
            "opening": opening,
            "balances": now,
            "orders_dropped": 0,
            "orders": [
                {
                    "id": "1", "client_id": f"{TAG}-{order.client_id}", "symbol": order.market.symbol,
                    "side": order.side, "price": plain(order.limit), "quantity": plain(order.quantity),
                    "executed": plain(order.quantity), "fee_paid": "0.5", "status": "done",
                    "fills": [fill_of(order, order.quantity, order.limit, "7")],
                }
            ],
        }  # fmt: skip
    return found


def said(books, events):
    return disagreements(books, LedgerView(TAG, events))


def test_equal_books_agree(books, events):
    assert said(books, events) == []


def test_an_order_that_the_ledger_does_not_know(books, events):
    stranger = deepcopy(books["upbit"]["orders"][0]) | {"id": "2", "client_id": f"{TAG}-s1-0-1-9-h0"}
    books["upbit"]["orders"].append(stranger)
    assert any("unknown to the ledger" in line for line in said(books, events))


def test_an_order_sent_twice(books, events):
    books["upbit"]["orders"].append(deepcopy(books["upbit"]["orders"][0]))
    assert any("2 orders called" in line for line in said(books, events))


def test_an_order_that_is_still_open(books, events):
    books["upbit"]["orders"][0]["status"] = "open"
    assert any("is open" in line for line in said(books, events))


def test_an_order_that_the_venue_does_not_have(books, events):
    books["binance"]["orders"].clear()
    assert any("binance has no such" in line for line in said(books, events))


def test_a_fill_that_was_lost(books, events):
    extra = deepcopy(books["upbit"]["orders"][0]["fills"][0]) | {"trade_id": "8"}
    books["upbit"]["orders"][0]["fills"].append(extra)
    assert any("upbit:KRW-BTC:8 is lost" in line for line in said(books, events))


def test_a_fill_that_was_booked_twice(books, events):
    events.insert(-1, next(event for event in events if isinstance(event, OrderReported)))
    found = said(books, events)
    assert any("is booked 2 times" in line for line in found)
    assert any("upbit has" in line for line in found)


def test_a_fill_that_never_was(books, events):
    books["binance"]["orders"][0]["fills"].clear()
    assert any("is in the ledger only" in line for line in said(books, events))


@pytest.mark.parametrize("what", ["quantity", "price"])
def test_a_fill_of_another_amount(books, events, what):
    books["upbit"]["orders"][0]["fills"][0][what] = "1.00000001"
    assert any("in the ledger Fill" in line for line in said(books, events))


@pytest.mark.parametrize(("venue", "more"), [("upbit", "0.0000011"), ("binance", "1e-18")])
def test_a_fee_that_differs(books, events, venue, more):
    order = books[venue]["orders"][0]
    order["fee_paid"] = plain(Decimal(order["fee_paid"]) + Decimal(more))
    assert any(f"fee {order['fee_paid']}" in line for line in said(books, events))


@pytest.mark.parametrize(
    ("venue", "currency", "more"), [("upbit", "KRW", "0.0000011"), ("binance", "USDT", "1e-18")]
)
def test_a_balance_that_differs(books, events, venue, currency, more):
    money = books[venue]["balances"][currency]
    money["free"] = plain(Decimal(money["free"]) + Decimal(more))
    assert any(f"{venue} has" in line and currency in line for line in said(books, events))


def test_digits_that_doubles_do_not_carry_are_no_disagreement(books, events):
    books["upbit"]["orders"][0]["fee_paid"] = "0.50000000000000000001"
    money = books["upbit"]["balances"]["KRW"]
    money["free"] = plain(Decimal(money["free"]) + Decimal("1e-18"))
    assert said(books, events) == []


def test_an_end_that_is_another(books, events):
    events[-3] = replace(events[-3], state="CANCELED")
    assert any("the ledger says CANCELED" in line for line in said(books, events))


def test_an_order_that_was_denied_and_is_there(books, events):
    events[-3] = replace(events[-3], detail="never accepted: order_not_found")
    assert any("is there, the ledger says" in line for line in said(books, events))


def test_an_intent_without_outcome(books, events):
    assert any("has no outcome" in line for line in said(books, events[:-1]))


def test_an_order_without_an_end(books, events):
    kept = [event for event in events if not isinstance(event, OrderReported)]
    assert any("which is no end" in line for line in said(books, kept))


def test_a_position_that_stays_open(books, events, make):
    events.append(PositionOpened(at_ms=3, intent_id="s1-0-1-1", position=make.position()))
    assert any("is open" in line for line in said(books, events))


def test_a_difference_on_the_way(books, events):
    difference = DifferenceFound(at_ms=3, venue="upbit", currency="KRW", stated=Decimal(1), booked=Decimal(2))
    assert any("on the way" in line for line in said(books, [*events, difference]))


def test_money_that_is_locked(books, events):
    books["upbit"]["balances"]["KRW"]["locked"] = "1"
    assert any("locked" in line for line in said(books, events))


def test_a_leg_left_open(books, events):
    coins = books["upbit"]["balances"]["BTC"]
    coins["free"] = plain(Decimal(coins["free"]) + Decimal("0.1"))
    assert any("too much over both venues" in line for line in said(books, events))


def test_orders_that_the_exchange_forgot(books, events):
    books["upbit"]["orders_dropped"] = 1
    assert any("forgotten" in line for line in said(books, events))
