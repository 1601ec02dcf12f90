"""Whatever is repeated, lost or batched together: one call per id, and always the same reply."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.wire.replies import StoredReplies

IDS = [b"%d" % n for n in range(8)]


@given(st.lists(st.lists(st.sampled_from(IDS), max_size=6)))
def test_the_handler_hears_each_id_once_and_every_asker_gets_its_reply(batches):
    """A batch is what waits at one moment. A lost reply is its id in a later batch, a resend in this one."""
    calls = Counter()
    heard = []

    def handler(payloads):
        heard.append(payloads)
        calls.update(payloads)
        return [b"%s, asked as number %d" % (payload, sum(calls.values())) for payload in payloads]

    replies = StoredReplies(len(IDS))
    answers = {}
    for batch in batches:
        got = replies.answer([(name, b"payload " + name) for name in batch], handler)
        for name, reply in zip(batch, got, strict=True):
            assert answers.setdefault(name, reply) == reply
            assert reply.startswith(b"payload " + name)
    assert set(calls.values()) <= {1}
    assert all(payloads for payloads in heard)
    assert replies.repeated == sum(map(len, batches)) - len(calls)


@given(st.integers(1, 4), st.lists(st.lists(st.sampled_from(IDS), max_size=8)))
def test_the_store_is_bounded_and_forgets_what_was_asked_longest_ago(limit, batches):
    replies = StoredReplies(limit)
    model = []
    for batch in batches:
        new = [name for name in dict.fromkeys(batch) if name not in model]
        heard = []
        got = replies.answer(
            [(name, name) for name in batch], lambda payloads, heard=heard: heard.extend(payloads) or payloads
        )
        assert got == batch
        assert heard == new
        for name in batch:
            model = [*(kept for kept in model if kept != name), name]
        model = model[-limit:]
        assert len(replies) == len(model)


def test_a_handler_that_fails_has_answered_nothing():
    replies = StoredReplies(4)

    def failing(payloads):
        raise LookupError

    with pytest.raises(LookupError):
        replies.answer([(b"1", b"x")], failing)
    assert (len(replies), replies.repeated) == (0, 0)
    assert replies.answer([(b"1", b"x")], lambda _: [b"y"]) == [b"y"]


def test_a_wrong_number_of_replies_is_an_error():
    with pytest.raises(ValueError, match="1 replies to 2 requests"):
        StoredReplies(4).answer([(b"1", b""), (b"2", b"")], lambda _: [b"only one"])


def test_an_empty_reply_is_a_reply():
    replies = StoredReplies(4)
    for _ in range(2):
        assert replies.answer([(b"1", b"")], lambda _: [b""]) == [b""]
    assert replies.repeated == 1
