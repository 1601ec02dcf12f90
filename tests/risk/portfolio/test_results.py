"""Counting what trading brought."""

from decimal import Decimal

import pytest

from arbshard.model.market import Market
from arbshard.model.position import Flows, Position
from arbshard.risk.portfolio.holdings import Journal
from arbshard.risk.portfolio.results import ALL, DAY_MS, Results, Streak, Totals, day_of

HOME = Market("upbit", "KRW-BTC", "BTC", "KRW")
AWAY = Market("binance", "BTCUSDT", "BTC", "USDT")


def closed(pnl: str, at_ms: int = 5, pair: str = "BTC", reason="take_profit", **flows) -> Position:
    return Position(
        "p",
        pair,
        "buy_home",
        "CLOSED",
        Flows(**flows),
        fees=Decimal(3),
        closed_ms=at_ms,
        reason=reason,
        pnl=Decimal(pnl),
    )


@pytest.fixture
def results() -> Results:
    made = Results()
    made.use(Journal())
    return made


def test_wins_losses_and_their_rate(results) -> None:
    for pnl in ("5", "-2", "0"):
        position = closed(pnl)
        results.opened(position)
        results.closed(position, HOME, AWAY, 0)
    totals = results.run["BTC"]
    assert totals == Totals(entries=3, exits=3, wins=1, losses=2, pnl=Decimal(3), fees=Decimal(9))
    assert totals.win_rate == pytest.approx(1 / 3)
    assert results.run[ALL] == results.lifetime[ALL] == totals


def test_without_exits_there_is_no_rate() -> None:
    assert Totals(entries=1).win_rate is None


def test_a_new_session_begins_at_nothing_and_life_goes_on(results) -> None:
    results.opened(closed("1"))
    results.closed(closed("1"), HOME, AWAY, 0)
    results.count(results.approved, "BTC")
    results.start_run()
    assert results.run == {}
    assert results.run_reasons == {}
    assert results.approved == {}
    assert results.lifetime[ALL].exits == 1
    assert results.lifetime_reasons == {"take_profit": 1}


def test_daily_results(results) -> None:
    results.closed(closed("-7"), HOME, AWAY, 0)
    results.closed(closed("-5", pair="ETH"), HOME, AWAY, 1)
    results.closed(closed("1"), HOME, AWAY, 1)
    assert results.daily == {
        (0, "BTC"): Decimal(-7),
        (0, ALL): Decimal(-7),
        (1, "BTC"): Decimal(1),
        (1, "ETH"): Decimal(-5),
        (1, ALL): Decimal(-4),
    }
    assert (results.days[1].exits, results.days[1].wins, results.days[1].pnl) == (2, 1, Decimal(-4))
    assert (results.loss(1), results.loss(1, "BTC"), results.loss(2)) == (4, -1, 0)


def test_drawdown_is_from_the_days_own_peak(results) -> None:
    for pnl in ("10", "-3", "5", "-20"):
        results.closed(closed(pnl), HOME, AWAY, 0)
    assert results.peaks[0] == 12
    assert results.drawdown(0) == 20
    results.closed(closed("-4"), HOME, AWAY, 1)
    assert results.drawdown(1) == 4  # from 0: yesterday is another day
    assert results.drawdown(2) == 0


def test_losses_in_a_row(results) -> None:
    for at_ms, pnl in enumerate(("-1", "0", "-2")):
        results.closed(closed(pnl, at_ms=at_ms), HOME, AWAY, 0)
    assert results.streaks == {"BTC": Streak(3, 2)}
    results.closed(closed("1", pair="ETH"), HOME, AWAY, 0)
    assert results.streaks["BTC"].losses == 3
    results.closed(closed("1"), HOME, AWAY, 0)
    assert results.streaks == {}


def test_old_days_are_forgotten(results) -> None:
    for day in range(20):
        results.closed(closed("1", at_ms=day * DAY_MS), HOME, AWAY, day)
    assert {day for day, _ in results.daily} == set(range(12, 20))
    assert set(results.days) == set(results.peaks) == set(range(12, 20))
    assert day_of(19 * DAY_MS + 5) == 19


def test_residue_is_what_closed_positions_leave_behind(results) -> None:
    results.closed(closed("1", home_base=Decimal("0.1"), away_base=Decimal("-0.2")), HOME, AWAY, 0)
    results.closed(closed("1", home_base=Decimal("0.3")), HOME, AWAY, 0)
    assert results.residue == {("upbit", "BTC"): Decimal("0.4"), ("binance", "BTC"): Decimal("-0.2")}
