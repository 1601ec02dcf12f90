"""How the venues are asked, and how their answers read: real Binance bodies, and Upbit's documented form."""

import json

import pytest

from arbshard.errors import FrameError
from arbshard.model.book import OrderBookSnapshot
from arbshard.venues.base.rest import BookRequest
from arbshard.venues.binance.rest import BinanceBooks
from arbshard.venues.registry import get_adapter, get_venue
from arbshard.venues.upbit.rest import UpbitBooks
from support import frames


def upbit_item(market, units, timestamp=1_795_239_476_126):
    keys = ("ask_price", "bid_price", "ask_size", "bid_size")
    return {
        "market": market,
        "timestamp": timestamp,
        "total_ask_size": 1.0,
        "total_bid_size": 1.0,
        "orderbook_units": [dict(zip(keys, unit, strict=True)) for unit in units],
        "level": 0,
    }


BTC = upbit_item("KRW-BTC", [(137002000, 137001000, 0.1, 0.2), (137003000, 137000000, 0.3, 0.4)])
ETH = upbit_item("KRW-ETH", [(5000000, 4999000, 1.0, 2.0)])
CALL = BookRequest("", ("KRW-BTC", "KRW-ETH"))


def decode(books, call, body):
    return dict(books.decode(call, body if isinstance(body, bytes) else json.dumps(body).encode(), 77))


def test_upbit_asks_for_many_markets_at_once():
    symbols = [f"KRW-C{n}" for n in range(120)]
    calls = UpbitBooks().calls(symbols, 99)
    assert [len(call.symbols) for call in calls] == [50, 50, 20]
    assert calls[2].path == f"/v1/orderbook?markets={','.join(symbols[100:])}&count=30"
    assert UpbitBooks.calls_per_s < 10


def test_upbit_books():
    found = decode(UpbitBooks(), CALL, [BTC, ETH])
    book = found["KRW-BTC"]
    assert isinstance(book, OrderBookSnapshot)
    assert book.bids == ((137001000.0, 0.2), (137000000.0, 0.4))
    assert book.asks == ((137002000.0, 0.1), (137003000.0, 0.3))
    assert (book.venue, book.exchange_ms, book.received_ns) == ("upbit", 1_795_239_476_126, 77)
    assert found["KRW-ETH"].best_bid == 4999000


def test_one_bad_upbit_book_does_not_spoil_the_others():
    crossed = upbit_item("KRW-BTC", [(100.0, 101.0, 1.0, 1.0)])
    found = decode(UpbitBooks(), CALL, [crossed, ETH])
    assert found["KRW-BTC"].reason == "crossed"
    assert isinstance(found["KRW-ETH"], OrderBookSnapshot)
    found = decode(UpbitBooks(), CALL, [{**BTC, "orderbook_units": "none"}, ETH])
    assert found["KRW-BTC"].reason == "shape"
    found = decode(UpbitBooks(), CALL, [ETH])
    assert (found["KRW-BTC"].reason, str(found["KRW-BTC"])) == ("empty", "empty: not in the answer")


def test_upbit_padding_is_cut_off_and_zeros_inside_are_refused():
    padded = upbit_item("KRW-ETH", [(10.0, 9.0, 1.0, 1.0), (11.0, 0.0, 2.0, 0.0)])
    book = decode(UpbitBooks(), BookRequest("", ("KRW-ETH",)), [padded])["KRW-ETH"]
    assert book.bids == ((9.0, 1.0),)
    assert len(book.asks) == 2
    holed = upbit_item("KRW-ETH", [(10.0, 9.0, 0.0, 1.0), (11.0, 8.0, 2.0, 1.0)])
    assert decode(UpbitBooks(), BookRequest("", ("KRW-ETH",)), [holed])["KRW-ETH"].reason == "number"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'[{"market":"KRW-B', "cut"),
        (b'{"error":{"name":404}}', "shape"),
        (b"[1]", "shape"),
        (json.dumps([upbit_item("KRW-DOGE", [(2.0, 1.0, 1.0, 1.0)])]).encode(), "shape"),
        (json.dumps([BTC, BTC]).encode(), "shape"),
    ],
)
def test_an_upbit_answer_of_another_kind_is_refused_whole(body, reason):
    with pytest.raises(FrameError) as caught:
        decode(UpbitBooks(), CALL, body)
    assert caught.value.reason == reason


