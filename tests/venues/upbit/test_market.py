"""Upbit's codec on frames in its form, on damaged ones, and its rules."""

import json
from decimal import Decimal
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import FrameError, VenueError
from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.venues.base.market import FrameKind
from arbshard.venues.upbit.market import KRW_RULES, Upbit

BIDS = [(137001000, 0.036), (137000000, 0.5), (136999000, 2)]
ASKS = [(137002000, 0.106), (137003000, 0.25), (137004000, 1)]


def reason_of(venue: Upbit, frame: bytes) -> str:
    with pytest.raises(FrameError) as caught:
        venue.decode(frame, 1)
    return caught.value.reason


def glanced(venue: Upbit, frame: bytes) -> BookTop | None:
    """The top, which is sound whatever the frame is; None for a refusal."""
    try:
        top = venue.top_of_book(frame, 1)
    except FrameError:
        return None
    assert 0 < top.best_bid < top.best_ask < inf
    assert 0 < top.bid_size < inf
    assert 0 < top.ask_size < inf
    return top


# ---- what the exchange sent


def test_every_book_decodes_to_its_values(upbit, upbit_books):
    assert len(upbit_books) == 145
    for number, frame in enumerate(upbit_books):
        plain = json.loads(frame)
        assert upbit.decode(frame, number) == OrderBookSnapshot(
            venue="upbit",
            symbol=plain["cd"],
            bids=tuple((unit["bp"], unit["bs"]) for unit in plain["obu"]),
            asks=tuple((unit["ap"], unit["as"]) for unit in plain["obu"]),
            exchange_ms=plain["tms"],
            received_ns=number,
            sent_ms=plain["tms"] if plain["st"] == "REALTIME" else None,
        )
        assert upbit.sent_ms(frame) == upbit.decode(frame, number).sent_ms
        assert upbit.top_of_book(frame, number) == upbit.decode(frame, number).top
        assert upbit.route(frame) == plain["cd"]


def test_trades_are_not_books(upbit, upbit_stream, upbit_books):
    trades = [frame for frame in upbit_stream if frame not in upbit_books]
    assert len(trades) == 10
    for frame in trades:
        assert upbit.route(frame) is None
        assert upbit.classify(frame).kind is FrameKind.OTHER
        assert upbit.classify(frame).detail == "trade"
        assert reason_of(upbit, frame) == "shape"


@pytest.mark.parametrize("simple", [True, False])
def test_both_formats(upbit, upbit_frame, simple):
    frame = upbit_frame(BIDS, ASKS, simple=simple)
    assert upbit.route(frame) == "KRW-BTC"
    book = upbit.decode(frame, 9)
    assert book.symbol == "KRW-BTC"
    assert book.bids == tuple((float(price), float(size)) for price, size in BIDS)
    assert book.asks == tuple((float(price), float(size)) for price, size in ASKS)
    assert book.exchange_ms == 1795239476126
    assert book.received_ns == 9


@pytest.mark.parametrize("simple", [True, False])
@pytest.mark.parametrize("order", [sorted, lambda keys: sorted(keys, reverse=True)])
def test_keys_in_another_order_and_new_keys(upbit, upbit_frame, simple, order):
    plain = json.loads(upbit_frame(BIDS, ASKS, simple=simple))
    plain["zz"] = {"new": [1, None, "x"]}
    frame = json.dumps({key: plain[key] for key in order(plain)}).encode()
    assert upbit.route(frame) == "KRW-BTC"
    assert upbit.decode(frame, 9).best_ask == 137002000.0


def test_route_gives_the_same_string_object_each_time(upbit, upbit_frame):
    assert upbit.route(upbit_frame(BIDS, ASKS)) is upbit.route(upbit_frame(BIDS[:1], ASKS[:1]))


# ---- damaged frames


def test_every_cut_is_refused(upbit, upbit_books, upbit_frame):
    by_market = {json.loads(frame)["cd"]: frame for frame in upbit_books}
    frames = [*by_market.values(), upbit_frame(BIDS, ASKS), upbit_frame(BIDS, ASKS, simple=False)]
    assert len(frames) == 7
    for frame in frames:
        for end in range(len(frame)):
            cut = frame[:end]
            assert upbit.route(cut) is None
            assert upbit.classify(cut).kind is FrameKind.GARBAGE
            assert reason_of(upbit, cut) == "cut"


MUTATION = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 2000), st.binary(min_size=1, max_size=3)),
    st.tuples(st.just("drop"), st.integers(0, 2000), st.integers(1, 40)),
    st.tuples(
        st.just("put"),
        st.integers(0, 2000),
        st.sampled_from(
            [b"0", b"-", b"9", b".", b"e9", b"null", b'"', b"{", b"}", b"[", b"]", b",", b"NaN", b"\\"]
        ),
    ),
)


