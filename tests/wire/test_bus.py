"""Only what is wanted is sent, in order, and every loss is counted."""

import asyncio

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from arbshard.wire import bus as bus_module
from arbshard.wire.bus import Prefixes, Publisher, Subscriber
from arbshard.wire.sockets import open_socket


@pytest.fixture
async def bus(endpoint):
    with Publisher(endpoint, high_water=10) as publisher, Subscriber(endpoint, high_water=10) as subscriber:
        publisher.start()
        yield publisher, subscriber


async def test_nobody_subscribed_nothing_sent(bus):
    publisher, _ = bus
    await asyncio.sleep(0.02)
    assert not publisher.wanted(b"book.1")
    assert not publisher.publish(b"book.1", b"x")
    assert (publisher.published, publisher.unwanted) == (0, 1)


async def test_a_subscriber_gets_its_topics_numbered_from_the_first(bus, until):
    publisher, subscriber = bus
    got = []
    subscriber.start(got.append)
    subscriber.subscribe(b"venue.")
    await until(lambda: publisher.wanted(b"venue.upbit"))
    assert not publisher.wanted(b"venue")
    assert publisher.publish(b"venue.upbit", b"up")
    assert publisher.publish(b"venue.binance", (b"down", b"since"))
    assert not publisher.publish(b"book.1", b"x")
    assert publisher.publish(b"venue.upbit", b"down")
    await until(lambda: len(got) >= 3)
    assert got == [
        (b"venue.upbit", 1, [b"up"]),
        (b"venue.binance", 1, [b"down", b"since"]),
        (b"venue.upbit", 2, [b"down"]),
    ]
    assert (subscriber.lost, subscriber.restarts, subscriber.bad) == (0, 0, 0)


async def test_the_last_to_leave_ends_the_sending(bus, endpoint, until):
    publisher, subscriber = bus
    subscriber.subscribe(b"a")
    with Subscriber(endpoint, (b"a",)) as other:
        await until(lambda: publisher.wanted(b"a"))
        subscriber.unsubscribe(b"a")
        await until(lambda: publisher.publish(b"a", b"") and other.drain())
        assert publisher.wanted(b"a")
    await until(lambda: not publisher.wanted(b"a"))


async def test_what_a_slow_subscriber_loses_is_counted(bus, until):
    publisher, subscriber = bus
    subscriber.subscribe(b"")
    await until(lambda: publisher.wanted(b"fast"))
    big = bytes(100_000)
    for _ in range(2000):
        publisher.publish(b"fast", big)
    got = []

    def last_heard() -> bool:
        publisher.publish(b"fast", b"last")
        got.extend(subscriber.drain())
        return bool(got) and got[-1].parts == [b"last"]

    await until(last_heard)
    assert 0 < len(got) < got[-1].sequence
    assert subscriber.gaps == {b"fast": got[-1].sequence - got[0].sequence + 1 - len(got)}
    assert subscriber.lost == subscriber.gaps[b"fast"] > 0
    assert [message.sequence for message in got] == sorted({message.sequence for message in got})


async def test_what_is_missed_while_not_subscribed_is_no_gap(bus, endpoint, until):
    publisher, subscriber = bus
    with Subscriber(endpoint, (b"",)) as keeper:
        subscriber.subscribe(b"t")
        await until(lambda: publisher.publish(b"t", b"") and subscriber.drain())
        subscriber.unsubscribe(b"t")
        # Until the publisher has noticed, messages for the subscriber may still be on their way.
        await until(lambda: set(publisher._prefixes) == {b""})
        await until(lambda: publisher.publish(b"t", b"") and not subscriber.drain() and keeper.drain())
        for _ in range(5):
            publisher.publish(b"t", b"missed")
        subscriber.drain()
        subscriber.unsubscribe(b"t")
        subscriber.subscribe(b"t")
        await until(lambda: publisher.publish(b"t", b"back") and subscriber.drain())
        assert subscriber.lost == 0


async def test_a_restarted_publisher_begins_anew_and_is_counted(endpoint, until):
    got = []
    with Subscriber(endpoint, (b"t",)) as subscriber:
        subscriber.start(got.append)
        for _ in range(2):
            got.clear()
            with Publisher(endpoint) as publisher:
                publisher.start()
                await until(lambda publisher=publisher: publisher.wanted(b"t"))
                publisher.publish(b"t", b"")
                await until(lambda: got)
        assert (subscriber.restarts, subscriber.lost) == (1, 0)


async def test_a_message_without_a_sequence_is_dropped_and_counted(endpoint, until):
    with (
        Subscriber(endpoint, (b"",)) as subscriber,
        open_socket(zmq.PUB, endpoint, bind=True, high_water=9) as pub,
    ):

        def heard() -> bool:
            pub.send_multipart([b"t", b"\1" + bytes(7)])
            return bool(subscriber.drain())

        await until(heard)
        bad = subscriber.bad
        pub.send_multipart([b"t"])
        pub.send_multipart([b"t", b"short"])
        await until(lambda: not subscriber.drain() and subscriber.bad == bad + 2)


async def test_without_a_loop_subscriptions_are_taken_on_demand(endpoint, until):
    with Publisher(endpoint) as publisher, Subscriber(endpoint, (b"t",)) as subscriber:

        def sent() -> bool:
            publisher.pump()
            return publisher.publish(b"t", b"x")

        await until(sent)
        await until(subscriber.drain)


async def test_closing_twice_is_closing_once(bus):
    for end in bus:
        end.close()
        end.close()


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=3)), max_size=30),
    st.lists(st.binary(max_size=5), max_size=10),
)
def test_prefixes_match_what_begins_with_one_of_them(changes, asked):
    prefixes, plain = Prefixes(), set()
    for is_added, prefix in changes:
        (prefixes.add if is_added else prefixes.discard)(prefix)
        (plain.add if is_added else plain.discard)(prefix)
    assert (set(prefixes), len(prefixes)) == (plain, len(plain))
    assert [prefixes.match(one) for one in asked] == [one.startswith(tuple(plain)) for one in asked]


async def test_changes_of_the_subscriptions_are_reported_with_what_is_new(bus, endpoint, until):
    publisher, subscriber = bus
    reported = []
    publisher.on_subscriptions(lambda new: reported.append(set(new)))
    subscriber.subscribe(b"a")
    await until(lambda: reported == [{b"a"}])
    with Subscriber(endpoint, (b"a",)):  # a second one is new, too
        await until(lambda: reported == [{b"a"}, {b"a"}])
    subscriber.unsubscribe(b"a")
    await until(lambda: reported == [{b"a"}, {b"a"}, set()])


async def test_subscriptions_are_bounded_and_those_beyond_are_counted(bus, until, monkeypatch):
    monkeypatch.setattr(bus_module, "_PREFIXES_MAX", 3)
    publisher, subscriber = bus
    for number in range(5):
        subscriber.subscribe(b"%d" % number)
    await until(lambda: publisher.refused == 2)
    assert [publisher.wanted(b"%d" % number) for number in range(5)] == [True, True, True, False, False]


async def test_a_closed_publisher_wants_nothing(bus, until):
    publisher, subscriber = bus
    subscriber.subscribe(b"a")
    await until(lambda: publisher.wanted(b"a"))
    publisher.close()
    assert not publisher.wanted(b"a")
    assert not publisher.publish(b"a", b"")
