"""Judgements over facts about the ledger's files, and over tag and last event."""

import pytest

from arbshard.ledger.filewatch import FileFacts, LedgerFacts, LedgerIdentity, change_between, difference

DATABASE = FileFacts(1, 10, 8192, 100)
LOG = FileFacts(1, 11, 4096, 200)
SHARED = FileFacts(1, 12, 32768, 300)
KNOWN = LedgerFacts(DATABASE, LOG, SHARED)


def test_nothing_changed() -> None:
    assert change_between(KNOWN, KNOWN, wrote=False) is None
    assert change_between(KNOWN, KNOWN, wrote=True) is None


@pytest.mark.parametrize("wrote", [False, True])
@pytest.mark.parametrize(
    ("after", "said"),
    [
        (KNOWN._replace(database=None), "its file was removed"),
        (KNOWN._replace(log=None), "its write-ahead log was removed"),
        (KNOWN._replace(shared=None), "its shared index was removed"),
        (KNOWN._replace(database=DATABASE._replace(inode=99)), "its file was replaced by another file"),
        (KNOWN._replace(database=DATABASE._replace(device=2)), "its file was replaced by another file"),
        (KNOWN._replace(log=LOG._replace(inode=99)), "its write-ahead log was replaced by another file"),
        (KNOWN._replace(shared=SHARED._replace(inode=99)), "its shared index was replaced by another file"),
        (KNOWN._replace(database=DATABASE._replace(size=8191)), "its file was cut from 8192 to 8191 bytes"),
        (KNOWN._replace(log=LOG._replace(size=0)), "its write-ahead log was cut from 4096 to 0 bytes"),
    ],
)
def test_what_no_write_of_ours_ever_does(after, said, wrote) -> None:
    assert change_between(KNOWN, after, wrote=wrote) == said


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (KNOWN._replace(database=DATABASE._replace(size=9000)), "its file was written by another program"),
        (
            KNOWN._replace(database=DATABASE._replace(modified_ns=101)),
            "its file was written by another program",
        ),
        (KNOWN._replace(log=LOG._replace(size=5000)), "its write-ahead log was written by another program"),
        (
            KNOWN._replace(log=LOG._replace(modified_ns=1)),
            "its write-ahead log was written by another program",
        ),
    ],
)
def test_growth_is_ours_only_when_we_wrote(after, said) -> None:
    assert change_between(KNOWN, after, wrote=False) == said
    assert change_between(KNOWN, after, wrote=True) is None


def test_readers_write_to_the_shared_index() -> None:
    after = KNOWN._replace(shared=SHARED._replace(size=65536, modified_ns=999))
    assert change_between(KNOWN, after, wrote=False) is None


def test_a_log_that_appears_is_ours_only_when_we_wrote() -> None:
    before = LedgerFacts(DATABASE, None, None)
    assert change_between(before, KNOWN, wrote=True) is None
    assert change_between(before, KNOWN, wrote=False) == "its write-ahead log was made by another program"
    assert change_between(before, before._replace(shared=SHARED), wrote=False) is None


def test_the_ledger_of_a_run() -> None:
    began = LedgerIdentity("abcde", 7)
    assert difference(began, began) is None
    assert difference(began, LedgerIdentity("abcde", 9)) is None
    assert difference(began, LedgerIdentity("abcde", 6)) == (
        "it ends with event 6, and this run has written event 7"
    )
    assert difference(began, LedgerIdentity("fghij", 9)) == (
        "it has the tag fghij, and this run began with abcde"
    )
