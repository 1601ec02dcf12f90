"""Rules of entry and exit as pure functions. The first exit rule that holds names the reason."""

from arbshard.config import StrategyConfig
from arbshard.engine.closing import Closing, HeldPosition
from arbshard.engine.series import SpreadSeries
from arbshard.model.intent import ExitReason


def exit_reason(
    held: HeldPosition, closing: Closing, gap: float, now_ms: int, strategy: StrategyConfig
) -> ExitReason | None:
    """The reason to close ``held`` now, or None to hold.

    ``gap`` as of ``closing.gap_bps``. A position bought at home was opened on a negative gap and is reversed when the
    gap has become positive, and the other way round.
    """
    if closing.net_bps >= strategy.take_profit_bps and closing.is_whole:
        return "take_profit"
    in_favour = gap if held.buy_is_home else -gap
    if strategy.close_on_spread_reversal and in_favour >= strategy.reversal_bps:
        return "spread_reversal"
    if closing.net_bps <= -strategy.stop_loss_bps:
        return "stop_loss"
    if now_ms - held.opened_ms >= strategy.max_hold_s * 1000:
        return "max_hold"
    return None


def is_unusual(series: SpreadSeries, gap: float, entry_z: float) -> bool:
    """Whether ``gap`` (bps) stands at least ``entry_z`` deviations off the mean of its pair, on its own side of it.

    An entry on a negative gap buys at home and wants it low, one on a positive gap wants it high. 0 switches the
    rule off; a history too short to tell is not unusual.
    """
    if entry_z == 0.0:
        return True
    mean, deviation = series.mean, series.deviation
    if mean is None or not deviation or series.count < series.samples_min:
        return False
    z_score = (gap - mean) / deviation
    return z_score >= entry_z if gap > 0 else z_score <= -entry_z
