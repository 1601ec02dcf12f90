import json
from collections.abc import Sequence
from typing import Any

import pytest

from arbshard.exchanges.binance.session import BinanceSession, opening_streams, unknown_streams
from arbshard.exchanges.session import SECOND_NS, CloseClient, SendData, SendPing, SessionAction
from arbshard.exchanges.world import SimWorld


class Client:
    """Talks to a session, one message every second unless told otherwise."""

    def __init__(self, world: SimWorld, path: str = "/ws", streams: str | None = None) -> None:
        combined, names = opening_streams(path, streams)
        symbols = {symbol.lower(): market for symbol, market in world.binance.items()}
        self.now_ns = SECOND_NS
        self.session = BinanceSession(symbols, combined=combined, names=names, now_ns=self.now_ns)

    def raw(self, text: str, wait_s: float = 1.0) -> Sequence[SessionAction]:
        self.now_ns += int(wait_s * SECOND_NS)
        return self.session.on_text(text, self.now_ns, 0)

    def say(self, method: str, params: object = None, request_id: object = 1) -> Any:
        request = {"method": method, "id": request_id} | ({} if params is None else {"params": params})
        (reply,) = self.raw(json.dumps(request))
        assert isinstance(reply, SendData)
        return json.loads(reply.payload)

    def kinds(self) -> set[tuple[str, str, int, bool]]:
        return {(one.symbol, one.kind, one.depth, one.slow) for one in self.session.streams}


@pytest.fixture
def client(world: SimWorld) -> Client:
    return Client(world)


@pytest.mark.parametrize(
    ("path", "streams", "combined", "names"),
    [
        ("/ws", None, False, ()),
        ("/ws/btcusdt@depth20@100ms", None, False, ("btcusdt@depth20@100ms",)),
        ("/ws/a@trade/b@trade", None, False, ("a@trade", "b@trade")),
        ("/ws/0", None, False, ()),
        ("/stream", None, True, ()),
        ("/stream", "a@trade/b@depth", True, ("a@trade", "b@depth")),
        ("/stream/ws/3", None, True, ()),
        ("/stream/ws/a@trade", None, True, ("a@trade",)),
    ],
)
def test_what_the_url_asks_for(
    path: str, streams: str | None, combined: bool, names: tuple[str, ...]
) -> None:
    assert opening_streams(path, streams) == (combined, names)


def test_streams_of_the_url_begin_at_once(world: SimWorld) -> None:
    client = Client(world, "/stream", "btcusdt@depth5@100ms/ethusdt@bookTicker")
    assert client.kinds() == {("BTCUSDT", "depth", 5, False), ("ETHUSDT", "bookTicker", 0, False)}
    assert {one.form for one in client.session.streams} == {"combined"}


def test_subscribe_adds_and_unsubscribe_removes(client: Client) -> None:
    assert client.say("SUBSCRIBE", ["btcusdt@depth20@100ms"]) == {"result": None, "id": 1}
    assert client.say("SUBSCRIBE", ["ethusdt@depth"], 2) == {"result": None, "id": 2}
    assert client.kinds() == {("BTCUSDT", "depth", 20, False), ("ETHUSDT", "diff", 0, True)}
    assert client.say("LIST_SUBSCRIPTIONS", None, 3) == {
        "result": ["btcusdt@depth20@100ms", "ethusdt@depth"],
        "id": 3,
    }
    assert client.say("UNSUBSCRIBE", ["btcusdt@depth20@100ms", "never@trade"], 4) == {"result": None, "id": 4}
    assert client.kinds() == {("ETHUSDT", "diff", 0, True)}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("depth5", ("depth", 5, True)),
        ("depth10@100ms", ("depth", 10, False)),
        ("depth20@1000ms", ("depth", 20, True)),
        ("depth", ("diff", 0, True)),
        ("depth@100ms", ("diff", 0, False)),
        ("bookTicker", ("bookTicker", 0, False)),
        ("trade", ("trade", 0, False)),
        ("aggTrade", ("aggTrade", 0, False)),
    ],
)
def test_stream_names(client: Client, name: str, kind: tuple[str, int, bool]) -> None:
    client.say("SUBSCRIBE", [f"btcusdt@{name}"])
    assert client.kinds() == {("BTCUSDT", *kind)}


def test_unknown_symbol_and_upper_case_are_accepted_and_silent(client: Client) -> None:
    silent = ["nonesuch@trade", "BTCUSDT@trade"]
    assert client.say("SUBSCRIBE", silent) == {"result": None, "id": 1}
    assert client.kinds() == set()
    assert client.say("LIST_SUBSCRIPTIONS")["result"] == silent


NOT_SERVED = [
    "btcusdt@blockTrade", "btcusdt@referencePrice", "btcusdt@kline_7m", "btcusdt@kline_1m@+09:00", "!ticker@arr",
    "btcusdt@ticker_2h", "!bookTicker", "btcusdt@nothing",
]  # fmt: skip


@pytest.mark.parametrize("name", NOT_SERVED)
def test_a_stream_that_is_not_served_is_refused(client: Client, name: str) -> None:
    assert client.say("SUBSCRIBE", ["btcusdt@trade", name], 5) == {
        "error": {"code": 2, "msg": "Invalid request: invalid stream"},
        "id": 5,
    }
    assert client.kinds() == set()
    refused = unknown_streams(["btcusdt@trade", name])
    assert refused is not None
    assert refused.status == 400


