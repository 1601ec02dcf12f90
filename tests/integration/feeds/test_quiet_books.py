"""Books that do not change, and a subscription that dies without a word, against a real exchange."""

import asyncio
import time

import pytest

from arbshard.config import DataConfig

pytestmark = pytest.mark.integration

QUIET_S = 3.0
QUALITY = DataConfig(quiet_confirm_s=QUIET_S)


@pytest.fixture(params=["upbit", "binance"])
def name(request):
    return request.param


def coin_of(rig):
    return next(symbol for symbol in rig.slots if symbol != "KRW-USDT")


def age_s(rig, symbol):
    """How long ago the book was last known to be the newest one, as an exit judges it."""
    received_ns, confirmed_ns = rig.writer.times(rig.slots[symbol])
    return (time.monotonic_ns() - max(received_ns, confirmed_ns)) / 1e9


async def test_a_quiet_market_stays_usable_beside_others_and_alone(begin, tools, name):
    """First its connection brings other markets, then nothing at all but answers to pings."""
    rig = await begin(name, more={"quality": QUALITY}, silence_s=60.0)
    await tools.until(rig.all_live)
    symbol = coin_of(rig)
    for quiet in ({"market": symbol}, {}):
        await rig.faults(clear=["quiet_book"])
        await rig.moving()
        await rig.faults(set={"quiet_book": {"share": 1.0, "every_s": 3600, **quiet}})
        await asyncio.sleep(0.5)
        rig.feed.attend(frozenset((rig.slots[symbol],)))
        sequence, confirmed = rig.sequence(symbol), rig.note.confirmed
        ages_s = []
        while rig.note.confirmed < confirmed + 3:
            await asyncio.sleep(0.02)
            ages_s.append(age_s(rig, symbol))
            assert len(ages_s) < 1500, rig.note
        assert sorted(ages_s)[len(ages_s) * 9 // 10] <= 1.5
        assert rig.sequence(symbol) == sequence
        rig.feed.attend(frozenset())
    note = rig.note
    assert (note.dead, note.reconnects, note.bad_frames, rig.alerts) == (0, 0, 0, [])


async def test_nobody_confirms_a_quiet_market_for_long_where_nothing_is_open(begin, tools, name):
    rig = await begin(name, more={"quality": QUALITY})
    await tools.until(rig.all_live)
    symbol = coin_of(rig)
    await rig.faults(set={"quiet_book": {"share": 1.0, "every_s": 3600, "market": symbol}})
    await tools.until(lambda: age_s(rig, symbol) > 2.0, what="an end of the confirmations")
    received_ns, confirmed_ns = rig.writer.times(rig.slots[symbol])
    assert confirmed_ns - received_ns <= (QUIET_S - 1.5) * 1e9
    assert rig.note.confirmed == 0


async def test_a_silently_dead_subscription_is_found_and_begun_anew(
    begin, tools, exchanges, name, monkeypatch
):
    """The venue goes on trading the market and tells nobody; its connection and the others are well."""
    rig = await begin(name, more={"quality": QUALITY}, silence_s=60.0)
    await tools.until(rig.all_live)
    symbol = coin_of(rig)
    rig.feed.attend(frozenset((rig.slots[symbol],)))
    hub = exchanges._venues[name].hub
    publish = hub.publish
    told = []

    def publish_others(feed, now_ms):
        if feed.market.symbol == symbol:
            told.append(feed.market.symbol)
        else:
            publish(feed, now_ms)

    monkeypatch.setattr(hub, "publish", publish_others)
    await asyncio.sleep(0.5)
    frozen = rig.book(symbol)
    await tools.until(lambda: rig.note.dead >= 1, 20.0, "the discovery")
    assert told
    assert len(rig.alerts) == 1
    assert symbol in rig.alerts[0]
    left = rig.book(symbol)
    assert (left.bids, left.asks) != (frozen.bids, frozen.asks)
    ages_s = []
    for _ in range(100):
        await asyncio.sleep(0.02)
        ages_s.append(age_s(rig, symbol))
    assert sorted(ages_s)[len(ages_s) // 2] <= 1.5  # REST goes on bringing its books
    monkeypatch.undo()
    await rig.moving(symbol)
    await rig.moving()
    note = rig.note
    assert (note.dead, note.bad_frames, note.refusals) == (1, 0, 0)
    assert rig.turned_dark() == []
