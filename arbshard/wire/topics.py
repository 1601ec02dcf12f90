"""Defines what a running instance publishes on its bus: the topics, and the message that belongs to each.

| topic | message | published |
|---|---|---|
| ``book.<venue>.<symbol>.`` | ``BookUpdate`` | with each frame of the market, and when its feed is lost |
| ``venue.<name>.`` | ``VenueUpdate`` | when the state of the venue's feed changes |
| ``control.`` | ``ControlChange`` | when something about the run changes: see ``ControlKind`` |
| ``alert.`` | ``Alert`` | with each alert |
| ``beat.`` | ``Beat`` | fifty times a second |

A topic ends with a dot because ZeroMQ subscribes to prefixes: without it, a subscription to ``book.home.KRW-A``
would get ``KRW-AB`` too. A new subscriber gets the newest book of each market, the state of each venue, and the
present value of each ``control.`` item. Nothing is encoded for a topic without a subscriber. ``bell.<shard>.`` (see
``doorbell``) wakes workers and carries no message.
"""

from typing import Literal

import msgspec

from arbshard.errors import ProtocolError
from arbshard.model.notes import VenueNote
from arbshard.wire.messages import UNREADABLE

VERSION = b"arb1"
"""Precedes each message; another one means another layout of the messages."""

BOOKS, VENUES, CONTROL, ALERT, BEAT = "book.", "venue.", "control.", "alert.", "beat."
ALL_TOPICS = (BOOKS, VENUES, CONTROL, ALERT, BEAT)

ControlKind = Literal[
    "run",
    "process",
    "pair",
    "halt",
    "closing",
    "apart",
    "refusing",
    "limit",
    "tightened",
    "fence",
    "ledger",
    "unattended",
]
"""``run``: state of the run. ``process``: a child process, by name. ``pair``: a pair's shard, by base. ``halt``: the
kill switch. ``closing``: a pair that is being closed. ``apart``: a pair that is set apart. ``refusing``: a venue or
market that refuses orders. ``limit``: a limit changed by hand. ``tightened``: limits that a rule has tightened, by
symbol. ``fence``: a shard of which an incarnation was fenced. ``ledger``: why the books do not balance.
``unattended``: an open position of a pair that the run does not trade.
"""


class BookUpdate(msgspec.Struct, frozen=True, tag="book"):
    """Is one market's newest frame."""

    venue: str
    symbol: str
    sequence: int
    """Number of the market's change in shared memory; grows with each one."""
    received_ns: int
    """Monotonic time of this machine, in ns, at which the frame was received."""
    live: bool
    """Whether a connection carries the market."""
    frame: bytes
    """The frame as the venue sent it: ``venues.registry.get_venue(venue).decode(frame, received_ns)`` is the book."""


class VenueUpdate(msgspec.Struct, frozen=True, tag="venue"):
    """Is the state of one venue's feed."""

    at_ms: int
    venue: VenueNote


class ControlChange(msgspec.Struct, frozen=True, tag="control"):
    """Says that one thing about the run has changed."""

    at_ms: int
    what: ControlKind
    name: str
    """What it is about: a process, a pair, a limit; empty where there is only one."""
    value: str
    """The present value; empty when it is over."""


class Alert(msgspec.Struct, frozen=True, tag="alert"):
    """Is something that a person should know."""

    at_ms: int
    text: str


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Shows that the supervisor's loop is alive."""

    at_ns: int
    """Monotonic time of this machine, in ns."""


Publication = BookUpdate | VenueUpdate | ControlChange | Alert | Beat

_decoder: msgspec.msgpack.Decoder[Publication] = msgspec.msgpack.Decoder(Publication)


def book_topic(venue: str, symbol: str = "") -> str:
    """Return the topic of one market; without ``symbol`` the prefix of all markets of the venue."""
    return f"{BOOKS}{venue}.{symbol}." if symbol else f"{BOOKS}{venue}."


def venue_topic(venue: str) -> str:
    """Return the topic of one venue's feed."""
    return f"{VENUES}{venue}."


def encode(message: Publication) -> tuple[bytes, bytes]:
    """Return the parts of the message on the bus: version, and the message as MessagePack."""
    return VERSION, msgspec.msgpack.encode(message)


def decode(parts: list[bytes]) -> Publication:
    """Return the publication. Raises ``ProtocolError`` for anything that is not a whole, well-typed message of this
    version.
    """
    if len(parts) != 2 or parts[0] != VERSION:
        raise ProtocolError("not a publication of this version")
    try:
        return _decoder.decode(parts[1])
    except UNREADABLE as error:
        raise ProtocolError(f"bad publication: {error}") from error
