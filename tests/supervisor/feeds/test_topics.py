"""Books and states on the bus: at once for a new subscriber, then with each change; nothing without a subscriber."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from arbshard.clock import ManualClock
from arbshard.model.notes import VenueNote
from arbshard.venues.base.market import ControlFrame
from arbshard.wire import topics
from arbshard.wire.bus import Prefixes, Publisher
from arbshard.wire.tap import Tap
from supervisor.feeds.fanout import VenueFanout
from supervisor.feeds.topics import VenueTopics


class Venue:
    name = "upbit"

    def route(self, frame):
        return frame.partition(b":")[0].decode()

    def classify(self, frame):
        raise AssertionError(frame)

    def sequence_number(self, frame):
        return None


class Slots:
    """Frames by slot, as ``BooksReader.read`` gives them."""

    def __init__(self):
        self.found = {}
        self.live = {}
        self.sequences = {}

    def write(self, slot, frame, received_ns):
        self.sequences[slot] = self.sequences.get(slot, 0) + 2
        self.found[slot] = received_ns, frame

    def set_live(self, slot, live):
        self.sequences[slot] = self.sequences.get(slot, 0) + 2
        self.live[slot] = live

    def sequence(self, slot):
        return self.sequences.get(slot, 0)

    def read(self, slot):
        if slot not in self.found:
            return None
        received_ns, frame = self.found[slot]
        return self.sequences[slot], received_ns, self.live[slot], frame


class Counting(Publisher):
    """Counts what is asked of it."""

    asked = 0

    def wanted(self, topic):
        self.asked += 1
        return super().wanted(topic)


@pytest.fixture
async def world():
    with tempfile.TemporaryDirectory(prefix="arb") as place:
        endpoint = f"ipc://{Path(place)}/bus"
        with Counting(endpoint) as bus:
            bus.start()
            yield World(bus, endpoint)


class World:
    def __init__(self, bus, endpoint):
        self.bus, self.endpoint, self.slots = bus, endpoint, Slots()
        targets = {"KRW-A": (1, ()), "KRW-AB": (3, ())}
        self.control: list[ControlFrame] = []
        self.fanout = VenueFanout(Venue(), targets, self.slots, [], self.control.append)
        self.topics = VenueTopics("upbit", self.fanout, self.slots.read, bus, ManualClock())


async def until_got(tap, count):
    found = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += tap.read(0)
            await asyncio.sleep(0.001)
    return found


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_new_subscriber_gets_the_newest_book_and_then_each_frame_of_its_market_alone(world):
    world.fanout(b"KRW-A:1", 7)
    world.fanout(b"KRW-AB:1", 8)
    with Tap(world.endpoint, [topics.book_topic("upbit", "KRW-A")]) as tap:
        (first,) = await until_got(tap, 1)
        assert first.message == topics.BookUpdate("upbit", "KRW-A", 4, 7, True, b"KRW-A:1")
        world.fanout(b"KRW-AB:2", 9)
        world.fanout(b"KRW-A:2", 10)
        world.fanout.mark_down(["KRW-A"])
        second, third = await until_got(tap, 2)
        assert (second.sequence, second.message.frame, second.message.received_ns) == (2, b"KRW-A:2", 10)
        assert (third.sequence, third.message.frame, third.message.live) == (3, b"KRW-A:2", False)
        assert tap.missed == {}


async def test_a_second_subscriber_gets_the_newest_book_too(world):
    world.fanout(b"KRW-A:1", 7)
    with Tap(world.endpoint) as one:
        await until_got(one, 1)
        with Tap(world.endpoint) as other:
            (found,) = await until_got(other, 1)
            assert found.message.frame == b"KRW-A:1"


async def test_a_thousand_frames_that_nobody_wants_ask_nothing_of_the_bus(world):
    untouched = dict(world.fanout.targets)
    with Tap(world.endpoint, [topics.BOOKS]) as tap:
        await until(lambda: world.fanout.is_observed("KRW-A") and world.fanout.is_observed("KRW-AB"))
        world.fanout(b"KRW-A:1", 1)
        await until_got(tap, 1)
    await until(lambda: not world.fanout.is_observed("KRW-A"))
    assert world.fanout.targets == untouched
    world.bus.asked = published = 0
    published = world.bus.published
    for number in range(1000):
        world.fanout(b"KRW-A:%d" % number, number)
    assert (world.bus.asked, world.bus.unwanted, world.bus.published) == (0, 0, published)


async def test_a_market_that_is_added_later_is_published_and_one_that_is_removed_is_not(world):
    with Tap(world.endpoint, [topics.BOOKS]) as tap:
        await until(lambda: world.fanout.is_observed("KRW-A"))
        world.fanout.add({"KRW-C": (5, ())})
        world.topics.follow(["KRW-C"])
        world.fanout(b"KRW-C:1", 1)
        (found,) = await until_got(tap, 1)
        assert found.topic == "book.upbit.KRW-C."
        world.fanout.remove(["KRW-C"])
        await until_got(tap, 1)  # it is not live any more
        world.fanout.add({"KRW-C": (5, ())})
        assert not world.fanout.is_observed("KRW-C")


async def test_many_books_for_a_new_subscriber_are_spread_over_turns_of_the_loop(world):
    world.fanout.add({f"KRW-N{number}": (10 + number, ()) for number in range(100)})
    for number in range(100):
        world.fanout(b"KRW-N%d:1" % number, number)
    with Tap(world.endpoint, [topics.BOOKS]) as tap:
        found = await until_got(tap, 100)
        assert {one.message.symbol for one in found} == {f"KRW-N{number}" for number in range(100)}
        before = world.bus.published
        world.topics._subscriptions_changed(Prefixes([b"book."]))
        steps = []
        while world.topics._due:
            steps.append(world.bus.published - before)
            world.topics._publish_due()
        assert steps == [0, 30, 62, 94]  # two of the 102 markets have had no frame


async def test_a_venues_state_is_published_when_it_changes_and_to_a_new_subscriber(world):
    def report(state):
        world.topics.report(VenueNote(name="upbit", state=state, connections=1, symbols=2, frames=3, msg_s=1.0,
                                      reconnects=0, bad_frames=0))  # fmt: skip

    report("connected")
    with Tap(world.endpoint, [topics.VENUES]) as tap:
        await until(lambda: world.bus.wanted(b"venue.upbit."))
        for state in ("connected", "connected", "down"):
            report(state)
        found = await until_got(tap, 2)
        assert [one.message.venue.state for one in found] == ["connected", "down"]
        with Tap(world.endpoint, [topics.VENUES]) as other:
            await asyncio.sleep(0.05)
            report("down")
            (again,) = await until_got(other, 1)
            assert again.message.venue.state == "down"


async def test_a_closed_feed_publishes_nothing_any_more(world):
    with Tap(world.endpoint, [topics.BOOKS]) as tap:
        await until(lambda: world.fanout.is_observed("KRW-A"))
        world.topics.close()
        assert not world.fanout.is_observed("KRW-A")
        with Tap(world.endpoint, [topics.BEAT]):
            await until(lambda: world.bus.wanted(b"beat."))
        assert not world.fanout.is_observed("KRW-A")
        assert tap.read(0) == []
