"""Diff streams and REST snapshots share ids: a client that follows the venue's rules rebuilds exactly the book."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.exchanges.binance.frames import BinanceFeed, book_ticker, depth
from arbshard.exchanges.book import Shape
from arbshard.exchanges.ladder import Ladder
from arbshard.exchanges.market import GeneratedMarket, SimListing
from arbshard.exchanges.session import SharedStream
from arbshard.exchanges.units import UNIT, fixed8
from support.effort import effort

Levels = dict[str, str]


def stream(kind: str, levels: int = 0, *, slow: bool = False, form: str = "raw") -> SharedStream:
    return SharedStream("ABCUSDT", kind, levels, slow, form, "abcusdt@" + kind)


def new_market(seed: int) -> GeneratedMarket:
    shape = Shape(8, UNIT // 1000, 3.0, 1.0, 1000.0)
    listing = SimListing("ABCUSDT", "ABC", "USDT", "Abc", "", UNIT // 100, UNIT // 1000)
    return GeneratedMarket(listing, Ladder([(0, UNIT // 100)]), shape, fixed8, 100.0, random.Random(seed))


class Rebuilt:
    """A local book, kept by the rules of the venue's documentation."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.last_id = int(snapshot["lastUpdateId"])
        self.bids: Levels = dict(snapshot["bids"])
        self.asks: Levels = dict(snapshot["asks"])

    def apply(self, event: dict[str, Any]) -> None:
        if event["u"] <= self.last_id:
            return
        assert event["U"] <= self.last_id + 1, "a gap"
        for side, changes in ((self.bids, event["b"]), (self.asks, event["a"])):
            for price, size in changes:
                if float(size) == 0:
                    side.pop(price, None)
                else:
                    side[price] = size
        self.last_id = event["u"]

    def same_as(self, market: GeneratedMarket) -> bool:
        book = market.book
        return self.bids == dict(zip(book.bids.prices, book.bids.amounts, strict=True)) and self.asks == dict(
            zip(book.asks.prices, book.asks.amounts, strict=True)
        )


