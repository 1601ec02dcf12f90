"""What risk does for all pairs at once grows with their number, and not with its square.

Risk that computes for seconds does not beat, and is killed as stuck: found with 3,000 pairs.
"""

import sys

import pytest

from arbshard.risk.note import NoteWriter
from support import world as w

FEW, MANY = 60, 240


def calls_of(pairs: int, action: str) -> int:
    """Return the calls of functions, and the values that generators give, of one action with so many pairs."""
    world = w.World(bases=tuple(f"C{number}" for number in range(pairs)))
    note = NoteWriter(world.core, "KRW")
    actions = {
        "note": lambda: note.encode(world.now_ms + 60_000),
        "tick": lambda: world.core.tick(world.now_ms + 60_000),
        "inventory": lambda: world.core.inventory.of_now(world.now_ms),
    }
    calls = 0

    def count(_frame: object, _event: str, _argument: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        actions[action]()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("action", ["note", "tick", "inventory"])
def test_work_is_proportional_to_the_pairs(action: str) -> None:
    few, many = calls_of(FEW, action), calls_of(MANY, action)
    assert many < few * MANY / FEW * 1.2, (few, many)
