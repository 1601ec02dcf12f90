"""Only the three frames of this version are a request or a reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.wire.envelope import VERSION, HostReply, join, join_reply, pack, split, split_reply, unpack


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


@given(st.binary(min_size=1, max_size=64), st.binary(), st.integers(0, 2**62), st.integers(0, 2**62))
def test_a_reply_between_hosts_says_on_which_event_it_rests(request_id, payload, term, seq):
    reply = HostReply(request_id, payload, term, seq)
    data = join_reply(reply)
    assert split_reply(data) == reply
    assert split(data) is None
    assert split_reply(join(request_id, payload)) is None
    assert split_reply(data[: len(data) - len(payload) - 1]) is None


def test_a_reply_without_a_request_id_is_none():
    data = bytearray(join_reply(HostReply(b"i", b"")))
    data[20] = 0
    assert split_reply(bytes(data)) is None
    data[20] = 65
    assert split_reply(bytes(data) + bytes(100)) is None


@given(st.binary())
def test_no_frame_raises(data):
    split(data)
    split_reply(data)
