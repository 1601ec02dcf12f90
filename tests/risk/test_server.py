"""When the process must end by itself."""

import pytest

from arbshard.risk.server import is_orphaned

S = 1_000_000_000


@pytest.mark.parametrize(
    ("beat_ns", "parent", "orphaned"),
    [
        (0, 7, False),  # the supervisor has not begun to beat
        (9 * S, 7, False),
        (9 * S - 1, 7, True),
        (10 * S, 1, True),  # another parent: the supervisor has died
        (0, 1, True),
    ],
)
def test_a_supervisor_that_is_silent_or_gone(beat_ns, parent, orphaned) -> None:
    assert is_orphaned(beat_ns, 10 * S, parent, 7) is orphaned
