"""The limits in force: the configuration, and over it what people changed while risk ran. Pure; of ``limits``."""

import msgspec

from arbshard.config import LimitsConfig, change_limits
from arbshard.errors import ConfigError, LedgerDamaged
from arbshard.risk.limits.symbol_limits import SYMBOL_KEYS, SymbolRiskLimits, symbol_limits
from arbshard.risk.portfolio.standing import Standing

_FIXED_KEYS = ("day_starts", "time_zone")
"""What is counted by trading day cannot be divided anew in the middle of one."""
_WHERE = "limits set"
_KEYS = frozenset(field.name for field in msgspec.structs.fields(LimitsConfig))


class EffectiveLimits:
    """Looks things up; changes nothing but its own cache."""

    def __init__(self, configured: LimitsConfig, standing: Standing) -> None:
        self.configured = configured
        self._standing = standing
        self._own: dict[str, SymbolRiskLimits] = {}
        self._seen: dict[tuple[str, str], str] | None = None
        self._portfolio = configured
        self._symbols: dict[str, SymbolRiskLimits] = {}

    def portfolio(self) -> LimitsConfig:
        """For all together."""
        self._refresh()
        return self._portfolio

    def of(self, symbol: str) -> SymbolRiskLimits:
        """For one symbol."""
        self._refresh()
        found = self._symbols.get(symbol)
        if found is None:
            found = self._symbols[symbol] = self._make(symbol)
        return found

    def set_own(self, limits: SymbolRiskLimits) -> None:
        """Give a symbol limits of its own instead of the configuration's."""
        self._own[limits.symbol] = limits
        self._symbols.pop(limits.symbol, None)

    def check(self, symbol: str, changes: tuple[tuple[str, str], ...]) -> None:
        """Raises ``ConfigError`` when ``changes`` (key, value; empty: back to the configuration) make no sense."""
        if not changes:
            raise ConfigError(_WHERE, "names no limit")
        for key, _ in changes:
            if key in _FIXED_KEYS:
                raise ConfigError(_WHERE, f"limits.{key}: is read at the start only")
            if symbol and key in _KEYS and key not in SYMBOL_KEYS:
                raise ConfigError(_WHERE, f"limits.{key}: is not a limit of one symbol")
        # An empty value only says whether the key exists.
        tried = {key: value for key, value in changes if value or key not in _KEYS}
        change_limits(self.configured, tried, _WHERE)

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
