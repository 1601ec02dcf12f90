"""Defines what a venue's feed publishes for a recorder: every frame as received, and what happened to the
connections.

The topic is ``raw.<venue>.``, on a socket of its own with a bound of its own. Many records are sent in one message,
because each message costs a feed some 40 µs, and the system as much again on its way to the recorder. They are
numbered: where the numbers have a gap, the recorder has lost as many records as are missing.
"""

from typing import Literal, get_args

import msgspec

from arbshard.errors import ProtocolError
from arbshard.wire.messages import UNREADABLE
from arbshard.wire.topics import VERSION

RAW = "raw."
RAW_HIGH_WATER = 1024
"""Number of messages that are kept for a recorder that does not read. Each has some 60 KB at most."""

FeedRecordKind = Literal["frame", "known", "connect", "disconnect", "subscribe", "resubscribe", "gap", "rest"]
"""``frame``: a message of the venue. ``known``: the newest frame of a market, received before the recorder
subscribed. ``connect``: a stream is open. ``disconnect``: a stream is over. ``subscribe`` and ``resubscribe``: a
message that was sent to the venue, on a new stream or on one that has been subscribed. ``gap``: changes of a market
are missing. ``rest``: the answer to a request over REST, for a snapshot or a confirmation."""
FEED_KINDS: tuple[str, ...] = get_args(FeedRecordKind)


class FeedRecord(msgspec.Struct, frozen=True, array_like=True):
    """Is one thing that a venue's feed has received or done."""

    kind: FeedRecordKind
    connection: str
    """The stream, by a name that no other stream of the run has; empty for REST."""
    at_ns: int
    """Monotonic time of this machine, in ns, at which it was received or happened."""
    began_ns: int
    """When what ended now had begun (monotonic ns): a request over REST, the life of a stream. 0 where nothing
    had.
    """
    symbol: str
    """The market where only one is concerned and the data do not name it."""
    detail: str
    """Why a stream ended, what was requested over REST, or what is wrong with a book."""
    data: bytes
    """The data as the venue sent it, or as it was sent to the venue."""


class FeedRecords(msgspec.Struct, frozen=True, array_like=True):
    """Is a message of the topic."""

    first: int
    """The number of the first record; grows by one with each record since the run began, from 1."""
    records: list[FeedRecord]


_decoder: msgspec.msgpack.Decoder[FeedRecords] = msgspec.msgpack.Decoder(FeedRecords)


def raw_topic(venue: str) -> str:
    """Return the topic of what one venue's feed receives."""
    return f"{RAW}{venue}."


def encode(records: FeedRecords) -> tuple[bytes, bytes]:
    """Return the parts of the message on the bus: version, and the records as MessagePack."""
    return VERSION, msgspec.msgpack.encode(records)


def decode(parts: list[bytes]) -> FeedRecords:
    """Return the records. Raises ``ProtocolError`` for anything that is not a whole, well-typed message of this
    version.
    """
    if len(parts) != 2 or parts[0] != VERSION:
        raise ProtocolError("not records of this version")
    try:
        return _decoder.decode(parts[1])
    except UNREADABLE as error:
        raise ProtocolError(f"bad records: {error}") from error
