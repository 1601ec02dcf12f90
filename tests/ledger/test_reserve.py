"""Room kept for a full disk, on a real one where a small file system may be mounted."""

from decimal import Decimal

import pytest

from arbshard.errors import LedgerFull
from arbshard.ledger import reserve as reserve_module
from arbshard.ledger.events import Deposited
from arbshard.ledger.reserve import Reserve
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.verify import verify

DEPOSIT = Deposited(at_ms=1, venue="upbit", currency="KRW", amount=Decimal(1), why="opening")


def test_its_blocks_are_really_taken(tmp_path) -> None:
    reserve = Reserve(tmp_path / "ledger.sqlite", 1_000_000)
    assert not reserve.is_kept
    assert reserve.keep()
    assert reserve.is_kept
    found = reserve.path.stat()
    assert found.st_size == 1_000_000
    assert found.st_blocks * 512 >= 1_000_000
    assert found.st_mode & 0o777 == 0o600
    assert reserve.keep()
    assert reserve.give_up()
    assert not reserve.path.exists()
    assert not reserve.give_up()


def test_half_a_reserve_is_none(tmp_path) -> None:
    reserve = Reserve(tmp_path / "ledger.sqlite", 1_000_000)
    reserve.path.write_bytes(b"x")
    assert not reserve.is_kept
    assert reserve.keep()
    assert reserve.path.stat().st_size == 1_000_000


def test_it_takes_no_room_that_others_need(tmp_path, monkeypatch) -> None:
    reserve = Reserve(tmp_path / "ledger.sqlite", 1_000_000)
    monkeypatch.setattr(reserve_module, "free_bytes", lambda _: 1_500_000)
    assert not reserve.keep(spare_bytes=600_000)
    assert not reserve.path.exists()
    assert reserve.keep(spare_bytes=500_000)


def test_a_failure_that_is_not_about_room_is_raised(tmp_path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Reserve(tmp_path / "missing" / "ledger.sqlite").keep()


def test_on_a_full_disk_it_lets_commits_through_and_then_no_more(small_disk, fill) -> None:
    folder = small_disk(6)
    path = folder / "ledger.sqlite"
    store = LedgerStore.open(path, name="t", mode="sim-paper", now_ms=1)
    store.append([DEPOSIT])
    assert store.reserve.keep(spare_bytes=100_000)
    fill(folder)
    while not store.reserve_used:
        store.append([DEPOSIT] * 50)
    assert store.failure is None
    assert not store.reserve.path.exists()
    through = store.last_seq
    with pytest.raises(LedgerFull, match="free space on its disk, then start again"):
        append_for_ever(store)
    assert store.last_seq > through + 500
    assert store.reserve_used == 1
    assert isinstance(store.failure, LedgerFull)
    store.abandon()
    (folder / "fill").unlink()
    report = verify(path)
    assert report.differences == ()
    assert report.events == store.last_seq


def test_a_checkpoint_and_the_close_may_use_it(small_disk, fill) -> None:
    folder = small_disk(6)
    store = LedgerStore.open(folder / "ledger.sqlite", name="t", mode="sim-paper", now_ms=1)
    for _ in range(100):
        store.append([DEPOSIT] * 20)
    assert store.reserve.keep()
    fill(folder)
    store._with_reserve(lambda: store._checkpoint("PASSIVE"))
    assert store.reserve_used == 1
    store.close()
    (folder / "fill").unlink()
    assert verify(folder / "ledger.sqlite").differences == ()


def append_for_ever(store) -> None:
    while True:
        store.append([DEPOSIT] * 50)
