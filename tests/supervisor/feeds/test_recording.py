"""What a feed publishes for a recorder: everything while somebody subscribes, and nothing at all otherwise."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from arbshard.clock import SystemClock
from arbshard.config import VenuesConfig
from arbshard.data.address_block import AddressBlock
from arbshard.data.stream import Target
from arbshard.errors import VenueUnavailable
from arbshard.venues.base.client import Answer
from arbshard.venues.base.market import RateLimit
from arbshard.venues.registry import get_venue
from arbshard.wire.bus import Publisher, Subscriber
from arbshard.wire.recording import decode
from supervisor.feeds.connection import FeedConnection
from supervisor.feeds.link import Dial
from supervisor.feeds.pacing import Bucket
from supervisor.feeds.recording import RecordTopic
from support import virtual_time as v


class Intake:
    def __init__(self, on_control):
        self.got = []
        self.symbols = {}

    @property
    def frames(self):
        return len(self.got)

    def __call__(self, frame, received_ns):
        self.got.append(frame)
        if frame == b"defect":
            raise ZeroDivisionError("a defect of ours")

    def attach(self, symbols):
        self.symbols.update(dict.fromkeys(symbols))

    def detach(self, symbols):
        for symbol in symbols:
            self.symbols.pop(symbol, None)

    def frames_received(self, symbol):
        return len(self.got)

    def close(self):
        pass


class World:
    """One connection to a fake venue, and its record topic on a real bus."""

    def __init__(self, bus, endpoint):
        self.bus, self.endpoint = bus, endpoint
        self.known = {"BTCUSDT": (5, b"known"), "ETHUSDT": None}
        clock = SystemClock()
        self.record = RecordTopic("binance", bus, clock, self.known.keys, self.known.get)
        self.host = v.Host()
        self.intakes = []

        def intake(on_control):
            self.intakes.append(Intake(on_control))
            return self.intakes[-1]

        dial = Dial(get_venue("binance"), 15, Target("ws://nowhere", 20.0), clock, self.host.open, "auto",
                    Bucket(RateLimit(300, 300.0)), AddressBlock("binance", clock), intake, self.record)  # fmt: skip
        self.connection = FeedConnection(
            "binance-1", dial, VenuesConfig().get("binance"), ["BTCUSDT", "ETHUSDT"], "binance-1-7"
        )
        self.connection.start()


@pytest.fixture
async def world():
    with tempfile.TemporaryDirectory(prefix="arb") as place:
        endpoint = f"ipc://{Path(place)}/bus"
        with Publisher(endpoint) as bus:
            bus.start()
            made = World(bus, endpoint)
            await until(lambda: made.connection.is_up)
            yield made
            await asyncio.gather(*made.connection.cancel(), return_exceptions=True)
            made.record.close()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def read(subscriber, count):
    found = []
    async with asyncio.timeout(10):
        while len(found) < count:
            for message in subscriber.drain():
                batch = decode(message.parts)
                found += batch.records
            await asyncio.sleep(0.001)
    return found


async def test_frames_go_straight_to_the_intake_while_nobody_records(world):
    stream, intake = world.host.opened[0], world.intakes[0]
    assert stream._take is intake
    with Subscriber(world.endpoint, (b"raw.binance.",)):
        await until(lambda: world.record.is_wanted)
        assert stream._take is not intake
    await until(lambda: not world.record.is_wanted)
    assert stream._take is intake
    before = world.bus.published + world.bus.unwanted
    for _ in range(100):
        stream.say(b"frame")
    assert (world.bus.published + world.bus.unwanted, intake.frames) == (before, 100)


async def test_a_recorder_gets_what_is_known_and_then_all_that_happens(world):
    stream = world.host.opened[0]
    with Subscriber(world.endpoint, (b"raw.",)) as recorder:
        connect, known = await read(recorder, 2)
        assert (connect.kind, connect.connection, connect.detail) == (
            "connect", "binance-1-7-1", "carries BTCUSDT ETHUSDT",
        )  # fmt: skip
        assert (known.kind, known.symbol, known.at_ns, known.data) == ("known", "BTCUSDT", 5, b"known")
        for word in (b"one", b"garbage", b"two"):
            stream.say(word)
        frames = await read(recorder, 3)
        assert [(one.kind, one.connection, one.data) for one in frames] == [
            ("frame", "binance-1-7-1", word) for word in (b"one", b"garbage", b"two")
        ]
        world.connection.ask_again("BTCUSDT")
        (again,) = await read(recorder, 1)
        assert again.kind == "resubscribe"
        assert b'"SUBSCRIBE"' in again.data
        opened_ns = world.connection._now.link.opened_ns
        stream.end("the venue went away")
        over, begun, subscribed = await read(recorder, 3)
        assert (over.kind, over.detail, over.began_ns) == ("disconnect", "the venue went away", opened_ns)
        assert (begun.kind, begun.connection) == ("connect", "binance-1-7-2")
        assert (subscribed.kind, subscribed.connection) == ("subscribe", "binance-1-7-2")
        assert subscribed.data.decode() == world.host.opened[1].sent[0][1]
        world.host.opened[1].say(b"three")  # redirected from its first message on
        (frame,) = await read(recorder, 1)
        assert frame.data == b"three"
        assert world.intakes[1].got == [b"three"]


async def test_a_frame_on_which_we_fail_is_on_the_tape(world):
    with Subscriber(world.endpoint, (b"raw.",)) as recorder:
        await read(recorder, 2)
        world.host.opened[0].say(b"defect")
        frame, over = await read(recorder, 2)
        assert (frame.kind, frame.data, over.kind) == ("frame", b"defect", "disconnect")


async def test_answers_over_rest_are_published_without_the_host(world):
    async def fetch(address):
        if "BAD" in address:
            raise VenueUnavailable("no answer in time")
        return Answer(200, b"{}")

    ask = world.record.recorded(fetch)
    await ask("https://me:secret@host/api/v3/depth?symbol=BTCUSDT")
    with Subscriber(world.endpoint, (b"raw.",)) as recorder:
        await read(recorder, 2)
        assert (await ask("https://me:secret@host/api/v3/depth?symbol=BTCUSDT")).body == b"{}"
        with pytest.raises(VenueUnavailable):
            await ask("https://me:secret@host/api/v3/depth?symbol=BAD")
        good, bad = await read(recorder, 2)
        assert (good.kind, good.detail, good.data) == ("rest", "/api/v3/depth?symbol=BTCUSDT HTTP 200", b"{}")
        assert 0 < good.began_ns <= good.at_ns
        assert (bad.detail, bad.data) == ("/api/v3/depth?symbol=BAD no answer in time", b"")


async def test_records_are_gathered_and_numbered_and_none_waits_for_long(world):
    stream = world.host.opened[0]
    with Subscriber(world.endpoint, (b"raw.",)) as recorder:
        await read(recorder, 2)
        before = world.bus.published
        for number in range(1200):
            stream.say(b"%d" % number)
        batches = []
        async with asyncio.timeout(10):
            while sum(len(batch.records) for batch in batches) < 1200:
                batches += [decode(message.parts) for message in recorder.drain()]
                await asyncio.sleep(0.001)
        assert world.bus.published - before == len(batches) == 3
        assert [record.data for batch in batches for record in batch.records] == [
            b"%d" % n for n in range(1200)
        ]
        first = batches[0].first
        assert [batch.first - first for batch in batches] == [0, 512, 1024]


async def test_what_was_gathered_is_published_at_the_end(world):
    with Subscriber(world.endpoint, (b"raw.",)) as recorder:
        await read(recorder, 2)
        world.host.opened[0].say(b"last")
        world.record.close()
        (frame,) = await read(recorder, 1)
        assert frame.data == b"last"


async def test_a_closed_topic_publishes_nothing_any_more(world):
    world.record.close()
    with Subscriber(world.endpoint, (b"raw.",)):
        await until(lambda: world.bus.wanted(b"raw.binance."))
        before = world.bus.published
        world.host.opened[0].say(b"frame")
        assert world.bus.published == before
