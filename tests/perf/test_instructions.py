"""Instruction counts are compared with those of the same interpreter strictly, with those of another one loosely."""

import sys

import msgspec
import pytest

from perf.instructions import PATH, REFERENCE, Kept, compare

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
