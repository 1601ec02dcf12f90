"""The use of limits: what counts against each, and which value is in force."""

from decimal import Decimal

from msgspec.structs import replace

from arbshard.config import LimitsConfig
from arbshard.model.risk_note import NO_NOTE, EquityNote, FxNote, PortfolioTally
from arbshard.status.limits import LimitUse, limit_uses


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
