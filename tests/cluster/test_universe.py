"""The universe that hosts have in common: published by the leader, taken over and kept by the others."""

import asyncio
import threading
import zlib

import pytest
from structlog.testing import capture_logs

from arbshard.cluster import universe as sharing
from arbshard.cluster.files import write_durably
from arbshard.cluster.universe import SharedUniverse
from arbshard.errors import ProtocolError


def raw(serial):
    return b'{"serial":%d,"pairs":[]}' % serial


def packed(serial):
    return zlib.compress(raw(serial))


@pytest.fixture
def folders(tmp_path):
    state, run = tmp_path / "state", tmp_path / "run"
    state.mkdir()
    run.mkdir()
    return state, run


def shared(folders):
    state, run = folders
    return SharedUniverse(state, run / "cluster-universe.json")


async def test_a_newer_one_is_taken_over_and_kept(folders):
    state, run = folders
    one = shared(folders)
    assert one.serial == 0
    one.heed(packed(4))
    assert one.serial == 4
    assert (run / "cluster-universe.json").read_bytes() == raw(4)
    assert not one.is_kept
    await one.keep()
    assert one.is_kept
    (run / "cluster-universe.json").unlink()
    later = shared(folders)
    assert later.serial == 4
    assert (run / "cluster-universe.json").read_bytes() == raw(4)
    assert [path.name for path in state.iterdir()] == ["cluster-universe.json"]


def test_an_older_one_changes_nothing(folders):
    one = shared(folders)
    one.heed(packed(4))
    one.heed(packed(3))
    assert one.serial == 4


def test_the_leader_publishes_each_serial_until_it_is_there(folders):
    one = shared(folders)
    source = folders[1] / "universe.json"
    source.write_bytes(raw(5))
    assert zlib.decompress(one.publish(source, 5)) == raw(5)
    assert one.serial == 5  # known on this host, too
    assert one.publish(source, 5) is not None  # it is not known yet whether it arrived
    one.is_published(5)
    assert one.publish(source, 5) is None
    one.heed(None)  # NATS was wiped
    assert one.publish(source, 5) is not None


def test_why_it_cannot_be_published_is_logged_once(folders):
    one = shared(folders)
    source = folders[1] / "universe.json"
    with capture_logs() as lines:
        assert [one.publish(source, 5) for _ in range(100)] == [None] * 100
        assert len(lines) == 1
        source.write_bytes(b"[]")
        assert [one.publish(source, 5) for _ in range(100)] == [None] * 100
        assert len(lines) == 2
        source.write_bytes(raw(5))
        assert one.publish(source, 5) is not None
        source.unlink()
        assert one.publish(source, 5) is None
    assert len(lines) == 3, "it is news again"


def test_a_leader_replaces_an_older_one_of_nats(folders):
    one = shared(folders)
    source = folders[1] / "universe.json"
    source.write_bytes(raw(5))
    one.publish(source, 5)
    one.is_published(5)
    one.heed(packed(2))
    assert one.publish(source, 5) is not None


@pytest.mark.parametrize("value", [b"x", packed(1)[:-3], zlib.compress(b"[]"), zlib.compress(b"\xff")])
def test_what_cannot_be_read_is_refused(folders, value):
    with pytest.raises(ProtocolError):
        shared(folders).heed(value)


def test_a_bomb_is_refused(folders, monkeypatch):
    monkeypatch.setattr(sharing, "_BYTES_MAX", 1000)
    with pytest.raises(ProtocolError, match="more than 1000 bytes"):
        shared(folders).heed(zlib.compress(bytes(100_000)))


def test_a_damaged_copy_counts_as_none(folders):
    (folders[0] / "cluster-universe.json").write_bytes(b"{")
    assert shared(folders).serial == 0


async def test_what_came_while_the_disk_was_written_is_kept_as_well(folders, monkeypatch):
    one, release = shared(folders), threading.Event()

    def write_slowly(path, content):
        release.wait(10)
        write_durably(path, content)

    monkeypatch.setattr(sharing, "write_durably", write_slowly)
    one.heed(packed(4))
    keeping = asyncio.create_task(one.keep())
    await asyncio.sleep(0)
    one.heed(packed(5))  # nothing waits for the disk
    assert one.serial == 5
    release.set()
    await keeping
    assert not one.is_kept
    await one.keep()
    assert one.is_kept
    assert shared(folders).serial == 5


async def test_after_an_ordered_end_there_is_none(folders, monkeypatch):
    one, release = shared(folders), threading.Event()
    one.heed(packed(4))
    await one.keep()
    monkeypatch.setattr(sharing, "write_durably", lambda *given: (release.wait(10), write_durably(*given)))
    one.heed(packed(5))
    keeping, forgetting = asyncio.create_task(one.keep()), asyncio.create_task(one.forget())
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(keeping, forgetting)
    assert shared(folders).serial == 0
