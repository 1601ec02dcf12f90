"""Binance's codec on partial depth as documented, on damaged frames, on captured other streams, and its rules."""

import json
import math
from decimal import Decimal
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import FrameError, VenueError
from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.venues.base.market import FrameKind
from arbshard.venues.binance.market import Binance

BOOK = (
    b'{"stream":"btcusdt@depth5@100ms","data":{"lastUpdateId":160,'
    b'"bids":[["60000.00000000","1.20000000"],["59999.99000000","0.00500000"]],'
    b'"asks":[["60000.01000000","0.75000000"],["60000.02000000","3.00000000"]]}}'
)
BIDS = [(100.0, 1.0), (99.5, 2.0)]
ASKS = [(100.5, 1.0), (101.0, 2.0)]


def reason_of(venue: Binance, frame: bytes) -> str:
    with pytest.raises(FrameError) as caught:
        venue.decode(frame, 1)
    return caught.value.reason


def glanced(venue: Binance, frame: bytes) -> BookTop | None:
    """The top, which is sound whatever the frame is; None for a refusal."""
    try:
        top = venue.top_of_book(frame, 1)
    except FrameError:
        return None
    assert 0 < top.best_bid < top.best_ask < inf
    assert 0 < top.bid_size < inf
    assert 0 < top.ask_size < inf
    return top


# ---- books


def test_partial_depth(binance):
    assert binance.route(BOOK) == "BTCUSDT"
    assert binance.decode(BOOK, 77) == OrderBookSnapshot(
        venue="binance",
        symbol="BTCUSDT",
        bids=((60000.0, 1.2), (59999.99, 0.005)),
        asks=((60000.01, 0.75), (60000.02, 3.0)),
        exchange_ms=None,
        received_ns=77,
    )


@pytest.mark.parametrize("depth", [5, 10, 20])
@pytest.mark.parametrize("speed", ["", "@100ms", "@1000ms"])
@pytest.mark.parametrize("symbol", ["BTCUSDT", "1000SATSUSDT", "币安人生USDT"])
def test_symbol_comes_from_the_stream_name(binance, binance_frame, depth, speed, symbol):
    frame = binance_frame(BIDS, ASKS, stream=f"{symbol.lower()}@depth{depth}{speed}")
    raw = json.dumps(json.loads(frame), ensure_ascii=False, separators=(",", ":")).encode()
    for spelling in (raw, json.dumps(json.loads(frame)).encode()):
        assert binance.route(spelling) == symbol
        assert binance.decode(spelling, 1).symbol == symbol


def test_keys_in_another_order_and_new_keys(binance):
    plain = json.loads(BOOK)
    data = {"new": [1], **dict(reversed(plain["data"].items()))}
    frame = json.dumps({"new": None, "data": data, "stream": plain["stream"]}).encode()
    assert binance.route(frame) == "BTCUSDT"
    assert binance.decode(frame, 1) == binance.decode(BOOK, 1)


def test_route_gives_the_same_string_object_each_time(binance, binance_frame):
    assert binance.route(binance_frame(BIDS, ASKS)) is binance.route(binance_frame(BIDS[:1], ASKS[:1]))


SIZE = st.integers(1, 10**15).map(lambda units: units / 1e8)
PRICES = st.lists(st.integers(1, 10**14), min_size=2, max_size=40, unique=True).map(sorted)


@given(PRICES, st.data())
def test_any_sound_book_survives_the_wire(binance, binance_frame, prices, data):
    floats = [price / 1e8 for price in prices]
    split = data.draw(st.integers(1, len(floats) - 1))
    bids = tuple((price, data.draw(SIZE)) for price in reversed(floats[:split]))
    asks = tuple((price, data.draw(SIZE)) for price in floats[split:])
    book = binance.decode(binance_frame(bids, asks), 1)
    assert (book.bids, book.asks) == (bids, asks)
    assert binance.top_of_book(binance_frame(bids, asks), 1) == book.top


# ---- other streams


