"""Defines the orders that the command line sends to a running supervisor, and its answers."""

from typing import Literal

import msgspec

from arbshard.errors import ProtocolError
from arbshard.wire.messages import UNREADABLE


class ChangingOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Is the part that all orders have that change something."""

    by: str = ""
    """Who gives the order, and by which means, for the supervisor's log."""


class Stop(ChangingOrder, frozen=True, tag=True):
    """Asks to end the run in order; in a run on several hosts, the runs of all of them."""

    keep_positions: bool = False
    host_only: bool = False
    """Whether only this host of several ends: positions are kept, and the other hosts take its shards."""


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Asks whether the supervisor answers."""


class ShowShards(msgspec.Struct, frozen=True, tag=True):
    """Asks which shard has which pairs, and which changes are under way. Answer: ``Shards``."""


class MovePairs(ChangingOrder, frozen=True, tag=True):
    """Asks to move pairs to another shard. Answer: ``Accepted`` or ``ControlDenied``."""

    symbols: tuple[str, ...]
    """Pairs by base or by either market's name, here and in the other orders."""
    shard: int


class BalanceShards(ChangingOrder, frozen=True, tag="Balance"):
    """Asks to move the fewest pairs that balance the load.

    Answer: ``Accepted``, or ``ControlDone`` when nothing is moved.
    """

    dry_run: bool = False
    """Whether to only report what would be moved."""


class AddSymbols(ChangingOrder, frozen=True, tag=True):
    """Asks to trade more pairs. Answer: ``Accepted`` or ``ControlDenied``."""

    symbols: tuple[str, ...]


class RemoveSymbols(ChangingOrder, frozen=True, tag=True):
    """Asks to stop trading these pairs. Answer: ``Accepted`` or ``ControlDenied``."""

    symbols: tuple[str, ...]
    keep_positions: bool = False
    """Whether open positions are left open."""


class RestartShard(ChangingOrder, frozen=True, tag=True):
    """Asks to replace a shard's worker, or to start a shard that was given up. Answer: ``Accepted`` or
    ``ControlDenied``.
    """

    shard: int


class ControlDone(msgspec.Struct, frozen=True, tag="Done"):
    """Answers that the order is being carried out. ``text`` is for the person who asked."""

    text: str


class ControlDenied(msgspec.Struct, frozen=True, tag="Denied"):
    """Answers that the order cannot be carried out, and why."""

    why: str


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """Answers that the change waits for its turn or is under way; ``Shards.changes`` has its progress."""

    number: int
    text: str


ChangeState = Literal["queued", "running", "done", "failed", "refused"]
"""``refused``: the person must ask for something else."""


class ChangeLine(msgspec.Struct, frozen=True):
    """Is one change of the pairs or of their shards."""

    number: int
    what: str
    state: ChangeState
    text: str = ""
    """What was achieved, or why nothing was."""


class ShardLine(msgspec.Struct, frozen=True):
    """Is one shard."""

    shard: int
    bases: tuple[str, ...]
    frames_s: float
    """Frames of its pairs per second."""
    cpu: float
    """Share of a core that its worker uses."""
    loop_gap_us: float
    """Delay of its timer in microseconds, 99th percentile since it began."""
    serial: int
    """Serial of the universe that it has carried out; -1 while its worker is not up."""


class PairLine(msgspec.Struct, frozen=True):
    """Is one pair."""

    base: str
    home: str
    """Its home market, as the venue names it."""
    away: str
    shard: int
    """Number of its shard; -1 while it moves from one shard to another."""
    frames_s: float
    is_leaving: bool = False
    """Whether it is being closed and removed."""


class Shards(msgspec.Struct, frozen=True, tag=True):
    """Is the answer with all shards and pairs."""

    serial: int
    shards: tuple[ShardLine, ...]
    pairs: tuple[PairLine, ...]
    changes: tuple[ChangeLine, ...]
    """Changes under way and waiting, and the last ones that have ended; oldest first."""
    imbalance: float
    """Load of the fullest shard divided by the mean."""


ControlOrder = (
    Stop | Ping | ShowShards | MovePairs | BalanceShards | AddSymbols | RemoveSymbols | RestartShard
)
ControlAnswer = ControlDone | ControlDenied | Accepted | Shards

_orders: msgspec.msgpack.Decoder[ControlOrder] = msgspec.msgpack.Decoder(ControlOrder)
_answers: msgspec.msgpack.Decoder[ControlAnswer] = msgspec.msgpack.Decoder(ControlAnswer)


def encode(message: ControlOrder | ControlAnswer) -> bytes:
    """Return the message as MessagePack."""
    return msgspec.msgpack.encode(message)


def decode_order(payload: bytes) -> ControlOrder:
    """Return the order. Raises ``ProtocolError`` for anything that is not a whole, well-typed one."""
    try:
        return _orders.decode(payload)
    except UNREADABLE as error:
        raise ProtocolError(f"bad order: {error}") from error


def decode_answer(payload: bytes) -> ControlAnswer:
    """Return the answer. Raises ``ProtocolError`` for anything that is not a whole, well-typed one."""
    try:
        return _answers.decode(payload)
    except UNREADABLE as error:
        raise ProtocolError(f"bad answer: {error}") from error