@given(st.integers(0, 146), st.lists(MUTATION, min_size=1, max_size=4))
def test_mutated_frames_are_refused_or_sound(upbit, upbit_books, upbit_frame, mutated, which, mutations):
    frames = [*upbit_books, upbit_frame(BIDS, ASKS), upbit_frame(BIDS, ASKS, simple=False)]
    frame = mutated(frames[which], mutations)
    upbit.route(frame)
    upbit.classify(frame)
    top = glanced(upbit, frame)
    try:
        book = upbit.decode(frame, 1)
    except FrameError:
        return
    assert top == book.top
    for side, sign in ((book.bids, -1), (book.asks, 1)):
        ranks = [sign * price for price, _ in side]
        assert ranks
        assert ranks == sorted(set(ranks))
        assert all(0 < value < float("inf") for level in side for value in level)
    assert book.best_bid < book.best_ask


@given(st.binary(max_size=200))
def test_garbage_never_raises_anything_else(upbit, junk):
    for frame in (junk, b'{"ty":"orderbook","cd":"' + junk + b'"lv":0}'):
        upbit.route(frame)
        upbit.classify(frame)
        with pytest.raises(FrameError):
            upbit.decode(frame, 1)
        glanced(upbit, frame)


@pytest.mark.parametrize("simple", [True, False])
@pytest.mark.parametrize(
    ("bids", "asks", "reason"),
    [
        ([], [], "empty"),
        ([(0, 0)], [(0, 0)], "empty"),
        ([(0, 0)], [(101, 1)], "empty"),
        ([(100, 1), (0, 0), (98, 1)], [(101, 1), (102, 1), (103, 1)], "number"),
        ([(100, 1), (99, 0), (98, 1)], [(101, 1), (102, 1), (103, 1)], "number"),
        ([(100, 1), (0, 5)], [(101, 1), (102, 1)], "number"),
        ([(100, 1)], [(101, -1)], "number"),
        ([(-100, 1)], [(101, 1)], "number"),
        ([(101, 1)], [(101, 1)], "crossed"),
        ([(102, 1)], [(101, 1)], "crossed"),
        ([(99, 1), (100, 1)], [(101, 1), (102, 1)], "unsorted"),
        ([(100, 1), (99, 1)], [(101, 1), (101, 1)], "unsorted"),
        ([("100", 1)], [(101, 1)], "shape"),
        ([(None, 1)], [(101, 1)], "shape"),
    ],
)
def test_refused_with_its_reason(upbit, upbit_frame, simple, bids, asks, reason):
    frame = upbit_frame(bids, asks, simple=simple)
    assert reason_of(upbit, frame) == reason
    assert upbit.route(frame) == "KRW-BTC", "routing does not judge the book"


@pytest.mark.parametrize(("number", "reason"), [(b"NaN", "cut"), (b"1e999", "number"), (b"-1e999", "number")])
def test_number_json_does_not_know(upbit, upbit_frame, number, reason):
    frame = upbit_frame(BIDS, ASKS).replace(b"137003000", number)
    assert reason_of(upbit, frame) == reason


def test_padding_of_a_thin_side_is_dropped(upbit, upbit_frame):
    book = upbit.decode(upbit_frame([(100, 1), (0, 0), (0, 0)], [(101, 1), (102, 2), (0, 0)]), 1)
    assert book.bids == ((100.0, 1.0),)
    assert book.asks == ((101.0, 1.0), (102.0, 2.0))


@pytest.mark.parametrize("code", ["", "KRW", "krw-btc", "KRW-BTC ", "KRW-\u00c9", "-BTC", "KRW-" + "A" * 40])
def test_market_that_cannot_be(upbit, upbit_frame, code):
    frame = upbit_frame(BIDS, ASKS, code=code)
    assert upbit.route(frame) is None
    assert upbit.classify(frame).kind is FrameKind.GARBAGE
    assert reason_of(upbit, frame) == "shape"


# ---- control frames


