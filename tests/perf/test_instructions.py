"""Instruction counts are compared with those of the same interpreter strictly, with those of another one loosely."""

import sys
from pathlib import Path

import msgspec
import pytest

from perf.instructions import PATH, REFERENCE, Kept, compare, count_in

KEPT = Kept("3.11.7 (built here)", {"slot read": 0.1, "slot write": 0.05})


def worse(now: dict[str, float], interpreter: str = KEPT.interpreter) -> list[str]:
    return [
        change.name for change in compare({REFERENCE: 1000.0, **now}, KEPT, interpreter) if change.is_worse
    ]


def test_stage_that_costs_more_is_worse() -> None:
    assert worse({"slot read": 106.0, "slot write": 52.0}) == ["slot read"]


def test_another_interpreter_may_cost_some_more() -> None:
    assert worse({"slot read": 119.0, "slot write": 61.0}, "3.11.2 (built elsewhere)") == ["slot write"]


def test_stage_that_costs_less_or_is_new_is_not_worse() -> None:
    assert worse({"slot read": 50.0, "another": 1.0}) == []


def test_dearest_stage_is_first_and_reference_is_left_out() -> None:
    changes = compare({REFERENCE: 1000.0, "slot write": 50.0, "slot read": 100.0}, KEPT, sys.version)
    assert [(change.name, change.now) for change in changes] == [("slot read", 0.1), ("slot write", 0.05)]


@pytest.mark.parametrize(
    "stage", ["route", "slot write", "slot read", "top of book", "edge", "order build", "append"]
)
def test_every_part_of_the_hot_path_is_kept(stage: str) -> None:
    kept = msgspec.json.decode(PATH.read_bytes(), type=Kept)
    assert any(stage in name for name in kept.ratios)


def test_instructions_of_the_allocator_and_of_called_functions_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "out.1"
    path.write_text(
        "# callgrind format\npositions: line\nevents: Ir\nsummary: 461\n\n"
        "fn=(1) slots_read\n12 100\n+3 20\ncfn=(2) malloc\ncalls=1 0\n* 331\n\n"
        "fn=(2)\n0 30\ncfn=(3) _int_malloc\ncalls=1 0\n0 301\n\n"
        "fn=(3)\n0 301\n\nfn=(1)\n-4 10\n"
    )
    assert count_in(path) == 100 + 20 + 30 + 10
