"""Mutations: many kinds, the same for the same seed."""

import json
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import FrameError, ProtocolError
from arbshard.venues.registry import get_venue
from arbshard.wire import messages, unix
from arbshard.wire.envelope import REPLY_BYTES_MAX
from fuzzing.corpus import binance_frames, upbit_frames
from fuzzing.messages import every, risk_payloads, samples
from fuzzing.mutator import mutated

CORPUS = [b'{"price":"1.5","levels":[[1,2],[3,4]]}', msgspec.msgpack.encode({"a": [1, "x"], "b": None})]


def test_the_same_seed_gives_the_same_cases():
    first, second = ([mutated(CORPUS[n % 2], CORPUS, Random(n)) for n in range(300)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 200


def test_there_are_empty_oversize_deep_and_untrue_cases():
    rng = Random(1)
    cases = [mutated(CORPUS[0], CORPUS, rng) for _ in range(3_000)]
    assert b"" in cases
    assert max(map(len, cases)) > 100_000
    assert any(case.count(b"[") > 1_000 for case in cases)
    assert any(b"NaN" in case for case in cases)
    assert any(b"\xff" in case for case in cases)
    whole = [case for case in cases if _reads(case)]
    assert len(whole) > 500, "what is no JSON any more tries the parser only"
    assert any(json.loads(case) != json.loads(CORPUS[0]) for case in whole)


def _reads(case):
    try:
        json.loads(case)
    except (ValueError, RecursionError):
        return False
    return True


def test_every_message_is_in_the_corpus():
    kinds = {type(one) for one in samples(messages.Request | messages.Command, Random(1), 1)}
    assert kinds == set(every(messages.Request | messages.Command))
    assert len(risk_payloads(Random(1), 1)) == len(kinds)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text()
    | st.sampled_from(["nan", "inf", "-1", "1e400"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["stream", "data", "bids", "asks", "ty", "cd", "tms", "obu", "ap", "bp", "as", "bs"]
            )
            | st.text(),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(tree=JSON, name=st.sampled_from(["upbit", "binance"]))
def test_any_json_is_a_book_or_refused(tree, name):
    venue = get_venue(name)
    frame = json.dumps(tree, separators=(",", ":")).encode()
    venue.route(frame)
    venue.classify(frame)
    for read in (venue.top_of_book, venue.decode):
        try:
            read(frame, 1)
        except FrameError:
            continue


@given(venue=st.sampled_from(["upbit", "binance"]), number=st.integers(0, 59), cut=st.integers(0, 3_000))
def test_a_cut_frame_is_no_book(venue, number, cut):
    frame = (upbit_frames() if venue == "upbit" else binance_frames())[number]
    cut %= len(frame)
    try:
        get_venue(venue).decode(frame[:cut], 1)
    except FrameError:
        return
    raise AssertionError("a part was taken for the whole")


@given(payloads=st.lists(st.binary(max_size=50), max_size=5), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_a_stream_reads_the_same_however_it_is_cut(payloads, cuts):
    stream = b"".join(unix.encode(b"id-%d" % number, payload) for number, payload in enumerate(payloads))
    reader, found = unix.Messages(REPLY_BYTES_MAX), []
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    for begin, end in zip([0, *ends], ends, strict=False):
        found += reader.feed(stream[begin:end])
    assert found == [(b"id-%d" % number, payload) for number, payload in enumerate(payloads)]


@given(payload=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(payload):
    for decode in (messages.decode_request, messages.decode_command, messages.decode_reply):
        try:
            decode(payload)
        except ProtocolError:
            continue
