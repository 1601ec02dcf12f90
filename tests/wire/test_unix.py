"""Requests over a Unix socket: whole messages out of any pieces, and an asker that finds whoever answers."""

import asyncio
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbshard.errors import RequestTimeout, TransportError
from arbshard.wire.envelope import ID_BYTES_MAX, REQUEST_BYTES_MAX
from arbshard.wire.request import RequestClient
from arbshard.wire.serve import ReplyServer
from arbshard.wire.unix import Connection, Messages, UnixChannel, encode


@pytest.fixture
def unix(endpoint):
    return endpoint.replace("ipc://", "unix://")


class Handler:
    def __init__(self):
        self.batches = []

    def __call__(self, batch):
        self.batches.append(batch)
        return [b"re: " + payload for payload in batch]


def connect(unix):
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(unix.removeprefix("unix://"))
    peer.settimeout(5)
    return peer


class TestMessages:
    @given(
        st.lists(
            st.tuples(st.binary(min_size=1, max_size=ID_BYTES_MAX), st.binary(max_size=300)), max_size=8
        ),
        st.data(),
    )
    def test_any_cutting_gives_the_same_messages(self, sent, data):
        stream = b"".join(encode(request_id, payload) for request_id, payload in sent)
        messages, found = Messages(REQUEST_BYTES_MAX), []
        while stream:
            cut = data.draw(st.integers(1, len(stream)))
            found += messages.feed(stream[:cut])
            stream = stream[cut:]
        assert found == sent

    @given(st.binary(max_size=200))
    def test_no_bytes_do_harm(self, noise):
        messages = Messages(REQUEST_BYTES_MAX)
        try:
            found = messages.feed(noise)
        except ValueError:
            return
        assert all(one is None or len(one) == 2 for one in found)

    @pytest.mark.parametrize(
        "head", [(0, 0), (REQUEST_BYTES_MAX + 1, 3), (10, 11), (2**32 - 1, 1), (200, ID_BYTES_MAX + 1)]
    )
    def test_what_can_be_no_message_is_refused_at_once(self, head):
        with pytest.raises(ValueError, match="not a message"):
            Messages(REQUEST_BYTES_MAX).feed(struct.pack("<IB", *head))

    def test_another_version_is_told_apart(self):
        assert Messages(REQUEST_BYTES_MAX).feed(encode(b"id", b"x").replace(b"arb1", b"arb0")) == [None]


async def test_many_clients_each_get_their_own_replies(unix):
    handler = Handler()
    with ReplyServer(unix, handler) as server:
        server.start(pytest.fail)
        clients = [RequestClient(unix, 5000, 1) for _ in range(8)]
        try:
            replies = await asyncio.gather(
                *(client.request(b"%d/%d" % (n, k)) for n, client in enumerate(clients) for k in range(20))
            )
        finally:
            for client in clients:
                client.close()
    assert replies == [b"re: %d/%d" % (n, k) for n in range(8) for k in range(20)]
    assert sum(map(len, handler.batches)) == 160
    assert max(map(len, handler.batches)) > 1  # what came in one turn was one batch
    assert server.requests == 160


async def test_a_long_reply_comes_whole(unix):
    long = bytes(range(256)) * 4000
    with (
        ReplyServer(unix, lambda batch: [long for _ in batch]) as server,
        RequestClient(unix, 5000, 1) as client,
    ):
        server.start(pytest.fail)
        assert await client.request(long) == long


async def test_a_question_leaves_in_the_call_that_asks(unix):
    handler = Handler()
    with ReplyServer(unix, handler) as server, RequestClient(unix, 5000, 1) as client:
        server.start(pytest.fail)
        await client.request(b"connect")
        asked = client.request(b"x")
        assert client.sent == 2  # nothing has waited for it yet
        assert await asked == b"re: x"


async def test_what_waits_can_be_answered_before_the_loop_comes_to_it(unix, until, monkeypatch):
    handler = Handler()
    with ReplyServer(unix, handler) as server:
        server.start(pytest.fail)
        (listener,) = server._listeners
        monkeypatch.setattr(listener, "_ready", lambda: None)
        with connect(unix) as peer:
            peer.sendall(encode(b"1", b"a"))
            await until(lambda: listener._waiting)
            assert handler.batches == []
            server.serve()
            assert Messages(REQUEST_BYTES_MAX).feed(peer.recv(100)) == [(b"1", b"re: a")]
        server.serve()
        assert (handler.batches, server.batches) == ([[b"a"]], 1)