def test_binance_whole_books():
    for _, query, body in frames.binance_depths():
        symbol = query.partition("symbol=")[2].partition("&")[0]
        book = decode(BinanceBooks(), BookRequest("", (symbol,)), body)[symbol]
        raw = json.loads(body)
        assert book.symbol == symbol
        assert book.bids == tuple((float(p), float(q)) for p, q in raw["bids"])
        assert book.asks == tuple((float(p), float(q)) for p, q in raw["asks"])
        assert (book.exchange_ms, book.received_ns) == (None, 77)


def test_binance_asks_for_one_market_at_a_time():
    calls = BinanceBooks().calls(["BTCUSDT", "ETHUSDT"], 20)
    assert calls == [
        BookRequest("/api/v3/depth?symbol=BTCUSDT&limit=20", ("BTCUSDT",)),
        BookRequest("/api/v3/depth?symbol=ETHUSDT&limit=20", ("ETHUSDT",)),
    ]
    assert "limit=100" in BinanceBooks().calls(["BTCUSDT"], 5000)[0].path
    assert BinanceBooks.calls_per_s * 60 * 5 < 6000


@pytest.mark.parametrize(
    ("bids", "reason"),
    [
        ([], "empty"),
        ([["nan", "1"]], "number"),
        ([["101", "1"]], "crossed"),
        ([["1", "1"], ["2", "1"]], "unsorted"),
    ],
)
def test_binance_book_that_cannot_be_trusted(bids, reason):
    body = {"lastUpdateId": 1, "bids": bids, "asks": [["100", "1"]]}
    assert decode(BinanceBooks(), BookRequest("", ("BTCUSDT",)), body)["BTCUSDT"].reason == reason


@pytest.mark.parametrize(
    "body", [b'{"code":-1121,"msg":"Invalid symbol."}', b"<html>", b'{"lastUpdateId":1,"bids":[[']
)
def test_binance_body_of_another_kind(body):
    with pytest.raises(FrameError):
        decode(BinanceBooks(), BookRequest("", ("BTCUSDT",)), body)


def test_each_venue_has_its_own():
    assert isinstance(get_adapter("upbit").rest, UpbitBooks)
    assert isinstance(get_adapter("binance").rest, BinanceBooks)


# ---- answers as frames of the stream


def test_upbit_answers_as_frames_decode_to_the_same_books():
    body = json.dumps([BTC, ETH]).encode()
    venue = get_venue("upbit")
    frames = list(UpbitBooks().frames(CALL, body))
    assert [venue.route(frame) for frame in frames] == ["KRW-BTC", "KRW-ETH"]
    assert [venue.sequence_number(frame) for frame in frames] == [1_795_239_476_126] * 2
    found = decode(UpbitBooks(), CALL, body)
    assert [venue.decode(frame, 77) for frame in frames] == [found["KRW-BTC"], found["KRW-ETH"]]
    assert [venue.top_of_book(frame, 77).best_bid for frame in frames] == [137001000.0, 4999000.0]


def test_binance_answer_as_a_frame_decodes_to_the_same_book():
    call = BookRequest("", ("BTCUSDT",))
    body = b'{"lastUpdateId":17,"bids":[["100.0","1.0"],["99.5","2.0"]],"asks":[["100.5","1.0"]]}'
    venue = get_venue("binance")
    (frame,) = BinanceBooks().frames(call, body)
    assert (venue.route(frame), venue.sequence_number(frame)) == ("BTCUSDT", 17)
    assert venue.decode(frame, 77) == decode(BinanceBooks(), call, body)["BTCUSDT"]


@pytest.mark.parametrize("books", [UpbitBooks(), BinanceBooks()])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b'{"code":-1003}', b"<html>", b'[{"market":"KRW-DOGE"}]']
)
def test_what_is_no_answer_makes_no_frame(books, body):
    with pytest.raises(FrameError):
        list(books.frames(BookRequest("", ("KRW-BTC",)), body))


def test_a_market_nobody_asked_for_makes_no_frame():
    with pytest.raises(FrameError, match="not asked for"):
        list(UpbitBooks().frames(BookRequest("", ("KRW-BTC",)), json.dumps([ETH]).encode()))