@pytest.mark.parametrize(
    ("frame", "kind", "detail"),
    [
        (b'{"status":"UP"}', FrameKind.STATUS, "UP"),
        (
            b'{"error":{"name":"NO_TICKET","message":"no ticket"}}',
            FrameKind.ERROR,
            "NO_TICKET: no ticket",
        ),
        (b'{"error":{"name":404,"message":"Code not found"}}', FrameKind.ERROR, "404: Code not found"),
        (b'{"error":{"name":"X","message":"a\\nb"}}', FrameKind.ERROR, "X: a b"),
        (b'{"method":"LIST_SUBSCRIPTIONS","result":[],"ticket":"q"}', FrameKind.ACK, "LIST_SUBSCRIPTIONS"),
        (b'{"mthd":"LIST_SUBSCRIPTIONS","rslt":[],"tckt":"q"}', FrameKind.ACK, "LIST_SUBSCRIPTIONS"),
        (b'{"ty":"ticker","cd":"KRW-BTC","tp":1}', FrameKind.OTHER, "ticker"),
        (b'{"type":"trade","code":"KRW-BTC"}', FrameKind.OTHER, "trade"),
    ],
)
def test_control_frames(upbit, frame, kind, detail):
    assert upbit.route(frame) is None
    control = upbit.classify(frame)
    assert (control.kind, control.detail) == (kind, detail)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"PING",
        b'{"error":1}',
        b"\xff",
        b'{"ty":"\xff"}',
        b'{"zz":' + b"[" * 100_000,
    ],
    ids=range(9),
)
def test_garbage(upbit, frame):
    assert upbit.route(frame) is None
    assert upbit.classify(frame).kind is FrameKind.GARBAGE
    assert reason_of(upbit, frame) in ("cut", "shape")


def test_long_error_is_clipped(upbit):
    frame = json.dumps({"error": {"name": "X", "message": "y" * 5000}}).encode()
    assert len(upbit.classify(frame).detail) == 200


# ---- subscriptions


@pytest.mark.parametrize(
    ("depth", "suffix"), [(1, 1), (2, 5), (5, 5), (6, 15), (15, 15), (16, 30), (30, 30), (99, 30)]
)
def test_one_message_with_the_full_set(upbit, depth, suffix):
    (message,) = upbit.subscribe_messages(["KRW-BTC", "KRW-ETH", "KRW-BTC"], depth, "t-1")
    assert json.loads(message) == [
        {"ticket": "t-1"},
        {"type": "orderbook", "codes": [f"KRW-BTC.{suffix}", f"KRW-ETH.{suffix}"]},
        {"format": "SIMPLE"},
    ]


def test_nothing_to_subscribe(upbit):
    assert upbit.subscribe_messages([], 15, "t") == []


def test_connection(upbit):
    assert upbit.ws_address("ws://127.0.0.1:1/websocket/v1") == "ws://127.0.0.1:1/websocket/v1"
    rules = upbit.connection_rules
    assert rules.ping_text == "PING"
    assert rules.ping_interval_s < 120
    gap = rules.message_gap_s
    for limit in rules.messages:
        assert limit.window_s / gap < limit.count


# ---- rules and listing


@pytest.mark.parametrize(
    ("price", "tick"),
    [
        ("150000000", "1000"),
        ("1000000", "1000"),
        ("999999", "500"),
        ("500000", "500"),
        ("499999", "100"),
        ("100000", "100"),
        ("99999", "50"),
        ("50000", "50"),
        ("49999", "10"),
        ("10000", "10"),
        ("9999", "5"),
        ("5000", "5"),
        ("4999", "1"),
        ("1000", "1"),
        ("100", "1"),
        ("99.9", "0.1"),
        ("10", "0.1"),
        ("9.99", "0.01"),
        ("1", "0.01"),
        ("0.999", "0.001"),
        ("0.1", "0.001"),
        ("0.01", "0.0001"),
        ("0.001", "0.00001"),
        ("0.0001", "0.000001"),
        ("0.00001", "0.0000001"),
        ("0.000009", "0.00000001"),
        ("0.00000001", "0.00000001"),
    ],
)
def test_tick_of_a_price(price, tick):
    assert KRW_RULES.tick_at(Decimal(price)) == Decimal(tick)


@given(
    st.decimals(min_value=Decimal("0.00000001"), max_value=Decimal(200_000_000), places=8),
    st.sampled_from(["buy", "sell"]),
)
def test_rounded_price_is_on_its_own_tick_and_not_worse_for_us(price, side):
    rounded = KRW_RULES.round_price(price, side)
    assert rounded <= price if side == "buy" else rounded >= price
    assert abs(rounded - price) < KRW_RULES.tick_at(price)
    # Rounding may cross into the next band, and has to be valid there.
    assert rounded % KRW_RULES.tick_at(rounded) == 0


@pytest.mark.parametrize(
    ("price", "quantity", "accepted"),
    [
        ("5000", "1", True),
        ("5000", "0.99999999", False),
        ("1000000", "1000", True),
        ("1000000", "1000.00000001", False),
        ("5000", "0", False),
    ],
)
def test_smallest_and_largest_order(price, quantity, accepted):
    assert KRW_RULES.accepts(Decimal(price), Decimal(quantity)) is accepted


def test_quantity_has_eight_decimals():
    assert KRW_RULES.round_quantity(Decimal("1.123456789")) == Decimal("1.12345678")


