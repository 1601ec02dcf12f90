"""Describes the limits in force for people: value, configuration, tightening, how much of each is used. Pure."""

from collections.abc import Mapping
from decimal import Decimal

from arbshard.config import Config, LimitsConfig
from arbshard.config.contradictions import ENTRY_LIMITS, SIZED_DOWN
from arbshard.model.money import ONE, ZERO, plain
from arbshard.risk.limits.effective import SYMBOL_KEYS
from arbshard.risk.limits.guard import RiskGuard
from arbshard.risk.limits.losses import used_by_losses
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.valuation import Valuation
from arbshard.wire.messages import LimitLine

_SCALED = frozenset(
    {
        "symbol_notional_max", "order_notional_max", "portfolio_notional_max", "venue_notional_max",
        "correlated_notional_max", "fx_exposure_max",
    }
)  # fmt: skip
"""Limits that a rule tightens."""

_TENTH = Decimal("0.1")
Used = Mapping[str, Decimal | int]


def limit_lines(
    state: PortfolioState, guard: RiskGuard, valuation: Valuation, symbol: str, day: int
) -> tuple[LimitLine, ...]:
    """Return a line for each limit of ``symbol``, or of all together when it is empty."""
    factor = guard.limits.factor(symbol)
    configured, limits = guard.limits.configured, guard.limits.portfolio()
    own = guard.get_symbol_limits(symbol)
    used = _used_by(state, valuation, symbol, day) if symbol else _used(state, guard, valuation, day)
    return tuple(
        LimitLine(
            key=key,
            value=text_of(getattr(own, SYMBOL_KEYS[key]) if symbol else getattr(limits, key)),
            configured=text_of(getattr(configured, key)),
            factor=plain(factor if key in _SCALED else ONE),
            used=text_of(used[key]) if key in used else "",
        )
        for key in (SYMBOL_KEYS if symbol else LimitsConfig.__struct_fields__)
    )


def changed_limits(state: PortfolioState) -> dict[str, str]:
    """Return the limits that people changed while risk ran: key, or ``SYMBOL key`` → value."""
    return {f"{symbol} {key}".strip(): value for (symbol, key), value in state.standing.changes.items()}


def consequence_of(key: str, value: object, used: str, config: Config) -> str:
    """Return what follows once the limit ``key`` is ``value``; empty when nothing follows at once.

    ``used``: how much of it is used now, as in ``LimitLine``.
    """
    sizing, strategy = config.sizing, config.strategy
    if key in ENTRY_LIMITS and isinstance(value, Decimal):
        least, most = sizing.entry_notional_min, sizing.entry_notional_max
        if least > value * SIZED_DOWN:
            return (
                f"no entry is made any more, because sizing.entry_notional_min is {grouped(plain(least))}; "
                "positions are left as usual"
            )
        if key == "order_notional_max":
            if value >= most:
                return f"entries have {grouped(plain(most))} at most, by sizing.entry_notional_max"
            return "entries are sized down to it"
    if key == "edge_bps_max" and isinstance(value, float) and value < strategy.entry_bps:
        return f"no entry is made any more, because strategy.entry_bps is {strategy.entry_bps:g}"
    if key == "edge_bps_min" and isinstance(value, float) and value > strategy.min_edge_bps:
        return f"it takes the place of strategy.min_edge_bps, which is {strategy.min_edge_bps:g}"
    if used and isinstance(value, Decimal | int) and Decimal(used) >= value:
        if key.startswith(("halt_", "stop_")):
            return f"{grouped(used)} of it are used, so the kill switch acts at once"
        return f"{grouped(used)} of it are used, so entries are refused until it is less"
    return ""


def grouped(value: str) -> str:
    """Return an amount with separators between thousands; any other value as it is."""
    whole, point, rest = value.partition(".")
    if not whole.lstrip("-").isdecimal():
        return value
    return f"{int(whole):,}{point}{rest}"


def text_of(value: object) -> str:
    """Return a limit's value in plain notation; a dash for none."""
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _used(state: PortfolioState, guard: RiskGuard, valuation: Valuation, day: int) -> Used:
    return {
        "fx_exposure_max": guard.fx_exposure(),
        "portfolio_notional_max": state.exposure,
        "venue_notional_max": max(state.exposures.values()),
        "portfolio_positions_max": len(state.positions) + state.entering,
        "open_intents_max": len(state.trades),
        "position_loss_bps_max": max(
            (ZERO, *(-mark.bps.quantize(_TENTH) for mark in valuation.marks.values()))
        ),
        **dict(used_by_losses(valuation, day)),
    }


def _used_by(state: PortfolioState, valuation: Valuation, symbol: str, day: int) -> Used:
    streak = state.results.streaks.get(symbol)
    return {
        "symbol_notional_max": state.get_total_symbol_position_value(symbol),
        "symbol_positions_max": len(state.get_symbol_positions(symbol)),
        "symbol_trades_max": int(symbol in state.busy),
        "symbol_daily_loss_max": max(
            ZERO, state.results.loss(day, symbol) - valuation.unrealised_by.get(symbol, ZERO)
        ),
        "loss_streak_max": streak.losses if streak is not None else 0,
    }
