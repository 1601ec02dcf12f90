"""What is left below the minimum order is used up by the pair's next exit, and never grows."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.config import Config
from arbshard.engine.closing import close_now
from arbshard.engine.edge import terms_of
from arbshard.engine.engine import Exit, held_of
from arbshard.execution.plan import plan_exit
from arbshard.execution.two_leg import TwoLeg, TwoLegEnd
from arbshard.model.money import ZERO
from support.two_leg import NOW

EXECUTION = Config().execution


def exit_intent(make, position, residue):
    held = held_of(position)
    back = "buy_away" if position.direction == "buy_home" else "buy_home"
    closing = close_now(held, make.home_book(), make.away_book(), make.fx, terms_of(make.pair, back))
    trade = Exit(make.pair, position.position_id, back, "take_profit", closing, make.fx)
    return plan_exit(trade, position, "s1-0-1-7", make.now_ms, EXECUTION, residue)


def carry_out(make, position, residue):
    """Both legs fill whole; the position's imbalance afterwards, which is what it leaves behind."""
    intent = exit_intent(make, position, residue)
    machine = TwoLeg(intent, make.pair, position, EXECUTION, residue=residue)
    machine.next_step(make.home_book(), make.away_book(), NOW)
    for order in (intent.home, intent.away):
        machine.record(make.result(order, "FILLED", order.quantity), NOW)
    assert machine.next_step(make.home_book(), make.away_book(), NOW) == TwoLegEnd(closed=True)
    return machine.imbalance - residue


@pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
def test_left_over_coins_are_not_bought_back(make, direction):
    position = make.position(direction, "0.01")
    plain, with_residue = (exit_intent(make, position, Decimal(r)) for r in ("0", "0.00002"))
    bought = "away" if direction == "buy_home" else "home"
    less = getattr(plain, bought).quantity - getattr(with_residue, bought).quantity
    assert less == pytest.approx(Decimal("0.00002"), abs=Decimal("0.00001"))
    sold = "home" if direction == "buy_home" else "away"
    assert getattr(plain, sold).quantity == getattr(with_residue, sold).quantity


@pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
def test_missing_coins_are_kept_back_from_the_sale(make, direction):
    position = make.position(direction, "0.01")
    plain, with_residue = (exit_intent(make, position, Decimal(r)) for r in ("0", "-0.00003"))
    sold = "home" if direction == "buy_home" else "away"
    assert getattr(plain, sold).quantity - getattr(with_residue, sold).quantity == Decimal("0.00003")


@given(st.lists(st.tuples(st.sampled_from(["buy_home", "buy_away"]), st.integers(500, 5000)), max_size=30))
def test_residue_stays_within_a_lot_over_many_round_trips(make, trips):
    residue = ZERO
    for direction, lots in trips:
        position = make.position(direction, Decimal(lots) * make.away.rules.lot)
        residue += carry_out(make, position, residue)
        assert abs(residue) <= make.away.rules.lot


def test_without_the_feedback_it_would_grow(make):
    """The test above can fail: each exit that buys on the venue with the coarse lot rounds up."""
    residue = ZERO
    for _ in range(5):
        residue += carry_out(make, make.position("buy_home", "0.01234"), ZERO)
    assert residue > 2 * make.away.rules.lot
