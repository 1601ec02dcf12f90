"""Encodes WebSocket frames, once for all subscribers.

A server's frames are not masked (RFC 6455, 5.1), so they are the same for all clients. Compressed frames (RFC 7692)
are too, as long as each message starts with an empty window: a client that keeps its window can still read them.
"""

import zlib

_TEXT, _BINARY = 0x81, 0x82
_COMPRESSED = 0x40
_TAIL = b"\x00\x00\xff\xff"
_WINDOW_BITS_MIN = 9  # zlib cannot make raw deflate with 8


class WsFrame:
    """Encodes one message as a data frame. ``connection`` calls ``wire`` for each client that receives it."""

    __slots__ = ("_deflated", "_opcode", "_payload", "_plain")

    def __init__(self, payload: bytes, *, binary: bool) -> None:
        self._payload = payload
        self._opcode = _BINARY if binary else _TEXT
        self._plain: bytes | None = None
        self._deflated: dict[int, bytes] = {}

    def wire(self, window_bits: int) -> bytes:
        """Return the encoded frame. ``window_bits`` is what the client agreed to; 0 means no compression."""
        if window_bits < _WINDOW_BITS_MIN:
            if self._plain is None:
                self._plain = _header(self._opcode, len(self._payload)) + self._payload
            return self._plain
        frame = self._deflated.get(window_bits)
        if frame is None:
            deflate = zlib.compressobj(1, zlib.DEFLATED, -window_bits)
            body = (deflate.compress(self._payload) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)
            frame = self._deflated[window_bits] = _header(self._opcode | _COMPRESSED, len(body)) + body
        return frame


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def close_frame(code: int, reason: str) -> bytes:
    """Return an encoded close frame; ``reason`` is cut to what a control frame may carry."""
    body = code.to_bytes(2, "big") + reason.encode()[:123]
    return _header(0x88, len(body)) + body


def ping_frame(payload: bytes) -> bytes:
    """Return an encoded ping frame; ``payload`` has at most 125 bytes."""
    assert len(payload) <= 125, len(payload)
    return _header(0x89, len(payload)) + payload


def pong_frame(payload: bytes) -> bytes:
    """Return an encoded pong frame; ``payload`` has at most 125 bytes."""
    return _header(0x8A, len(payload)) + payload