def test_frames_of_other_streams(binance, binance_stream):
    assert len(binance_stream) == 348
    for frame in binance_stream:
        assert binance.route(frame) is None
        control = binance.classify(frame)
        assert control.kind is FrameKind.OTHER
        assert control.detail == json.loads(frame)["stream"]
        assert reason_of(binance, frame) == "shape"


# ---- damaged frames


def test_every_cut_is_refused(binance, binance_frame):
    bids = [(60_000 - rank / 100, 0.001 + rank) for rank in range(20)]
    asks = [(60_001 + rank / 100, 0.001 + rank) for rank in range(20)]
    for frame in (BOOK, binance_frame(bids, asks)):
        for end in range(len(frame)):
            cut = frame[:end]
            assert binance.route(cut) is None
            assert binance.classify(cut).kind is FrameKind.GARBAGE
            assert reason_of(binance, cut) == "cut"


MUTATION = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 300), st.binary(min_size=1, max_size=3)),
    st.tuples(st.just("drop"), st.integers(0, 300), st.integers(1, 40)),
    st.tuples(
        st.just("put"),
        st.integers(0, 300),
        st.sampled_from(
            [b"0", b"-", b"9", b".", b"e9", b"null", b'"', b"{", b"}", b"[", b"]", b",", b"nan", b"inf"]
        ),
    ),
)


@given(st.lists(MUTATION, min_size=1, max_size=4))
def test_mutated_frames_are_refused_or_sound(binance, mutated, mutations):
    frame = mutated(BOOK, mutations)
    binance.route(frame)
    binance.classify(frame)
    top = glanced(binance, frame)
    try:
        book = binance.decode(frame, 1)
    except FrameError:
        return
    assert top == book.top
    for side, sign in ((book.bids, -1), (book.asks, 1)):
        ranks = [sign * price for price, _ in side]
        assert ranks
        assert ranks == sorted(set(ranks))
        assert all(0 < value < math.inf for level in side for value in level)
    assert book.best_bid < book.best_ask


@given(st.binary(max_size=200))
def test_garbage_never_raises_anything_else(binance, junk):
    for frame in (junk, b'{"stream":"' + junk + b"]}}"):
        binance.route(frame)
        binance.classify(frame)
        with pytest.raises(FrameError):
            binance.decode(frame, 1)
        glanced(binance, frame)


@pytest.mark.parametrize(
    ("bids", "asks", "reason"),
    [
        ([], ASKS, "empty"),
        (BIDS, [], "empty"),
        ([("nan", 1.0)], ASKS, "number"),
        ([("NaN", 1.0)], ASKS, "number"),
        (BIDS, [(100.5, "nan")], "number"),
        (BIDS, [("inf", 1.0)], "number"),
        (BIDS, [(100.5, "Infinity")], "number"),
        ([("-inf", 1.0)], ASKS, "number"),
        (BIDS, [("1e400", 1.0)], "number"),
        (BIDS, [(-100.5, 1.0)], "number"),
        ([(100.0, 0.0)], ASKS, "number"),
        (BIDS, [(100.5, 1.0), (0.0, 0.0)], "number"),
        (BIDS, [(100.0, 1.0)], "crossed"),
        (BIDS, [(99.0, 1.0)], "crossed"),
        (BIDS[::-1], ASKS, "unsorted"),
        (BIDS, ASKS[::-1], "unsorted"),
        ([BIDS[0], BIDS[0]], ASKS, "unsorted"),
        ([("abc", 1.0)], ASKS, "shape"),
        ([(100.0,)], ASKS, "shape"),
        ([(100.0, 1.0, 1.0)], ASKS, "shape"),
        ([(None, 1.0)], ASKS, "shape"),
    ],
)
def test_refused_with_its_reason(binance, binance_frame, bids, asks, reason):
    frame = binance_frame(bids, asks)
    assert reason_of(binance, frame) == reason


