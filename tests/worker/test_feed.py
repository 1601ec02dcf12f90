"""One shard's view of the feed: each version glanced at once, decoded if need be, bad frames seen and counted."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.clock import ManualClock
from arbshard.config import Config
from arbshard.engine.engine import ArbitrageEngine
from arbshard.errors import FrameError
from arbshard.worker.feed import BookView, ShardFeed


class Slots:
    """Slots of a feed: what is put in is read, its sequence two further each time."""

    def __init__(self):
        self.content = {}
        self.confirmed = {}
        self.reads = 0

    def put(self, slot, frame, received_ns=1, *, live=True, writes=1):
        sequence = self.content[slot][0] if slot in self.content else 0
        self.content[slot] = (sequence + 2 * writes, received_ns, live, frame)

    def read(self, slot):
        self.reads += 1
        return self.content.get(slot)

    def sequence(self, slot):
        return self.content[slot][0] if slot in self.content else 0

    def confirmed_ns(self, slot):
        return self.confirmed.get(slot, 0)

    def late_after_ns(self, slot):
        return -slot


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
def calls():
    return []


class Codec:
    """Refuses frames that begin with "bad" at a glance, and those with "deep" when they are decoded."""

    def __init__(self, make, leg, calls):
        self.make, self.leg, self.calls = make, leg, calls

    def top_of_book(self, frame, received_ns):
        self.calls.append(("glance", self.leg.market.venue, frame))
        if frame.startswith(b"bad"):
            raise FrameError(frame.decode().removeprefix("bad "))
        return self._book(received_ns).top

    def decode(self, frame, received_ns):
        self.calls.append(("decode", self.leg.market.venue, frame))
        if frame.startswith(b"deep"):
            raise FrameError(frame.decode().removeprefix("deep "))
        return self._book(received_ns)

    def _book(self, received_ns):
        return self.make.book(self.leg, [(99.0, 1.0)], [(100.0, 1.0)], received_ns)


@pytest.fixture
def feed(make, slots, changes, calls):
    codecs = {"upbit": Codec(make, make.home, calls), "binance": Codec(make, make.away, calls)}
    return ShardFeed(slots, changes, [make.fx_leg, make.home, make.away], codecs)


def test_new_frame_becomes_a_view(feed, slots, calls):
    slots.put(2, b"frame", 77)
    view = feed.read(2)
    assert view is not None
    assert (view.top.received_ns, view.live, view.bad) == (77, True, False)
    assert feed.views[2] is view
    assert calls == [("glance", "binance", b"frame")]
    assert view.book.received_ns == 77
    assert calls[1:] == [("decode", "binance", b"frame")]
    assert feed.frames == 1


def test_same_version_is_looked_at_once(feed, slots, calls):
    slots.put(1, b"frame")
    assert feed.read(1) is not None
    assert feed.read(1) is None
    assert len(calls) == feed.frames == 1


def test_empty_or_torn_slot_is_nothing_new(feed):
    assert feed.read(1) is None
    assert feed.views[1].book is None
    assert not feed.views[1].live


def test_connection_that_is_lost_shows_in_the_view(feed, slots):
    slots.put(1, b"frame")
    assert feed.read(1).live
    slots.put(1, b"frame", live=False)
    view = feed.read(1)
    assert view.book is not None
    assert not view.live


@pytest.mark.parametrize(("writes", "skipped"), [(1, 0), (2, 1), (5, 4)])
def test_counts_what_was_replaced_unread(feed, slots, writes, skipped):
    slots.put(1, b"first")
    feed.read(1)
    slots.put(1, b"newest", writes=writes)
    feed.read(1)
    assert feed.conflated == skipped


def test_what_came_before_this_worker_is_not_its_loss(feed, slots):
    """A successor finds slots that were written thousands of times."""
    slots.put(1, b"frame", writes=5000)
    assert feed.read(1) is not None
    assert feed.conflated == 0


def test_bad_frame_takes_the_book_away(feed, slots):
    slots.put(1, b"good")
    feed.read(1)
    slots.put(1, b"bad crossed")
    view = feed.read(1)
    assert view is not None
    assert (view.book, view.live, view.bad) == (None, True, True)
    assert feed.views[1] is view
    slots.put(1, b"bad cut")
    feed.read(1)
    slots.put(2, b"bad cut")
    feed.read(2)
    assert feed.bad == {"upbit": 2, "binance": 1}
    assert feed.bad_reasons == {"crossed": 1, "cut": 2}
    slots.put(1, b"good again")
    assert feed.read(1).book is not None


def test_a_frame_found_bad_deeper_down_is_counted_once_and_has_no_book(feed, slots):
    slots.put(1, b"deep unsorted")
    view = feed.read(1)
    assert not view.bad
    assert feed.bad == {"upbit": 0, "binance": 0}
    assert view.book is None
    assert (view.top, view.bad) == (None, True)
    assert view.book is None
    assert feed.bad == {"upbit": 1, "binance": 0}
    assert feed.bad_reasons == {"unsorted": 1}


def test_defect_in_a_codec_is_not_taken_for_a_bad_frame(make, slots, changes, calls, monkeypatch):
    codec = Codec(make, make.home, calls)

    def broken(frame, received_ns):
        raise KeyError("defect")

    monkeypatch.setattr(codec, "top_of_book", broken)
    feed = ShardFeed(slots, changes, [make.home], {"upbit": codec})
    slots.put(1, b"frame")
    with pytest.raises(KeyError):
        feed.read(1)


MS = 1_000_000


@pytest.fixture
def books(make, feed, clock):
    engine = ArbitrageEngine([make.pair], make.fx_leg, Config(), feed.confirmed_ns)
    return BookView(feed, engine, make.fx_leg, Config().data_quality, clock)


class TestQuietBook:
    def test_a_confirmation_makes_an_old_book_tradable_again(self, make, books, slots, clock):
        received_ns = clock.monotonic_ns()
        slots.put(1, b"frame", received_ns)
        clock.advance_ms(1500)
        assert books.tradable(make.home) is not None
        clock.advance_ms(1)
        assert books.tradable(make.home) is None
        slots.confirmed[1] = received_ns + 500 * MS
        assert books.tradable(make.home).received_ns == received_ns
        clock.advance_ms(500)
        assert books.tradable(make.home) is None

    def test_not_while_its_connection_is_down(self, make, books, slots, clock):
        slots.put(1, b"frame", clock.monotonic_ns(), live=False)
        slots.confirmed[1] = clock.monotonic_ns()
        assert books.tradable(make.home) is None

    def test_a_confirmation_of_a_newer_book_says_nothing_of_the_older_one(self, feed, slots):
        """The engine's view may be behind the slot by a frame, and what was confirmed is what is in the slot."""
        slots.put(1, b"older")
        feed.read(1)
        slots.confirmed[1] = 99
        assert feed.confirmed_ns(1) == 99
        slots.put(1, b"newer")
        assert feed.confirmed_ns(1) == 0
        feed.read(1)
        assert feed.confirmed_ns(1) == 99

    def test_the_limit_of_lags_is_that_of_the_slot(self, feed):
        assert feed.late_after_ns(7) == -7

    def test_the_last_fx_rate_has_its_age(self, books, slots, clock):
        """What is over is valued at it, and whoever reads the ledger sees how old it was."""
        assert books.fx() is None
        received_ns = clock.monotonic_ns()
        slots.put(0, b"frame", received_ns)
        assert books.fx() is None  # nothing has looked at it yet
        books._feed.read(0)
        clock.advance_ms(61_000)
        assert (books.fx().bid, books.fx().ask, books.fx().age_ms) == (99, 100, 61_000)
        slots.confirmed[0] = received_ns + 60_000 * MS
        assert books.fx().age_ms == 1_000