SERVED = [
    "ticker", "miniTicker", "avgPrice", "ticker_1h", "ticker_4h", "ticker_1d", "kline_1s", "kline_1M",
    "kline_1d@+08:00",
]  # fmt: skip


@pytest.mark.parametrize("kind", SERVED)
def test_a_stream_of_statistics_is_slow(client: Client, kind: str) -> None:
    client.say("SUBSCRIBE", [f"btcusdt@{kind}"])
    assert client.kinds() == {("BTCUSDT", kind, 0, True)}
    assert unknown_streams([f"btcusdt@{kind}"]) is None


@pytest.mark.parametrize("kind", ["miniTicker@arr", "ticker_1h@arr"])
def test_streams_of_all_markets_come_with_the_first_one(client: Client, kind: str) -> None:
    client.say("SUBSCRIBE", [f"!{kind}"])
    assert client.kinds() == {("BTCUSDT", kind, 0, True)}


def test_microseconds_are_a_form_of_their_own(world: SimWorld) -> None:
    symbols = {symbol.lower(): market for symbol, market in world.binance.items()}
    session = BinanceSession(symbols, combined=True, names=["btcusdt@trade"], now_ns=0, in_microseconds=True)
    assert {one.form for one in session.streams} == {"combined-us"}
    (shutdown,) = session.on_shutdown(1_795_000_000_000)
    assert isinstance(shutdown, SendData)
    assert json.loads(shutdown.payload)["data"]["E"] == 1_795_000_000_000_000


def test_combined_is_a_property(client: Client) -> None:
    assert client.say("GET_PROPERTY", ["combined"]) == {"result": False, "id": 1}
    client.say("SUBSCRIBE", ["btcusdt@trade"])
    assert {one.form for one in client.session.streams} == {"raw"}
    assert client.say("SET_PROPERTY", ["combined", True], "abc") == {"result": None, "id": "abc"}
    assert {one.form for one in client.session.streams} == {"combined"}
    assert client.say("GET_PROPERTY", ["combined"], None) == {"result": True, "id": None}


@pytest.mark.parametrize(
    ("text", "code", "request_id"),
    [
        ("nonsense", 3, None),
        ("[1]", 2, None),
        ('{"id":1}', 2, 1),
        ('{"method":"SHOUT","id":2}', 2, 2),
        ('{"method":"SUBSCRIBE","id":3}', 2, 3),
        ('{"method":"SUBSCRIBE","params":"a@trade","id":4}', 2, 4),
        ('{"method":"SUBSCRIBE","params":[7],"id":5}', 2, 5),
        ('{"method":"SUBSCRIBE","params":["btcusdt"],"id":"s"}', 2, "s"),
        ('{"method":"SUBSCRIBE","params":["btcusdt@depth7"],"id":6}', 2, 6),
        ('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1.5}', 2, None),
        ('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":true}', 2, None),
        ('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":"' + "x" * 37 + '"}', 2, None),
        ('{"method":"SET_PROPERTY","params":["colour",true],"id":7}', 0, 7),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":8}', 1, 8),
        ('{"method":"SET_PROPERTY","params":["combined",true,1],"id":9}', 2, 9),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":10}', 0, 10),
    ],
)
def test_errors_are_nested_and_change_nothing(
    client: Client, text: str, code: int, request_id: object
) -> None:
    client.say("SUBSCRIBE", ["ethusdt@trade"])
    (reply,) = client.raw(text)
    assert isinstance(reply, SendData)
    message = json.loads(reply.payload)
    assert message["error"]["code"] == code
    assert message["error"]["msg"]
    assert message["id"] == request_id
    assert client.kinds() == {("ETHUSDT", "trade", 0, False)}


def test_1024_streams_and_no_more(client: Client) -> None:
    names = [f"x{index}@trade" for index in range(1024)]
    assert client.say("SUBSCRIBE", names)["result"] is None
    assert client.say("SUBSCRIBE", names[:5])["result"] is None  # the same ones again are no more
    assert client.say("SUBSCRIBE", ["btcusdt@trade"])["error"]["code"] == 2
    assert client.kinds() == set()


def test_sixth_message_in_a_second_closes_and_pings_count(client: Client) -> None:
    text = '{"method":"LIST_SUBSCRIPTIONS","id":1}'
    assert all(isinstance(client.raw(text, wait_s=0.01)[0], SendData) for _ in range(3))
    assert client.session.on_ping(client.now_ns) == ()
    assert client.session.on_pong(b"", client.now_ns) == ()
    assert isinstance(client.raw(text, wait_s=0.01)[0], CloseClient)


def test_ping_every_20_s_and_a_client_that_answers_stays(client: Client) -> None:
    start = client.now_ns
    for turn in range(1, 10):
        at = start + 20 * turn * SECOND_NS
        assert client.session.on_time(at - 1, 0) == ()
        (ping,) = client.session.on_time(at, 0)
        assert isinstance(ping, SendPing)
        assert client.session.on_pong(ping.payload, at + SECOND_NS) == ()


def test_a_client_that_does_not_answer_is_closed_after_60_s(client: Client) -> None:
    start = client.now_ns
    for second in range(1, 80):
        at = start + second * SECOND_NS
        client.session.on_pong(b"", at)  # unsolicited pongs do not save it
        assert not any(isinstance(action, CloseClient) for action in client.session.on_time(at, 0))
    assert client.session.on_time(start + 80 * SECOND_NS, 0) == (CloseClient(1008, "Pong timeout"),)
