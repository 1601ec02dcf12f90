"""An order ends the same way, whoever tells of it first: the answer to a call or the private stream.

Real parsers, tracker and state machine; only the sockets between them are missing.
"""

import json
from decimal import Decimal

import pytest

from arbshard.accounts.orders import VenueOrders
from arbshard.config import ExecutionConfig
from arbshard.execution.live.tracker import Tracker
from arbshard.execution.two_leg import SendOrders, TwoLeg, TwoLegEnd
from arbshard.venues.binance.account import BinanceAccount
from arbshard.venues.ids import venue_id
from arbshard.venues.registry import get_adapter
from arbshard.venues.upbit.account import UpbitAccount
from arbshard.wire import order_events
from support.two_leg import NOW, PauseClock

TAG = "ab1cd"
EXECUTION = ExecutionConfig(max_hedge_slippage_bps=40.0, hedge_tries=3)
NET = Decimal("0.00999")

UPBIT_STATES = {
    "wait": "ACCEPTED",
    "watch": "ACCEPTED",
    "prevented": "ACCEPTED",
    "done": "FILLED",
    "cancel": "EXPIRED",
    "a new word": "UNKNOWN",
}
"""All that the venue documents for an order, but for ``trade``, which tells of a fill."""
BINANCE_STATES = {
    "NEW": "ACCEPTED",
    "PENDING_NEW": "ACCEPTED",
    "PENDING_CANCEL": "ACCEPTED",
    "PARTIALLY_FILLED": "PARTIAL",
    "FILLED": "FILLED",
    "CANCELED": "CANCELED",
    "REJECTED": "REJECTED",
    "EXPIRED": "EXPIRED",
    "EXPIRED_IN_MATCH": "EXPIRED",
    "A_NEW_WORD": "UNKNOWN",
}
"""All that the venue documents."""


def read_order(order, body):
    return get_adapter(order.market.venue).orders.read(order, body)


class Upbit:
    """Tells how an order stands of which nothing was executed, by the venue's own ``word``."""

    account = UpbitAccount()

    def answer(self, order, word):
        row = {
            "market": order.market.symbol, "uuid": "u-1", "side": "bid" if order.side == "buy" else "ask",
            "state": word, "executed_volume": "0", "remaining_volume": str(order.quantity), "paid_fee": "0",
            "identifier": venue_id(TAG, order.client_id), "trades": [],
        }  # fmt: skip
        return json.dumps(row).encode()

    def frame(self, order, word):
        frame = {
            "type": "myOrder", "code": order.market.symbol, "uuid": "u-1",
            "ask_bid": "BID" if order.side == "buy" else "ASK", "state": word, "trade_uuid": None,
            "price": float(order.limit), "volume": float(order.quantity),
            "remaining_volume": float(order.quantity), "executed_volume": 0,
            "identifier": venue_id(TAG, order.client_id), "timestamp": 1795239580704,
        }  # fmt: skip
        return json.dumps(frame).encode()


class Binance:
    """See ``Upbit``."""

    account = BinanceAccount()

    def answer(self, order, word):
        row = {
            "symbol": order.market.symbol, "orderId": 7, "clientOrderId": venue_id(TAG, order.client_id),
            "side": order.side.upper(), "status": word, "origQty": str(order.quantity), "executedQty": "0.0",
            "fills": [],
        }  # fmt: skip
        return json.dumps(row).encode()

    def frame(self, order, word):
        event = {
            "e": "executionReport", "s": order.market.symbol, "c": venue_id(TAG, order.client_id),
            "S": order.side.upper(), "X": word, "i": 7, "q": str(order.quantity), "z": "0", "l": "0", "L": "0",
        }  # fmt: skip
        return json.dumps({"subscriptionId": 0, "event": event}).encode()


VENUES = {"upbit": Upbit(), "binance": Binance()}
WAYS = [("answer",), ("stream",), ("answer", "stream"), ("stream", "answer")]


def tell(tracker, tracked, word, way):
    """Bring ``word`` to the tracker as the processes do."""
    order = tracked.order
    venue = VENUES[order.market.venue]
    if way == "answer":
        tracked.settle(read_order(order, venue.answer(order, word)))
        return
    orders = VenueOrders(order.market.venue, TAG, {order.market.symbol: order.market})
    event = orders.update(venue.account.read(venue.frame(order, word)))
    if event is None:  # an order that is still open, as it was sent
        return
    event = order_events.decode(order_events.encode(event))
    tracker.apply(
        event.client_id,
        event.state,
        event.filled,
        event.fills,
        event.venue_order_id,
        event.detail,
        event.fault,
    )


