"""What the command line says to a running supervisor, and its answers."""

from typing import Literal

import msgspec

from arbshard.errors import ProtocolError
from arbshard.wire.messages import UNREADABLE


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End the run in order."""

    keep_positions: bool = False


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Are you there?"""


class ShowShards(msgspec.Struct, frozen=True, tag=True):
    """Which shard has which pairs, and what changes are under way? Answer: ``Shards``."""


class MovePairs(msgspec.Struct, frozen=True, tag=True):
    """Move pairs to another shard. Answer: ``Accepted`` or ``ControlDenied``."""

    symbols: tuple[str, ...]
    """By base or either market's name, here and in the other orders."""
    shard: int


class BalanceShards(msgspec.Struct, frozen=True, tag="Balance"):
    """Move the fewest pairs that even the load out. Answer: ``Accepted``, or ``ControlDone`` when nothing is
    moved.
    """

    dry_run: bool = False
    """Only say what would be moved."""


class AddSymbols(msgspec.Struct, frozen=True, tag=True):
    """Trade more pairs. Answer: ``Accepted`` or ``ControlDenied``."""

    symbols: tuple[str, ...]


class RemoveSymbols(msgspec.Struct, frozen=True, tag=True):
    """Trade these pairs no more. Answer: ``Accepted`` or ``ControlDenied``."""

    symbols: tuple[str, ...]
    keep_positions: bool = False
    """Do not close what is open."""


class RestartShard(msgspec.Struct, frozen=True, tag=True):
    """Replace a shard's worker, or start it again when it was given up. Answer: ``Accepted`` or ``ControlDenied``."""

    shard: int


class ControlDone(msgspec.Struct, frozen=True, tag="Done"):
    """It is being done. ``text`` is for the person who asked."""

    text: str


class ControlDenied(msgspec.Struct, frozen=True, tag="Denied"):
    """It cannot be done, and why."""

    why: str


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """It waits for its turn, or is under way: ``Shards.changes`` says how it goes."""

    number: int
    text: str


ChangeState = Literal["queued", "running", "done", "failed", "refused"]
"""``refused``: the person must ask for something else."""


class ChangeLine(msgspec.Struct, frozen=True):
    """One change to who trades what."""

    number: int
    what: str
    state: ChangeState
    text: str = ""
    """What was achieved, or why it was not."""


class ShardLine(msgspec.Struct, frozen=True):
    """One shard."""

    shard: int
    bases: tuple[str, ...]
    frames_s: float
    """Frames of its pairs per second."""
    cpu: float
    """Share of a core that its worker takes."""
    loop_gap_us: float
    """How late its timer comes, 99th percentile since it began."""
    serial: int
    """Of the universe it has carried out; -1 while it is not up."""


class PairLine(msgspec.Struct, frozen=True):
    """One pair."""

    base: str
    home: str
    """Its market, as the venue names it."""
    away: str
    shard: int
    """-1: on its way from one shard to another."""
    frames_s: float
    is_leaving: bool = False
    """It is being closed and taken out."""


class Shards(msgspec.Struct, frozen=True, tag=True):
    """All shards and pairs."""

    serial: int
    shards: tuple[ShardLine, ...]
    pairs: tuple[PairLine, ...]
    changes: tuple[ChangeLine, ...]
    """Under way and waiting, and the last ones that are over; oldest first."""
    imbalance: float
    """Load of the fullest shard over the mean."""


Order = Stop | Ping | ShowShards | MovePairs | BalanceShards | AddSymbols | RemoveSymbols | RestartShard
Answer = ControlDone | ControlDenied | Accepted | Shards

_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encode(message: Order | Answer) -> bytes:
    """The message as MessagePack."""
    return msgspec.msgpack.encode(message)


def decode_order(payload: bytes) -> Order:
    """Raises ``ProtocolError`` for anything that is not a whole, well-typed order."""
    try:
        return _orders.decode(payload)
    except UNREADABLE as error:
        raise ProtocolError(f"bad order: {error}") from error


def decode_answer(payload: bytes) -> Answer:
    """Raises ``ProtocolError`` likewise."""
    try:
        return _answers.decode(payload)
    except UNREADABLE as error:
        raise ProtocolError(f"bad answer: {error}") from error
