"""Defines rules of entry and exit as pure functions. The first exit rule that holds gives the reason."""

from arbshard.config import StrategyConfig
from arbshard.engine.closing import Closing, HeldPosition
from arbshard.model.intent import ExitReason


def exit_reason(
    held: HeldPosition, closing: Closing, distance: float, now_ns: int, strategy: StrategyConfig
) -> ExitReason | None:
    """Return the reason to close ``held`` now, or None to hold.

    ``distance`` is that of the gap (``closing.gap_bps``) from the level of the pair, in basis points. A position
    bought at home was opened below the level and is reversed when the gap is above it, and the other way round. It
    is NaN when the gap is not known: nothing counts as reversed then. A profit above ``max_edge_bps`` is too good to
    be true, like such an entry: neither it nor the reversal behind it is a reason.
    """
    is_believed = closing.net_bps <= strategy.max_edge_bps
    if is_believed and closing.net_bps >= strategy.take_profit_bps and closing.is_whole:
        return "take_profit"
    in_favour = distance if held.buy_is_home else -distance
    if is_believed and strategy.close_on_spread_reversal and in_favour >= strategy.reversal_bps:
        return "spread_reversal"
    return due_exit(held, closing, now_ns, strategy)


def due_exit(
    held: HeldPosition, closing: Closing, now_ns: int, strategy: StrategyConfig
) -> ExitReason | None:
    """Return the reason to close ``held`` whatever its gap does, its loss or its age; None when there is none."""
    if closing.net_bps <= -strategy.stop_loss_bps:
        return "stop_loss"
    if now_ns - held.opened_ns >= strategy.max_hold_s * 1e9:
        return "max_hold"
    return None


def is_unusual(away_from_level: float, band_bps: float, entry_z: float) -> bool:
    """Return whether a gap is at least ``entry_z`` of its usual distances from its level, on the side of the entry.

    ``away_from_level`` (bps) is positive on that side: an entry that buys at home needs a low gap. ``band_bps`` is 0
    while it is not known, and then nothing is unusual. An ``entry_z`` of 0 switches the rule off.
    """
    return entry_z == 0.0 or (band_bps > 0 and away_from_level >= entry_z * band_bps)
