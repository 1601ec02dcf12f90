"""Computes the limits in force: the configuration, and over it what people and rules changed while risk ran. Pure.

``guard`` checks intents with them. ``TokenBucket`` limits the rate of orders.
"""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from arbshard.config import LimitsConfig, change_limits
from arbshard.errors import ConfigError, LedgerDamaged
from arbshard.model.money import ONE
from arbshard.risk.portfolio.operator_state import OperatorState

_FIXED_KEYS = ("day_starts", "time_zone")
"""Keys that cannot change while risk runs: what is counted by trading day cannot be divided anew in the middle of
one.
"""
_WHERE = "limits set"
_KEYS = frozenset(field.name for field in msgspec.structs.fields(LimitsConfig))
_ENTRY_ORDERS = 2.0
"""Number of orders of an entry: with room for fewer, none could ever pass."""

SYMBOL_KEYS: Mapping[str, str] = {
    "symbol_notional_max": "capital_limit_notional",
    "symbol_positions_max": "max_positions",
    "symbol_trades_max": "max_concurrent_trades",
    "symbol_daily_loss_max": "max_daily_loss",
    "order_notional_max": "max_order_notional",
    "loss_streak_max": "loss_streak_max",
    "loss_streak_pause_s": "loss_streak_pause_s",
}
"""Keys of ``[limits]`` of which a symbol can have its own value, and their names here."""


class SymbolRiskLimits(msgspec.Struct, frozen=True):
    """States what one symbol may tie up and lose, in reporting currency; None for no limit of its own."""

    symbol: str
    capital_limit_notional: Decimal
    """Entry notional of its open positions."""
    max_positions: int
    max_concurrent_trades: int = 2
    """Number of intents under way."""
    max_daily_loss: Decimal | None = None
    """Realised loss of a trading day."""
    max_order_notional: Decimal | None = None
    """The largest order value that one entry may have."""
    loss_streak_max: int | None = None
    """Number of losses in a row after which it pauses, and again after as many more."""
    loss_streak_pause_s: float = 0.0


def symbol_limits(symbol: str, limits: LimitsConfig) -> SymbolRiskLimits:
    """Return the limits of ``symbol`` where ``limits`` are in force."""
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


class EffectiveLimits:
    """Finds the limits in force; it changes nothing but its own cache."""

    def __init__(self, configured: LimitsConfig, standing: OperatorState) -> None:
        self.configured = configured
        self._standing = standing
        self._own: dict[str, SymbolRiskLimits] = {}
        self._seen: dict[tuple[str, str], str] | None = None
        self._portfolio = configured
        self._symbols: dict[str, SymbolRiskLimits] = {}

    def portfolio(self) -> LimitsConfig:
        """Return the limits of all symbols together."""
        self._refresh()
        return self._portfolio

    def of(self, symbol: str) -> SymbolRiskLimits:
        """Return the limits of one symbol."""
        self._refresh()
        found = self._symbols.get(symbol)
        if found is None:
            found = self._symbols[symbol] = self._make(symbol)
        return found

    def factor(self, symbol: str) -> Decimal:
        """Return the factor, 0 to 1, by which limits of ``symbol`` (empty: of all together) are tightened."""
        scales = self._standing.scales
        if not scales:
            return ONE
        return min((scales[one].factor for one in ("", symbol) if one in scales), default=ONE)

    def set_own(self, limits: SymbolRiskLimits) -> None:
        """Give a symbol limits of its own instead of the configuration's."""
        self._own[limits.symbol] = limits
        self._symbols.pop(limits.symbol, None)

    def check(self, symbol: str, changes: tuple[tuple[str, str], ...]) -> LimitsConfig:
        """Return the configured limits with ``changes`` (key, value; empty: the configured one).

        Raises ``ConfigError`` for invalid ones.
        """
        if not changes:
            raise ConfigError(_WHERE, "names no limit")
        for key, _ in changes:
            if key in _FIXED_KEYS:
                raise ConfigError(_WHERE, f"limits.{key}: is read at the start only")
            if symbol and key in _KEYS and key not in SYMBOL_KEYS:
                raise ConfigError(_WHERE, f"limits.{key}: is not a limit of one symbol")
        # An empty value only tests whether the key exists.
        tried = {key: value for key, value in changes if value or key not in _KEYS}
        return change_limits(self.configured, tried, _WHERE)

    def _refresh(self) -> None:
        changes = self._standing.changes
        if changes is not self._seen:
            self._portfolio = self._changed(self.configured, "")
            self._symbols.clear()
            self._seen = changes

    def _make(self, symbol: str) -> SymbolRiskLimits:
        made = symbol_limits(symbol, self._changed(self._portfolio, symbol))
        own = self._own.get(symbol)
        if own is None:
            return made
        changed = {
            name: getattr(made, name)
            for key, name in SYMBOL_KEYS.items()
            if (symbol, key) in self._standing.changes
        }
        return msgspec.structs.replace(own, **changed)

    def _changed(self, limits: LimitsConfig, symbol: str) -> LimitsConfig:
        changes = {
            key: value
            for (whose, key), value in self._standing.changes.items()
            if whose == symbol and key in _KEYS  # one that a newer program knew is of no use here
        }
        if not changes:
            return limits
        try:
            return change_limits(limits, changes, "limits changed earlier")
        except ConfigError as error:
            raise LedgerDamaged(str(error)) from error


class TokenBucket:
    """Tokens come with time, orders take them. The time is monotonic nanoseconds.

    In any span of t seconds it lets through at most (1 + t) times its rate. It begins full, also after a restart.
    """

    def __init__(self) -> None:
        self._tokens: float | None = None
        self._at_ns = 0

    def tokens(self, now_ns: int, per_s: float) -> float:
        """Return how many orders may be sent at once; negative after orders that did not wait."""
        most = max(per_s, _ENTRY_ORDERS)
        if self._tokens is None:
            return most
        return min(most, self._tokens + max(0, now_ns - self._at_ns) / 1e9 * per_s)

    def consume(self, count: int, now_ns: int, per_s: float) -> None:
        """Remove ``count`` tokens, even if there are fewer; the debt is one second's worth of orders at most."""
        self._tokens = max(-per_s, self.tokens(now_ns, per_s) - count)
        self._at_ns = max(self._at_ns, now_ns)
