"""``arbshard positions``: the sums of all rows, and which of them an earlier run has opened."""

import pytest

from arbshard.cli.positions import _cells, open_rows, total_of
from arbshard.status.tables import local_time
from arbshard.wire.messages import Positions, ValuedPosition
from support import world as w


@pytest.fixture
def answer():
    world = w.World()
    first, second = world.open_position("BTC"), world.open_position("ETH")
    values = (ValuedPosition(first.position_id, first.entry_notional, 1_000, True),)
    return Positions((first, second), (("ETH", "manual"),), values)


def test_the_total_says_how_many_have_no_value(answer) -> None:
    rows = open_rows(answer, 2_000_000_000_000)
    text = total_of(rows, "KRW")
    notional = sum(one.entry_notional for one in answer.positions)
    assert text.startswith(f"total of 2 positions in KRW: notional {notional:,.0f}, fees ")
    value = answer.positions[0].entry_notional
    assert text.endswith(f", unrealised {value:+,.0f} without 1 that has no value yet")


def test_positions_of_an_earlier_run_are_marked(answer) -> None:
    first, second = answer.positions
    assert first.opened_ms < second.opened_ms
    old, new = open_rows(answer, 2_000_000_000_000, second.opened_ms)
    assert (old.is_taken_over, new.is_taken_over) == (True, False)
    assert (_cells(old)[-1], _cells(new)[-1]) == ("taken over", "closing (manual)")


def test_a_time_names_its_zone(monkeypatch) -> None:
    assert local_time(1_795_000_000_000).startswith("2026-11-1")
    assert local_time(1_795_000_000_000).split()[-1].strip("+-").isalnum()
