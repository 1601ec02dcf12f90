"""Check that the streams of levels and touches are asked for, distinguished and joined."""

import json

import pytest

from arbshard.errors import FrameError
from arbshard.venues.binance.fusion import BinanceFused
from arbshard.venues.binance.market import Binance

DEPTH = (
    b'{"stream":"btcusdt@depth20@100ms","data":{"lastUpdateId":160,'
    b'"bids":[["60000.00000000","1.20000000"]],"asks":[["60001.00000000","0.75000000"]]}}'
)
TOUCH = (
    b'{"stream":"btcusdt@bookTicker","data":{"u":161,"s":"BTCUSDT","b":"60000.50000000","B":"0.10000000",'
    b'"a":"60000.75000000","A":"0.20000000"}}'
)
BODY = TOUCH[TOUCH.index(b'{"u"') : -1]


@pytest.fixture
def venue():
    return BinanceFused()


@pytest.fixture
def joined(venue):
    return venue.joined(DEPTH, BODY)


def test_subscribes_to_both_streams(venue):
    (message,) = venue.subscribe_messages(["BTCUSDT", "ETHUSDT"], 15, "t")
    assert json.loads(message)["params"] == [
        "btcusdt@depth20@100ms",
        "btcusdt@bookTicker",
        "ethusdt@depth20@100ms",
        "ethusdt@bookTicker",
    ]
    (message,) = venue.change_messages(["BTCUSDT"], [], ["ETHUSDT"], 5, "t")
    assert json.loads(message)["params"] == ["ethusdt@depth5@100ms", "ethusdt@bookTicker"]


def test_a_connection_carries_half_as_many_markets_of_two_streams(venue):
    assert venue.connection_rules.symbols_max * 2 == Binance.connection_rules.symbols_max


def test_finds_the_touch(venue):
    assert venue.touch_of(TOUCH) == ("BTCUSDT", 161, BODY)


def test_finds_the_touch_whatever_the_order_of_the_keys(venue):
    turned = b'{"data": %b, "stream": "btcusdt@bookTicker"}' % BODY
    assert venue.touch_of(turned) == ("BTCUSDT", 161, BODY)
    spaced = TOUCH.replace(b'","data":', b'", "data":')
    assert venue.touch_of(spaced) == ("BTCUSDT", 161, BODY)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        DEPTH,
        DEPTH + b"\n",
        TOUCH[:-1],
        TOUCH.replace(b'"u":161', b'"u":"x"'),
        TOUCH.replace(b"@bookTicker", b"@trade"),
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}',
        b'{"result":null,"id":1}',
    ],
)
def test_other_frames_hold_no_touch(venue, frame):
    assert venue.touch_of(frame) is None


def test_a_real_frame_with_a_touch(venue):
    frame = (
        b'{"stream":"nknusdt@bookTicker","data":{"u":499869768,"s":"NKNUSDT","b":"0.35210000",'
        b'"B":"672.00000000","a":"0.35260000","A":"3199.00000000"}}'
    )
    assert venue.touch_of(frame)[:2] == ("NKNUSDT", 499869768)


def test_a_touch_alone_is_no_book(venue, binance):
    assert venue.route(TOUCH) is None
    assert binance.route(TOUCH) is None
    assert binance.classify(TOUCH).detail == "btcusdt@bookTicker"


def test_what_is_joined_is_read_as_one_book(binance, joined):
    assert (binance.route(joined), binance.sequence_number(joined)) == ("BTCUSDT", 161)
    assert binance.sent_ms(joined) is None
    book = binance.decode(joined, 7)
    assert book.bids == ((60000.5, 0.1), (60000.0, 1.2))
    assert book.asks == ((60000.75, 0.2), (60001.0, 0.75))
    assert (book.received_ns, book.exchange_ms) == (7, None)
    assert binance.top_of_book(joined, 7) == book.top


def test_every_cut_of_what_is_joined_is_refused(binance, joined):
    for end in range(len(joined)):
        with pytest.raises(FrameError):
            binance.decode(joined[:end], 7)
        with pytest.raises(FrameError):
            binance.top_of_book(joined[:end], 7)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"b":"60000.50000000"', b'"b":"nan"', "number"),
        (b'"B":"0.10000000"', b'"B":"0.00000000"', "number"),
        (b'"A":"0.20000000"', b'"A":"inf"', "number"),
        (b'"b":"60000.50000000"', b'"b":"60000.75000000"', "crossed"),
        (b'"b":"60000.50000000"', b'"b":{}', "shape"),
        (b'"b":"60000.50000000",', b"", "shape"),
    ],
)
def test_a_touch_that_cannot_be_trusted_refuses_the_book(binance, joined, old, new, reason):
    frame = joined.replace(old, new)
    assert frame != joined
    for read in (binance.decode, binance.top_of_book):
        with pytest.raises(FrameError) as caught:
            read(frame, 7)
        assert caught.value.reason == reason


def test_levels_that_are_crossed_are_refused_whatever_the_touch(binance, joined):
    with pytest.raises(FrameError) as caught:
        binance.decode(joined.replace(b'[["60001.00000000"', b'[["59999.00000000"'), 7)
    assert caught.value.reason == "crossed"
