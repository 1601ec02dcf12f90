"""However much is said, and by however many: a server holds little, counts what it closed, and still answers."""

import asyncio
import errno
import os
import socket
import struct
import time
from contextlib import ExitStack
from decimal import Decimal
from functools import partial

import psutil
import pytest
import zmq
from msgspec.structs import replace

from arbshard.errors import TransportError
from arbshard.wire import messages, sockets, unix
from arbshard.wire.bus import Publisher, Subscriber
from arbshard.wire.envelope import ID_BYTES_MAX, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, VERSION
from arbshard.wire.request import RequestClient
from arbshard.wire.serve import ReplyServer
from arbshard.wire.sockets import open_socket

MB = 1_000_000


@pytest.fixture
def path(endpoint):
    return endpoint.removeprefix("ipc://")


@pytest.fixture
async def server(path):
    with ReplyServer(f"unix://{path}", lambda batch: [b"re: " + payload for payload in batch]) as one:
        one.start(pytest.fail)
        yield one


@pytest.fixture
def peers():
    """Connections that say what they are told; all are closed at the end."""
    with ExitStack() as opened:

        def connect(path, say=b""):
            peer = opened.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(path)
            peer.setblocking(False)
            if say:
                peer.send(say)
            return peer

        yield connect


async def push(peer, data):
    """Write all of it, unless the other side hangs up; whether it took everything."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(peer, data)
    except OSError:
        return False
    return True


async def is_closed(peer):
    try:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(peer, 100), 5) == b""
    except ConnectionError:
        return True


def unfinished(size, announced=REQUEST_BYTES_MAX):
    return struct.pack("<IB", announced, 2) + bytes(size)


async def test_a_message_too_large_ends_its_connection_before_it_comes(server, peers, path):
    peer = peers(path, unfinished(10, announced=REQUEST_BYTES_MAX + 1))
    assert await is_closed(peer)
    assert server.bad == 1


async def test_the_largest_message_is_answered(server, path):
    with RequestClient(f"unix://{path}", 5000, 1) as client:
        payload = bytes(REQUEST_BYTES_MAX - 2 * ID_BYTES_MAX)
        assert await client.request(payload) == b"re: " + payload
        with pytest.raises(TransportError, match="a request of 1048576 bytes is too large"):
            await client.request(bytes(REQUEST_BYTES_MAX))


async def test_unfinished_messages_are_bounded_in_sum(server, peers, path, until):
    """Thirty that never end: the largest have to go, an asker in between is answered."""
    listener = server._listeners[0]
    before = psutil.Process().memory_info().rss
    with RequestClient(f"unix://{path}", 5000, 1) as client:
        assert await client.request(b"before") == b"re: before"
        for _ in range(30):
            await push(peers(path), unfinished(900_000))
            assert await client.request(b"x") == b"re: x"
            assert listener._held <= unix.HELD_BYTES_MAX
        await until(lambda: server.bad >= 30 - unix.HELD_BYTES_MAX // 900_000)
        assert server.bad <= 30 - unix.HELD_BYTES_MAX // 900_000 + 1
        assert client.retried == 0
    assert psutil.Process().memory_info().rss - before < 20 * MB


async def test_requests_that_wait_are_bounded_in_bytes(path, peers, until):
    """Nobody takes them meanwhile: who has sent most has to go with its requests, the others' stay."""
    listener = unix.UnixListener(f"unix://{path}")
    ready = []
    listener.start(lambda: ready.append(1))
    try:
        modest, greedy = peers(path), peers(path)
        await push(modest, unix.encode(b"id", b"modest"))
        await until(lambda: listener._held > 0)
        one = unix.encode(b"id", bytes(50_000))
        await push(greedy, one * 200)
        await until(lambda: listener.bad >= 1)
        assert [asked.payload for asked in listener.receive(1000)] == [b"modest"]
        assert listener._held == 0
    finally:
        listener.close()


async def test_what_is_held_is_given_back(server, peers, path, until):
    listener = server._listeners[0]
    for say in (unfinished(1000), unix.encode(b"id", b"x") + unfinished(500), b"\xff" * 50):
        peers(path, say)
    await until(lambda: listener._held == 1500 + 2 * 5)
    for line in tuple(listener._clients):
        line.end()
    assert (listener._held, listener._clients) == (0, {})


async def test_idle_connections_keep_nobody_out(server, peers, path, until):
    """1,200 connections that say nothing: a worker that was there stays, and a new one gets in."""
    with RequestClient(f"unix://{path}", 5000, 1) as old, RequestClient(f"unix://{path}", 5000, 1) as new:
        assert await old.request(b"x") == b"re: x"
        listener = server._listeners[0]
        for _ in range(60):
            came = listener._order + 20
            for _ in range(20):
                peers(path)
            await until(partial(lambda count: listener._order >= count, came))
        await until(lambda: server.bad >= 1200 - unix.CONNECTIONS_MAX)
        assert len(listener._clients) == unix.CONNECTIONS_MAX
        assert await new.request(b"y") == b"re: y"
        for _ in range(unix.CONNECTIONS_MAX + 10):
            peers(path)
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert await old.request(b"z") == b"re: z"
        assert (old.retried, new.retried) == (0, 0)


