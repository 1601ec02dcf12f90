"""Replay: in order, whole, and naming the event at fault."""

import pytest

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import Stopped
from arbshard.ledger.replay import replay


class Recorder:
    """A state that only remembers."""

    def __init__(self, refuses_at: int = -1) -> None:
        self.applied = []
        self.commits = 0
        self._refuses_at = refuses_at

    def apply(self, event) -> None:
        if event.at_ms == self._refuses_at:
            raise LedgerDamaged("does not fit")
        self.applied.append(event.at_ms)

    def commit(self) -> None:
        self.commits += 1


def numbered(*seqs: int):
    return [(seq, Stopped(at_ms=seq, balances=())) for seq in seqs]


def test_all_events_in_order_and_committed() -> None:
    state = Recorder()
    assert replay(numbered(1, 2, 3), state) == 3
    assert state.applied == [1, 2, 3]
    assert state.commits == 1


def test_an_empty_ledger_is_a_fresh_state() -> None:
    assert replay([], Recorder()) == 0


@pytest.mark.parametrize(("seqs", "missing"), [((1, 3), 2), ((2, 3), 1), ((1, 1), 2)])
def test_a_gap_stops_the_start(seqs, missing) -> None:
    with pytest.raises(LedgerDamaged, match=f"event {missing} is missing"):
        replay(numbered(*seqs), Recorder())


def test_the_event_at_fault_is_named() -> None:
    with pytest.raises(LedgerDamaged, match="event 2: does not fit"):
        replay(numbered(1, 2, 3), Recorder(refuses_at=2))


def test_what_is_kept_for_taking_back_stays_bounded() -> None:
    state = Recorder()
    replay(numbered(*range(1, 2501)), state)
    assert state.commits == 3
