"""The hand-made frames, read by an independent implementation: the protocol core of ``websockets``."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame as ReferenceFrame
from websockets.frames import Opcode
from websockets.streams import StreamReader

from arbshard.exchanges.wsframe import WsFrame, close_frame, ping_frame, pong_frame


def read(data: bytes, extension: PerMessageDeflate | None = None) -> ReferenceFrame:
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parsing = ReferenceFrame.parse(
        reader.read_exact, mask=False, max_size=None, extensions=[extension] if extension else []
    )
    with pytest.raises(StopIteration) as done:
        next(parsing)
    frame = done.value.value
    assert isinstance(frame, ReferenceFrame)
    left = reader.at_eof()
    with pytest.raises(StopIteration) as end:
        next(left)
    assert end.value.value is True
    return frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("binary", [True, False])
def test_every_length_and_both_kinds(size: int, binary: bool) -> None:
    payload = b"x" * size
    frame = read(WsFrame(payload, binary=binary).wire(0))
    assert frame.opcode is (Opcode.BINARY if binary else Opcode.TEXT)
    assert bytes(frame.data) == payload
    assert frame.fin


@settings(deadline=None)
@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=6), st.integers(9, 15), st.booleans())
def test_compressed_frames_suit_clients_with_and_without_a_kept_window(
    payloads: list[bytes], bits: int, forgets: bool
) -> None:
    client = PerMessageDeflate(forgets, False, bits, 15)
    for payload in payloads:
        assert bytes(read(WsFrame(payload, binary=True).wire(bits), client).data) == payload


def test_bytes_are_made_once() -> None:
    frame = WsFrame(b"abc" * 1000, binary=True)
    assert frame.wire(0) is frame.wire(0)
    assert frame.wire(15) is frame.wire(15)
    assert len(frame.wire(15)) < len(frame.wire(0))


def test_a_window_too_small_for_zlib_gets_plain_frames() -> None:
    frame = WsFrame(b"abc", binary=False)
    assert frame.wire(8) == frame.wire(0)
    with pytest.raises((ValueError, zlib.error)):
        zlib.compressobj(1, zlib.DEFLATED, -8)


def test_control_frames() -> None:
    closing = read(close_frame(1008, "x" * 500))
    assert closing.opcode is Opcode.CLOSE
    assert bytes(closing.data) == (1008).to_bytes(2, "big") + b"x" * 123
    assert (read(ping_frame(b"1")).opcode, read(pong_frame(b"2")).opcode) == (Opcode.PING, Opcode.PONG)