async def test_of_those_who_asked_the_longest_silent_goes_first(server, path, peers, until, monkeypatch):
    monkeypatch.setattr(unix, "CONNECTIONS_MAX", 3)
    lines = []
    for name in (b"a", b"b", b"c"):
        lines.append(peers(path, unix.encode(b"id" + name, name)))
        await asyncio.sleep(0.01)
    lines[0].send(unix.encode(b"again", b"a"))
    await until(lambda: server.requests >= 4)
    peers(path)
    await until(lambda: server.bad >= 1)
    drained = await asyncio.get_running_loop().sock_recv(lines[1], 100)
    assert unix.Messages(REPLY_BYTES_MAX).feed(drained) == [(b"idb", b"re: b")]
    assert await is_closed(lines[1])


async def test_replies_that_nobody_reads_are_bounded_in_sum(path, peers, until, monkeypatch):
    monkeypatch.setattr(unix, "_UNSENT_BYTES_SUM_MAX", 3 * MB)
    with ReplyServer(f"unix://{path}", lambda batch: [bytes(MB)] * len(batch)) as server:
        server.start(pytest.fail)
        for number in range(8):
            peers(path, unix.encode(b"%d" % number, b"x"))
        await until(lambda: server.requests >= 8)
        assert server.bad >= 4
        assert sum(line.unsent for line in server._listeners[0]._clients) <= 3 * MB


async def test_no_descriptor_left_is_counted_and_tried_again_after_a_pause(server, peers, path, monkeypatch):
    class Exhausted:
        def __init__(self, listener):
            self._listener, self.tries = listener, 0

        def __getattr__(self, name):
            return getattr(self._listener, name)

        def accept(self):
            self.tries += 1
            if self.tries == 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            if self.tries > 2:
                raise BlockingIOError
            return self._listener.accept()

    listener = server._listeners[0]
    listener._listener = exhausted = Exhausted(listener._listener)
    with RequestClient(f"unix://{path}", 5000, 1) as client:
        began_s = time.monotonic()
        assert await client.request(b"x") == b"re: x"
        assert time.monotonic() - began_s >= unix._ACCEPT_AGAIN_S / 2
    assert (exhausted.tries, server.bad) == (3, 1)


class TestZmq:
    def test_a_frame_too_large_never_comes(self, endpoint):
        before = psutil.Process().memory_info().rss
        with ExitStack() as opened:
            server = opened.enter_context(ReplyServer(endpoint, lambda batch: batch))
            loud = opened.enter_context(open_socket(zmq.DEALER, endpoint, bind=False, high_water=10))
            loud.send_multipart([b"", VERSION, b"id", bytes(20 * MB)])
            modest = opened.enter_context(open_socket(zmq.REQ, endpoint, bind=False, high_water=10))
            modest.send_multipart([VERSION, b"id", b"x"])
            deadline_s = time.monotonic() + 60
            while not server.step():
                assert time.monotonic() < deadline_s
            assert modest.poll(5000)
            time.sleep(0.2)
            assert server.step() == 0
            assert server.requests == 1
            assert (
                psutil.Process().memory_info().rss - before < 30 * MB
            )  # the sender's copy, in this process too

    def test_who_does_not_introduce_himself_has_to_go(self, endpoint, path, peers, monkeypatch):
        monkeypatch.setattr(sockets, "_HANDSHAKE_MS", 100)
        with open_socket(zmq.ROUTER, endpoint, bind=True, high_water=10):
            peer = peers(path)
            peer.settimeout(5)
            while peer.recv(100):  # its own greeting
                pass

    def test_a_subscription_too_long_is_not_taken(self, endpoint):
        with Publisher(endpoint) as publisher, Subscriber(endpoint) as good, Subscriber(endpoint) as bad:
            bad.subscribe(b"x" * 5000)
            good.subscribe(b"books")
            deadline_s = time.monotonic() + 60
            while not publisher.wanted(b"books.1"):
                publisher.pump()
                assert time.monotonic() < deadline_s
            time.sleep(0.1)
            publisher.pump()
            assert list(publisher._prefixes) == [b"books"]


class TestRealSizes:
    """The largest messages of a run with as many pairs as there may be."""

    PAIRS = tuple(f"COIN{number:05d}" for number in range(1128))

    def test_requests_have_room(self, make):
        order = make.order(make.home, "buy", "0.12345678", "145000000")
        fills = tuple(make.fill(order, "0.00012345", "145000000", number) for number in range(400))
        result = replace(make.result(order, "filled", "0.12345678"), fills=fills)
        amount = Decimal("12345.12345678")
        largest = {
            "hello": messages.Hello(1, 1, 1, self.PAIRS),
            "400 fills": messages.Report(1, 1, "s1-0-1-1", result),
            "statement": messages.Statement(
                "binance", 1, tuple((name, amount, amount) for name in self.PAIRS),
                tuple((f"abcde-{name}", f"{name}USDT", amount) for name in self.PAIRS), settled=True,
                read_ns=1,
            ),
        }  # fmt: skip
        sizes = {name: len(messages.encode(message)) for name, message in largest.items()}
        assert max(sizes.values()) < REQUEST_BYTES_MAX / 4, sizes

    def test_replies_have_room(self, make):
        order = make.order(make.home, "buy", "0.12345678", "145000000")
        fills = tuple(make.fill(order, "0.00012345", "145000000", number) for number in range(4))
        position = make.position(fills)
        positions = tuple(replace(position, pair=name) for name in self.PAIRS)
        size = len(messages.encode(messages.Positions(positions, ())))
        assert size < REPLY_BYTES_MAX / 2, size
