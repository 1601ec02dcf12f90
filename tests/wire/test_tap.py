"""A tap reads typed messages, and counts what it missed and what it could not read."""

import time

import pytest

from arbshard.wire import topics
from arbshard.wire.bus import Publisher
from arbshard.wire.tap import Tap

ALERT = topics.ALERT.encode()


def subscribed(publisher, topic):
    deadline_s = time.monotonic() + 60
    while not publisher.wanted(topic):
        publisher.pump()
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


@pytest.fixture
def publisher(endpoint):
    with Publisher(endpoint, high_water=10) as one:
        yield one


def read(tap, count):
    found, deadline_s = [], time.monotonic() + 60
    while len(found) < count:
        found += tap.read(0.05)
        assert time.monotonic() < deadline_s
    return found


def test_messages_come_typed_and_numbered(publisher, endpoint):
    with Tap(endpoint, [topics.ALERT]) as tap:
        subscribed(publisher, ALERT)
        for number in range(3):
            publisher.publish(ALERT, topics.encode(topics.Alert(number, "x")))
        found = read(tap, 3)
        assert found == [("alert.", number + 1, topics.Alert(number, "x")) for number in range(3)]
        assert (tap.missed, tap.bad, tap.read(0)) == ({}, 0, [])


def test_what_is_no_message_is_counted(publisher, endpoint):
    with Tap(endpoint) as tap:
        subscribed(publisher, ALERT)
        publisher.publish(ALERT, b"text")
        publisher.publish(b"alert.\xff", topics.encode(topics.Alert(1, "x")))
        publisher.publish(ALERT, topics.encode(topics.Alert(1, "x")))
        assert [one.sequence for one in read(tap, 1)] == [2]
        assert tap.bad == 2


def test_a_tap_that_is_too_slow_knows_how_much_it_missed(publisher, endpoint):
    with Tap(endpoint, [topics.ALERT], high_water=10) as tap:
        subscribed(publisher, ALERT)
        for number in range(2000):
            publisher.publish(ALERT, topics.encode(topics.Alert(number, "x" * 1000)))
        found = read(tap, 10)
        while True:  # until one arrives that was published now
            publisher.publish(ALERT, topics.encode(topics.Alert(-1, "end")))
            found += tap.read(0.05)
            if found[-1].message.at_ms == -1:
                break
        assert tap.missed == {"alert.": found[-1].sequence - len(found)}
        assert tap.missed["alert."] > 0


async def test_in_a_loop_each_message_is_handed_over(endpoint, until):
    found = []
    with Publisher(endpoint) as publisher, Tap(endpoint, [topics.BEAT]) as tap:
        publisher.start()
        tap.start(found.append)
        await until(lambda: publisher.wanted(b"beat."))
        publisher.publish(b"beat.", b"no message")
        publisher.publish(b"beat.", topics.encode(topics.Beat(5)))
        await until(lambda: found)
    assert found == [("beat.", 2, topics.Beat(5))]
    assert tap.bad == 1
