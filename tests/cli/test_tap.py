"""What ``arbshard tap`` subscribes to, how it paces books, and what its lines hold."""

import json

import pytest

from arbshard.cli.tap import ColumnPrinter, JsonPrinter, Pacer, split, topics_of
from arbshard.errors import UsageError
from arbshard.model.notes import VenueNote
from arbshard.model.universe import Universe
from arbshard.wire import topics
from arbshard.wire.tap import Received

ALL = ("books", "venues", "control", "alerts")
NOW_MS, NOW_NS = 1_795_000_000_123, 5_000_000


@pytest.fixture
def universe(make):
    return Universe(make.fx_leg, (make.pair, make.other_pair("ETH", (3, 4))), (("BTC", "ETH"),))


def upbit_frame(code: str, mid: float, tick: float) -> bytes:
    """A SIMPLE order-book frame of one level, as Upbit sends it."""
    unit = {"ap": mid + tick, "bp": mid - tick, "as": 0.5, "bs": 0.4}
    body = {"ty": "orderbook", "cd": code, "tms": 1795239476126, "tas": 12.3, "tbs": 11.1, "obu": [unit]}
    return json.dumps({**body, "st": "REALTIME", "lv": 0}, separators=(",", ":")).encode()


def book(sequence=2, frame=None, live=True):
    frame = frame or upbit_frame("KRW-BTC", 137_000_000, 1000)
    update = topics.BookUpdate("upbit", "KRW-BTC", sequence, 2_000_000, live, frame)
    return Received("book.upbit.KRW-BTC.", sequence, update)


def alert(text="risk was restarted"):
    return Received("alert.", 1, topics.Alert(NOW_MS, text))


class TestTopics:
    def test_without_names_all_of_the_kinds(self, universe):
        assert topics_of(universe, ALL, (), None) == ["book.", "venue.", "control.", "alert."]
        assert topics_of(universe, ("beats",), (), None) == ["beat."]

    def test_of_one_venue_its_books_and_its_state(self, universe):
        assert topics_of(universe, ALL, (), "upbit") == ["book.upbit.", "venue.upbit.", "control.", "alert."]

    def test_of_symbols_the_books_of_their_markets(self, universe):
        both = ["book.upbit.KRW-BTC.", "book.binance.BTCUSDT."]
        for name in ("BTC", "krw-btc", "BTCUSDT"):
            assert topics_of(universe, ("books",), (name,), None) == both
        assert topics_of(universe, ("books",), ("BTC", "ETH"), "binance") == [
            "book.binance.BTCUSDT.", "book.binance.ETHUSDT.",
        ]  # fmt: skip
        assert topics_of(universe, ("books",), (universe.fx.market.symbol,), None) == ["book.upbit.KRW-USDT."]

    @pytest.mark.parametrize(
        ("kinds", "symbols", "venue", "said"),
        [
            (ALL, ("NOPE",), None, "--symbols NOPE: this instance has no such pair; it has BTC, ETH"),
            (ALL, (), "kraken", "--venue kraken: this instance has binance, upbit"),
            (("books",), ("KRW-USDT",), "binance", "--venue binance: it has no market of KRW-USDT"),
            (("trades",), (), None, "--kinds trades: one or more of books,venues,control,alerts,beats"),
            ((), (), None, "--kinds : one or more of books,venues,control,alerts,beats"),
        ],
    )
    def test_names_that_mean_nothing_are_refused(self, universe, kinds, symbols, venue, said):
        with pytest.raises(UsageError) as refusal:
            topics_of(universe, kinds, symbols, venue)
        assert str(refusal.value) == said

    def test_of_many_pairs_the_error_names_a_few(self, make):
        pairs = tuple(
            make.other_pair(f"C{number:02}", (3 + 2 * number, 4 + 2 * number)) for number in range(20)
        )
        with pytest.raises(UsageError, match=r"C00, .*, C11 and 8 more"):
            topics_of(Universe(make.fx_leg, pairs, ((),)), ("books",), ("X",), None)

    def test_a_list_of_names(self):
        assert split(" a, b,,c ") == ("a", "b", "c")
        assert split(None) == ()


class TestPacer:
    def test_without_a_pause_all_is_shown(self):
        received = [book(2), book(4), alert()]
        assert Pacer(0.0).due(received, 0.0) == received

    def test_of_a_book_the_newest_once_in_a_while_and_all_else_at_once(self):
        pacer = Pacer(1.0)
        assert pacer.due([book(2), alert(), book(4)], 10.0) == [alert(), book(4)]
        assert pacer.due([book(6), book(8)], 10.5) == []
        assert pacer.due([alert()], 10.6) == [alert()]
        assert pacer.due([], 11.0) == [book(8)]
        assert pacer.due([], 13.0) == []


class TestLines:
    def test_a_book_as_json(self):
        assert json.loads(JsonPrinter().line(book(), NOW_MS, NOW_NS)) == {
            "kind": "book", "topic_sequence": 2, "shown_ms": NOW_MS, "venue": "upbit", "symbol": "KRW-BTC",
            "sequence": 2, "received_ns": 2_000_000, "live": True, "age_ms": 3.0,
            "bid": 136_999_000.0, "bid_size": 0.4, "ask": 137_001_000.0, "ask_size": 0.5,
        }  # fmt: skip

    def test_a_book_that_cannot_be_read_says_why(self):
        found = json.loads(JsonPrinter().line(book(frame=b'{"ty":"orderbook"'), NOW_MS, NOW_NS))
        assert "bid" not in found
        assert found["bad"]
        assert "unreadable: " in ColumnPrinter().line(book(frame=b"{"), NOW_MS, NOW_NS)

    def test_a_book_in_columns_below_its_headings(self):
        printer = ColumnPrinter()
        line = printer.line(book(), NOW_MS, NOW_NS)
        for text in ("book", "upbit KRW-BTC", "136,999,000 × 0.4", "137,001,000 × 0.5", "3.0 ms"):
            assert text in line
        assert line.endswith("  2")
        assert (
            line.index("137,001,000 × 0.5") + len("137,001,000 × 0.5")
            == printer.heading.index("ask × size") + 10
        )
        assert "not live" in printer.line(book(live=False), NOW_MS, NOW_NS)

    @pytest.mark.parametrize(
        ("message", "said", "fields"),
        [
            (topics.Alert(NOW_MS, "down"), "down", {"kind": "alert", "text": "down"}),
            (
                topics.ControlChange(NOW_MS, "halt", "", "operator: lunch"),
                "operator: lunch",
                {"what": "halt"},
            ),
            (topics.ControlChange(NOW_MS, "limit", "open_max", ""), "no more", {"name": "open_max"}),
            (topics.Beat(4_000_000), "1.0 ms ago", {"kind": "beat", "at_ns": 4_000_000}),
            (
                topics.VenueUpdate(NOW_MS, VenueNote("upbit", "down", 0, 2, 3, 0.0, 1, 0, "refused", 2)),
                "down, 0 of 2 connections, 2 markets: refused",
                {"kind": "venue", "at_ms": NOW_MS},
            ),
        ],
    )
    def test_other_messages(self, message, said, fields):
        received = Received("t.", 7, message)
        assert said in ColumnPrinter().line(received, NOW_MS, NOW_NS)
        assert json.loads(JsonPrinter().line(received, NOW_MS, NOW_NS)).items() >= fields.items()

    def test_what_was_missed(self):
        assert "37 messages" in ColumnPrinter().missed("book.upbit.KRW-BTC.", 37)
        assert json.loads(JsonPrinter().missed("alert.", 2)) == {
            "kind": "missed",
            "topic": "alert.",
            "count": 2,
        }