async def test_both_kinds_of_endpoint_are_served_and_share_what_was_answered(unix, endpoint):
    handler = Handler()
    zmq_endpoint = endpoint + "z"
    with (
        ReplyServer(unix, handler, also=(zmq_endpoint,)) as server,
        RequestClient(unix, 5000, 1) as one,
        RequestClient(zmq_endpoint, 5000, 1) as other,
    ):
        server.start(pytest.fail)
        assert await one.request(b"x", request_id=b"same") == b"re: x"
        assert await other.request(b"x", request_id=b"same") == b"re: x"
        assert handler.batches == [[b"x"]]
        assert server.repeated == 1


async def test_nobody_there_is_a_time_out_and_somebody_later_is_found(unix):
    with RequestClient(unix, 30, 2) as client:
        with pytest.raises(RequestTimeout):
            await client.request(b"x")
        with ReplyServer(unix, Handler()) as server:
            asked = asyncio.ensure_future(client.request(b"y"))
            await asyncio.sleep(0.005)
            server.start(pytest.fail)
            assert await asked == b"re: y"


async def test_a_server_that_goes_takes_the_question_along_and_its_successor_is_asked(unix):
    handler = Handler()
    with RequestClient(unix, 5000, 1) as client:
        first = ReplyServer(unix, handler)
        first.start(pytest.fail)
        assert await client.request(b"a") == b"re: a"
        first.close()
        asked = asyncio.ensure_future(client.request(b"b"))
        await asyncio.sleep(0.05)
        assert not asked.done()
        with ReplyServer(unix, handler) as second:
            second.start(pytest.fail)
            async with asyncio.timeout(5):
                assert await asked == b"re: b"
        assert client.timed_out == 0


async def test_a_reply_after_the_time_out_is_not_taken_for_the_next_ones(unix, until):
    held = []

    def handler(batch):
        held.extend(batch)
        return [b"re: " + payload for payload in batch]

    with ReplyServer(unix, handler) as server, RequestClient(unix, 40, 1) as client:
        first = asyncio.ensure_future(client.request(b"slow"))
        with pytest.raises(RequestTimeout):
            await first
        server.start(pytest.fail)
        assert await client.request(b"next") == b"re: next"


async def test_what_is_no_message_ends_the_connection_and_is_counted(unix, until):
    with ReplyServer(unix, Handler()) as server:
        server.start(pytest.fail)
        with connect(unix) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: server.bad >= 1)
            assert stranger.recv(10) == b""
        with connect(unix) as old:
            old.sendall(encode(b"id", b"x").replace(b"arb1", b"arb0") + encode(b"id2", b"y"))
            await until(lambda: server.requests >= 1)
        assert server.bad == 2


async def test_an_asker_that_does_not_read_is_dropped(unix, until):
    big = b"x" * 1_000_000
    with ReplyServer(unix, lambda batch: [big for _ in batch]) as server:
        server.start(pytest.fail)
        with connect(unix) as deaf:
            for n in range(12):
                deaf.sendall(encode(b"%d" % n, b""))
            await until(lambda: server.unsent > 0)


async def test_a_socket_left_over_by_a_dead_server_is_replaced(unix):
    path = unix.removeprefix("unix://")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with ReplyServer(unix, Handler()) as server, RequestClient(unix, 5000, 1) as client:
        server.start(pytest.fail)
        assert await client.request(b"x") == b"re: x"


async def test_a_path_too_long_is_said_so():
    with pytest.raises(TransportError, match="shorter run directory"):
        ReplyServer("unix:///tmp/" + "x" * 200, Handler())
    with pytest.raises(TransportError, match="shorter run directory"):
        RequestClient("unix:///tmp/" + "x" * 200, 50, 1)


