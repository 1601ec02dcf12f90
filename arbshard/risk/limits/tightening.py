"""Limits tightened by rule, and loosened again. Pure: state and time in, events out; called by ``core``.

All limits: while the day's drawdown stands at ``tighten_at`` of its limit, until it is back at half of that. A
symbol's limits: while its results scatter ``tighten_volatility`` times as wide as they used to (``scatter``), until
they are back at three quarters of that, or for ``tighten_lapse_s`` when too little is closed to tell.
"""

from decimal import Decimal

from arbshard.config import LimitsConfig
from arbshard.ledger.events import LimitsScaled
from arbshard.model.money import ONE, plain
from arbshard.risk.objection import Moment
from arbshard.risk.portfolio.state import PortfolioState

_CALM = Decimal("0.5")
_QUIET = 0.75


def scale_all(state: PortfolioState, limits: LimitsConfig, moment: Moment) -> list[LimitsScaled]:
    """What the day's drawdown makes of the limits of all together."""
    drawdown = state.results.drawdown(moment.day)
    at = limits.drawdown_max * Decimal(repr(limits.tighten_at))
    is_tight = "" in state.standing.scales
    wanted = drawdown >= (at * _CALM if is_tight else at)
    cause = f"drawdown {plain(drawdown)} of {plain(limits.drawdown_max)}"
    return _scaled(state, "", _factor(limits) if wanted else ONE, cause, moment)


def scale_symbol(
    state: PortfolioState, symbol: str, limits: LimitsConfig, moment: Moment
) -> list[LimitsScaled]:
    """What the scatter of a symbol's results makes of its limits; to be asked after each of its results."""
    scatter = state.results.scatter.get(symbol)
    ratio = scatter.ratio if scatter is not None else None
    if ratio is None:
        return []
    most = limits.tighten_volatility * (_QUIET if symbol in state.standing.scales else 1.0)
    cause = f"results scatter {ratio:.1f} times as wide as usual"
    return _scaled(state, symbol, _factor(limits) if ratio >= most else ONE, cause, moment)


def scales_lapsed(state: PortfolioState, limits: LimitsConfig, moment: Moment) -> list[LimitsScaled]:
    """Symbols that were tightened long enough."""
    lapse_ms = int(limits.tighten_lapse_s * 1000)
    return [
        LimitsScaled(
            at_ms=moment.now_ms, symbol=symbol, factor=ONE, cause=f"{limits.tighten_lapse_s:g} s over"
        )
        for symbol, scale in state.standing.scales.items()
        if symbol and moment.now_ms - scale.since_ms >= lapse_ms
    ]


def _factor(limits: LimitsConfig) -> Decimal:
    return Decimal(repr(limits.tighten_factor))


def _scaled(
    state: PortfolioState, symbol: str, factor: Decimal, cause: str, moment: Moment
) -> list[LimitsScaled]:
    scale = state.standing.scales.get(symbol)
    if factor == (scale.factor if scale is not None else ONE):
        return []
    return [LimitsScaled(at_ms=moment.now_ms, symbol=symbol, factor=factor, cause=cause)]
