"""Which incarnation of a shard may speak to risk. Pure; used by ``core``."""

from arbshard.config.run import SHARDS_MAX
from arbshard.ledger.events import Event, ShardFenced, ShardJoined
from arbshard.model.refusal import Refusal
from arbshard.risk.objection import Objection
from arbshard.risk.portfolio.state import Shard
from arbshard.wire.messages import Hello, Request

_EPOCHS_MAX = 2**31


def greeting_objection(known: Shard | None, hello: Hello) -> Objection | None:
    """Why this incarnation may not begin; None when it may."""
    if not (0 <= hello.shard < SHARDS_MAX and 0 <= hello.epoch < _EPOCHS_MAX):
        return Objection(
            Refusal.MALFORMED, f"shard {hello.shard}, epoch {hello.epoch}: there is no such incarnation"
        )
    return _stale(hello, known.lowest) if known is not None and hello.epoch < known.lowest else None


def objection_to_speaker(known: Shard | None, request: Request) -> Objection | None:
    """Why whoever sent ``request`` is not listened to; None when it is."""
    if known is None:
        detail = f"shard {request.shard} has not said hello, this is epoch {request.epoch}"
        return Objection(Refusal.STALE_EPOCH, detail)
    is_current = known.epoch == request.epoch and not known.is_fenced
    return None if is_current else _stale(request, known.lowest)


def joined(known: Shard | None, hello: Hello, now_ms: int) -> list[Event]:
    """What a hello that may be said changes."""
    if known is not None and hello.epoch <= known.epoch:
        return []  # said before
    return [ShardJoined(at_ms=now_ms, shard=hello.shard, epoch=hello.epoch, pid=hello.pid)]


def fenced(known: Shard | None, shard: int, reason: str, now_ms: int) -> list[Event]:
    """What fencing a shard's incarnation changes: nothing when nobody may speak for it anyhow."""
    if known is None or known.is_fenced:
        return []
    return [ShardFenced(at_ms=now_ms, shard=shard, epoch=known.epoch, reason=reason)]


def _stale(request: Request, lowest: int) -> Objection:
    detail = f"shard {request.shard} is at epoch {lowest}, this is epoch {request.epoch}"
    return Objection(Refusal.STALE_EPOCH, detail)
