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
    PairReleased,
    PairSetApart,
    RefusalsCounted,
    Resumed,
    decode_event,
    encode_event,
    subject_of,
)
from arbshard.model.refusal import Refusal
from arbshard.model.risk_note import HaltSpan
from arbshard.risk.portfolio.holdings import Journal
from arbshard.risk.portfolio.operator_state import HALTS_KEPT, HaltState, OperatorState, set_apart


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


def test_the_halts_of_a_run_are_kept_with_their_ends(standing, journal) -> None:
    standing.apply(Halted(at_ms=5, cause="errors", reason="three"))
    standing.apply(Halted(at_ms=6, cause="operator", reason="worse", level="stopped", by="ann"))
    standing.apply(Resumed(at_ms=6, reason="seen", by="bob"))
    standing.apply(Resumed(at_ms=7, reason="a drawdown", high_water=Decimal(1)))  # nothing was halted
    first, second = standing.halts
    assert first == HaltSpan(5, "errors", "three", "reduce_only", 6, is_raised=True)
    assert second == HaltSpan(6, "operator", "worse", "stopped", 6, "ann", "bob", "seen")
    journal.commit()
    standing.apply(Halted(at_ms=8, cause="operator", reason="lunch"))
    standing.begin_run()
    assert [one.reason for one in standing.halts] == ["lunch"]
    journal.rollback()
    assert standing.halts == (first, second)
    standing.begin_run()
    assert standing.halts == ()


def test_only_the_newest_halts_of_a_run_are_kept(standing) -> None:
    for n in range(HALTS_KEPT + 3):
        standing.apply(Halted(at_ms=n, cause="operator", reason=str(n)))
        standing.apply(Resumed(at_ms=n, reason="on"))
    assert [one.reason for one in standing.halts] == [str(n) for n in range(3, HALTS_KEPT + 3)]


def test_a_halt_in_the_state_of_an_older_program_gets_its_span(standing) -> None:
    standing.halt = HaltState(5, "operator", "lunch")
    standing.begin_run()
    assert standing.halts == (HaltSpan(5, "operator", "lunch", "reduce_only"),)


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


def test_a_pair_stays_apart_until_it_is_released(standing) -> None:
    standing.apply(PairSetApart(at_ms=3, pair="BTC", cause="position_loss", reason="too much", intent_id="i"))
    standing.apply(PairSetApart(at_ms=5, pair="BTC", cause="stuck", reason="no hedge", intent_id="j"))
    apart = standing.apart["BTC"]
    assert (apart.since_ms, apart.cause, apart.reason, apart.intent_id) == (3, "stuck", "no hedge", "j")
    assert apart.causes == ("position_loss", "stuck")
    assert apart.is_closed_by_hand  # the newer cause does not take this back
    standing.apply(PairReleased(at_ms=6, pair="BTC", reason=""))
    assert standing.apart == {}
    assert standing.serial == 3
    with pytest.raises(LedgerDamaged, match="was not set apart"):
        standing.apply(PairReleased(at_ms=7, pair="BTC", reason=""))


@pytest.mark.parametrize(
    ("cause", "by_hand"),
    [("stuck", False), ("bad_report", False), ("exits_fail", True), ("position_loss", True)],
)
def test_some_causes_leave_exits_to_a_person(standing, cause, by_hand) -> None:
    standing.apply(PairSetApart(at_ms=3, pair="BTC", cause=cause, reason="x"))
    assert standing.apart["BTC"].is_closed_by_hand is by_hand


def test_a_cause_is_recorded_once(standing) -> None:
    """Whoever finds the same again, each second or with each try, makes no further event."""
    for cause in ("stuck", "position_loss"):
        (event,) = set_apart(standing, "BTC", cause, "why", 3, "i")
        assert event == PairSetApart(at_ms=3, pair="BTC", cause=cause, reason="why", intent_id="i")
        standing.apply(event)
    for cause in ("stuck", "position_loss"):
        assert set_apart(standing, "BTC", cause, "again", 4) == []
    assert len(set_apart(standing, "ETH", "stuck", "why", 4)) == 1


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
        PairSetApart(at_ms=1, pair="ETH", cause="stuck", reason="x"),
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
        (PairReleased(at_ms=1, pair="BTC", reason="x"), "BTC"),
        (RefusalsCounted(at_ms=1, counts=(("BTC", Refusal.HALTED, 7),)), ""),
    ],
)
def test_events_read_back_as_they_were_written(event, subject) -> None:
    assert decode_event(encode_event(event)) == event
    assert subject_of(event) == (subject, "")
