"""Packs a request and its reply into frames: version, request id, payload. The code is pure.

Where each frame is encrypted by itself, as between hosts, all three go into one: ``join`` and ``split``. A reply
between hosts also says on which event it rests: ``join_reply`` and ``split_reply``.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from arbshard.errors import TransportError

VERSION = b"arb1"
_REPLY_VERSION = b"arr1"
_REPLY_HEAD = struct.Struct("<4sqqB")
"""Version, term, event, and number of bytes of the request id."""
ID_BYTES_MAX = 64
REQUEST_BYTES_MAX = 1024 * 1024
"""A server accepts messages up to this size. The largest real one, a statement of 1,128 coins, has 98 kB."""
REPLY_BYTES_MAX = 4 * 1024 * 1024
"""A client accepts messages up to this size. The largest real one, the positions of 1,128 pairs, has 1.25 MB."""


def pack(request_id: bytes, payload: bytes) -> list[bytes]:
    """Return the three frames."""
    assert 0 < len(request_id) <= ID_BYTES_MAX, request_id
    return [VERSION, request_id, payload]


def unpack(frames: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return (request id, payload); None if these are not the three frames of this version."""
    if len(frames) != 3 or frames[0] != VERSION or not 0 < len(frames[1]) <= ID_BYTES_MAX:
        return None
    return frames[1], frames[2]


def join(request_id: bytes, payload: bytes) -> bytes:
    """Return the three in one frame, with the size of the request id before it."""
    return b"".join((VERSION, bytes((len(request_id),)), request_id, payload))


def split(data: bytes) -> tuple[bytes, bytes] | None:
    """Return (request id, payload) of what ``join`` made; None if it is not that, or of another version."""
    begin = len(VERSION) + 1
    if len(data) < begin:
        return None
    end = begin + data[begin - 1]
    return unpack((data[: len(VERSION)], data[begin:end], data[end:])) if len(data) >= end else None


class HostReply(NamedTuple):
    """Is a reply of the leader to another host."""

    request_id: bytes
    payload: bytes
    term: int = 0
    """Term of the leader."""
    seq: int = 0
    """The event that the host must have stored in this term's ledger before it uses the reply; 0 for none."""


def join_reply(reply: HostReply) -> bytes:
    """Return the reply in one frame."""
    request_id = reply.request_id
    assert 0 < len(request_id) <= ID_BYTES_MAX, request_id
    head = _REPLY_HEAD.pack(_REPLY_VERSION, reply.term, reply.seq, len(request_id))
    return b"".join((head, request_id, reply.payload))


def split_reply(data: bytes) -> HostReply | None:
    """Return what ``join_reply`` made; None if it is not that, or of another version."""
    if len(data) < _REPLY_HEAD.size:
        return None
    version, term, seq, size = _REPLY_HEAD.unpack_from(data)
    end = _REPLY_HEAD.size + size
    if version != _REPLY_VERSION or not 0 < size <= ID_BYTES_MAX or len(data) < end:
        return None
    return HostReply(data[_REPLY_HEAD.size : end], data[end:], term, seq)


def require_size(endpoint: str, payload: bytes) -> None:
    """Raise ``TransportError`` for a request that no server would accept, because it would be sent again and
    again.
    """
    if len(payload) > REQUEST_BYTES_MAX - 2 * ID_BYTES_MAX:
        raise TransportError(f"{endpoint}: a request of {len(payload)} bytes is too large")