@pytest.mark.parametrize(
    "stream",
    ["", "btcusdt", "btcusdt@depth@100ms", "btcusdt@depth50", "@depth20", "a b@depth20", "x@depth20@5ms"],
)
def test_stream_that_is_no_partial_depth(binance, binance_frame, stream):
    frame = binance_frame(BIDS, ASKS, stream=stream)
    assert binance.route(frame) is None
    assert reason_of(binance, frame) == "shape"


def test_unwrapped_partial_depth_has_no_symbol(binance):
    frame = json.dumps(json.loads(BOOK)["data"]).encode()
    assert binance.route(frame) is None
    assert binance.classify(frame).kind is FrameKind.GARBAGE
    assert reason_of(binance, frame) == "shape"


# ---- control frames


@pytest.mark.parametrize(
    ("frame", "kind", "detail"),
    [
        (b'{"result":null,"id":1}', FrameKind.ACK, "1"),
        (b'{"result":["btcusdt@depth20@100ms"],"id":"q3"}', FrameKind.ACK, "q3"),
        (b'{"result":true,"id":null}', FrameKind.ACK, "None"),
        (
            b'{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":2}',
            FrameKind.ERROR,
            "2: Invalid request: invalid stream (request 2)",
        ),
        (b'{"code":3,"msg":"Invalid JSON","id":null}', FrameKind.ERROR, "3: Invalid JSON (request None)"),
        (b'{"e":"serverShutdown","E":1}', FrameKind.SHUTDOWN, "serverShutdown"),
        (
            b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}',
            FrameKind.SHUTDOWN,
            "serverShutdown",
        ),
        (b'{"event":{"e":"serverShutdown","E":1}}', FrameKind.SHUTDOWN, "serverShutdown"),
        (b'{"e":"trade","s":"BTCUSDT"}', FrameKind.OTHER, "trade"),
        (b'{"stream":"btcusdt@depth@100ms","data":{}}', FrameKind.OTHER, "btcusdt@depth@100ms"),
    ],
)
def test_control_frames(binance, frame, kind, detail):
    assert binance.route(frame) is None
    control = binance.classify(frame)
    assert (control.kind, control.detail) == (kind, detail)


@pytest.mark.parametrize(
    "frame",
    [b"", b"{}", b"[]", b"null", b'{"error":1}', b"\xff", b'{"stream":"\xff"}', b'{"zz":' + b"[" * 100_000],
    ids=range(8),
)
def test_garbage(binance, frame):
    assert binance.route(frame) is None
    assert binance.classify(frame).kind is FrameKind.GARBAGE
    assert reason_of(binance, frame) in ("cut", "shape")


# ---- subscriptions


@pytest.mark.parametrize(
    ("depth", "offered"), [(1, 5), (5, 5), (6, 10), (10, 10), (11, 20), (20, 20), (30, 20)]
)
def test_depth_is_rounded_up(binance, depth, offered):
    (message,) = binance.subscribe_messages(["BTCUSDT", "ETHUSDT", "BTCUSDT"], depth, "t")
    assert json.loads(message) == {
        "method": "SUBSCRIBE",
        "params": [f"btcusdt@depth{offered}@100ms", f"ethusdt@depth{offered}@100ms"],
        "id": 1,
    }


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
def test_a_hundred_streams_per_message(binance, count, sizes):
    symbols = [f"C{number}USDT" for number in range(count)]
    messages = [json.loads(message) for message in binance.subscribe_messages(symbols, 20, "t")]
    assert [len(message["params"]) for message in messages] == sizes
    assert [message["id"] for message in messages] == list(range(1, len(sizes) + 1))
    streams = [stream for message in messages for stream in message["params"]]
    assert streams == [f"c{number}usdt@depth20@100ms" for number in range(count)]
    assert [
        binance.route(b'{"stream":"%s","data":{"bids":[]}}' % name.encode()) for name in streams
    ] == symbols


