"""Changes can be taken back whole, order included."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from arbshard.risk.portfolio.holdings import Journal

changes = st.lists(
    st.tuples(st.sampled_from(("put", "drop", "oldest")), st.integers(0, 4), st.integers(0, 9))
)


def do(journal: Journal, table: dict[int, int], made) -> None:
    for verb, key, value in made:
        if verb == "put":
            journal.set_item(table, key, value)
        elif verb == "drop" and key in table:
            journal.drop(table, key)
        elif verb == "oldest" and table:
            journal.drop_oldest(table)


@given(changes, changes)
def test_a_rollback_leaves_what_was_committed(before, after) -> None:
    journal = Journal()
    table: dict[int, int] = {}
    do(journal, table, before)
    journal.commit()
    kept = dict(table)
    do(journal, table, after)
    journal.rollback()
    assert dict(table) == kept
    assert journal.is_empty


def test_the_oldest_comes_back_as_the_oldest() -> None:
    journal = Journal()
    table = {"a": 1, "b": 2}
    journal.set_item(table, "c", 3)
    assert journal.drop_oldest(table) == "a"
    journal.rollback()
    assert list(table) == ["a", "b"]


class Owner(msgspec.Struct):
    name: str = "old"
    table: dict[str, int] = {}


def test_fields_and_what_their_tables_hold() -> None:
    journal = Journal()
    owner = Owner(table={"a": 1})
    first = owner.table
    journal.set_item(owner.table, "b", 2)
    journal.keep_fields(owner)
    owner.name, owner.table = "new", {}
    journal.set_item(owner.table, "c", 3)
    journal.rollback()
    assert owner == Owner("old", {"a": 1})
    assert owner.table is first


def test_what_was_committed_stays() -> None:
    journal = Journal()
    table = {"a": 1}
    journal.set_item(table, "a", 2)
    assert not journal.is_empty
    journal.commit()
    journal.rollback()
    assert table == {"a": 2}
