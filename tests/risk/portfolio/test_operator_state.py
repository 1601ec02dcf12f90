"""What stands: halts, closes, changed and tightened limits, through restarts and rollbacks."""

from copy import copy
from decimal import Decimal

import pytest

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import (
    ClosesOrdered,
    Halted,
    LimitsChanged,
    LimitsScaled,
    RefusalsCounted,
    Resumed,
    decode_event,
    encode_event,
    subject_of,
)
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.holdings import Journal
from arbshard.risk.portfolio.operator_state import OperatorState


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def standing(journal) -> OperatorState:
    made = OperatorState()
    made.use(journal)
    return made


def test_halt_and_resume(standing) -> None:
    standing.apply(Halted(at_ms=5, cause="operator", reason="lunch"))
    assert (standing.halt.at_ms, standing.halt.cause, standing.halt.reason) == (5, "operator", "lunch")
    standing.apply(Resumed(at_ms=6, reason="", acknowledged=("drawdown 1 5",)))
    assert standing.halt is None
    assert standing.acknowledged == ("drawdown 1 5",)
    assert standing.serial == 2


def test_what_was_not_halted_cannot_be_resumed(standing) -> None:
    with pytest.raises(LedgerDamaged, match="nothing was halted"):
        standing.apply(Resumed(at_ms=6, reason=""))


def test_closes_stand_until_flat(standing) -> None:
    standing.apply(ClosesOrdered(at_ms=1, pairs=("BTC", "ETH"), reason="manual"))
    standing.apply(ClosesOrdered(at_ms=2, pairs=("ETH",), reason="kill_switch"))
    assert standing.closing == {"BTC": "manual", "ETH": "kill_switch"}
    standing.became_flat("BTC")
    assert standing.closing == {"ETH": "kill_switch"}
    serial = standing.serial
    standing.became_flat("BTC")
    assert standing.serial == serial == 3


def test_changes_are_per_key_and_can_be_taken_back(standing) -> None:
    before = standing.changes
    standing.apply(LimitsChanged(at_ms=1, symbol="", changes=(("a", "1"), ("b", "2"))))
    standing.apply(LimitsChanged(at_ms=2, symbol="BTC", changes=(("a", "3"),)))
    assert standing.changes == {("", "a"): "1", ("", "b"): "2", ("BTC", "a"): "3"}
    standing.apply(LimitsChanged(at_ms=3, symbol="", changes=(("a", ""), ("c", ""))))
    assert standing.changes == {("", "b"): "2", ("BTC", "a"): "3"}
    assert before == {}  # replaced, not changed
    assert standing.serial == 0  # nothing for workers


def test_a_rollback_takes_everything_back(standing, journal) -> None:
    before = copy(standing)
    for event in (
        Halted(at_ms=5, cause="operator", reason="lunch"),
        ClosesOrdered(at_ms=1, pairs=("BTC",), reason="manual"),
        LimitsChanged(at_ms=1, symbol="", changes=(("a", "1"),)),
        LimitsScaled(at_ms=1, symbol="", factor=Decimal("0.5"), cause="x"),
    ):
        standing.apply(event)
    standing.became_flat("BTC")
    journal.rollback()
    assert standing == before


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        (Halted(at_ms=5, cause="errors", reason="lunch"), ""),
        (Resumed(at_ms=6, reason="back", acknowledged=("drawdown 1 5",)), ""),
        (ClosesOrdered(at_ms=1, pairs=("BTC", "ETH"), reason="manual"), ""),
        (LimitsChanged(at_ms=1, symbol="BTC", changes=(("a", "1"),)), "BTC"),
        (LimitsScaled(at_ms=1, symbol="BTC", factor=Decimal("0.5"), cause="x"), "BTC"),
        (RefusalsCounted(at_ms=1, counts=(("BTC", Refusal.HALTED, 7),)), ""),
    ],
)
def test_events_read_back_as_they_were_written(event, subject) -> None:
    assert decode_event(encode_event(event)) == event
    assert subject_of(event) == (subject, "")
