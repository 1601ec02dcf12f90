"""The frames of a request and of its reply: version, request id, payload. Pure."""

from collections.abc import Sequence

from arbshard.errors import TransportError

VERSION = b"arb1"
ID_BYTES_MAX = 64
REQUEST_BYTES_MAX = 1024 * 1024
"""What a server takes in one message. The largest that is sent, the fills of an order, is a tenth of it."""
REPLY_BYTES_MAX = 4 * 1024 * 1024
"""What a client takes in one message. The largest, a `Welcome` to all positions of 1,000 pairs, is a fifth of it."""


def pack(request_id: bytes, payload: bytes) -> list[bytes]:
    """The three frames."""
    assert 0 < len(request_id) <= ID_BYTES_MAX, request_id
    return [VERSION, request_id, payload]


def unpack(frames: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """(request id, payload); None if these are not the three frames of this version."""
    if len(frames) != 3 or frames[0] != VERSION or not 0 < len(frames[1]) <= ID_BYTES_MAX:
        return None
    return frames[1], frames[2]


def require_size(endpoint: str, payload: bytes) -> None:
    """Raises ``TransportError`` for a request that no server would take: it would be sent again and again."""
    if len(payload) > REQUEST_BYTES_MAX - 2 * ID_BYTES_MAX:
        raise TransportError(f"{endpoint}: a request of {len(payload)} bytes is too large")