def test_connection(binance):
    assert binance.ws_address("ws://127.0.0.1:1") == "ws://127.0.0.1:1/stream"
    assert binance.ws_address("wss://stream.binance.com:9443/") == "wss://stream.binance.com:9443/stream"
    rules = binance.connection_rules
    assert (rules.symbols_max, rules.ping_text, rules.life_max_s) == (1024, None, 86400.0)
    assert 1 / rules.message_gap_s < 5


# ---- rules and listing

FILTERS = [
    {
        "filterType": "PRICE_FILTER",
        "minPrice": "0.01000000",
        "maxPrice": "1000000.00",
        "tickSize": "0.01000000",
    },
    {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
    {"filterType": "ICEBERG_PARTS", "limit": 100},
    {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "152.7", "stepSize": "0.00000000"},
    {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "2", "avgPriceMins": 5},
    {
        "filterType": "NOTIONAL",
        "minNotional": "5.00000000",
        "applyMinToMarket": True,
        "maxNotional": "9000000.00000000",
        "avgPriceMins": 5,
    },
]


def row(base: str, quote: str = "USDT", filters: object = FILTERS, **more: object) -> dict[str, object]:
    names = {"symbol": base + quote, "baseAsset": base, "quoteAsset": quote}
    return {**names, "status": "TRADING", "isSpotTradingAllowed": True, "filters": filters, **more}


def info(*rows: dict[str, object]) -> list[bytes]:
    return [json.dumps({"timezone": "UTC", "serverTime": 1, "symbols": rows}).encode()]


def rules_of(binance: Binance, *filters: dict[str, object]):
    return binance.listing(info(row("BTC", filters=list(filters))))["BTCUSDT"].rules


def test_listing_keeps_dollar_markets(binance):
    assert binance.listing_paths() == ("/api/v3/exchangeInfo",)
    listing = binance.listing(info(row("BTC"), row("ETH", "BTC", filters="not even read"), row("ETH")))
    assert list(listing) == ["BTCUSDT", "ETHUSDT"]
    bitcoin = listing["BTCUSDT"]
    assert (str(bitcoin.market), bitcoin.market.base, bitcoin.market.quote) == (
        "binance:BTCUSDT",
        "BTC",
        "USDT",
    )
    assert (bitcoin.tradable, bitcoin.note) == (True, "")
    rules = bitcoin.rules
    assert rules.tick_at(Decimal(60_000)) == Decimal("0.01")
    assert (rules.lot, rules.quantity_min) == (Decimal("0.00001"), Decimal("0.00001"))
    assert (rules.notional_min, rules.notional_max) == (Decimal(5), Decimal(9_000_000))
    assert rules.quantity_max == 9000


def test_rounding_is_against_us(binance):
    rules = rules_of(binance, *FILTERS)
    assert rules.round_price(Decimal("60000.019"), "buy") == Decimal("60000.01")
    assert rules.round_price(Decimal("60000.011"), "sell") == Decimal("60000.02")
    assert rules.round_quantity(Decimal("0.000019")) == Decimal("0.00001")


@pytest.mark.parametrize("status", ["HALT", "BREAK", "END_OF_DAY", "CANCEL_ONLY"])
def test_market_that_is_not_trading_says_why(binance, status):
    market = binance.listing(info(row("BTC", status=status)))["BTCUSDT"]
    assert (market.tradable, market.note) == (False, status)
    assert market.warnings == (("not_trading", status),)


def test_market_without_spot_trading(binance):
    market = binance.listing(info(row("BTC", isSpotTradingAllowed=False)))["BTCUSDT"]
    assert (market.tradable, market.note) == (False, "no spot trading")


@pytest.mark.parametrize(
    ("sets", "is_tradable"),
    [
        ([["SPOT", "MARGIN"]], True),
        ([], True),
        ([[]], True),
        ("SPOT", True),
        ({"new": "form"}, True),
        ([["TRD_GRP_004"]], False),
        ([["SPOT"], ["TRD_GRP_004"]], False),
    ],
)
def test_a_market_for_other_accounts_alone_is_not_tradable(binance, sets, is_tradable):
    market = binance.listing(info(row("BTC", permissionSets=sets)))["BTCUSDT"]
    assert market.tradable is is_tradable
    assert [kind for kind, _ in market.warnings] == ([] if is_tradable else ["not_permitted"])


def test_older_notional_filter(binance):
    rules = rules_of(binance, *FILTERS[:2], {"filterType": "MIN_NOTIONAL", "minNotional": "10.0"})
    assert rules.notional_min == 10
    assert rules.notional_max > 10**12


@pytest.mark.parametrize(
    "filters",
    [
        [],
        [
            {"filterType": "PRICE_FILTER", "tickSize": "0.00000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00000000", "stepSize": "0.00000000"},
            {"filterType": "NOTIONAL", "minNotional": "0.00000000", "maxNotional": "0.00000000"},
        ],
    ],
)
def test_zero_or_absent_filter_is_no_rule(binance, filters):
    rules = rules_of(binance, *filters)
    assert rules.round_price(Decimal("1.123456789"), "buy") == Decimal("1.12345678")
    assert rules.round_quantity(Decimal("1.123456789")) == Decimal("1.12345678")
    assert rules.accepts(Decimal("0.00000001"), Decimal("0.00000001"))
    assert rules.accepts(Decimal(10**6), Decimal(10**6))
    assert not rules.accepts(Decimal(1), Decimal(0))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"code":-1003,"msg":"Too much request weight used"}',
        b'{"symbols":[{"symbol":"X"}]}',
        info(row("BTC", filters=[{"filterType": "PRICE_FILTER", "tickSize": "abc"}]))[0],
        info(row("BTC", filters=[{"filterType": "PRICE_FILTER", "tickSize": "NaN"}]))[0],
        info(row("BTC", filters=[{"filterType": "LOT_SIZE", "stepSize": "-1"}]))[0],
        info(row("BTC", filters=[{"filterType": "NOTIONAL", "maxNotional": "Infinity"}]))[0],
        info(row("BTC", filters=[{"tickSize": "1"}]))[0],
        info(row("BTC", filters={}))[0],
    ],
)
def test_listing_it_cannot_read_is_one_clear_line(binance, body):
    with pytest.raises(VenueError) as caught:
        binance.listing([body])
    assert str(caught.value).startswith("binance /api/v3/exchangeInfo")
    assert "\n" not in str(caught.value)
    if b"BTCUSDT" in body:
        assert "BTCUSDT" in str(caught.value)


