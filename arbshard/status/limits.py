"""Calculates how much of limits on all pairs together, and on each pair, is used, from what a run shows. Pure."""

from decimal import Decimal
from typing import NamedTuple

from arbshard.config import LimitsConfig
from arbshard.model.money import ZERO
from arbshard.model.risk_note import RiskNote


class LimitUse(NamedTuple):
    """Is the use of a limit, with the limit in force before a rule tightens it."""

    used: Decimal
    limit: Decimal

    @property
    def share(self) -> Decimal:
        """Return the used share; 0 for a limit of 0."""
        return self.used / self.limit if self.limit else ZERO


def limit_uses(note: RiskNote, limits: LimitsConfig) -> dict[str, LimitUse]:
    """Return the use of each limit by its key.

    ``limits`` are those of the configuration; the note has those that were changed.
    """
    equity = note.equity
    used = {
        "portfolio_notional_max": Decimal(note.portfolio.exposure),
        "portfolio_positions_max": Decimal(note.portfolio.open),
        "open_intents_max": Decimal(note.open_intents),
        "naked_notional_max": Decimal(equity.naked),
        "daily_loss_max": max(Decimal(equity.day_loss), ZERO),
        "weekly_loss_max": max(Decimal(equity.week_loss), ZERO),
        "lifetime_loss_max": max(-Decimal(equity.equity), ZERO),
        "drawdown_max": Decimal(equity.drawdown),
        "fx_exposure_max": Decimal(note.fx.worth),
    }
    return {
        key: LimitUse(value, Decimal(note.limits_changed.get(key) or str(getattr(limits, key))))
        for key, value in used.items()
    }


def symbol_notional_uses(note: RiskNote, limits: LimitsConfig) -> dict[str, LimitUse]:
    """Return the use of ``symbol_notional_max`` by each pair with an open position. ``limits``: as configured."""
    key = "symbol_notional_max"
    used: dict[str, Decimal] = {}
    for position in note.positions:
        used[position.pair] = used.get(position.pair, ZERO) + Decimal(position.notional)
    changed = note.limits_changed
    return {
        pair: LimitUse(
            value, Decimal(changed.get(f"{pair} {key}") or changed.get(key) or str(getattr(limits, key)))
        )
        for pair, value in used.items()
    }
