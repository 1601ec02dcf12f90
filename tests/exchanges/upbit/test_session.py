import json
from collections.abc import Sequence
from typing import Any

import pytest

from arbshard.exchanges.session import SECOND_NS, CloseClient, Cut, SendData, SessionAction
from arbshard.exchanges.upbit.frames import CANDLES
from arbshard.exchanges.upbit.session import UpbitSession
from arbshard.exchanges.world import SimWorld

NOW_MS = 1_795_000_000_000


class Client:
    """Talks to a session, one message every second unless told otherwise."""

    def __init__(self, world: SimWorld) -> None:
        self.session = UpbitSession(world.upbit)
        self.now_ns = SECOND_NS

    def raw(self, text: str, wait_s: float = 1.0) -> Sequence[SessionAction]:
        self.now_ns += int(wait_s * SECOND_NS)
        return self.session.on_text(text, self.now_ns, NOW_MS)

    def say(self, *objects: dict[str, Any]) -> list[Any]:
        return [
            json.loads(action.payload)
            for action in self.raw(json.dumps(objects))
            if isinstance(action, SendData)
        ]

    def subscribed(self) -> list[tuple[str, str, int]]:
        return sorted((stream.kind, stream.symbol, stream.depth) for stream in self.session.streams)


@pytest.fixture
def client(world: SimWorld) -> Client:
    return Client(world)


TICKET = {"ticket": "t1"}


def book(*codes: str, **options: object) -> dict[str, Any]:
    return {"type": "orderbook", "codes": list(codes), **options}


def error_of(replies: list[Any]) -> str:
    assert len(replies) == 1
    return str(replies[0]["error"]["name"])


def test_subscription_is_answered_by_snapshots_and_nothing_else(client: Client) -> None:
    replies = client.say(TICKET, book("KRW-BTC", "KRW-ETH"))
    assert [(reply["code"], reply["stream_type"]) for reply in replies] == [
        ("KRW-BTC", "SNAPSHOT"),
        ("KRW-ETH", "SNAPSHOT"),
    ]
    assert client.subscribed() == [("orderbook", "KRW-BTC", 30), ("orderbook", "KRW-ETH", 30)]


def test_default_and_simple_keys(client: Client) -> None:
    (default,) = client.say(TICKET, book("KRW-BTC.5"))
    assert list(default) == [
        "type", "code", "timestamp", "total_ask_size", "total_bid_size", "orderbook_units", "stream_type", "level",
    ]  # fmt: skip
    assert set(default["orderbook_units"][0]) == {"ask_price", "bid_price", "ask_size", "bid_size"}
    (simple,) = client.say(TICKET, book("KRW-BTC.5"), {"format": "SIMPLE"})
    assert list(simple) == ["ty", "cd", "tms", "tas", "tbs", "obu", "st", "lv"]
    assert set(simple["obu"][0]) == {"ap", "bp", "as", "bs"}
    assert simple["tms"] == default["timestamp"] == NOW_MS
    assert len(simple["obu"]) == 5


@pytest.mark.parametrize(("form", "key"), [("JSON_LIST", "code"), ("SIMPLE_LIST", "cd")])
def test_list_formats_wrap_the_message(client: Client, form: str, key: str) -> None:
    (reply,) = client.say(TICKET, book("KRW-BTC"), {"format": form})
    assert [entry[key] for entry in reply] == ["KRW-BTC"]


def test_format_may_stand_before_the_type(client: Client) -> None:
    (reply,) = client.say(TICKET, {"format": "SIMPLE"}, book("KRW-BTC"))
    assert reply["cd"] == "KRW-BTC"


@pytest.mark.parametrize(
    ("suffix", "depth"),
    [("", 30), (".1", 1), (".5", 5), (".15", 15), (".30", 30), (".7", 30), (".x", 30), (".", 30)],
)
def test_depth_suffix(client: Client, suffix: str, depth: int) -> None:
    (reply,) = client.say(TICKET, book("KRW-BTC" + suffix))
    assert len(reply["orderbook_units"]) == depth
    assert reply["code"] == "KRW-BTC"


def test_a_new_subscription_replaces_the_old(client: Client) -> None:
    client.say(TICKET, book("KRW-BTC"), {"type": "trade", "codes": ["KRW-BTC"]})
    client.say(TICKET, book("KRW-ETH.15"))
    assert client.subscribed() == [("orderbook", "KRW-ETH", 15)]


