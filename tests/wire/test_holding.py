"""Replies leave when what they rest on is safe, a repeated request is handled once, and what waits is bounded."""

import pytest

from arbshard.wire import serve
from arbshard.wire.replies import Asked
from arbshard.wire.serve import HoldingReplyServer


class Listener:
    """Has requests that a test puts into it."""

    bad = 0
    unsent = 0

    def __init__(self):
        self.waiting = []
        self.sent = []
        self.is_closed = False

    def ask(self, request_id, payload=b"", client=1, host=""):
        def reply(reply):
            self.sent.append((client, reply))

        def hand_over(reply, seq):
            self.sent.append((client, reply, seq))

        self.waiting.append(Asked(request_id, payload, reply, host, hand_over if host else None))

    def start(self, on_ready):
        del on_ready

    def receive(self, limit):
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return taken

    def close(self):
        self.is_closed = True


class Ledger:
    """Counts an event for each request."""

    def __init__(self):
        self.last = 0
        self.safe = 0
        self.handled = []

    def handle(self, payloads):
        self.handled += payloads
        self.last += len(payloads)
        return [b"re: " + one for one in payloads]


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def server(endpoint, listener, ledger):
    with HoldingReplyServer(endpoint, ledger.handle, 16, listeners=(listener,)) as made:
        made.rests_on = lambda: ledger.last
        made.safe = lambda: ledger.safe
        yield made


def test_a_reply_waits_until_its_event_is_safe_and_the_next_batch_is_handled_meanwhile(
    server, listener, ledger
):
    listener.ask(b"1", b"a")
    server.step()
    listener.ask(b"2", b"b")
    server.step()
    assert (listener.sent, server.held, ledger.handled) == ([], 2, [b"a", b"b"])
    ledger.safe = 1
    server.release()
    assert listener.sent == [(1, b"re: a")]
    ledger.safe = 2
    server.release()
    assert listener.sent == [(1, b"re: a"), (1, b"re: b")]
    assert server.held == 0


def test_what_is_safe_already_is_answered_at_once(server, listener, ledger):
    ledger.safe = 9
    listener.ask(b"1", b"a")
    assert server.step() == 1
    assert listener.sent == [(1, b"re: a")]


def test_a_repeated_request_is_handled_once_and_its_newest_asker_gets_the_reply(server, listener, ledger):
    listener.ask(b"1", b"a", client=1)
    server.step()
    listener.ask(b"1", b"a", client=2)
    server.step()
    assert ledger.handled == [b"a"]
    ledger.safe = 1
    server.release()
    assert listener.sent == [(2, b"re: a")]


def test_a_request_that_is_twice_in_a_batch_is_answered_once(server, listener, ledger):
    ledger.safe = 9
    listener.ask(b"1", b"a", client=1)
    listener.ask(b"1", b"a", client=2)
    server.step()
    assert ledger.handled == [b"a"]
    assert listener.sent == [(2, b"re: a")]
    assert server._held_bytes == 0


def test_a_stored_reply_waits_for_everything_that_was_decided_before_it_was_asked_again(
    server, listener, ledger
):
    ledger.safe = 1
    listener.ask(b"1", b"a")
    server.step()
    listener.ask(b"2", b"b")
    listener.ask(b"1", b"a", client=2)
    server.step()
    assert listener.sent == [(1, b"re: a")]
    ledger.safe = 2
    server.release()
    assert listener.sent == [(1, b"re: a"), (1, b"re: b"), (2, b"re: a")]


def test_beyond_the_bound_nothing_is_handled(server, listener, ledger, monkeypatch):
    monkeypatch.setattr(serve, "HELD_MAX", 3)
    for number in range(5):
        listener.ask(b"%d" % number, b"x")
    server.step()
    assert len(ledger.handled) == server.held == 3
    assert server.unanswered == 2
    ledger.safe = 3
    server.release()
    listener.ask(b"4", b"again")
    server.step()
    assert ledger.handled[3:] == [b"again"]


def test_beyond_the_bound_of_bytes_nothing_is_handled(server, listener, ledger, monkeypatch):
    monkeypatch.setattr(serve, "HELD_BYTES_MAX", 100)
    for number in range(3):
        listener.ask(b"%d" % number, bytes(60))
        server.step()
    assert len(ledger.handled) == 2
    assert server.unanswered == 1


def test_closed_it_forgets_what_it_held(server, listener, ledger):
    listener.ask(b"1", b"a")
    server.step()
    server.close()
    assert listener.is_closed
    ledger.safe = 9
    server.release()
    assert listener.sent == []


def test_before_it_is_told_what_is_safe_it_answers_nothing(endpoint, listener, ledger):
    with HoldingReplyServer(endpoint, ledger.handle, listeners=(listener,)) as server:
        server.rests_on = lambda: 0
        listener.ask(b"1", b"a")
        server.step()
        assert (listener.sent, server.held) == ([], 1)


def test_a_reply_is_handed_over_to_a_host_that_makes_it_safe(server, listener, ledger):
    server.is_safe_with = lambda host, seq: (host, seq) == ("b", 3)
    listener.ask(b"1", b"a")
    listener.ask(b"2", b"b", host="b")
    listener.ask(b"3", b"c", host="c")
    server.step()
    assert listener.sent == [(1, b"re: b", 3)]
    assert server.held == 2
    listener.ask(b"2", b"b", client=2, host="b")  # it is asked again, and rests on the same
    server.step()
    assert ledger.handled == [b"a", b"b", b"c"]
    assert listener.sent[1:] == [(2, b"re: b", 3)]


def test_nothing_is_handed_over_that_is_safe_already(server, listener, ledger):
    server.is_safe_with = lambda host, seq: True
    ledger.safe = 9
    listener.ask(b"1", b"a", host="b")
    server.step()
    assert listener.sent == [(1, b"re: a")]