async def test_questions_asked_at_once_are_one_batch(unix):
    handler = Handler()
    with ReplyServer(unix, handler) as server, RequestClient(unix, 5000, 1) as client:
        server.start(pytest.fail)
        await client.request(b"connect")
        replies = await asyncio.gather(*(client.request(b"%d" % n) for n in range(10)))
    assert replies == [b"re: %d" % n for n in range(10)]
    assert handler.batches[1:] == [[b"%d" % n for n in range(10)]]


async def test_the_urgent_go_first_when_more_wait_than_may_be_out(unix, monkeypatch):
    monkeypatch.setattr(UnixChannel, "WINDOW", 2)
    handler = Handler()
    with ReplyServer(unix, handler) as server, RequestClient(unix, 5000, 1) as client:
        server.start(pytest.fail)
        asked = [(b"a", 9), (b"b", 9), (b"e", 2), (b"c", 0), (b"d", 1)]
        await asyncio.gather(*(client.request(payload, priority=priority) for payload, priority in asked))
    assert [payload for batch in handler.batches for payload in batch] == [b"a", b"b", b"c", b"d", b"e"]


async def test_one_time_out_resends_all_that_is_out_and_each_gets_its_own_reply(unix, until):
    heard = []

    def handler(batch):
        heard.extend(batch)
        return [b"re: " + payload for payload in batch]

    with ReplyServer(unix, handler) as server, RequestClient(unix, 80, 3) as client:
        first = asyncio.ensure_future(client.request(b"first"))
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(client.request(b"second"))
        await asyncio.sleep(0.05)
        assert client.retried == 1  # of the first: the second's time is not over
        server.start(pytest.fail)
        assert await asyncio.gather(first, second) == [b"re: first", b"re: second"]
    assert sorted(heard) == [b"first", b"second"]
    assert client.timed_out == 0


async def test_the_same_question_is_not_out_twice_but_may_be_taken_up_again(unix):
    with ReplyServer(unix, Handler()) as server, RequestClient(unix, 5000, 1) as client:
        asked = asyncio.ensure_future(client.request(b"x", request_id=b"same"))
        await asyncio.sleep(0)
        with pytest.raises(TransportError, match="asked already"):
            await client.request(b"x", request_id=b"same")
        asked.cancel()
        await asyncio.sleep(0)
        again = asyncio.ensure_future(client.request(b"x", request_id=b"same"))
        await asyncio.sleep(0)
        server.start(pytest.fail)
        assert await again == b"re: x"
        assert server.requests == 1


async def test_a_server_that_closes_while_it_accepts_leaves_no_connection_open(unix):
    for turns in range(4):
        server = ReplyServer(unix, Handler())
        server.start(pytest.fail)
        with connect(unix) as peer:
            for _ in range(turns):
                await asyncio.sleep(0)
            server.close()
            await asyncio.sleep(0.05)
            try:
                assert peer.recv(10) == b""
            except ConnectionResetError:
                continue  # it was still in the queue of the socket


async def test_a_client_that_is_closed_while_it_connects_opens_no_connection(unix):
    with ReplyServer(unix, Handler()) as server:
        server.start(pytest.fail)
        for turns in range(1, 5):
            client = RequestClient(unix, 5000, 1)
            asked = asyncio.ensure_future(client.request(b"x"))
            for _ in range(turns):
                await asyncio.sleep(0)
            assert not asked.done()
            client.close()
            with pytest.raises(TransportError, match="closed"):
                await asked
        await asyncio.sleep(0.05)
        assert server._listeners[0]._clients == {}


class ClosedTransport:
    """A transport of uvloop whose handle is closed, of which the protocol does not know yet."""

    def set_write_buffer_limits(self, *, high):
        assert high == 0

    def is_closing(self):
        return True

    def get_write_buffer_size(self):
        return 0

    def write(self, message):
        raise RuntimeError("unable to perform operation: the handler is closed")

    def abort(self):
        """Do nothing."""


def test_nothing_is_written_to_a_connection_that_is_just_closed():
    ended = []
    connection = Connection(1000, lambda _: None, lambda *_: None, ended.append)
    connection.connection_made(ClosedTransport())
    assert not connection.send(b"x")
    assert ended == [connection]
    assert not connection.send(b"x")
