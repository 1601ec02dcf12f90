"""Browsers get what is newer than what they have, and end up with the same whatever they missed."""

import json

from hypothesis import given
from hypothesis import strategies as st

from arbshard.web.board import DeskBoard


def apply(shown, news):
    if news is None:
        return
    changes = json.loads(news)
    shown["sections"].update(changes["sections"])
    for base in changes["gone"]:
        shown["rows"].pop(base, None)
    for row in changes["rows"]:
        shown["rows"][row["base"]] = row


def test_nothing_is_sent_twice():
    board = DeskBoard()
    assert board.changes(0) is None
    board.put("head", {"a": 1})
    version = board.version
    assert json.loads(board.changes(0)) == {"sections": {"head": {"a": 1}}, "rows": [], "gone": []}
    board.put("head", {"a": 1})
    assert board.version == version
    assert board.changes(version) is None


def test_a_section_that_is_forgotten_is_not_sent_to_newcomers():
    board = DeskBoard()
    board.put("head", 1)
    board.put("detail BTC", 2)
    board.keep_sections(frozenset({"head"}))
    assert json.loads(board.changes(0))["sections"] == {"head": 1}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("ab"), st.integers(0, 3)),
        st.tuples(st.just("row"), st.sampled_from("XYZ"), st.integers(0, 3)),
        st.tuples(st.just("keep"), st.frozensets(st.sampled_from("XYZ")), st.just(0)),
        st.tuples(st.just("look"), st.integers(0, 2), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_browser_ends_up_with_what_is_there(steps):
    board, seen = DeskBoard(), [0, 0, 0]
    sections, rows = {}, {}
    shown = [{"sections": {}, "rows": {}} for _ in seen]
    for kind, what, value in [*steps, *(("look", number, 0) for number in range(3))]:
        match kind:
            case "put":
                board.put(what, value)
                sections[what] = value
            case "row":
                rows[what] = {"base": what, "value": value}
                board.put_row(what, rows[what])
            case "keep":
                board.keep_rows(what)
                rows = {base: row for base, row in rows.items() if base in what}
            case "look":
                apply(shown[what], board.changes(seen[what]))
                seen[what] = board.version
    assert shown == [{"sections": sections, "rows": rows}] * 3
    assert board.rows_missing(("X", "Y", "Z")) == [base for base in "XYZ" if base not in rows]
