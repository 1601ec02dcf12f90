"""A feed against a real exchange that cuts, warns, falls silent and closes."""

import asyncio

import pytest

from arbshard.data.stream import open_stream
from arbshard.errors import VenueUnavailable
from arbshard.venues.registry import get_venue

pytestmark = pytest.mark.integration


@pytest.fixture(params=["upbit", "binance"])
def name(request):
    return request.param


async def test_a_dropped_connection_is_back_at_once(begin, tools, name):
    rig = await begin(name)
    await tools.until(rig.all_live)
    longest_s = []
    while not longest_s or (
        longest_s[-1] > 0.3 and len(longest_s) < 3
    ):  # the machine may be busy with others
        losses = rig.note.reconnects
        await rig.faults(once={"disconnect": {"sockets": "public"}})
        await tools.until(lambda before=losses: rig.note.reconnects > before, what="the loss")
        await tools.until(rig.all_live)
        gaps_s = rig.gaps_s()[-len(rig.slots) :]
        assert len(gaps_s) == len(rig.slots)
        longest_s.append(max(gaps_s))
    assert min(longest_s) <= 0.3
    assert rig.note.planned == 0


async def test_an_announced_end_makes_no_gap(begin, tools):
    rig = await begin("binance")  # upbit has no word for it
    await tools.until(rig.all_live)
    await rig.faults(once={"shutdown_notice": {"sockets": "public", "ms_min": 500, "ms_max": 500}})
    await tools.until(lambda: rig.note.planned >= 1, what="the renewal")
    await asyncio.sleep(0.7)  # the old one's end, had it stayed
    await rig.moving()
    assert rig.turned_dark() == []
    assert rig.note.reconnects == 0
    assert rig.note.connections == 1


async def test_a_life_that_ends_is_renewed_before(begin, tools, name):
    rig = await begin(name, life_max_s=0.6, life_margin_s=0.2)
    await tools.until(rig.all_live)
    await tools.until(lambda: rig.note.planned >= 2, what="two renewals")
    await rig.moving()
    assert rig.turned_dark() == []
    note = rig.note
    assert (note.reconnects, note.wanted) == (0, 1)
    assert note.bad_frames == 0
    # On a busy machine a successor may take over before both have brought the same book.
    await tools.until(lambda: rig.note.duplicates > 0, what="a book that came on both")


async def test_two_connections_for_the_same_markets(begin, tools, name):
    rig = await begin(name, connections=2)
    await tools.until(lambda: rig.note.connections == 2)
    await rig.moving()
    await rig.moving()
    note = rig.note
    assert (note.wanted, note.source) == (2, "ws x2")
    assert note.duplicates > 0
    assert [line.split(":")[0] for line in note.lines] == [f"{name}-1a", f"{name}-1b"]
    await rig.faults(once={"disconnect": {"sockets": "public", "connections": 1}})
    await tools.until(lambda: rig.note.reconnects >= 1, what="the loss")
    await tools.until(lambda: rig.note.connections == 2)
    await rig.moving()
    assert rig.turned_dark() == []


async def test_a_silent_connection_is_made_anew(begin, tools, name):
    rig = await begin(name, silence_s=0.4)
    await tools.until(rig.all_live)
    await rig.faults(once={"silent_stall": {"sockets": "public", "ms_min": 60_000, "ms_max": 60_000}})
    await tools.until(lambda: rig.note.reconnects >= 1, what="the remedy")
    await tools.until(rig.all_live)
    await rig.moving()
    assert rig.note.stalls == 1


async def test_rest_while_the_stream_is_down(begin, tools, name):
    """The stream's port refuses; REST of the same venue answers. Then the stream comes back."""
    refusing = [False]

    def opener(*args):
        if refusing[0]:
            raise VenueUnavailable("refused for a while")
        return open_stream(*args)

    rig = await begin(name, rest_fallback_s=0.5, opener=opener)
    await tools.until(rig.all_live)
    refusing[0] = True
    await rig.faults(once={"disconnect": {"sockets": "public"}})
    await tools.until(lambda: rig.note.state == "rest", what="the fallback")
    await tools.until(rig.all_live)
    await rig.moving()
    await rig.moving()
    assert rig.note.source == "rest"
    assert len(rig.alerts) == 1
    assert "over REST" in rig.alerts[0]
    for symbol in rig.slots:
        assert rig.book(symbol).symbol == symbol
    refusing[0] = False
    dark = len(rig.turned_dark())
    await tools.until(lambda: rig.note.source == "ws", what="the stream")
    await rig.moving()
    assert rig.note.state == "connected"
    assert len(rig.turned_dark()) == dark  # from REST to the stream without a gap


