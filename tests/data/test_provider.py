"""What every provider promises: O(1) looks, one listener told of changes, failures seen."""

import asyncio

import pytest

from arbshard.data.provider import MarketDataProvider
from arbshard.errors import FeedFailed


class ByHand(MarketDataProvider):
    """Given its books by the test."""

    def is_live(self, symbol):
        return symbol in self._latest

    async def start(self):
        pass

    give = MarketDataProvider._take
    spoil = MarketDataProvider._distrust

    def run(self, work):
        self._tasks.start(work)


async def test_unknown_is_none_and_known_is_the_newest(make):
    provider = ByHand()
    assert provider.get_latest_snapshot("KRW-BTC") is None
    assert await provider.aget_latest_snapshot("KRW-BTC") is None
    view = provider.latest_snapshots
    first, second, away = make.home_book(), make.home_book(50), make.away_book()
    for book in (first, second, away):
        provider.give(book.symbol, book)
    assert provider.get_latest_snapshot("KRW-BTC") is second
    assert await provider.aget_latest_snapshot("BTCUSDT") is away
    assert dict(view) == {"KRW-BTC": second, "BTCUSDT": away}  # both venues, and the view is live
    assert provider.counters["books"] == 3
    with pytest.raises(TypeError):
        view["KRW-BTC"] = first


async def test_changes_are_told_once(make):
    provider = ByHand()
    provider.give("KRW-BTC", make.home_book())
    provider.give("KRW-BTC", make.home_book(1))
    provider.give("BTCUSDT", make.away_book())
    assert await provider.changes(5) == {"KRW-BTC", "BTCUSDT"}
    assert await provider.changes(0.001) == frozenset()


async def test_a_change_wakes_the_listener(make):
    provider = ByHand()
    waiting = asyncio.ensure_future(provider.changes(30))
    await asyncio.sleep(0)
    provider.give("BTCUSDT", make.away_book())
    assert await asyncio.wait_for(waiting, 5) == {"BTCUSDT"}


async def test_distrust_lasts_until_the_next_good_book(make):
    provider = ByHand()
    provider.give("KRW-BTC", make.home_book())
    provider.spoil("KRW-BTC", "bad_upbit_cut", "why")
    assert provider.is_bad("KRW-BTC")
    assert (provider.counters["bad_upbit_cut"], provider.last_error) == (1, "why")
    assert await provider.changes(0) == {"KRW-BTC"}
    provider.give("KRW-BTC", make.home_book())
    assert not provider.is_bad("KRW-BTC")


async def test_a_defect_reaches_the_listener():
    provider = ByHand()

    async def broken():
        raise ZeroDivisionError("of ours")

    provider.run(broken())
    with pytest.raises(FeedFailed, match="ZeroDivisionError: of ours"):
        await provider.changes(5)
    with pytest.raises(FeedFailed):  # and stays
        await provider.changes(0)
    await provider.stop()


async def test_stop_ends_what_runs():
    provider = ByHand()
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(None)

    provider.run(work())
    await asyncio.sleep(0)
    await provider.stop()
    assert ended == [None]
    assert await provider.changes(0) == frozenset()
