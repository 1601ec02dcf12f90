import json
import re
from collections.abc import Callable

from arbshard.exchanges.session import SharedStream
from arbshard.exchanges.upbit.frames import UpbitFeed, orderbook
from arbshard.exchanges.world import SimWorld


def stream(kind: str, depth: int = 0, form: str = "DEFAULT") -> SharedStream:
    return SharedStream("KRW-XRP", kind, depth, slow=False, form=form, name="KRW-XRP")


def test_book_says_what_the_market_holds(world: SimWorld) -> None:
    market = world.upbit["KRW-XRP"]
    message = json.loads(orderbook(market, 15, "DEFAULT", "REALTIME", 123))
    units = message["orderbook_units"]
    assert len(units) == 15
    assert units[0]["ask_price"] == market.best_ask / 1e8
    assert units[0]["bid_price"] == market.best_bid / 1e8
    assert units[14]["bid_size"] == market.book.bids.sizes[14] / 1e8
    assert message["total_ask_size"] == sum(market.book.asks.sizes[:15]) / 1e8
    assert [unit["ask_price"] for unit in units] == sorted(unit["ask_price"] for unit in units)
    assert message["level"] == 0


def test_numbers_are_plain_json_numbers(world: SimWorld) -> None:
    for market in world.upbit.values():
        text = orderbook(market, 30, "SIMPLE", "REALTIME", 123).decode()
        assert re.search(r'"[ab][ps]":"', text) is None
        assert re.search(r"\d[eE]", text) is None


def test_books_come_with_every_step_trades_only_when_one_was_printed(
    world: SimWorld, advance: Callable[[SimWorld, int], None]
) -> None:
    market = world.upbit["KRW-XRP"]
    feed = UpbitFeed(market)
    printed = 0
    for _ in range(60):
        advance(world, 1)
        (book,) = feed.payloads(stream("orderbook", 5, "SIMPLE"), 1)
        assert json.loads(book)["st"] == "REALTIME"
        trades = feed.payloads(stream("trade", form="SIMPLE"), 1)
        assert len(trades) == len(feed.payloads(stream("ticker"), 1)) == len(market.prints)
        for one in trades:
            message = json.loads(one)
            assert message["sid"] == market.last_print.number
            assert message["tp"] == market.last_print.price / 1e8
            printed += 1
    assert printed > 2
