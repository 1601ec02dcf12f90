"""The use of limits: what counts against each, and which value is in force."""

from decimal import Decimal

from msgspec.structs import replace

from arbshard.config import LimitsConfig
from arbshard.model.risk_note import NO_NOTE, EquityNote, FxNote, PortfolioTally, PositionNote
from arbshard.status.limits import LimitUse, limit_uses, symbol_notional_uses


def test_gains_use_nothing_and_losses_count_as_amounts() -> None:
    equity = EquityNote(equity="-12", day_loss="-7", week_loss="3", drawdown="20", naked="5")
    note = replace(
        NO_NOTE, equity=equity, portfolio=PortfolioTally(open=2, exposure="80"), fx=FxNote(worth="9")
    )
    used = {key: use.used for key, use in limit_uses(note, LimitsConfig()).items()}
    assert used == {
        "portfolio_notional_max": 80, "portfolio_positions_max": 2, "open_intents_max": 0, "naked_notional_max": 5,
        "daily_loss_max": 0, "weekly_loss_max": 3, "lifetime_loss_max": 12, "drawdown_max": 20, "fx_exposure_max": 9,
    }  # fmt: skip


def test_a_limit_that_was_changed_by_hand_counts_as_changed() -> None:
    note = replace(
        NO_NOTE, portfolio=PortfolioTally(exposure="80"), limits_changed={"portfolio_notional_max": "100"}
    )
    assert limit_uses(note, LimitsConfig())["portfolio_notional_max"].share == Decimal("0.8")
    assert LimitUse(Decimal(1), Decimal(0)).share == 0


def test_the_notional_of_a_pair_is_that_of_its_open_positions() -> None:
    held = [("p1", "BTC", "100"), ("p2", "ETH", "30"), ("p3", "BTC", "50"), ("p4", "SOL", "7")]
    positions = tuple(
        PositionNote(number, pair, "buy_home", "1", "1", "1", worth, 1, 0, None, None)
        for number, pair, worth in held
    )
    changed = {"symbol_notional_max": "200", "ETH symbol_notional_max": "40", "BTC order_notional_max": "1"}
    note = replace(NO_NOTE, positions=positions, limits_changed=changed)
    uses = symbol_notional_uses(note, LimitsConfig())
    assert {pair: (use.used, use.limit) for pair, use in uses.items()} == {
        "BTC": (150, 200), "ETH": (30, 40), "SOL": (7, 200),
    }  # fmt: skip
    configured = symbol_notional_uses(replace(note, limits_changed={}), LimitsConfig())
    assert {use.limit for use in configured.values()} == {LimitsConfig().symbol_notional_max}
