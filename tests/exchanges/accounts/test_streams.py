"""What customers eat reaches the public streams: diff events stay gapless and make the book of every snapshot."""

import json
import random
from collections.abc import Callable
from typing import Any

from arbshard.exchanges.binance import frames
from arbshard.exchanges.binance.frames import BinanceFeed
from arbshard.exchanges.session import SharedStream

DIFF = SharedStream("ABCUSDT", "diff", 0, slow=False, form="raw", name="abcusdt@depth@100ms")


def apply(book: dict[str, dict[str, str]], event: Any) -> None:
    for name, changes in (("bids", event["b"]), ("asks", event["a"])):
        book[name].update(changes)
        book[name] = {price: size for price, size in book[name].items() if float(size)}


def as_dicts(snapshot: Any) -> dict[str, dict[str, str]]:
    return {name: dict(snapshot[name]) for name in ("bids", "asks")}


def test_diff_stream_and_snapshots_agree_whatever_is_eaten_and_when(make_desk: Callable[..., Any]) -> None:
    desk, rng = make_desk("received", depth=8), random.Random(5)
    market, price = desk.market, 100.0
    feed = BinanceFeed(market, 10)
    first = json.loads(frames.depth(market.book, 100))
    book, last_id = as_dicts(first), first["lastUpdateId"]
    snapshots = []
    fills = 0
    for _ in range(300):
        if rng.random() < 0.5:  # a taker between two steps, and a snapshot after him
            desk.place(rng.choice(["buy", "sell"]), quantity=rng.randrange(1, 30), tif="ioc")
            snapshots.append(json.loads(frames.depth(market.book, 100)))
        if rng.random() < 0.3:
            side = rng.choice(["buy", "sell"])
            offset = rng.randrange(1, 30) / 100 * (-1 if side == "buy" else 1)
            desk.place(side, quantity=rng.randrange(1, 20), price=round(price + offset, 2))
        price *= 1 + rng.uniform(-0.002, 0.002)
        fills += desk.step(price)
        feed.on_step()
        for text in feed.payloads(DIFF, 1):
            event = json.loads(text)
            assert event["U"] == last_id + 1
            last_id = event["u"]
            apply(book, event)
            # A client that took a snapshot in between can begin with this event.
            for snapshot in snapshots:
                assert event["U"] <= snapshot["lastUpdateId"] + 1
                assert snapshot["lastUpdateId"] <= event["u"]
                late = as_dicts(snapshot)
                apply(late, event)
                assert late == book
            snapshots.clear()
        feed.on_sent()
        now = json.loads(frames.depth(market.book, 100))
        assert now["lastUpdateId"] == last_id
        assert as_dicts(now) == book
    assert fills > 10