class Fx(NamedTuple):
    """What the FX market's slot shows, and when: its frame, and how long ago it came and was confirmed."""

    frame: bytes
    live: bool
    received_ago_ms: int
    confirmed_ago_ms: int


AGES_MS = st.integers(0, 20_000)


@given(
    st.lists(
        st.builds(Fx, st.sampled_from([b"frame", b"frame", b"bad"]), st.booleans(), AGES_MS, AGES_MS),
        min_size=1,
        max_size=6,
    )
)
def test_an_entry_gets_no_rate_but_a_sound_live_and_young_one(make, shown):
    """Whatever came before, and however old: the last known rate is never taken in place of one that is missing."""
    clock, slots = ManualClock(100_000 * MS), Slots()
    codec = Codec(make, make.fx_leg, [])
    feed = ShardFeed(slots, Changes(), [make.fx_leg], {make.fx_leg.market.venue: codec})
    quality = Config().data_quality
    books = BookView(feed, ArbitrageEngine([], make.fx_leg, Config()), make.fx_leg, quality, clock)
    assert books.tradable_fx() is None
    for fx in shown:
        clock.advance_ms(20_001)
        now_ns = clock.monotonic_ns()
        slots.put(0, fx.frame, now_ns - fx.received_ago_ms * MS, live=fx.live)
        slots.confirmed[0] = now_ns - fx.confirmed_ago_ms * MS
        feed.read(0)
        age_ms = min(fx.received_ago_ms, fx.confirmed_ago_ms)
        is_tradable = fx.frame == b"frame" and fx.live and age_ms <= quality.max_fx_age_ms
        found = books.tradable_fx()
        assert (found is not None) is is_tradable
        assert found is None or found.age_ms == age_ms
        assert (books.fx() is not None) is (fx.frame == b"frame")
