"""What one symbol may tie up and lose. Values; made by ``limits.RiskGuard`` from the configuration, or by library
users.
"""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from arbshard.config import LimitsConfig

SYMBOL_KEYS: Mapping[str, str] = {
    "symbol_notional_max": "capital_limit_notional",
    "symbol_positions_max": "max_positions",
    "symbol_trades_max": "max_concurrent_trades",
    "symbol_daily_loss_max": "max_daily_loss",
    "order_notional_max": "max_order_notional",
    "loss_streak_max": "loss_streak_max",
    "loss_streak_pause_s": "loss_streak_pause_s",
}
"""Keys of ``[limits]`` that a symbol can have its own value of, and what they are called here."""


class SymbolRiskLimits(msgspec.Struct, frozen=True):
    """What one symbol may tie up and lose. Amounts in reporting currency; None for no limit of its own."""

    symbol: str
    capital_limit_notional: Decimal
    """Entry notional of its open positions."""
    max_positions: int
    max_concurrent_trades: int = 2
    """Intents under way."""
    max_daily_loss: Decimal | None = None
    """Realised loss of a trading day."""
    max_order_notional: Decimal | None = None
    """Of one entry."""
    loss_streak_max: int | None = None
    """Losses in a row after which it pauses, and again after as many more."""
    loss_streak_pause_s: float = 0.0


def symbol_limits(symbol: str, limits: LimitsConfig) -> SymbolRiskLimits:
    """The limits of ``symbol`` where ``limits`` are in force."""
    return SymbolRiskLimits(
        symbol=symbol,
        capital_limit_notional=limits.symbol_notional_max,
        max_positions=limits.symbol_positions_max,
        max_concurrent_trades=limits.symbol_trades_max,
        max_daily_loss=limits.symbol_daily_loss_max,
        max_order_notional=limits.order_notional_max,
        loss_streak_max=limits.loss_streak_max,
        loss_streak_pause_s=limits.loss_streak_pause_s,
    )
