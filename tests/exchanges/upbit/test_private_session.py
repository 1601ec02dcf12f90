"""myOrder and myAsset: what is told, to whom, in which words."""

import json
from decimal import Decimal
from typing import Any

import pytest

from arbshard.config import SimPermissions
from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.wallet import Wallet
from arbshard.exchanges.session import SECOND_NS, PrivateSession, RestReply, SendData
from arbshard.exchanges.upbit.private_session import UpbitPrivateSession

MY_ORDER = [
    "type", "code", "uuid", "ask_bid", "order_type", "state", "trade_uuid", "price", "avg_price", "volume",
    "remaining_volume", "executed_volume", "trades_count", "reserved_fee", "remaining_fee", "paid_fee", "locked",
    "executed_funds", "time_in_force", "trade_fee", "is_maker", "identifier", "smp_type", "prevented_volume",
    "prevented_locked", "trade_timestamp", "order_timestamp", "timestamp", "stream_type",
]  # fmt: skip
MY_ORDER_SIMPLE = [
    "ty", "cd", "uid", "ab", "ot", "s", "tuid", "p", "ap", "v", "rv", "ev", "tc", "rsf", "rmf", "pf", "l", "ef",
    "tif", "tf", "im", "id", "smpt", "pv", "pl", "ttms", "otms", "tms", "st",
]  # fmt: skip


class Listener:
    """A client of the private socket."""

    def __init__(self, customer: Any) -> None:
        self.customer = customer
        session = customer.door.open(customer.bearer(), SECOND_NS)
        assert isinstance(session, UpbitPrivateSession)
        self.session = session
        self.now_ns = SECOND_NS

    def say(self, *objects: dict[str, Any]) -> list[Any]:
        self.now_ns += SECOND_NS
        actions = self.session.on_text(json.dumps(objects), self.now_ns, 1)
        return [json.loads(action.payload) for action in actions if isinstance(action, SendData)]

    def hear(self) -> list[Any]:
        """What was told since the last time."""
        events = self.customer.account.take_events()
        actions = self.session.on_events(self.customer.account, events, 77)
        return [json.loads(action.payload) for action in actions]

    def subscribe(self, *types: dict[str, Any]) -> None:
        assert self.say({"ticket": "p1"}, *types) == []
        self.hear()


@pytest.fixture
def listener(customer: Any) -> Listener:
    return Listener(customer)


def test_the_door_takes_a_token_and_nothing_else(customer: Any) -> None:
    refused = customer.door.open("", SECOND_NS)
    assert isinstance(refused, RestReply)
    assert refused.status == 401
    assert json.loads(refused.body)["error"]["name"] == "no_authorization_token"
    sessions = [customer.door.open(customer.bearer(), SECOND_NS) for _ in range(6)]
    assert all(isinstance(one, PrivateSession) for one in sessions[:5])
    assert sessions[5].status == 429


def test_a_resting_order_is_told_as_it_was_placed(listener: Listener) -> None:
    listener.subscribe({"type": "myOrder"})
    order = listener.customer.limit(price=104_812_000, volume="0.00101749", identifier="my-1")
    (told,) = listener.hear()
    assert list(told) == MY_ORDER
    assert told == {
        "type": "myOrder", "code": "KRW-BTC", "uuid": order["uuid"], "ask_bid": "BID", "order_type": "limit",
        "state": "wait", "trade_uuid": None, "price": 104812000, "avg_price": 0, "volume": 0.00101749,
        "remaining_volume": 0.00101749, "executed_volume": 0, "trades_count": 0, "reserved_fee": 53.32258094,
        "remaining_fee": 53.32258094, "paid_fee": 0, "locked": 106698.48446094, "executed_funds": 0,
        "time_in_force": None, "trade_fee": None, "is_maker": None, "identifier": "my-1", "smp_type": "cancel_maker",
        "prevented_volume": 0, "prevented_locked": 0, "trade_timestamp": None,
        "order_timestamp": listener.customer.now_ms, "timestamp": 77, "stream_type": "REALTIME",
    }  # fmt: skip


def test_fills_carry_their_own_price_volume_and_fee(listener: Listener) -> None:
    listener.subscribe({"type": "myOrder"})
    order = listener.customer.limit(price=listener.customer.ask_price + 1_000_000, volume="0.1")
    told = listener.hear()
    seen = listener.customer.get("order", {"uuid": order["uuid"]})
    fills = told[1:-1]
    assert [one["state"] for one in told] == ["wait", *["trade"] * len(seen["trades"]), "done"]
    for fill, trade in zip(fills, seen["trades"], strict=True):
        assert fill["trade_uuid"] == trade["uuid"]
        assert Decimal(str(fill["price"])) == Decimal(trade["price"])
        assert Decimal(str(fill["volume"])) == Decimal(trade["volume"])
        assert fill["trade_fee"] == pytest.approx(float(trade["funds"]) * 0.0005)
        assert fill["is_maker"] is False
        assert fill["trade_timestamp"] == fill["order_timestamp"]
    assert [fill["trades_count"] for fill in fills] == list(range(1, len(fills) + 1))
    assert sum(fill["trade_fee"] for fill in fills) == pytest.approx(fills[-1]["paid_fee"])
    done = told[-1]
    assert (done["price"], done["volume"], done["remaining_volume"]) == (
        float(seen["price"]), 0.1, 0,
    )  # fmt: skip
    assert done["avg_price"] == pytest.approx(float(seen["executed_funds"]) / 0.1)
    assert (done["trade_fee"], done["is_maker"], done["trade_uuid"]) == (None, None, None)


