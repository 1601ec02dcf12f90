"""Every reason to leave: alone, one before the other, and in both directions."""

import pytest

from arbshard.config import StrategyConfig
from arbshard.engine.closing import Closing
from arbshard.engine.engine import held_of
from arbshard.engine.series import SpreadSeries
from arbshard.engine.signals import exit_reason, is_unusual

STRATEGY = StrategyConfig(take_profit_bps=5.0, reversal_bps=3.0, stop_loss_bps=60.0, max_hold_s=20.0)


@pytest.fixture
def reason(make):
    def ask(net_bps=-20.0, gap=0.0, age_ms=0, *, direction="buy_home", is_whole=True, strategy=STRATEGY):
        held = held_of(make.position(direction))
        closing = Closing(0.001, 0.001, 1.0, 1.0, net_bps, net_bps, is_whole)
        return exit_reason(held, closing, gap, held.opened_ms + age_ms, strategy)

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

    @staticmethod
    def series(gaps):
        one = SpreadSeries(window=300, sample_ms=1000.0)
        for second, gap in enumerate(gaps):
            assert one.add(second * 1_000_000_000, gap)
        return one

    def test_off_when_zero(self):
        assert is_unusual(self.series([]), 5.0, 0.0)

    def test_a_short_history_says_no(self):
        assert not is_unusual(self.series([1.0, -1.0] * 10), 1000.0, 2.0)

    def test_far_out_on_its_own_side(self):
        series = self.series([1.0, -1.0] * 30)  # mean 0, deviation about 1
        assert is_unusual(series, 2.5, 2.0)
        assert is_unusual(series, -2.5, 2.0)
        assert not is_unusual(series, 1.5, 2.0)
        assert not is_unusual(series, -1.5, 2.0)

    def test_usual_for_a_pair_that_always_stands_there(self):
        series = self.series([61.0, 59.0] * 30)
        assert not is_unusual(series, 60.0, 2.0)
        assert not is_unusual(series, 61.5, 2.0)
        assert is_unusual(series, 63.0, 2.0)

    def test_the_other_side_of_the_mean_is_not_enough(self):
        series = self.series([-61.0, -59.0] * 30)
        assert not is_unusual(series, -40.0, 2.0), "far from its mean, but towards zero"

    def test_never_when_nothing_moves(self):
        assert not is_unusual(self.series([5.0] * 60), 50.0, 2.0)