@settings(max_examples=effort(60, 300), deadline=None)
@given(
    st.lists(st.tuples(st.floats(-0.01, 0.01), st.booleans()), min_size=6, max_size=50),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_snapshot_plus_diffs_is_the_book_even_when_sends_are_skipped(
    steps: list[tuple[float, bool]], snapshot_after: int, slow: bool, seed: int
) -> None:
    market = new_market(seed)
    feed = BinanceFeed(market, 3)
    price, last_u = 100.0, None
    buffered: list[dict[str, Any]] = []
    rebuilt: Rebuilt | None = None
    for number, (move, sent) in enumerate([*steps, *[(0.0, True)] * 3], 1):
        price *= 1 + move
        market.advance(price, 0.1)
        feed.on_step()
        if sent:
            for payload in feed.payloads(stream("diff", slow=slow), 5):
                event = json.loads(payload)
                assert last_u is None or event["U"] == last_u + 1
                assert event["u"] >= event["U"]
                last_u = event["u"]
                buffered.append(event)
                if rebuilt is not None:
                    rebuilt.apply(event)
            feed.on_sent()
        if number == snapshot_after:
            rebuilt = Rebuilt(json.loads(depth(market.book, 5000)))
            for event in buffered:
                rebuilt.apply(event)
    assert rebuilt is not None
    for _ in range(3):  # until the slow stream has spoken, too
        if not rebuilt.same_as(market):
            market.advance(price, 0.1)
            feed.on_step()
            for payload in feed.payloads(stream("diff", slow=slow), 5):
                rebuilt.apply(json.loads(payload))
            feed.on_sent()
    assert rebuilt.same_as(market)
    assert rebuilt.last_id == market.book.update_id


def test_partial_depth_has_no_symbol_and_no_time(make_market: Callable[..., GeneratedMarket]) -> None:
    market = make_market(depth=10)
    (payload,) = BinanceFeed(market, 10).payloads(stream("depth", 5), 5)
    message = json.loads(payload)
    assert list(message) == ["lastUpdateId", "bids", "asks"]
    assert len(message["bids"]) == len(message["asks"]) == 5
    price, size = message["bids"][0]
    assert price == fixed8(market.best_bid)
    assert size == fixed8(market.book.bids.sizes[0])
    assert message["lastUpdateId"] == market.book.update_id


def test_diff_event(make_market: Callable[..., GeneratedMarket]) -> None:
    market = make_market()
    feed = BinanceFeed(market, 10)
    assert feed.payloads(stream("diff"), 5) == ()  # nothing has changed yet
    before = market.book.update_id
    market.advance(100.3, 0.1)
    feed.on_step()
    (payload,) = feed.payloads(stream("diff", form="combined"), 5)
    message = json.loads(payload)
    assert message["stream"] == "abcusdt@diff"
    event = message["data"]
    assert list(event) == ["e", "E", "s", "U", "u", "b", "a"]
    assert (event["e"], event["E"], event["s"]) == ("depthUpdate", 5, "ABCUSDT")
    assert (event["U"], event["u"]) == (before + 1, market.book.update_id)
    assert len(event["b"]) + len(event["a"]) == event["u"] - before
    assert any(size == "0.00000000" for _, size in event["a"])


def test_slow_streams_come_about_once_a_second(make_market: Callable[..., GeneratedMarket]) -> None:
    market = make_market()
    feed = BinanceFeed(market, 10)
    slow, fast = 0, 0
    for _ in range(30):
        market.advance(100.0, 0.1)
        feed.on_step()
        slow += len(feed.payloads(stream("depth", 5, slow=True), 1))
        fast += len(feed.payloads(stream("depth", 5), 1))
        feed.on_sent()
    assert (slow, fast) == (3, 30)


def test_book_ticker_only_when_the_best_changed(make_market: Callable[..., GeneratedMarket]) -> None:
    market = make_market()
    feed = BinanceFeed(market, 10)
    said = 0
    for _ in range(100):
        before = json.loads(book_ticker(market))
        market.advance(100.0, 0.1)
        after = json.loads(book_ticker(market))
        changed = {k: v for k, v in before.items() if k != "u"} != {
            k: v for k, v in after.items() if k != "u"
        }
        feed.on_step()
        messages = feed.payloads(stream("bookTicker"), 1)
        assert len(messages) == changed
        said += len(messages)
        feed.on_sent()
    assert 0 < said < 100
    assert list(after) == ["u", "s", "b", "B", "a", "A"]


@pytest.mark.parametrize(("kind", "number"), [("trade", "t"), ("aggTrade", "a")])
def test_trades(make_market: Callable[..., GeneratedMarket], kind: str, number: str) -> None:
    market = make_market()
    feed = BinanceFeed(market, 10)
    seen = []
    for _ in range(60):
        market.advance(100.0, 0.1)
        for payload in feed.payloads(stream(kind), 9):
            event = json.loads(payload)
            assert event["m"] is not market.last_print.taker_buys
            assert event["p"] == fixed8(market.last_print.price)
            assert (event["e"], event["s"], event["T"]) == (kind, "ABCUSDT", 9)
            seen.append(event[number])
    assert len(seen) > 2
    assert seen == list(range(seen[0], seen[0] + len(seen)))


def test_with_an_interval_the_best_prices_go_with_each_step_and_the_depth_after_it(
    make_market: Callable[..., GeneratedMarket],
) -> None:
    market = make_market()
    feed = BinanceFeed(market, 10, interval_ms=100)
    first_id, last_u = market.book.update_id, market.book.update_id
    ticker, whole, diff = stream("bookTicker"), stream("depth", 20), stream("diff")
    for price in (100.3, 100.6, 100.9):
        market.advance(price, 0.03)
        feed.on_step()
        (payload,) = feed.payloads(ticker, 5)
        assert json.loads(payload)["u"] == market.book.update_id
        assert feed.payloads(whole, 5) == feed.payloads(diff, 5) == ()
        feed.on_sent()
        assert feed.payloads(ticker, 5) == ()  # nothing has changed since
    market.book.eat(market.book.asks, [market.book.asks.sizes[0]])
    feed.choose("interval")
    (payload,) = feed.payloads(whole, 5)
    assert json.loads(payload)["lastUpdateId"] == market.book.update_id
    (payload,) = feed.payloads(diff, 5)
    event = json.loads(payload)
    assert (event["U"], event["u"]) == (first_id + 1, market.book.update_id)
    rebuilt = {price: size for price, size in event["a"] if float(size)}
    shown = dict(zip(market.book.asks.prices, market.book.asks.amounts, strict=True))
    assert rebuilt.items() <= shown.items()
    assert feed.payloads(ticker, 5) == ()
    feed.on_sent()
    assert last_u < market.book.update_id


def test_the_depth_of_a_market_goes_at_a_time_of_its_own() -> None:
    waits = []
    for seed in range(3):
        feed = BinanceFeed(new_market(seed), 10, interval_ms=100)
        waits.append([feed.wait_ms(now_ms) for now_ms in (0, 30, 99, 100, 1_000_030)])
    assert waits[0] == waits[1] == waits[2]  # it depends on the symbol alone
    zero, thirty, last, again, far = waits[0]
    assert all(1 <= wait <= 100 for wait in waits[0])
    assert (zero - thirty) % 100 == 30
    assert (zero - last) % 100 == 99
    assert (again, far) == (zero, thirty)
    assert BinanceFeed(new_market(1), 10).wait_ms(7) == 0


def test_all_goes_at_once_where_that_is_asked_for(make_market: Callable[..., GeneratedMarket]) -> None:
    market = make_market()
    feed = BinanceFeed(market, 10, interval_ms=100)
    market.advance(101.0, 0.1)
    feed.on_step()
    feed.choose("all")
    assert len(feed.payloads(stream("bookTicker"), 5)) == len(feed.payloads(stream("depth", 5), 5)) == 1
    feed.on_sent()
    assert feed.payloads(stream("depth", 5), 5) == ()