def test_a_maker_fill_is_told_as_one(listener: Listener) -> None:
    listener.subscribe({"type": "myOrder"})
    customer, market = listener.customer, listener.customer.world.upbit["KRW-BTC"]
    price = customer.ask_price + 100_000
    customer.limit("ask", price=price, volume="0.001")
    market.advance(price * 1.01, 0.1)
    assert customer.matcher.on_step("KRW-BTC", customer.now_ms)
    wait, trade, done = listener.hear()
    assert (wait["state"], trade["state"], done["state"]) == ("wait", "trade", "done")
    assert (trade["ask_bid"], trade["is_maker"], trade["price"]) == ("ASK", True, price)


def test_cancel_is_told(listener: Listener) -> None:
    customer = listener.customer
    listener.subscribe({"type": "myOrder"})
    order = customer.limit()
    customer.delete("order", {"uuid": order["uuid"]})
    assert [(one["state"], one["uuid"]) for one in listener.hear()] == [
        ("wait", order["uuid"]),
        ("cancel", order["uuid"]),
    ]


def test_simple_and_list_formats(listener: Listener) -> None:
    listener.subscribe({"type": "myOrder"}, {"type": "myAsset"}, {"format": "SIMPLE_LIST"})
    listener.customer.limit()
    (order,), (asset,) = listener.hear()
    assert list(order) == MY_ORDER_SIMPLE
    assert list(asset) == ["ty", "astuid", "ast", "asttms", "tms", "st"]
    assert asset["ast"] == [{"cu": "KRW", "b": 99899950, "l": 100050}]


def test_assets_tell_what_changed_only(listener: Listener) -> None:
    listener.subscribe({"type": "myAsset"})
    listener.customer.order(side="ask", ord_type="market", volume="0.001")
    told = listener.hear()
    assert [[one["currency"] for one in message["assets"]] for message in told] == [["BTC"], ["KRW", "BTC"]]
    krw, btc = told[-1]["assets"]
    wallet = listener.customer.account.wallet
    assert (Decimal(str(krw["balance"])), krw["locked"]) == (wallet.free("KRW"), 0)
    assert Decimal(str(btc["balance"])) == wallet.free("BTC")
    assert told[-1]["type"] == "myAsset"
    assert told[-1]["asset_uuid"]


def test_codes_choose_markets_and_a_new_subscription_replaces(listener: Listener) -> None:
    listener.subscribe({"type": "myOrder", "codes": ["KRW-ETH"]})
    listener.customer.limit()
    assert listener.hear() == []
    listener.subscribe({"type": "myOrder", "codes": ["KRW-BTC", "KRW-ETH"]})
    listener.customer.limit()
    assert len(listener.hear()) == 1
    listener.subscribe({"type": "myAsset"})
    listener.customer.limit()
    assert [one["type"] for one in listener.hear()] == ["myAsset"]


def test_another_accounts_business_is_not_told(listener: Listener) -> None:
    listener.subscribe({"type": "myOrder"}, {"type": "myAsset"})
    listener.customer.limit()
    events = listener.customer.account.take_events()
    stranger = TradingAccount("other", "secret", Wallet({}), SimPermissions())
    assert events
    assert listener.session.on_events(stranger, events, 1) == ()


def test_before_a_subscription_nothing_is_told(listener: Listener) -> None:
    listener.customer.limit()
    assert listener.hear() == []
    assert listener.session.streams == frozenset()


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"type": "myAsset", "codes": ["KRW-BTC"]}, "WRONG_FORMAT"),
        ({"type": "myOrder", "codes": ["KRW-NONE"]}, "INVALID_PARAM"),
        ({"type": "myOrder", "codes": "KRW-BTC"}, "INVALID_PARAM"),
        ({"type": "myOrder", "codes": [7]}, "INVALID_PARAM"),
        ({"type": "orderbook", "codes": ["KRW-BTC"]}, "INVALID_PARAM"),
        ({"codes": ["KRW-BTC"]}, "NO_TYPE"),
    ],
)
def test_errors(listener: Listener, entry: dict[str, Any], name: str) -> None:
    (reply,) = listener.say({"ticket": "x"}, entry)
    assert reply["error"]["name"] == name


def test_list_subscriptions_and_ping(listener: Listener) -> None:
    listener.subscribe({"type": "myOrder", "codes": ["KRW-BTC"]}, {"type": "myAsset"})
    (reply,) = listener.say({"ticket": "q"}, {"method": "LIST_SUBSCRIPTIONS"})
    assert reply["result"] == [{"type": "myOrder", "codes": ["KRW-BTC"]}, {"type": "myAsset"}]
    assert listener.session.on_text("PING", 9 * SECOND_NS, 1) == (SendData(b'{"status":"UP"}'),)
