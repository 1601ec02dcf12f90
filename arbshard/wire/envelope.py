"""The frames of a request and of its reply: version, request id, payload. Pure."""

from collections.abc import Sequence

VERSION = b"arb1"
ID_BYTES_MAX = 64


def pack(request_id: bytes, payload: bytes) -> list[bytes]:
    """The three frames."""
    assert 0 < len(request_id) <= ID_BYTES_MAX, request_id
    return [VERSION, request_id, payload]


def unpack(frames: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """(request id, payload); None if these are not the three frames of this version."""
    if len(frames) != 3 or frames[0] != VERSION or not 0 < len(frames[1]) <= ID_BYTES_MAX:
        return None
    return frames[1], frames[2]