def test_one_type_in_several_objects(client: Client) -> None:
    client.say(TICKET, book("KRW-BTC"), book("KRW-ETH"))
    assert [symbol for _, symbol, _ in client.subscribed()] == ["KRW-BTC", "KRW-ETH"]


@pytest.mark.parametrize("name", ["is_only_snapshot", "isOnlySnapshot"])
def test_only_snapshot(client: Client, name: str) -> None:
    assert len(client.say(TICKET, book("KRW-BTC", **{name: True}))) == 1
    assert client.subscribed() == []


@pytest.mark.parametrize("name", ["is_only_realtime", "isOnlyRealtime"])
def test_only_realtime(client: Client, name: str) -> None:
    assert client.say(TICKET, book("KRW-BTC", **{name: True})) == []
    assert len(client.subscribed()) == 1


def test_flags_that_are_false_change_nothing(client: Client) -> None:
    assert len(client.say(TICKET, book("KRW-BTC", is_only_snapshot=False, isOnlyRealtime=False))) == 1
    assert len(client.subscribed()) == 1


def test_unsupported_level_is_silent(client: Client) -> None:
    assert client.say(TICKET, book("KRW-BTC", level=10_000)) == []
    assert client.subscribed() == []


@pytest.mark.parametrize("kind", list(CANDLES))
def test_a_candle_begins_with_a_snapshot(client: Client, world: SimWorld, kind: str) -> None:
    market = world.upbit["KRW-BTC"]
    market.open(NOW_MS - 3_600_000)  # there is a candle, of an earlier time
    (candle,) = client.say(TICKET, {"type": kind, "codes": ["KRW-BTC"]})
    assert list(candle) == [
        "type", "code", "candle_date_time_utc", "candle_date_time_kst", "opening_price", "high_price", "low_price",
        "trade_price", "timestamp", "candle_acc_trade_price", "candle_acc_trade_volume", "stream_type",
    ]  # fmt: skip
    assert (candle["type"], candle["stream_type"]) == (kind, "SNAPSHOT")
    assert candle["trade_price"] == market.last_print.price / 1e8
    assert candle["candle_acc_trade_volume"] == market.last_print.size / 1e8
    assert client.subscribed() == [(kind, "KRW-BTC", 0)]
    (short,) = client.say(TICKET, {"type": kind, "codes": ["KRW-BTC"]}, {"format": "SIMPLE"})
    assert list(short) == [
        "ty", "cd", "cdttmu", "cdttmk", "op", "hp", "lp", "tp", "tms", "catp", "catv", "st",
    ]  # fmt: skip


def test_a_candle_of_another_length_is_refused(client: Client) -> None:
    assert error_of(client.say(TICKET, {"type": "candle.7m", "codes": ["KRW-BTC"]})) == "INVALID_PARAM"


def test_trade_and_ticker_snapshots(client: Client) -> None:
    trade, ticker = client.say(
        TICKET, *({"type": kind, "codes": ["KRW-BTC"]} for kind in ("trade", "ticker"))
    )
    assert trade["type"] == "trade"
    assert trade["ask_bid"] in ("ASK", "BID")
    assert trade["best_bid_price"] < trade["best_ask_price"]
    assert ticker["trade_price"] == trade["trade_price"]
    assert len(ticker["trade_date"]) == 8
    assert len(trade["trade_date"]) == 10


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nonsense", "WRONG_FORMAT"),
        ('{"type":"orderbook","codes":["KRW-BTC"]}', "WRONG_FORMAT"),
        ("[]", "WRONG_FORMAT"),
        ('[{"ticket":"a"},7]', "WRONG_FORMAT"),
        ('[{"type":"orderbook","codes":["KRW-BTC"]}]', "NO_TICKET"),
        ('[{"type":"orderbook","codes":["KRW-BTC"]},{"ticket":"late"}]', "NO_TICKET"),
        ('[{"ticket":""},{"type":"orderbook","codes":["KRW-BTC"]}]', "NO_TICKET"),
        ('[{"ticket":"a"}]', "NO_TYPE"),
        ('[{"ticket":"a"},{"codes":["KRW-BTC"]}]', "NO_TYPE"),
        ('[{"ticket":"a"},{"type":"orderbook"}]', "NO_CODES"),
        ('[{"ticket":"a"},{"type":"orderbook","codes":[]}]', "NO_CODES"),
        ('[{"ticket":"a"},{"type":"nothing","codes":["KRW-BTC"]}]', "INVALID_PARAM"),
        ('[{"ticket":"a"},{"type":"orderbook","codes":["KRW-NONE"]}]', "INVALID_PARAM"),
        ('[{"ticket":"a"},{"type":"orderbook","codes":["krw-btc"]}]', "INVALID_PARAM"),
        ('[{"ticket":"a"},{"type":"orderbook","codes":["KRW-BTC",7]}]', "INVALID_PARAM"),
        ('[{"ticket":"a"},{"type":"orderbook","codes":["KRW-BTC"]},{"format":"XML"}]', "INVALID_PARAM"),
        ('[{"ticket":"a"},{"type":"orderbook","codes":["KRW-BTC"],"level":"x"}]', "INVALID_PARAM"),
        ('[{"ticket":"a"},{"type":"myAsset"}]', "INVALID_AUTH"),
        ('[{"ticket":"a"},{"method":"OTHER"}]', "WRONG_FORMAT"),
    ],
)
def test_errors_are_named_and_leave_the_subscription_alone(client: Client, text: str, name: str) -> None:
    client.say(TICKET, book("KRW-ETH"))
    replies = [json.loads(action.payload) for action in client.raw(text) if isinstance(action, SendData)]
    assert error_of(replies) == name
    assert client.subscribed() == [("orderbook", "KRW-ETH", 30)]


