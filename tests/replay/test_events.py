"""A tape becomes the events of a recorded world: in order of time, exact, and with the losses that happened."""

import json

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.errors import UsageError
from arbshard.exchanges.recorded import RecordedBookEvent, RecordedLoss, RecordedState, RecordedTrade
from arbshard.exchanges.units import UNIT
from arbshard.model.universe import NOT_LISTED
from arbshard.replay.events import TapeEvents
from arbshard.replay.stretch import Stretch
from arbshard.tape import TapeError
from arbshard.tape.reading import Tape
from support.tapes import NS, RECORDING, UNIVERSE, Recording, binance, change, combined, upbit
from tests.clients.tape import write_tape

pytestmark = pytest.mark.needs("analysis", "tape")


def events_of(folder, start_s=None, end_s=None):
    start, end = (None if one is None else RECORDING * 1_000_000 + int(one * NS) for one in (start_s, end_s))
    return TapeEvents(Stretch(Tape(folder), start, end))


def brief(folder, start_s=None, end_s=None):
    """(seconds, kind, symbol) of the events."""
    return [
        (
            (event.at_ns - RECORDING * 1_000_000) / NS,
            type(event).__name__.removeprefix("Recorded"),
            " ".join(event.symbols) if isinstance(event, RecordedLoss) else event.symbol,
        )
        for event in events_of(folder, start_s, end_s).read()
    ]