def result_of(order, word, ways):
    tracker = Tracker()
    tracked = tracker.begin(order, 0)
    for way in ways:
        tell(tracker, tracked, word, way)
    return tracker.release(tracked)


@pytest.mark.parametrize(
    ("venue", "word", "state"),
    [
        *(("upbit", word, state) for word, state in UPBIT_STATES.items()),
        *(("binance", word, state) for word, state in BINANCE_STATES.items()),
    ],
)
class TestStates:
    """Every documented word means the same by every way."""

    def test_each_way_reads_it_alike(self, make, venue, word, state):
        order = make.intent().order(venue)
        by = VENUES[venue]
        assert read_order(order, by.answer(order, word)).state == state
        assert by.account.read(by.frame(order, word)).state == state
        assert by.account.order_of(by.answer(order, word)).state == state
        assert by.account.orders_of(b"[" + by.answer(order, word) + b"]")[0].state == state

    def test_each_way_ends_it_alike(self, make, venue, word, state):
        order = make.intent().order(venue)
        ends = {ways: result_of(order, word, ways).state for ways in WAYS}
        # Nothing was executed: "filled" is then an end without all of it, and what has not ended is asked about.
        expected = {
            "FILLED": "CANCELED",
            "CANCELED": "CANCELED",
            "REJECTED": "REJECTED",
            "EXPIRED": "EXPIRED",
        }
        assert set(ends.values()) == {expected.get(state, "UNKNOWN")}


@pytest.mark.parametrize("ways", WAYS, ids=" then ".join)
@pytest.mark.parametrize(
    ("filled", "words"),
    [
        ("away", {"upbit": "cancel", "binance": "EXPIRED"}),
        ("home", {"upbit": "cancel", "binance": "EXPIRED"}),
        ("home", {"upbit": "cancel", "binance": "CANCELED"}),
        ("home", {"upbit": "cancel", "binance": "EXPIRED_IN_MATCH"}),
    ],
)
def test_a_hedge_that_finds_nothing_escalates(make, filled, words, ways):
    """It reaches farther each time, and then takes the other leg back; it does not repeat one price for ever."""
    intent = make.intent("entry", "buy_home", NET)
    machine = TwoLeg(intent, make.pair, None, EXECUTION)
    for leg in ("home", "away"):
        order = getattr(intent, leg)
        done = make.result(order, "FILLED", order.quantity)
        word = words[order.market.venue]
        machine.record(done if leg == filled else result_of(order, word, ways), NOW)
    sent = []
    clock = PauseClock()
    for _ in range(2 * EXECUTION.hedge_tries):
        step = clock.step(machine, make.home_book(), make.away_book())
        assert isinstance(step, SendOrders)
        (order,) = step.orders
        sent.append(order)
        result = result_of(order, words[order.market.venue], ways)
        assert result.is_final
        machine.record(result, clock.now_ns)
    assert [order.role for order in sent] == ["hedge"] * 3 + ["unwind"] * 3
    for first, second in (sent[:2], sent[1:3]):
        farther = second.limit > first.limit if first.side == "buy" else second.limit < first.limit
        assert farther, (first, second)
    last = clock.step(machine, make.home_book(), make.away_book())
    assert isinstance(last, SendOrders)
    machine.record(make.result(last.orders[0], "FILLED", last.orders[0].quantity), clock.now_ns)
    assert isinstance(machine.next_step(make.home_book(), make.away_book(), NOW), TwoLegEnd)


@pytest.mark.parametrize("ways", WAYS, ids=" then ".join)
def test_a_hedge_that_the_venue_rejects_is_taken_back_at_once(make, ways):
    """What Binance refuses after a look at it, it would refuse again; by whatever way the refusal comes."""
    intent = make.intent("entry", "buy_home", NET)
    machine = TwoLeg(intent, make.pair, None, EXECUTION)
    machine.record(make.result(intent.home, "FILLED", intent.home.quantity), NOW)
    machine.record(result_of(intent.away, "EXPIRED", ways), NOW)
    step = machine.next_step(make.home_book(), make.away_book(), NOW)
    assert isinstance(step, SendOrders)
    assert step.orders[0].role == "hedge"
    machine.record(result_of(step.orders[0], "REJECTED", ways), NOW)
    step = machine.next_step(make.home_book(), make.away_book(), NOW)
    assert isinstance(step, SendOrders)
    assert step.orders[0].role == "unwind"
