"""What people and rules have ordered is worth a line in the log. Called by ``service`` for each event it stored."""

from arbshard.ledger.events import (
    AccountOpened,
    ClosesOrdered,
    DifferenceFound,
    DifferenceResolved,
    Event,
    Halted,
    LimitsChanged,
    LimitsScaled,
    ReconciliationEvent,
    Resumed,
    ShardFenced,
    StrayFound,
    StrayGone,
    kind_of,
)
from arbshard.log import get_logger
from arbshard.model.money import plain
from arbshard.model.silence import SilenceWatch


def tell(event: Event) -> None:
    """Log ``event`` if it is such a one."""
    match event:
        case Halted():
            get_logger().warning("halted", cause=event.cause, reason=event.reason)
        case Resumed():
            get_logger().warning("resumed", reason=event.reason)
        case ShardFenced():
            get_logger().warning("fenced", shard=event.shard, epoch=event.epoch, reason=event.reason)
        case ClosesOrdered():
            get_logger().warning("closing", pairs=list(event.pairs), reason=event.reason)
        case LimitsChanged():
            get_logger().warning("limits changed", symbol=event.symbol, changes=dict(event.changes))
        case LimitsScaled():
            get_logger().warning(
                "limits scaled", symbol=event.symbol, factor=str(event.factor), cause=event.cause
            )
        case AccountOpened() | DifferenceFound() | DifferenceResolved() | StrayFound() | StrayGone():
            _tell_of_accounts(event)
        case _:
            pass


def tell_of_silence(silence: SilenceWatch) -> None:
    """Log that the supervisor has become silent, or that it is back."""
    if silence.is_silent:
        get_logger().warning("the supervisor is silent: no entries", silent_ms=silence.silent_ns // 1_000_000)
    else:
        get_logger().warning("the supervisor beats again", silent_ms=silence.silent_ns // 1_000_000)


def _tell_of_accounts(event: ReconciliationEvent) -> None:
    match event:
        case DifferenceFound():
            get_logger().warning(
                "venue and ledger differ: blocked until reconciled",
                venue=event.venue,
                currency=event.currency,
                stated=plain(event.stated),
                booked=plain(event.booked),
            )
        case DifferenceResolved():
            get_logger().warning(
                "venue and ledger agree again", venue=event.venue, currency=event.currency, how=event.how
            )
        case StrayFound():
            get_logger().warning(
                "an open order of ours that no intent owns",
                venue=event.venue,
                order=event.client_id,
                market=event.symbol,
            )
        case AccountOpened() | StrayGone():
            get_logger().info(kind_of(event), venue=event.venue)
