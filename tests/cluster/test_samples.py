"""The newest frames that a host sends to the leader."""

import msgspec
import pytest
from msgspec.structs import replace

from arbshard.cluster import samples as sampling
from arbshard.cluster.samples import FrameSampler
from arbshard.model.rundir import RunFiles
from arbshard.shm.books import BooksWriter
from support import world as w

SECOND = 1_000_000_000


class Host:
    def __init__(self, folder):
        self.files = RunFiles(folder)
        self.now_ns = 100 * SECOND
        one, two, *_ = w.World().universe.pairs
        self.universe = replace(
            w.World().universe, pairs=(one, two), shards=((one.base,), (two.base,)), serial=3
        )
        self.one, self.two = one, two
        self.write(self.universe)
        self.books = BooksWriter.create(self.files.books, 16, 1024, epoch=1)
        self.sampler = FrameSampler(self.files, lambda: self.now_ns)

    def write(self, universe):
        self.files.universe.write_bytes(msgspec.json.encode(universe))

    def receive(self, slot, frame, age_ns=0):
        self.books.set_live(slot, True)
        self.books.write(slot, frame, self.now_ns - age_ns)

    def taken(self, *shards):
        return {
            book.slot: (book.frame, book.age_ns)
            for message in self.sampler.changed(shards)
            for book in message.books
        }


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    yield made
    made.sampler.close()
    made.books.close()


def test_frames_of_held_shards_and_of_the_fx_rate_with_their_age(host):
    host.receive(host.universe.fx.slot, b"fx")
    host.receive(host.one.home.slot, b"home", age_ns=SECOND)
    host.receive(host.two.home.slot, b"another shard")
    assert host.taken(0) == {host.universe.fx.slot: (b"fx", 0), host.one.home.slot: (b"home", SECOND)}
    assert host.taken() == {}


def test_what_has_not_changed_is_sent_again_only_after_a_while(host):
    host.receive(host.one.home.slot, b"home")
    assert len(host.taken(0)) == 1
    host.now_ns += SECOND
    assert host.taken(0) == {}
    host.now_ns += SECOND
    assert host.taken(0) == {host.one.home.slot: (b"home", 2 * SECOND)}
    host.receive(host.one.home.slot, b"new")
    assert host.taken(0) == {host.one.home.slot: (b"new", 0)}


def test_another_leader_gets_everything(host):
    host.receive(host.one.home.slot, b"home")
    host.taken(0)
    host.sampler.forget()
    assert len(host.taken(0)) == 1


def test_a_connection_that_has_ended_is_left_out(host):
    host.receive(host.one.home.slot, b"home")
    host.books.set_live(host.one.home.slot, False)
    assert host.taken(0) == {}


def test_a_change_of_the_universe_is_followed(host):
    host.receive(host.two.away.slot, b"moved")
    assert host.taken(0) == {}
    host.write(replace(host.universe, shards=((host.one.base, host.two.base), ()), serial=4))
    [message] = host.sampler.changed((0,))
    assert (message.universe, [book.slot for book in message.books]) == (4, [host.two.away.slot])


def test_a_message_is_bounded(host, monkeypatch):
    monkeypatch.setattr(sampling, "_MESSAGE_BYTES", 1000)
    for slot in (host.one.home.slot, host.one.away.slot, host.universe.fx.slot):
        host.receive(slot, bytes(600))
    assert [len(message.books) for message in host.sampler.changed((0,))] == [2, 1]


def test_nothing_is_taken_before_the_supervisor_has_made_its_files(tmp_path):
    with FrameSampler(RunFiles(tmp_path), lambda: 0) as sampler:
        assert list(sampler.changed((0,))) == []
