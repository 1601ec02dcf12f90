"""Whatever text is packed comes back, byte for byte."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import encode_event
from arbshard.ledger.packing import Pack, Table, pack, unpack
from support import world as w

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(values.map(lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False))))
def test_json_comes_back(bodies) -> None:
    assert list(unpack(pack(bodies))) == bodies


@given(st.lists(st.text()))
def test_anything_else_comes_back_too(bodies) -> None:
    assert list(unpack(pack(bodies))) == bodies


def test_events_of_a_kind_share_a_shape() -> None:
    world = w.World()
    for _ in range(5):
        world.round_trip()
    bodies = [encode_event(event) for event in world.events]
    packed = pack(bodies)
    assert list(unpack(packed)) == bodies
    assert len(packed.tables) < len(world.events) / 4
    assert len(msgspec.json.encode(packed)) < 0.7 * sum(map(len, bodies))


def test_a_column_that_repeats_another_is_stored_once() -> None:
    (table,) = pack(['{"a":"x","b":"x"}', '{"a":"y","b":"y"}']).tables
    assert table.columns == (('"x"', '"y"'), 0)


@pytest.mark.parametrize(
    ("order", "table"),
    [
        ((0, 0), Table(("{", "}"), (("1",),))),
        ((0,), Table(("{", "}"), (("1", "2"),))),
        ((0,), Table(("{", "}"), ())),
        ((0,), Table(("{", "}"), (0,))),
        ((0,), Table(("{", "}"), (-1,))),
        ((1,), Table(("{", "}"), (("1",),))),
    ],
)
def test_tables_that_do_not_fit_are_refused(order, table) -> None:
    with pytest.raises(LedgerDamaged):
        list(unpack(Pack(order, (table,))))
