"""Binance's books kept from their changes: in step with the exchange, and mended after a gap."""

import asyncio

import pytest

from arbshard.data.http import HttpFetch

pytestmark = pytest.mark.integration


async def begin_diff(begin, tools, **settings):
    rig = await begin("binance", stream="diff", **settings)
    await tools.until(rig.all_live, what="the books")
    return rig


async def test_the_book_is_the_exchanges(begin, tools):
    rig = await begin_diff(begin, tools)
    await rig.moving()
    await rig.moving()
    fetch = HttpFetch()
    for symbol in rig.slots:
        for _ in range(50):  # until both speak of one moment
            before = rig.reader.read(rig.slots[symbol])[3]
            body = (await fetch(f"http://{rig.at}/api/v3/depth?symbol={symbol}&limit=20")).body
            mark = rig.feed._fanout.venue.sequence_number
            if mark(before) == mark(body):
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("never the same moment")
        frame = b'{"stream":"%b@depth20@100ms","data":%b}' % (symbol.lower().encode(), body)
        truth = rig.feed._fanout.venue.decode(frame, 1)
        mine = rig.feed._fanout.venue.decode(before, 1)
        assert (mine.bids, mine.asks) == (truth.bids, truth.asks)
    await fetch.close()
    note = rig.note
    assert (note.resyncs, note.bad_frames, note.stalls) == (0, 0, 0)


async def test_a_gap_darkens_its_market_alone_until_it_is_closed(begin, tools):
    rig = await begin_diff(begin, tools)
    await rig.faults(once={"sequence_gap": {"markets": 1}})
    await tools.until(lambda: rig.note.resyncs >= 1, what="the gap")
    await tools.until(rig.all_live)
    await rig.moving()
    slots = {slot for _, slot in rig.turned_dark()}
    assert len(slots) == 1
    assert rig.note.resyncs == 1


async def test_a_renewal_and_two_connections_feed_one_book(begin, tools):
    rig = await begin_diff(begin, tools, connections=2, life_max_s=0.8, life_margin_s=0.3)
    await tools.until(lambda: rig.note.planned >= 2, what="renewals")
    await rig.moving()
    assert rig.turned_dark() == []
    note = rig.note
    assert note.duplicates > 0
    assert (note.resyncs, note.reconnects) == (0, 0)