async def test_rest_only(begin, tools, name):
    rig = await begin(name, more={"data_source": "rest"})
    await tools.until(rig.all_live)
    await rig.moving()
    note = rig.note
    assert (note.state, note.source, note.wanted, note.bad_frames) == ("rest", "rest", 0, 0)
    first = next(iter(rig.slots))
    book = rig.book(first)
    assert book.best_bid < book.best_ask
    await rig.faults(set={"maintenance": {"share": 1.0, "ms_min": 800, "ms_max": 800}})
    await tools.until(lambda: not rig.live(), what="darkness")
    await rig.faults(clear="all")
    await tools.until(rig.all_live)


async def test_maintenance_is_waited_for_without_a_storm(begin, tools, name):
    """Refused at the handshake for a while: tried again with pauses, and back soon after."""
    rig = await begin(name, rest_fallback_s=0.0)
    await tools.until(rig.all_live)
    await rig.faults(once={"maintenance": {"ms_min": 1000, "ms_max": 1000}})
    await tools.until(lambda: not rig.live(), what="the closing")
    await tools.until(rig.all_live, what="the opening")
    note = rig.note
    assert 2 <= note.reconnects <= 8
    assert (note.state, note.source) == ("connected", "ws")
    await rig.moving()


async def test_one_market_falls_silent_and_is_asked_for_again(begin, tools):
    """Unsubscribed behind the feed's back, as by a venue that forgot."""
    streams = []

    def opener(target, on_message, now_ns, receiver):
        return _Kept(open_stream(target, on_message, now_ns, receiver), streams)

    rig = await begin("binance", silence_s=0.5, opener=opener)
    await tools.until(rig.all_live)
    await asyncio.sleep(2.0)  # what is usual has to be learned
    symbol = list(rig.slots)[-1]
    venue, left = get_venue("binance"), [one for one in rig.slots if one != symbol]
    for message in venue.change_messages(left, [], [symbol], rig.config.depth, "behind"):
        await streams[0].send(message)
    await tools.until(lambda: rig.note.stalls >= 1, what="the finding")
    await rig.moving(symbol)
    note = rig.note
    assert (note.reconnects, note.planned, note.quiet) == (0, 0, ())
    assert rig.turned_dark() == []


class _Kept:
    """An opener's answer that keeps the stream for the test."""

    def __init__(self, opening, streams):
        self._opening = opening
        self._streams = streams

    async def __aenter__(self):
        stream = await self._opening.__aenter__()
        self._streams.append(stream)
        return stream

    async def __aexit__(self, *error):
        return await self._opening.__aexit__(*error)


class Handshakes:
    """Notes when connections were tried to be opened."""

    def __init__(self):
        self.tries_s = []

    def open(self, *arguments):
        self.tries_s.append(asyncio.get_running_loop().time())
        return open_stream(*arguments)


@pytest.mark.parametrize("receiver", ["websockets", pytest.param("picows", marks=pytest.mark.needs("fast"))])
async def test_a_venue_that_bans_this_address_is_left_alone_until_it_is_over(begin, tools, name, receiver):
    """Each call and each handshake during a ban makes it longer, so none is made."""
    handshakes = Handshakes()
    rig = await begin(name, opener=handshakes.open, more={"receiver": receiver}, symbols_per_connection=2)
    await tools.until(rig.all_live)
    assert rig.note.wanted > 1
    ban = {"share": 1.0, "status": 418, "calls": "all", "retry_after_s": 4}
    await rig.faults(set={"rate_limited": ban})
    before, began_s = len(handshakes.tries_s), asyncio.get_running_loop().time()
    await rig.faults(once={"disconnect": {"sockets": "public"}})
    await tools.until(lambda: "418" in rig.note.last_error, what="the refusal")
    asked = (await rig.stats())["rest_requests"]
    # Handshakes that were under way at the same moment are all refused, so there may be one for each connection.
    await asyncio.sleep(2.5)
    assert "this address is refused for 4 s" in rig.note.last_error
    assert len(handshakes.tries_s) - before <= rig.note.wanted
    assert max(handshakes.tries_s) - began_s < 1.5
    assert (await rig.stats())["rest_requests"] == asked
    await rig.faults(clear=["rate_limited"])
    await tools.until(rig.all_live, what="the connections")
    assert handshakes.tries_s[-1] - began_s >= 4.0
