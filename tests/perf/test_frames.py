import json

import pytest

from arbshard.venues.registry import get_venue
from perf.frames import BINANCE_LEVELS, UPBIT_LEVELS, VERSIONS
from perf.stamp import sent_ns_of, stamp_of

SENT_NS = 123_456_789_000
STAMP = stamp_of(SENT_NS)


def payload_of(frame):
    """The text of a frame whose length takes two bytes."""
    assert frame[1] == 126
    assert int.from_bytes(frame[2:4], "big") == len(frame) - 4
    return frame[4:]


def test_a_stamp_comes_back_to_the_microsecond():
    assert sent_ns_of(float(stamp_of(987_654_321_999))) == 987_654_321_000


def test_a_real_size_is_no_stamp():
    assert sent_ns_of(99_999_999_999_999.0) is None


def test_stamps_keep_their_width():
    assert {len(stamp_of(ns)) for ns in (0, 999, 10**9, 10**15, 10**17)} == {15}


@pytest.mark.parametrize(("venue", "levels"), [("upbit", UPBIT_LEVELS), ("binance", BINANCE_LEVELS)])
def test_the_system_decodes_what_is_sent_and_finds_the_stamp_in_the_best_bid(prepared, venue, levels):
    stream = prepared.upbit() if venue == "upbit" else prepared.depth()
    versions = prepared.maker.plain(venue, stream)
    assert len(versions) == VERSIONS
    for head, tail in versions:
        payload = payload_of(head + STAMP + tail)
        codec = get_venue(venue)
        assert codec.route(payload) == stream.symbol
        book = codec.decode(payload, 1)
        assert len(book.bids) == len(book.asks) == levels
        assert sent_ns_of(book.bids[0][1]) == SENT_NS
        assert all(sent_ns_of(size) is None for _, size in (*book.bids[1:], *book.asks))


def test_versions_differ_in_sizes_and_not_in_prices(prepared):
    decode = get_venue("binance").decode
    books = [
        decode(payload_of(h + STAMP + t), 1) for h, t in prepared.maker.plain("binance", prepared.depth())
    ]
    assert len({tuple(price for price, _ in book.bids + book.asks) for book in books}) == 1
    assert len({book.bids[1:] + book.asks for book in books}) == VERSIONS


def test_upbit_is_binary_and_binance_text(prepared):
    assert prepared.maker.plain("upbit", prepared.upbit())[0][0][0] == 0x82
    assert prepared.maker.plain("binance", prepared.depth())[0][0][0] == 0x81


def test_a_client_that_asks_for_thirty_levels_gets_as_many_as_the_others(prepared):
    head, tail = prepared.maker.plain("upbit", prepared.upbit(form="DEFAULT", depth=30))[0]
    message = json.loads(payload_of(head + STAMP + tail))
    assert message["stream_type"] == "REALTIME"
    assert len(message["orderbook_units"]) == UPBIT_LEVELS
    assert message["orderbook_units"][0]["bid_size"] == int(STAMP)


def test_diff_events_set_every_level_and_take_ids(prepared):
    head, middle, levels, tail = prepared.maker.diff("binance", prepared.diff())[0]
    event = json.loads(payload_of(head + b"1000000001" + middle + b"1000000040" + levels + STAMP + tail))
    assert (event["s"], event["U"], event["u"]) == ("BTCUSDT", 1_000_000_001, 1_000_000_040)
    assert len(event["b"]) == len(event["a"]) == BINANCE_LEVELS
    assert float(event["b"][0][1]) == int(STAMP)


def test_diff_prices_are_those_of_the_snapshot(prepared):
    head, middle, levels, tail = prepared.maker.diff("binance", prepared.diff())[0]
    event = json.loads(payload_of(head + b"1000000001" + middle + b"1000000040" + levels + STAMP + tail))
    book = prepared.by_name["binance", "BTCUSDT"].market.book
    assert [price for price, _ in event["b"]] == book.bids.prices
    assert [price for price, _ in event["a"]] == book.asks.prices


def test_other_streams_stay_silent(prepared):
    trade = prepared.depth()._replace(kind="trade", depth=0)
    assert prepared.maker.plain("binance", trade) is None
    assert prepared.maker.diff("binance", trade) is None


def test_no_gap_arises_to_trade_on(prepared):
    """The best prices of both venues, at the FX of the frames, net a loss in both directions."""
    upbit, binance = get_venue("upbit"), get_venue("binance")

    def book(codec, venue, stream):
        head, tail = prepared.maker.plain(venue, stream)[0]
        return codec.decode(payload_of(head + STAMP + tail), 1)

    fx = book(upbit, "upbit", prepared.upbit("KRW-USDT"))
    bases = {place.market.listing.base for place in prepared.places if place.venue == "binance"}
    for base in bases:
        home = book(upbit, "upbit", prepared.upbit(f"KRW-{base}"))
        away = book(binance, "binance", prepared.depth(f"{base}USDT"))
        assert away.best_bid * fx.best_bid * 0.9985 < home.best_ask
        assert home.best_bid * 0.9985 < away.best_ask * fx.best_ask
