"""One shard's view of the feed: each version decoded once, bad frames seen and counted."""

import pytest

from arbshard.errors import FrameError
from arbshard.worker.feed import ShardFeed


class Slots:
    """Slots of a feed: what is put in is read, its sequence two further each time."""

    def __init__(self):
        self.content = {}
        self.reads = 0

    def put(self, slot, frame, received_ns=1, *, live=True, writes=1):
        sequence = self.content[slot][0] if slot in self.content else 0
        self.content[slot] = (sequence + 2 * writes, received_ns, live, frame)

    def read(self, slot):
        self.reads += 1
        return self.content.get(slot)


class Changes:
    def __init__(self):
        self.answer = []

    def drain(self):
        return self.answer


@pytest.fixture
def slots():
    return Slots()


@pytest.fixture
def changes():
    return Changes()


@pytest.fixture
def decoded():
    return []


@pytest.fixture
def feed(make, slots, changes, decoded):
    def decoder(venue):
        def decode(frame, received_ns):
            decoded.append((venue, frame))
            if frame.startswith(b"bad"):
                raise FrameError(frame.decode().removeprefix("bad "))
            leg = make.away if venue == "binance" else make.home
            return make.book(leg, [(99.0, 1.0)], [(100.0, 1.0)], received_ns)

        return decode

    legs = [make.fx_leg, make.home, make.away]
    return ShardFeed(slots, changes, legs, {name: decoder(name) for name in ("upbit", "binance")})


def test_new_frame_becomes_a_view(feed, slots, decoded):
    slots.put(2, b"frame", 77)
    view = feed.look(2)
    assert view is not None
    assert view.book is not None
    assert (view.book.received_ns, view.live, view.bad) == (77, True, False)
    assert feed.views[2] is view
    assert decoded == [("binance", b"frame")]
    assert feed.frames == 1


def test_same_version_is_looked_at_once(feed, slots, decoded):
    slots.put(1, b"frame")
    assert feed.look(1) is not None
    assert feed.look(1) is None
    assert len(decoded) == feed.frames == 1


def test_empty_or_torn_slot_is_nothing_new(feed):
    assert feed.look(1) is None
    assert feed.views[1].book is None
    assert not feed.views[1].live


def test_connection_that_is_lost_shows_in_the_view(feed, slots):
    slots.put(1, b"frame")
    assert feed.look(1).live
    slots.put(1, b"frame", live=False)
    view = feed.look(1)
    assert view.book is not None
    assert not view.live


@pytest.mark.parametrize(("writes", "skipped"), [(1, 0), (2, 1), (5, 4)])
def test_counts_what_was_replaced_unread(feed, slots, writes, skipped):
    slots.put(1, b"first")
    feed.look(1)
    slots.put(1, b"newest", writes=writes)
    feed.look(1)
    assert feed.conflated == skipped


def test_what_came_before_this_worker_is_not_its_loss(feed, slots):
    """A successor finds slots that were written thousands of times."""
    slots.put(1, b"frame", writes=5000)
    assert feed.look(1) is not None
    assert feed.conflated == 0


def test_bad_frame_takes_the_book_away(feed, slots):
    slots.put(1, b"good")
    feed.look(1)
    slots.put(1, b"bad crossed")
    view = feed.look(1)
    assert view is not None
    assert (view.book, view.live, view.bad) == (None, True, True)
    assert feed.views[1] is view
    slots.put(1, b"bad cut")
    feed.look(1)
    slots.put(2, b"bad cut")
    feed.look(2)
    assert feed.bad == {"upbit": 2, "binance": 1}
    assert feed.bad_reasons == {"crossed": 1, "cut": 2}
    slots.put(1, b"good again")
    assert feed.look(1).book is not None


def test_defect_in_a_codec_is_not_taken_for_a_bad_frame(make, slots, changes):
    def broken(frame, received_ns):
        raise KeyError("defect")

    feed = ShardFeed(slots, changes, [make.home], {"upbit": broken})
    slots.put(1, b"frame")
    with pytest.raises(KeyError):
        feed.look(1)


def test_changed_slots(feed, changes):
    changes.answer = [2, 1]
    assert list(feed.changed()) == [2, 1]
    changes.answer = []
    assert list(feed.changed()) == []
    changes.answer = None  # overflow: all
    assert sorted(feed.changed()) == [0, 1, 2]