def test_listing_keeps_won_markets_and_their_warnings(upbit):
    assert upbit.listing_paths() == ("/v1/market/all?is_details=true",)
    calm = {"PRICE_FLUCTUATIONS": False, "TRADING_VOLUME_SOARING": False}
    raised = {**calm, "TRADING_VOLUME_SOARING": True}
    rows = [
        {"market": "KRW-BTC", "korean_name": "비트코인", "market_event": {"warning": False, "caution": calm}},
        {"market": "BTC-ETH", "english_name": "Ethereum"},
        {"market": "USDT-ETH", "english_name": "Ethereum"},
        {"market": "KRW-ETH", "market_event": {"warning": True, "caution": raised}},
        {"market": "KRW-USDT"},
    ]
    listing = upbit.listing([json.dumps(rows).encode()])
    assert list(listing) == ["KRW-BTC", "KRW-ETH", "KRW-USDT"]
    bitcoin = listing["KRW-BTC"]
    assert str(bitcoin.market) == "upbit:KRW-BTC"
    assert (bitcoin.market.base, bitcoin.market.quote) == ("BTC", "KRW")
    assert bitcoin.rules is KRW_RULES
    assert (bitcoin.tradable, bitcoin.note) == (True, "")
    assert (bitcoin.warnings, bitcoin.coin_name) == ((), "")
    assert (listing["KRW-ETH"].tradable, listing["KRW-ETH"].note) == (True, "")
    assert listing["KRW-ETH"].warnings == (("warning", ""), ("trading_volume_soaring", ""))


CAUTIONS = ("PRICE_FLUCTUATIONS", "TRADING_VOLUME_SOARING", "DEPOSIT_AMOUNT_SOARING", "GLOBAL_PRICE_DIFFERENCES",
            "CONCENTRATION_OF_SMALL_ACCOUNTS")  # fmt: skip


@pytest.mark.parametrize(
    ("event", "warnings"),
    [
        (None, ()),
        ({}, ()),
        ({"warning": True}, (("warning", ""),)),
        *(({"caution": {name: True}}, ((name.lower(), ""),)) for name in CAUTIONS),
        ({"caution": {"A_NEW_ONE": True}}, (("other_caution", "A_NEW_ONE"),)),
        ({"caution": {"PRICE_FLUCTUATIONS": None}}, ()),
        ({"caution": {"PRICE_FLUCTUATIONS": "2026-11-28"}}, (("price_fluctuations", ""),)),
        ({"warning": {"type": "CAUTION"}}, (("warning", ""),)),
        ({"caution": "PRICE"}, (("other_caution", "caution"),)),
        ({"delisting": "2026-12-24"}, (("other_caution", "delisting"),)),
        ("WARNING", (("other_caution", "market_event"),)),
    ],
)
def test_an_unknown_form_of_a_warning_counts_as_a_caution_and_refuses_no_listing(upbit, event, warnings):
    rows = [
        {"market": "KRW-BTC", "english_name": 7, "market_event": event},
        {"market": "KRW-ETH", "english_name": "E"},
    ]
    listing = upbit.listing([json.dumps(rows).encode()])
    assert (listing["KRW-BTC"].warnings, listing["KRW-BTC"].coin_name) == (warnings, "")
    assert (listing["KRW-ETH"].warnings, listing["KRW-ETH"].coin_name) == ((), "E")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'[{"market":1}]',
        b'[{"name":"x"}]',
        b'{"error":{"name":"too_many_requests"}}',
        b'[{"market":"\xff"}]',
    ],
)
def test_listing_it_cannot_read_is_one_clear_line(upbit, body):
    with pytest.raises(VenueError) as caught:
        upbit.listing([body])
    assert str(caught.value).startswith("upbit /v1/market/all")
    assert "\n" not in str(caught.value)


def test_fees_are_in_won(upbit):
    fees = upbit.fee_schedule(Decimal(5), Decimal(6))
    assert (fees.buy_bps, fees.sell_bps, fees.buy_fee_in_base) == (Decimal(5), Decimal(6), False)


# ---- two connections, and changes


@pytest.mark.parametrize("key", ["tms", "timestamp"])
def test_mark_is_the_exchanges_time(upbit, key):
    assert (
        upbit.sequence_number(b'{"ty":"orderbook","cd":"KRW-BTC","%b":1795239476126,"obu":[]}' % key.encode())
        == 1795239476126
    )
    assert upbit.sequence_number(b'{"ty":"orderbook","cd":"KRW-BTC","obu":[]}') is None


def test_a_change_sends_the_full_set_again(upbit):
    wanted = ["KRW-BTC", "KRW-SOL"]
    (message,) = upbit.change_messages(wanted, ["KRW-SOL"], ["KRW-ETH"], 15, "t-2")
    assert json.loads(message) == json.loads(upbit.subscribe_messages(wanted, 15, "t-2")[0])