def test_books_are_exact_and_carry_the_venues_lag(tmp_path):
    recording = Recording(tmp_path)
    recording.add(0.25, "upbit", upbit(137_000_000.0, 137_001_000, at_ms=RECORDING + 100))
    folder = recording.add(0.5, "binance", binance(7)).end()
    at_upbit, at_binance = events_of(folder).read()
    start_ns = RECORDING * 1_000_000
    assert at_upbit == RecordedBookEvent(
        start_ns + NS // 4,
        "upbit",
        "KRW-BTC",
        [(137_000_000 * UNIT, 1)],
        [(137_001_000 * UNIT, UNIT // 2)],
        150,
    )
    assert at_binance == RecordedBookEvent(
        start_ns + NS // 2, "binance", "BTCUSDT", [(9_450_010_000_000, UNIT)], [(9_450_100_000_000, 1000)], 0
    )


def test_rows_are_played_in_the_order_of_time_whatever_their_order_on_the_tape(tmp_path):
    recording = Recording(tmp_path).both()
    for seconds in (2.0, 1.7, 1.9, 5.0, 4.6):
        recording.add(seconds, "binance", binance(round(seconds * 10)))
    assert [seconds for seconds, _, _ in brief(recording.end())] == [0, 0, 1.7, 1.9, 2.0, 4.6, 5.0]


def test_a_wall_clock_that_is_set_changes_no_time(tmp_path):
    recording = Recording(tmp_path).both()
    recording.add(1, "binance", binance(2)).add(2, "binance", binance(3), set_s=-3600.0)
    assert [seconds for seconds, _, _ in brief(recording.end())] == [0, 0, 1, 2]


def test_a_part_is_chosen_by_time_over_segments(tmp_path):
    recording = Recording(tmp_path, segment_rows=2).both()
    for seconds in range(1, 40):
        recording.add(seconds, "upbit", upbit(137_000_000.0 - seconds, 137_001_000))
        recording.add(seconds, "binance", binance(seconds + 1))
    folder = recording.end()
    assert len(Tape(folder).paths) > 10
    assert [seconds for seconds, _, _ in brief(folder, 30, 32)] == [30, 30, 31, 31]
    assert {one.at_ns for one in events_of(folder, 30).first.values()} == {RECORDING * 1_000_000 + 30 * NS}


def test_listings_are_those_of_the_run_and_markets_without_a_book_are_left_out(tmp_path):
    recording = Recording(tmp_path).both()
    events = events_of(recording.end())
    assert [(one.venue, one.listing.symbol) for one in events.listings] == [
        ("upbit", "KRW-BTC"),
        ("binance", "BTCUSDT"),
    ]
    assert set(events.without_book) == {"upbit:KRW-USDT", "upbit:KRW-ETH", "binance:ETHUSDT"}
    home, away = events.listings
    assert home.ticks[0] == (0, 1)
    assert home.ticks[-1] == (1_000_000 * UNIT, 1000 * UNIT)
    assert away.ticks == ((0, UNIT // 100),)
    assert (away.listing.lot, away.listing.notional_min) == (UNIT // 100_000, 5 * UNIT)
    assert (away.listing.coin, home.listing.english_name) == ("BTC", "Bitcoin (simulated)")


def test_a_connection_that_was_lost_is_lost_again_unless_we_closed_it_or_another_carried_its_markets(
    tmp_path,
):
    recording = Recording(tmp_path).both()
    for connection in ("a", "b"):
        recording.add(1, "upbit", kind="connect", connection=connection, detail="carries KRW-BTC KRW-ETH")
    recording.add(2, "upbit", kind="disconnect", connection="a", detail="closed with code 1001")
    recording.add(3, "upbit", kind="disconnect", connection="b", detail="closed without a word")
    recording.add(4, "upbit", kind="connect", connection="c", detail="carries KRW-BTC")
    recording.add(5, "upbit", kind="disconnect", connection="c", detail="closed by us")
    recording.add(6, "binance", kind="gap", symbol="BTCUSDT", detail="gap")
    losses = [one for one in events_of(recording.end()).read() if isinstance(one, RecordedLoss)]
    assert [(one.venue, sorted(one.symbols), one.is_connection, one.why) for one in losses] == [
        ("upbit", ["KRW-BTC", "KRW-ETH"], True, "closed without a word"),
        ("binance", ["BTCUSDT"], False, "gap"),
    ]


def test_of_two_connections_the_later_one_brings_nothing_new(tmp_path):
    recording = Recording(tmp_path).both()
    for seconds, connection, number in ((1, "1", 5), (1.01, "2", 5), (2, "2", 6), (2.01, "1", 6)):
        recording.add(seconds, "binance", binance(number), connection=connection)
    assert [seconds for seconds, _, symbol in brief(recording.end()) if symbol == "BTCUSDT"] == [0, 1, 2]


def test_books_are_kept_from_their_changes_and_begin_with_what_was_known_or_a_snapshot(tmp_path):
    recording = Recording(tmp_path)
    recording.add(0, "upbit", upbit(137_000_000.0, 137_001_000))
    recording.add(-1, "binance", binance(7), kind="known", connection="")
    recording.add(1, "binance", change(8, 9, bids=[["94500.10000000", "3.00000000"]]))
    recording.add(2, "binance", change(12, 13, bids=[["94500.20000000", "4.00000000"]]))
    snapshot = {"lastUpdateId": 12, "bids": [["94500.00000000", "9.0"]], "asks": [["94502.00000000", "1.0"]]}
    detail = "/api/v3/depth?symbol=BTCUSDT&limit=500 HTTP 200"
    recording.add(3, "binance", json.dumps(snapshot).encode(), kind="rest", connection="", detail=detail)
    books = [one for one in events_of(recording.end()).read() if one.symbol == "BTCUSDT"]
    start_ns = RECORDING * 1_000_000
    assert [((one.at_ns - start_ns) / NS, one.bids) for one in books] == [
        (0, [(9_450_010_000_000, UNIT)]),
        (1, [(9_450_010_000_000, 3 * UNIT)]),
        (3, [(9_450_020_000_000, 4 * UNIT), (9_450_000_000_000, 9 * UNIT)]),
    ]


def test_recorded_trades_are_played_and_one_stream_of_them_counts(tmp_path):
    def traded(kind, price, *, is_maker):
        data = {"e": kind, "E": 1, "s": "BTCUSDT", "p": price, "q": "0.50000000", "T": 1, "m": is_maker}
        return combined(f"btcusdt@{kind}", data)

    def traded_at_home(stream):
        return (
            '{"ty":"trade","cd":"KRW-BTC","tms":1,"tp":137000000.0,"tv":0.25,"ab":"BID","sid":1,'
            f'"st":"{stream}"}}'
        ).encode()

    recording = Recording(tmp_path).both()
    recording.add(1, "binance", traded("trade", "94500.00000000", is_maker=True))
    recording.add(1, "binance", traded("aggTrade", "94500.00000000", is_maker=True))
    recording.add(2, "upbit", traded_at_home("SNAPSHOT")).add(3, "upbit", traded_at_home("REALTIME"))
    events = events_of(recording.end())
    start_ns = RECORDING * 1_000_000
    assert [one for one in events.read() if isinstance(one, RecordedTrade)] == [
        RecordedTrade(start_ns + NS, "binance", "BTCUSDT", 94_500 * UNIT, UNIT // 2, taker_buys=False),
        RecordedTrade(start_ns + 3 * NS, "upbit", "KRW-BTC", 137_000_000 * UNIT, UNIT // 4, taker_buys=True),
    ]


def test_what_cannot_be_played_is_counted(tmp_path):
    recording = Recording(tmp_path).both()
    recording.add(1, "upbit", upbit(137_000_000.0, '"x"')).add(2, "elsewhere", b"{}")
    recording.add(3, "upbit", upbit(0, 137_001_000).replace(b'"bs":0.00000001', b'"bs":0'))
    recording.add(4, "upbit", b'{"error":{"name":"NO_TICKET","message":"m"}}')
    events = events_of(recording.end())
    assert len(list(events.read())) == 2
    assert dict(events.refused) == {
        "upbit: shape": 1,
        "upbit: empty": 1,
        "elsewhere: frames of this venue cannot be played": 1,
    }


def test_the_tape_of_make_clients_has_books_and_trades_of_both_venues(tmp_path):
    write_tape(tmp_path, coins=2, seconds=20)
    events = events_of(tmp_path)
    assert len(events.listings) == 5
    assert events.without_book == []
    played = list(events.read())
    assert sum(isinstance(one, RecordedBookEvent) for one in played) == 5 * 200
    assert {one.venue for one in played if isinstance(one, RecordedTrade)} == {"upbit", "binance"}
    assert dict(events.refused) == {}


@pytest.mark.parametrize(
    ("universe", "with_books", "message"),
    [(None, True, "does not say which markets it holds"), (UNIVERSE, False, "no order book in this part")],
)
def test_a_tape_that_cannot_be_played_is_refused_in_one_line(tmp_path, universe, with_books, message):
    recording = Recording(tmp_path, universe=universe)
    if with_books:
        recording.both()
    else:
        recording.add(1, "upbit", b"{}")
    with pytest.raises(UsageError, match=message):
        events_of(recording.end())


ONE = UNIVERSE.without_shard(("ETH",)).without_pairs(("ETH",))
ETH = ("KRW-ETH", "ETHUSDT")


def eth(number):
    """A book of ETH as Binance sends it."""
    return binance(number).replace(b"btcusdt", b"ethusdt")


def with_eth(recording, *seconds):
    """Books of ETH at these times."""
    for at_s in seconds:
        recording.add(at_s, "upbit", upbit(4_900_000.0, 4_901_000, symbol="KRW-ETH"))
        recording.add(at_s, "binance", eth(round(at_s * 10)))
    return recording


def traded(recording, seconds, universe):
    """From now on the recorded run trades this."""
    return recording.add(seconds, "", msgspec.json.encode(universe), kind="universe", connection="")


def states(events):
    """(seconds, symbol, state) of each change, and of each book of ETH."""
    return [
        (
            (event.at_ns - RECORDING * 1_000_000) / NS,
            event.symbol,
            event.state if isinstance(event, RecordedState) else "book",
        )
        for event in events.read()
        if isinstance(event, RecordedState) or event.symbol in ETH
    ]


def test_a_pair_that_comes_and_goes_is_listed_from_its_first_book_until_it_goes(tmp_path):
    recording = Recording(tmp_path, universe=ONE).both()
    traded(recording, 1, replace(UNIVERSE, serial=1))
    with_eth(recording, 2)
    recording.add(3, "upbit", upbit(137_000_000.0, 137_002_000))
    traded(recording, 4, replace(ONE, serial=2))
    recording.add(5, "upbit", upbit(137_000_000.0, 137_003_000))
    traded(recording, 6, replace(UNIVERSE, serial=3))
    with_eth(recording, 7)
    events = events_of(recording.end())
    assert [one.listing.symbol for one in events.listings] == ["KRW-BTC", "BTCUSDT", "KRW-ETH", "ETHUSDT"]
    home, away = ETH
    wanted = [
        (0, home, "delisted"), (0, away, "delisted"),
        (2, home, "trading"), (2, home, "book"), (2, away, "trading"), (2, away, "book"),
        (5, home, "delisted"), (5, away, "delisted"),
        (7, home, "trading"), (7, home, "book"), (7, away, "trading"), (7, away, "book"),
    ]  # fmt: skip
    assert states(events) == wanted
    assert states(events) == wanted, "each time it is read"
    assert events.first["upbit", "KRW-ETH"].at_ns == RECORDING * 1_000_000 + 2 * NS


def test_a_part_begins_with_what_was_listed_then(tmp_path):
    recording = with_eth(Recording(tmp_path).both(), 0.5)
    traded(recording, 1, replace(ONE, serial=1))
    recording.both(2)
    traded(recording, 3, replace(UNIVERSE, serial=2))
    with_eth(recording.both(4), 5)
    folder = recording.end()
    assert [one.listing.symbol for one in events_of(folder, 1.5, 3).listings] == ["KRW-BTC", "BTCUSDT"]
    late = events_of(folder, 1.5)
    assert [state for _, symbol, state in states(late) if symbol == "ETHUSDT"] == [
        "delisted",
        "trading",
        "book",
    ]
    assert [state for _, _, state in states(events_of(folder, 3.5))] == ["book", "book"]


def test_what_the_listings_said_is_in_force_as_it_was(tmp_path):
    recording = with_eth(Recording(tmp_path).both(), 0.1)
    stops = [(NOT_LISTED, "delisted"), ("BREAK", "break"), ("it accepts no orders", "cancel_only")]
    for number, (why, _) in enumerate(stops, 1):
        traded(
            recording, number, UNIVERSE.with_listing((), UNIVERSE.fx, [("binance", "ETHUSDT", why)], number)
        )
        with_eth(recording, number + 0.5)
    traded(recording, 4, replace(UNIVERSE, serial=9))
    found = states(events_of(with_eth(recording, 4.5).end()))
    assert [(at_s, state) for at_s, symbol, state in found if symbol == "ETHUSDT" and state != "book"] == [
        (1.5, "delisted"), (2.5, "break"), (3.5, "cancel_only"), (4.5, "trading"),
    ]  # fmt: skip
    assert {state for _, symbol, state in found if symbol == "KRW-ETH"} == {"book"}


def test_a_pair_that_comes_without_a_book_is_left_out(tmp_path):
    recording = Recording(tmp_path, universe=ONE).both()
    traded(recording, 1, replace(UNIVERSE, serial=1))
    recording.both(2)
    with_eth(recording, 150)
    events = events_of(recording.end())
    assert {"upbit:KRW-ETH", "binance:ETHUSDT"} <= set(events.without_book)


def test_a_universe_that_cannot_be_read_is_refused_in_one_line(tmp_path):
    recording = Recording(tmp_path).both()
    recording.add(1, "", b'{"pairs":3}', kind="universe", connection="")
    with pytest.raises(TapeError, match="the pairs that were traded cannot be read"):
        events_of(recording.end())


def touch(number, bid="94500.20", symbol="btcusdt"):
    data = {"u": number, "s": symbol.upper(), "b": bid, "B": "0.5", "a": "94500.90", "A": "0.25"}
    return json.dumps({"stream": f"{symbol}@bookTicker", "data": data}, separators=(",", ":")).encode()


def test_best_prices_of_a_stream_of_their_own_are_played_with_the_levels(tmp_path):
    recording = Recording(tmp_path).both()
    recording.add(1.0, "binance", binance(7))
    recording.add(1.1, "binance", touch(8))
    recording.add(1.2, "binance", touch(7))  # older than what is known
    recording.add(1.3, "binance", binance(9))
    folder = recording.end()
    books = [event for event in events_of(folder).read() if event.symbol == "BTCUSDT"][1:]
    assert [(event.at_ns - RECORDING * 1_000_000) / NS for event in books] == [1.0, 1.1, 1.3]
    plain, joined, after = books
    assert joined.bids == [(9_450_020_000_000, UNIT // 2), *plain.bids]
    assert joined.asks == [(9_450_090_000_000, UNIT // 4), *plain.asks]
    assert (after.bids, after.asks) == (plain.bids, plain.asks)
