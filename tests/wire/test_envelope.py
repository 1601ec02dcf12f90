"""Only the three frames of this version are a request or a reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.wire.envelope import VERSION, join, pack, split, unpack


@given(st.binary(min_size=1, max_size=64), st.binary())
def test_what_is_packed_is_unpacked(request_id, payload):
    assert unpack(pack(request_id, payload)) == (request_id, payload)
    assert split(join(request_id, payload)) == (request_id, payload)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [VERSION],
        [VERSION, b"id"],
        [VERSION, b"id", b"payload", b"more"],
        [b"arb0", b"id", b"payload"],
        [VERSION, b"", b"payload"],
        [VERSION, b"x" * 65, b"payload"],
    ],
)
def test_anything_else_is_none(frames):
    assert unpack(frames) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        VERSION,
        VERSION + b"\x00payload",
        VERSION + b"\x03id",
        VERSION + b"\x41" + b"x" * 65 + b"payload",
        b"arb0\x02idpayload",
    ],
)
def test_any_other_frame_is_none(data):
    assert split(data) is None


@given(st.binary())
def test_no_frame_raises(data):
    split(data)
