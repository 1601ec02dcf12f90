"""Defines ``OrderSocket``: how calls about orders travel over a venue's WebSocket instead of over REST. Pure.

The module ``order_socket`` of a venue's folder implements it; ``data.order_socket`` keeps the connection. A call is
the same ``VenueRequest`` as over REST, and its answer the same ``Answer``: there is one table for states, errors and
limits.
"""

from typing import NamedTuple, Protocol

from arbshard.config import VenueConfig
from arbshard.secret import Secret
from arbshard.venues.base.client import Answer
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SigningMoment
from arbshard.venues.keys import Keys


class SocketAnswer(NamedTuple):
    """Is a venue's answer to one message."""

    message_id: str
    answer: Answer


class SocketLeaving(NamedTuple):
    """Says that the venue will end the connection soon."""


class SocketLogonLost(NamedTuple):
    """Says that the venue has ended the logon of the connection in place of answering a call. It does not name it."""

    detail: str


class OrderSocket(Protocol):
    """Encodes calls as messages, and decodes what the venue sends."""

    @property
    def ping_interval_s(self) -> float:
        """Return how often a ping is sent, in seconds."""
        ...

    @property
    def life_s(self) -> float:
        """Return after how many seconds a connection is replaced, before the venue ends it."""
        ...

    def address(self, config: VenueConfig) -> str:
        """Return where to connect. Raises ``UsageError`` without an address, or for one that would show the key."""
        ...

    def carries(self, request: VenueRequest) -> bool:
        """Return whether the call can be made over the socket."""
        ...

    def logon(self, keys: Keys, moment: SigningMoment) -> Secret | None:
        """Return the message that makes the connection known, so that its calls need no signature of their own.

        Its id is ``moment.nonce``. None for a key with which the venue does not support that.
        """
        ...

    def encode(self, request: VenueRequest, keys: Keys, moment: SigningMoment) -> Secret:
        """Return the message of a call, whose id is ``moment.nonce``. It is signed unless ``logon`` has a message for
        this key.
        """
        ...

    def read(self, frame: bytes) -> SocketAnswer | SocketLeaving | SocketLogonLost | None:
        """Decode a frame; None for one that is none of these. Raises ``FrameError`` for one that cannot be read."""
        ...

    def needs_logon(self, answer: Answer) -> bool:
        """Return whether an answer refuses a call because it has no signature, and its connection no logon.

        Nothing was carried out then.
        """
        ...

    def refuses_key(self, answer: Answer) -> bool:
        """Return whether an answer refuses the key or the signature, so that the logon may have ended with it."""
        ...
