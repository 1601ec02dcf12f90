"""Levels and touches of the embedded Binance: the touch is in the slot before the levels come."""

import asyncio

import pytest

from arbshard.venues.registry import get_adapter

pytestmark = pytest.mark.integration

FUSED = get_adapter("binance").fused


@pytest.fixture
def depth_interval_ms():
    return 100


async def begin_fused(begin, tools, **settings):
    rig = await begin("binance", stream="fused", **settings)
    await tools.until(rig.all_live, what="the books")
    return rig


async def test_touches_are_newer_than_the_levels_and_books_are_sound(begin, tools):
    rig = await begin_fused(begin, tools)
    await tools.until(lambda: rig.note.touches >= 50, what="touches")
    for _ in range(100):
        for symbol in rig.slots:
            book = rig.book(symbol)
            assert book.best_bid < book.best_ask
        await asyncio.sleep(0.005)
    note = rig.note
    assert (note.bad_frames, note.stalls, note.touches_overdue, note.touch_mismatches) == (0, 0, 0, 0)


async def test_a_touch_without_newer_levels_is_in_the_slot(begin, tools):
    rig = await begin_fused(begin, tools)

    def joined():
        frames = [rig.reader.read(slot)[3] for slot in rig.slots.values()]
        return any(FUSED.parted(frame)[1] is not None for frame in frames)

    await tools.until(joined, what="levels with a newer touch")


async def test_renewals_and_two_connections_lose_no_market(begin, tools):
    rig = await begin_fused(begin, tools, connections=2, life_max_s=0.8, life_margin_s=0.3)
    await tools.until(lambda: rig.note.planned >= 2, what="renewals")
    await rig.moving()
    assert rig.turned_dark() == []
    note = rig.note
    assert note.duplicates > 0
    assert (note.reconnects, note.bad_frames, note.touch_mismatches) == (0, 0, 0)


async def test_a_lost_connection_is_mended(begin, tools):
    rig = await begin_fused(begin, tools)
    await rig.faults(once={"disconnect": {"venue": "binance"}})
    await tools.until(lambda: rig.note.reconnects >= 1, what="the loss")
    await tools.until(rig.all_live)
    before = rig.note.touches
    await tools.until(lambda: rig.note.touches > before, what="touches on the new connection")
