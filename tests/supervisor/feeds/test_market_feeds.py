"""The feeds of a run together: what they write to, and which quiet books they confirm."""

from types import SimpleNamespace

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.clock import ManualClock
from arbshard.config import Config
from arbshard.errors import TransportError
from arbshard.model.risk_note import NO_NOTE, PositionNote
from arbshard.model.rundir import RunFiles
from arbshard.virtual.stand_ins import QuietBus
from supervisor.feeds.market_feeds import MarketFeeds
from support import world as w


class Bus(QuietBus):
    """A bus whose end is counted."""

    def __init__(self, closed, error=None):
        super().__init__()
        self.closed, self.error = closed, error

    def start(self):
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed.append(self)


class Feed:
    def __init__(self, frames):
        self.frames = frames
        self.attended = []

    def attend(self, slots):
        self.attended.append(slots)

    def report(self):
        return SimpleNamespace(frames=self.frames)


class World:
    def __init__(self, folder):
        self.files = RunFiles(folder)
        self.closed = []
        self.error = None
        """What the second bus raises at its start."""
        self.opened = 0
        self.ports = SimpleNamespace(
            clock=ManualClock(), pid=7, open_bus=self.open_bus, open_ringer=lambda *_: None
        )

    def open_bus(self, endpoint, high_water):
        del endpoint, high_water
        self.opened += 1
        return Bus(self.closed, self.error if self.opened == 2 else None)

    def feeds(self):
        return MarketFeeds(Config(), self.files, self.ports, 12, lambda _: None)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_what_was_opened_is_closed_when_the_rest_cannot_be_opened(world):
    world.error = TransportError("the address is in use")
    with pytest.raises(TransportError):
        world.feeds()
    assert len(world.closed) == 2


def test_all_that_was_opened_is_closed_at_the_end(world):
    feeds = world.feeds()
    assert world.closed == []
    feeds.close()
    assert world.closed == [feeds.raw, feeds.bus]


def test_before_the_start_there_is_nothing_to_report(world):
    feeds = world.feeds()
    assert (feeds.report(), feeds.frames) == ((), 0)
    feeds.venues = {"a": Feed(3), "b": Feed(4)}
    assert len(feeds.report()) == 2
    assert feeds.frames == 7
    feeds.close()


class TestAttending:
    """Which quiet books are confirmed."""

    @pytest.fixture
    def feeds(self, world):
        one = world.feeds()
        yield one
        one.close()

    def note(self, *pairs):
        positions = tuple(
            PositionNote(f"p-{pair}", pair, "buy_home", "1", "1", "1", "1", 1, 0, None, None)
            for pair in pairs
        )
        return msgspec.json.encode(replace(NO_NOTE, positions=positions))

    def test_both_books_and_fx_of_each_open_position(self, feeds):
        universe = w.make_universe("BTC", "ETH")
        feed = Feed(0)
        feeds.venues = {"a": feed}
        feeds.attend(self.note(), universe)
        feeds.attend(self.note("BTC"), universe)
        btc = universe.pairs[0]
        assert btc.base == "BTC"
        assert feed.attended == [frozenset(), {btc.home.slot, btc.away.slot, universe.fx.slot}]

    def test_again_only_when_note_universe_or_feeds_are_others(self, feeds):
        universe, note = w.make_universe("BTC", "ETH"), self.note("BTC")
        feeds.attend(note, universe)  # risk is up before the feeds
        feed = Feed(0)
        feeds.venues = {"a": feed}
        for _ in range(3):
            feeds.attend(note, universe)
        assert len(feed.attended) == 1
        feeds.attend(note, replace(universe, serial=universe.serial + 1))
        assert len(feed.attended) == 2
