"""Markets come and go while the others run on, on the same connections."""

import pytest

from arbshard.errors import FeedFailed, UsageError

pytestmark = pytest.mark.integration


@pytest.fixture(params=["upbit", "binance"])
def name(request):
    return request.param


async def test_a_market_goes_and_comes_back(begin, tools, name):
    rig = await begin(name)
    await tools.until(rig.all_live)
    symbol = next(one for one in rig.slots if "ETH" in one or one != "KRW-USDT")
    others = [one for one in rig.slots if one != symbol]
    slot = rig.slots[symbol]
    rig.feed.remove([symbol])
    assert not rig.reader.live(slot)
    turns = len(rig.turned_dark())
    await rig.moving(*others)
    await rig.moving(*others)
    still = rig.sequence(symbol)
    await rig.moving(*others)
    assert rig.sequence(symbol) == still
    assert rig.note.symbols == len(others)
    rig.feed.add({symbol: (slot, (1,))})
    before = rig.shards[1].pushed.get(slot, 0)
    await tools.until(rig.all_live)
    await rig.moving()
    assert rig.shards[1].pushed[slot] > before
    note = rig.note
    assert (note.reconnects, note.bad_frames, note.refusals, note.connections) == (0, 0, 0, 1)
    assert len(rig.turned_dark()) == turns  # the others went on


async def test_more_markets_than_a_connection_may_carry(begin, tools, name):
    rig = await begin(name, symbols_per_connection=2)
    await tools.until(rig.all_live)
    wanted = rig.note.wanted
    assert wanted == -(-len(rig.slots) // 2)
    symbols = list(rig.slots)
    rig.feed.remove(symbols[:2])
    await rig.moving(*symbols[2:])
    rig.feed.add({symbol: (rig.slots[symbol], (0,)) for symbol in symbols[:2]})
    await tools.until(rig.all_live)
    assert rig.note.wanted <= wanted + 1
    assert rig.note.reconnects == 0


async def test_another_shard_is_rung_from_now_on(begin, tools, name):
    rig = await begin(name)
    await tools.until(rig.all_live)
    symbol = next(iter(rig.slots))
    slot = rig.slots[symbol]
    rig.feed.retarget(symbol, ())
    rung = [shard.pushed.get(slot, 0) for shard in rig.shards]
    await rig.moving(symbol)
    assert [shard.pushed.get(slot, 0) for shard in rig.shards] == rung
    rig.feed.retarget(symbol, (1,))
    await rig.moving(symbol)
    assert rig.shards[0].pushed.get(slot, 0) == rung[0]
    assert rig.shards[1].pushed.get(slot, 0) > rung[1]


async def test_what_the_venue_refuses_is_shown_and_asked_for_again(begin, tools):
    rig = await begin("upbit")
    await tools.until(rig.all_live)
    rig.feed.add({"KRW-NONE": (60, (0,))})
    await tools.until(lambda: rig.note.refusals >= 2, what="two refusals")
    await rig.moving()
    note = rig.note
    assert "refused" in note.lines[0]
    assert note.reconnects == 0
    rig.feed.remove(["KRW-NONE"])
    await rig.moving()


async def test_a_defect_is_no_loss(begin, tools):
    """What an exchange does is mended; what we do wrong ends the run."""
    rig = await begin("binance")
    await tools.until(rig.all_live)

    def broken(slot):
        raise ZeroDivisionError(slot)

    rig.feed.retarget("BTCUSDT", ())
    rig.shards[1].push = broken
    rig.feed.retarget("BTCUSDT", (1,))
    found = []

    def failed():
        try:
            rig.feed.check()
        except FeedFailed as error:
            found.append(str(error))
        return bool(found)

    await tools.until(failed, what="the defect")
    assert "ZeroDivisionError" in found[0]


async def test_a_stream_the_venue_does_not_have(begin):
    with pytest.raises(UsageError, match="only binance"):
        await begin("upbit", stream="diff")


async def test_a_delisted_market_takes_no_others_with_it(begin, tools):
    rig = await begin("upbit", life_max_s=1.0, life_margin_s=0.3)
    await tools.until(rig.all_live)
    gone, *others = (symbol for symbol in rig.slots if symbol != "KRW-USDT")
    await rig.faults(set={"market_state": {"share": 1.0, "market": gone, "state": "delisted"}})
    await tools.until(lambda: rig.note.refusals >= 1, what="the refusal of a new connection")
    await rig.moving(*others)
    assert rig.note.planned <= 1, "a connection that was refused does not take over"

    rig.feed.set_unlisted({gone})
    await tools.until(lambda: gone not in rig.live(), what="the end of the market")
    planned = rig.note.planned
    await tools.until(lambda: rig.note.planned >= planned + 2, what="renewals without the market")
    await rig.moving(*others)
    assert rig.live() == set(rig.slots) - {gone}

    await rig.faults(clear="all")
    rig.feed.set_unlisted(set())
    await rig.moving(gone)
    await tools.until(rig.all_live)
