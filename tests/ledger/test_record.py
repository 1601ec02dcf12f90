"""What a run knows of its ledger, from one risk process to the next."""

from decimal import Decimal

import pytest

from arbshard.errors import LedgerChanged, SharedMemoryError, UsageError
from arbshard.ledger.events import Deposited
from arbshard.ledger.filewatch import LedgerIdentity
from arbshard.ledger.record import LedgerRecord, read_record, require_same
from arbshard.ledger.store import LedgerStore

DEPOSIT = Deposited(at_ms=1, venue="upbit", currency="KRW", amount=Decimal(1), why="opening")


@pytest.fixture
def store(opened, tmp_path) -> LedgerStore:
    return opened(tmp_path / "ledger.sqlite", now_ms=1234)


def test_it_outlives_the_process_that_began_it(store, tmp_path) -> None:
    page = tmp_path / "page-ledger"
    assert read_record(page) is None
    store.append([DEPOSIT])
    first = LedgerRecord.begin(page, store, is_new=True)
    assert read_record(page) == (LedgerIdentity(store.tag, 1), 1234, True)
    first.note(7)
    first.close()
    second = LedgerRecord.go_on(page)
    assert read_record(page) == (LedgerIdentity(store.tag, 7), 1234, True)
    second.note(9)
    second.close()
    assert read_record(page).identity.last_seq == 9


@pytest.mark.parametrize("tag", ["aaaaa", "00000", "zzzzz", "a0z9b"])
def test_every_tag_comes_back(store, tmp_path, tag) -> None:
    store.tag = tag
    LedgerRecord.begin(tmp_path / "page", store, is_new=False).close()
    assert read_record(tmp_path / "page").identity.tag == tag


def test_a_page_without_a_tag_is_no_record_yet(store, tmp_path) -> None:
    store.tag = ""
    LedgerRecord.begin(tmp_path / "page", store, is_new=True).close()
    assert read_record(tmp_path / "page") is None


def test_what_is_no_page_cannot_be_gone_on_with(tmp_path) -> None:
    with pytest.raises(SharedMemoryError):
        LedgerRecord.go_on(tmp_path / "page")
    (tmp_path / "page").write_bytes(b"x" * 5000)
    assert read_record(tmp_path / "page") is None


def test_another_ledger_is_refused_in_one_line(store, opened, tmp_path) -> None:
    store.append([DEPOSIT] * 3)
    LedgerRecord.begin(tmp_path / "page", store, is_new=True).close()
    noted = read_record(tmp_path / "page")
    require_same(noted, store)
    other = opened(tmp_path / "other.sqlite")
    other.append([DEPOSIT] * 5)
    with pytest.raises(LedgerChanged) as caught:
        require_same(noted, other)
    assert str(caught.value) == (
        f"the ledger at {other.path} is not the one this run began with: it has the tag {other.tag}, and this "
        f"run began with {store.tag}; put that one back, then start again"
    )
    other.tag, other.last_seq = store.tag, 2
    with pytest.raises(LedgerChanged, match="it ends with event 2, and this run has written event 3"):
        require_same(noted, other)
    other.last_seq = 3


def test_what_must_be_at_the_path(opened, tmp_path) -> None:
    path = tmp_path / "state" / "ledger.sqlite"
    with pytest.raises(UsageError) as caught:
        opened(path, opening="existing")
    assert str(caught.value).startswith(f"{path}: there is no ledger, and a live run begins one only with ")
    assert "--state-dir" in str(caught.value)
    assert "add --new-ledger" in str(caught.value)
    assert not path.exists()
    opened(path, opening="new").close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"--new-ledger: there is a ledger at .* already"):
        opened(path, opening="new")
    assert path.read_bytes() == before
    opened(path, opening="existing").close()
    opened(path, opening="any").close()
