"""How much room the ledger's disk has, and what follows from it."""

import pytest
from msgspec.structs import replace

from arbshard.config import RunConfig
from arbshard.errors import LedgerError
from arbshard.ledger import file
from arbshard.ledger.reserve import RESERVE_BYTES
from arbshard.ledger.store import LedgerStore
from arbshard.model.refusal import Refusal
from arbshard.risk.counters import COUNTERS
from arbshard.risk.disk import DiskWatch, Room, room_of
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.wire.messages import Refused
from support import world as w

RUN = RunConfig(disk_free_min_mb=100, disk_free_stop_mb=20)
S = 1_000_000_000


@pytest.mark.parametrize(
    ("free_mb", "before", "room"),
    [
        (100, Room.AMPLE, Room.AMPLE),
        (99.9, Room.AMPLE, Room.LOW),
        (20, Room.AMPLE, Room.LOW),
        (19.9, Room.AMPLE, Room.SHORT),
        (21.9, Room.SHORT, Room.SHORT),
        (22, Room.SHORT, Room.LOW),
        (109.9, Room.LOW, Room.LOW),
        (109.9, Room.SHORT, Room.LOW),
        (110.1, Room.LOW, Room.AMPLE),
    ],
)
def test_levels_are_left_with_a_little_more_room_than_they_are_entered(free_mb, before, room) -> None:
    assert room_of(free_mb, RUN, before=before) is room


def test_without_the_reserve_there_is_too_little_room_whatever_is_free() -> None:
    off = replace(RUN, disk_free_min_mb=0, disk_free_stop_mb=0)
    assert room_of(0, off) is Room.AMPLE
    assert room_of(10_000, off, reserve_gone=True) is Room.SHORT


class Disk:
    """A watch over a store, with as much room as is said."""

    def __init__(self, tmp_path, monkeypatch) -> None:
        self.world = w.World()
        self.pairs = ["BTC", "ETH"]
        self.free = 10**12
        monkeypatch.setattr(file, "free_bytes", lambda _: self.free)
        monkeypatch.setattr("arbshard.ledger.reserve.free_bytes", lambda _: self.free)
        self.store = LedgerStore.open(tmp_path / "ledger.sqlite", name="t", mode="sim-paper", now_ms=1)
        self.page = PageWriter.create(tmp_path / "page", COUNTERS, note_bytes=0)
        self.shown = PageReader.attach(tmp_path / "page")
        self.watch = DiskWatch(self.store, RUN, self.world.core.guard, self.page)

    def enter(self):
        return self.world.submit(self.world.entry(self.pairs.pop()))

    def close(self) -> None:
        self.store.abandon()
        self.page.close()
        self.shown.close()


@pytest.fixture
def disk(tmp_path, monkeypatch):
    one = Disk(tmp_path, monkeypatch)
    yield one
    one.close()


def test_it_looks_every_two_seconds_and_shows_what_it_sees(disk) -> None:
    disk.watch.poll(10 * S)
    values = disk.shown.values()
    assert (values["disk_free_mb"], values["disk_room"], values["reserve_kept"]) == (1_000_000, 0, 1)
    disk.free = 50_000_000
    disk.watch.poll(12 * S - 1)
    assert disk.shown.value("disk_room") == 0
    disk.watch.poll(12 * S)
    values = disk.shown.values()
    assert (values["disk_free_mb"], values["disk_room"]) == (50, 1)


def test_nothing_is_entered_when_it_is_nearly_full(disk) -> None:
    disk.free = 19_000_000
    disk.watch.poll(10 * S)
    refused = disk.enter()
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.detail) == (
        Refusal.DISK_SHORT,
        "19.0 MB are free on the ledger's disk",
    )
    disk.free = 10**9
    disk.watch.poll(12 * S)
    assert not isinstance(disk.enter(), Refused)


def test_the_use_of_the_reserve_is_seen_at_once_and_ends_when_it_is_back(disk) -> None:
    disk.watch.poll(10 * S)
    disk.store.reserve.give_up()
    disk.store.reserve_used = 1
    disk.free = RESERVE_BYTES  # enough for the reserve, but nothing would be left beside it
    disk.watch.poll(10 * S + 1)
    values = disk.shown.values()
    assert (values["reserve_kept"], values["reserve_used"], values["disk_room"]) == (0, 1, 2)
    assert disk.enter().reason is Refusal.DISK_SHORT
    disk.free = 10**9
    disk.watch.poll(12 * S + 1)
    values = disk.shown.values()
    assert (values["reserve_kept"], values["reserve_used"], values["disk_room"]) == (1, 1, 0)
    assert not isinstance(disk.enter(), Refused)


def test_a_disk_that_cannot_be_looked_at(disk, monkeypatch) -> None:
    def broken(_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(file, "free_bytes", broken)
    with pytest.raises(LedgerError, match="its disk cannot be looked at: Input/output error; check the disk"):
        disk.watch.poll(10 * S)
