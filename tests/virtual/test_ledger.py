from decimal import Decimal

import pytest

from arbshard.errors import LedgerError
from arbshard.ledger.events import Deposited
from arbshard.virtual.ledger import Disk, MemoryLedger


def _deposit(amount: int) -> Deposited:
    return Deposited(at_ms=1, venue="upbit", currency="KRW", amount=Decimal(amount), why="opening", pair="")


def test_what_was_appended_is_there_for_the_next_writer_and_nothing_else() -> None:
    stored = []
    disk = Disk(lambda first, events, bodies: stored.append((first, len(events), len(bodies))))
    ledger = MemoryLedger(disk)
    ledger.append([_deposit(5), _deposit(7)])
    disk.is_full = True
    with pytest.raises(LedgerError):
        ledger.append([_deposit(100)])
    disk.is_full = False
    successor = MemoryLedger(disk)
    assert [seq for seq, _ in successor.events()] == [1, 2]
    assert [event for _, event in successor.events(1)] == [_deposit(7)]
    assert successor.balances["venue:upbit", "KRW"] == 12
    assert ledger.balances == successor.balances
    assert stored == [(1, 2, 2)]
    assert disk.failed == 1


def test_two_writers_at_once_are_refused() -> None:
    disk = Disk(lambda *_: None)
    old, new = MemoryLedger(disk), MemoryLedger(disk)
    new.append([_deposit(1)])
    with pytest.raises(LedgerError):
        old.append([_deposit(1)])