def test_buyer_pays_in_the_coin(binance):
    fees = binance.fee_schedule(Decimal(10), Decimal("7.5"))
    assert (fees.buy_bps, fees.sell_bps, fees.buy_fee_in_base) == (Decimal(10), Decimal("7.5"), True)


# ---- two connections, and changes


def test_mark_is_the_update_id(binance):
    assert binance.sequence_number(BOOK) == 160
    assert binance.sequence_number(BOOK.replace(b'"lastUpdateId":160,', b"")) is None
    assert binance.sequence_number(b"") is None


def test_changes_touch_nothing_else(binance):
    messages = binance.change_messages(["AUSDT", "BUSDT", "CUSDT"], ["CUSDT"], ["XUSDT"], 20, "t")
    first, second = map(json.loads, messages)
    assert (first["method"], first["params"]) == ("UNSUBSCRIBE", ["xusdt@depth20@100ms"])
    assert (second["method"], second["params"]) == ("SUBSCRIBE", ["cusdt@depth20@100ms"])
    assert first["id"] != second["id"]
    assert binance.change_messages(["AUSDT"], [], [], 20, "t") == []


def test_many_changes_go_in_several_messages(binance):
    added = [f"C{n}USDT" for n in range(250)]
    messages = [json.loads(message) for message in binance.change_messages(added, added, [], 20, "t")]
    assert [len(message["params"]) for message in messages] == [100, 100, 50]
    assert len({message["id"] for message in messages}) == 3
