"""Differential streams: asked for, routed, and the kept book written as the codec reads it."""

import json

import pytest

from arbshard.venues.binance.diff import BinanceDiff

EVENT = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1795239476126,"s":"BTCUSDT",'
    b'"U":157,"u":160,"b":[["60000.00000000","1.00000000"]],"a":[]}}'
)


@pytest.fixture
def venue():
    return BinanceDiff()


def test_subscribes_to_every_change(venue):
    (message,) = venue.subscribe_messages(["BTCUSDT", "ETHUSDT"], 5, "t")
    assert json.loads(message)["params"] == ["btcusdt@depth@100ms", "ethusdt@depth@100ms"]
    (message,) = venue.change_messages(["BTCUSDT"], [], ["ETHUSDT"], 5, "t")
    assert json.loads(message)["method"] == "UNSUBSCRIBE"


def test_routes_events_and_nothing_else(venue):
    assert venue.route(EVENT) == "BTCUSDT"
    for other in (b"", EVENT[:9], b'{"result":null,"id":1}', EVENT.replace(b"@depth@", b"@depth20@")):
        assert venue.route(other) is None


def test_a_kept_book_reads_as_partial_depth(binance):
    frame = BinanceDiff().book_frame(
        "BTCUSDT", 160, ((60000.0, 1.2), (59999.99, 1e-05)), ((60000.01, 0.75),), None
    )
    assert (binance.route(frame), binance.sequence_number(frame)) == ("BTCUSDT", 160)
    book = binance.decode(frame, 7)
    assert (book.bids, book.asks) == (((60000.0, 1.2), (59999.99, 1e-05)), ((60000.01, 0.75),))
    assert binance.top_of_book(frame, 7) == book.top
    assert (book.exchange_ms, book.sent_ms, binance.sent_ms(frame)) == (None, None, None)


def test_a_kept_book_says_when_its_last_event_was_sent(binance):
    frame = BinanceDiff().book_frame("BTCUSDT", 160, ((60000.0, 1.2),), ((60000.01, 0.75),), 1795239476126)
    book = binance.decode(frame, 7)
    assert (book.exchange_ms, book.sent_ms, binance.sent_ms(frame)) == (1795239476126,) * 3
    assert (binance.route(frame), binance.sequence_number(frame)) == ("BTCUSDT", 160)
    assert binance.top_of_book(frame, 7) == book.top


def test_where_the_whole_book_is(venue):
    assert BinanceDiff().snapshot_path("BTCUSDT") == "/api/v3/depth?symbol=BTCUSDT&limit=500"
