"""All that waits is one batch; a repeated id is answered without being heard; a failing handler ends the server."""

import asyncio
import socket
import threading
from contextlib import contextmanager

import pytest
import zmq

from arbshard.errors import ProtocolError, RequestTimeout, TransportError
from arbshard.wire.envelope import ID_BYTES_MAX, REQUEST_BYTES_MAX, VERSION, pack
from arbshard.wire.request import RequestClient, ask
from arbshard.wire.serve import ReplyServer
from arbshard.wire.sockets import open_socket
from arbshard.wire.unix import encode


class Handler:
    def __init__(self):
        self.batches = []

    def __call__(self, batch):
        self.batches.append(batch)
        return [b"re: " + payload for payload in batch]


@pytest.fixture
def dealer(endpoint):
    """A peer that can send what it likes, as often as it likes; the empty frame is what REQ would add."""
    with open_socket(zmq.DEALER, endpoint, bind=False, high_water=1000) as peer:
        yield peer


def step_until(server, count):
    """Answer until ``count`` messages have been dealt with, good or bad."""
    deadline = 5000
    while server.requests + server.bad < count and deadline > 0:
        server._listeners[0].socket.poll(10)
        server.step()
        deadline -= 10
    assert server.requests + server.bad == count


def waits(server, socket, messages):
    """Send ``messages`` and let all of them arrive before the server looks."""
    for frames in messages:
        socket.send_multipart([b"", *frames])
    socket.send_multipart([b"", b"no request"])
    assert server._listeners[0].socket.poll(5000)
    threading.Event().wait(0.05)


def test_all_that_waits_is_one_call_and_repeats_in_it_are_heard_once(endpoint, dealer):
    handler = Handler()
    with ReplyServer(endpoint, handler) as server:
        waits(server, dealer, [pack(b"1", b"a"), pack(b"2", b"b"), pack(b"1", b"a"), pack(b"3", b"c")])
        step_until(server, 5)
        assert handler.batches == [[b"a", b"b", b"c"]]
        got = [dealer.recv_multipart()[2:] for _ in range(4)]
        assert got == [[b"1", b"re: a"], [b"2", b"re: b"], [b"1", b"re: a"], [b"3", b"re: c"]]
        assert (server.requests, server.batches, server.repeated, server.bad) == (4, 1, 1, 1)
        assert server.step() == 0


def test_a_repeat_later_gets_the_stored_reply(endpoint, dealer):
    handler = Handler()
    with ReplyServer(endpoint, handler) as server:
        for count in range(1, 4):
            dealer.send_multipart([b"", *pack(b"same", b"a")])
            step_until(server, count)
            assert dealer.recv_multipart() == [b"", VERSION, b"same", b"re: a"]
        assert handler.batches == [[b"a"]]
        assert server.repeated == 2


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"x"],
        [b"", b"arb0", b"id", b"x"],
        [b"", VERSION, b"id"],
        [b"", VERSION, b"", b"x"],
        [b"x", *pack(b"1", b"")],
    ],
)
def test_what_is_no_request_is_dropped_and_counted(endpoint, dealer, frames):
    handler = Handler()
    with ReplyServer(endpoint, handler) as server:
        dealer.send_multipart(frames)
        step_until(server, 1)
        assert (server.bad, server.requests, handler.batches) == (1, 0, [])


def test_a_reply_to_an_asker_that_has_gone_is_counted_and_kept_for_its_successor(endpoint):
    with ReplyServer(endpoint, Handler()) as server:
        gone = open_socket(zmq.DEALER, endpoint, bind=False, high_water=10)
        gone.send_multipart([b"", *pack(b"1", b"a")])
        assert server._listeners[0].socket.poll(5000)
        gone.close()
        threading.Event().wait(0.1)
        server.step()
        assert server.unsent == 1
        with open_socket(zmq.DEALER, endpoint, bind=False, high_water=10) as again:
            again.send_multipart([b"", *pack(b"1", b"a")])
            step_until(server, 2)
            assert again.recv_multipart() == [b"", VERSION, b"1", b"re: a"]
        assert server.repeated == 1


async def test_many_clients_are_served_in_the_loop(endpoint):
    handler = Handler()
    with ReplyServer(endpoint, handler) as server:
        server.start(pytest.fail)
        clients = [RequestClient(endpoint, 5000, 1) for _ in range(8)]
        try:
            replies = await asyncio.gather(
                *(client.request(b"%d/%d" % (n, k)) for n, client in enumerate(clients) for k in range(20))
            )
        finally:
            for client in clients:
                client.close()
        assert replies == [b"re: %d/%d" % (n, k) for n in range(8) for k in range(20)]
        assert sum(map(len, handler.batches)) == 160


async def test_a_handler_that_fails_is_told_to_the_owner_and_nobody_is_answered_any_more(endpoint, until):
    errors = []

    def failing(batch):
        raise LookupError("ledger")

    with ReplyServer(endpoint, failing) as server, RequestClient(endpoint, 50, 3) as client:
        server.start(errors.append)
        with pytest.raises(RequestTimeout):
            await client.request(b"x")
        assert [type(error) for error in errors] == [LookupError]
        server.close()
        server.close()


@pytest.fixture
def unix(endpoint):
    return endpoint.replace("ipc://", "unix://")


@contextmanager
def answering(unix, reply):
    """A server that reads one question, sends ``reply`` and hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(unix.removeprefix("unix://"))
        listener.listen()

        def serve():
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(5)
        assert not thread.is_alive()


async def test_asking_without_a_loop(unix):
    with ReplyServer(unix, Handler()) as server:
        server.start(pytest.fail)
        assert await asyncio.to_thread(ask, unix, b"x", 5000) == b"re: x"
        long = b"x" * (REQUEST_BYTES_MAX - 2 * ID_BYTES_MAX)
        assert await asyncio.to_thread(ask, unix, long, 5000) == b"re: " + long


async def test_asking_whoever_comes_while_it_waits(unix):
    asked = asyncio.create_task(asyncio.to_thread(ask, unix, b"x", 5000))
    await asyncio.sleep(0.05)
    with ReplyServer(unix, Handler()) as server:
        server.start(pytest.fail)
        assert await asked == b"re: x"


def test_asking_where_nobody_answers_is_a_time_out(unix):
    with pytest.raises(RequestTimeout, match="no reply within 20 ms"):
        ask(unix, b"x", 20)


def test_asking_where_somebody_listens_and_does_not_answer_is_a_time_out(unix):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(unix.removeprefix("unix://"))
        listener.listen()
        with pytest.raises(RequestTimeout, match="no reply within 50 ms"):
            ask(unix, b"x", 50)


def test_asking_one_that_ends_says_that_the_outcome_is_unknown(unix):
    with answering(unix, b""), pytest.raises(RequestTimeout, match="the connection ended before the reply"):
        ask(unix, b"x", 5000)


def test_an_answer_to_something_else_is_a_protocol_error(unix):
    with (
        answering(unix, encode(b"another", b"x")),
        pytest.raises(ProtocolError, match="not one to this question"),
    ):
        ask(unix, b"x", 5000)


def test_an_answer_that_is_no_message_is_a_protocol_error(unix):
    with answering(unix, b"\xff" * 64), pytest.raises(ProtocolError, match="is not a message"):
        ask(unix, b"x", 5000)


def test_a_question_that_no_server_takes_is_not_asked(unix):
    with pytest.raises(TransportError, match="a request of 1048576 bytes is too large"):
        ask(unix, bytes(REQUEST_BYTES_MAX), 5000)
