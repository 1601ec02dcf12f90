"""Risk sees the newest frame of each slot, whichever host has it, and an old sample is old."""

import pytest

from arbshard.risk.leadership.remote_books import RemoteBooks
from arbshard.wire.cluster import BookSample, Samples
from support import world as w

NOW_NS = 100_000_000_000


class Own:
    def __init__(self):
        self.frames = {}

    def read(self, slot):
        return self.frames.get(slot)


class Setting:
    def __init__(self):
        self.now_ns = NOW_NS
        self.own = Own()
        self.universe = w.World().universe
        self.slot = self.universe.pairs[0].home.slot
        self.books = RemoteBooks(self.own, self.universe, lambda: self.now_ns)

    def sample(self, frame, age_ns=0, slot=None, serial=None):
        serial = self.universe.serial if serial is None else serial
        slot = self.slot if slot is None else slot
        self.books.add(Samples(serial, (BookSample(slot, age_ns, frame),)))


@pytest.fixture
def setting():
    return Setting()


def test_an_empty_slot_is_none(setting):
    assert setting.books.read(setting.slot) is None


def test_the_age_of_a_sample_counts_from_its_receipt_at_its_host(setting):
    setting.sample(b"book", 3_000)
    sequence, received_ns, is_live, frame = setting.books.read(setting.slot)
    assert (received_ns, is_live, frame) == (NOW_NS - 3_000, True, b"book")
    setting.now_ns += 50
    setting.sample(b"book", 3_050)  # the same frame again: its time stays
    assert setting.books.read(setting.slot) == (sequence, NOW_NS - 3_000, True, b"book")
    setting.sample(b"next", 10)
    assert setting.books.read(setting.slot)[0] != sequence


def test_the_newer_of_both_counts(setting):
    setting.own.frames[setting.slot] = (8, NOW_NS - 100, True, b"own")
    setting.sample(b"theirs", 200)
    assert setting.books.read(setting.slot)[3] == b"own"
    setting.sample(b"newer", 50)
    assert setting.books.read(setting.slot)[3] == b"newer"


def test_a_connection_that_lives_comes_before_a_newer_frame_of_one_that_has_ended(setting):
    # A shard has left this host, and its market is so quiet that no frame has come since.
    setting.own.frames[setting.slot] = (8, NOW_NS - 100, False, b"own")
    setting.sample(b"theirs", 200)
    assert setting.books.read(setting.slot)[2:] == (True, b"theirs")
    # A host that also carries the market is lost.
    setting.own.frames[setting.slot] = (8, NOW_NS - 300, True, b"own")
    setting.now_ns += 5_000_000_000
    assert setting.books.read(setting.slot) == (8, NOW_NS - 300, True, b"own")
    setting.own.frames[setting.slot] = (8, NOW_NS - 300, False, b"own")  # neither lives: the newer counts
    assert setting.books.read(setting.slot)[2:] == (False, b"theirs")


def test_a_host_of_which_nothing_comes_any_more_is_a_lost_connection(setting):
    setting.sample(b"book")
    setting.now_ns += 4_999_999_999
    assert setting.books.read(setting.slot)[2]
    setting.now_ns += 1
    assert not setting.books.read(setting.slot)[2]
    setting.sample(b"book", 5_000_000_000)
    assert setting.books.read(setting.slot)[1:3] == (NOW_NS, True)


def test_samples_of_other_slots_and_universes_are_counted_and_not_kept(setting):
    setting.sample(b"book", slot=4711)
    setting.sample(b"book", serial=setting.universe.serial + 1)
    assert setting.books.ignored == 2
    assert setting.books.read(4711) is setting.books.read(setting.slot) is None


def test_another_universe_forgets_all_frames(setting):
    setting.sample(b"book")
    setting.books.set_universe(setting.universe)
    assert setting.books.read(setting.slot) is None
