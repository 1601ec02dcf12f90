"""When to leave a position: the first rule that holds names the reason. Pure."""

from arbshard.config import StrategyConfig
from arbshard.engine.closing import Closing, Held
from arbshard.model.intent import ExitReason


def exit_reason(
    held: Held, closing: Closing, gap: float, now_ms: int, strategy: StrategyConfig
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
