"""Every reason to leave: alone, one before the other, and in both directions."""

import pytest

from arbshard.config import StrategyConfig
from arbshard.engine.closing import Closing
from arbshard.engine.engine import held_of
from arbshard.engine.signals import exit_reason, is_unusual

STRATEGY = StrategyConfig(take_profit_bps=5.0, reversal_bps=3.0, stop_loss_bps=60.0, max_hold_s=20.0)


@pytest.fixture
def reason(make):
    def ask(net_bps=-20.0, gap=0.0, age_ms=0, *, direction="buy_home", is_whole=True, strategy=STRATEGY):
        held = held_of(make.position(direction))
        closing = Closing(0.001, 0.001, 1.0, 1.0, net_bps, net_bps, is_whole)
        return exit_reason(held, closing, gap, held.opened_ns + age_ms * 1_000_000, strategy)

    return ask


def test_nothing_holds(reason):
    assert reason() is None


@pytest.mark.parametrize(
    ("net_bps", "expected"), [(4.999, None), (5.0, "take_profit"), (80.0, "take_profit")]
)
def test_take_profit(reason, net_bps, expected):
    assert reason(net_bps) == expected


def test_profit_that_the_books_cannot_pay_is_not_taken(reason):
    assert reason(80.0, is_whole=False) is None


@pytest.mark.parametrize(
    ("direction", "gap", "expected"),
    [
        ("buy_home", 2.9, None),
        ("buy_home", 3.0, "spread_reversal"),
        ("buy_home", -300.0, None),
        ("buy_away", -2.9, None),
        ("buy_away", -3.0, "spread_reversal"),
        ("buy_away", 300.0, None),
    ],
)
def test_reversal_is_a_gap_on_the_other_side(reason, direction, gap, expected):
    assert reason(gap=gap, direction=direction) == expected


def test_reversal_can_be_turned_off(reason):
    off = StrategyConfig(close_on_spread_reversal=False)
    assert reason(gap=50.0, strategy=off) is None


@pytest.mark.parametrize(
    ("net_bps", "expected"), [(-59.9, None), (-60.0, "stop_loss"), (-500.0, "stop_loss")]
)
def test_stop_loss(reason, net_bps, expected):
    assert reason(net_bps) == expected


def test_stop_loss_does_not_wait_for_depth(reason):
    assert reason(-60.0, is_whole=False) == "stop_loss"


@pytest.mark.parametrize(("age_ms", "expected"), [(19_999, None), (20_000, "max_hold")])
def test_max_hold(reason, age_ms, expected):
    assert reason(age_ms=age_ms) == expected


def test_order_of_reasons(reason):
    """Take profit, then reversal, then stop loss, then the age."""
    assert reason(10.0, gap=50.0, age_ms=60_000) == "take_profit"
    assert reason(-100.0, gap=50.0, age_ms=60_000) == "spread_reversal"
    assert reason(-100.0, gap=0.0, age_ms=60_000) == "stop_loss"
    assert reason(0.0, gap=0.0, age_ms=60_000) == "max_hold"


class TestIsUnusual:
    """The z-score rule of entry."""

    def test_off_when_zero(self):
        assert is_unusual(-5.0, 0.0, 0.0)

    def test_a_band_that_is_not_known_says_no(self):
        assert not is_unusual(1000.0, 0.0, 2.0)

    def test_far_out_on_the_side_of_the_entry(self):
        assert is_unusual(2.5, 1.0, 2.0)
        assert not is_unusual(1.5, 1.0, 2.0)
        assert not is_unusual(-2.5, 1.0, 2.0)