def test_list_subscriptions(client: Client) -> None:
    client.say(TICKET, book("KRW-BTC.5"), {"type": "trade", "codes": ["KRW-ETH"]})
    (reply,) = client.say({"method": "LIST_SUBSCRIPTIONS"}, {"ticket": "q"})
    assert reply == {
        "method": "LIST_SUBSCRIPTIONS",
        "result": [
            {"type": "orderbook", "codes": ["KRW-BTC.5"], "level": 0},
            {"type": "trade", "codes": ["KRW-ETH"]},
        ],
        "ticket": "q",
    }


def test_list_subscriptions_switches_the_format(client: Client) -> None:
    client.say(TICKET, book("KRW-BTC"))
    (reply,) = client.say({"ticket": "q"}, {"method": "LIST_SUBSCRIPTIONS"}, {"format": "SIMPLE"})
    assert reply == {
        "mthd": "LIST_SUBSCRIPTIONS",
        "rslt": [{"ty": "orderbook", "cds": ["KRW-BTC"], "lv": 0}],
        "tckt": "q",
    }
    assert {stream.form for stream in client.session.streams} == {"SIMPLE"}
    client.say({"ticket": "q"}, {"method": "LIST_SUBSCRIPTIONS"})
    assert {stream.form for stream in client.session.streams} == {"SIMPLE"}


def test_ping_text_is_answered_and_repeated_every_10_s(client: Client) -> None:
    up = (SendData(b'{"status":"UP"}'),)
    assert client.session.on_time(client.now_ns, 0) == ()
    assert client.raw("PING") == up
    at = client.now_ns
    assert client.session.on_time(at + 9 * SECOND_NS, 0) == ()
    assert client.session.on_time(at + 10 * SECOND_NS, 0) == up
    assert client.session.on_time(at + 11 * SECOND_NS, 0) == ()
    assert client.session.on_time(at + 20 * SECOND_NS, 0) == up


def test_idle_cut_after_120_s(client: Client) -> None:
    assert client.session.on_time(client.now_ns, 119 * SECOND_NS) == ()
    assert client.session.on_time(client.now_ns, 120 * SECOND_NS) == (Cut("idle"),)


def test_sixth_message_in_a_second_closes(client: Client) -> None:
    text = json.dumps([TICKET, book("KRW-BTC")])
    answers = [client.raw(text, wait_s=0.1) for _ in range(6)]
    assert all(isinstance(answer[0], SendData) for answer in answers[:5])
    assert isinstance(answers[5][0], CloseClient)
    assert answers[5][0].code == 1008


def test_hundred_and_first_message_in_a_minute_closes(client: Client) -> None:
    text = json.dumps([TICKET, book("KRW-BTC", is_only_realtime=True)])
    answers = [client.raw(text, wait_s=0.3) for _ in range(101)]
    assert not any(answers[:100])
    assert isinstance(answers[100][0], CloseClient)


def test_ping_texts_are_not_counted(client: Client) -> None:
    assert all(isinstance(client.raw("PING", wait_s=0.01)[0], SendData) for _ in range(20))
