"""Both WebSocket clients behind ``data.stream``, against a real server."""

import asyncio
import time

import pytest
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response

from arbshard.data.stream import MESSAGE_BYTES_MAX, HandshakeRefused, Target, open_stream
from arbshard.errors import VenueUnavailable

pytestmark = pytest.mark.integration


@pytest.fixture(params=["websockets", pytest.param("picows", marks=pytest.mark.needs("fast"))])
def receiver(request):
    return request.param


class Server:
    """Serves one handler, on a port of its own."""

    def __init__(self):
        self.handler = None
        self.refusal = None
        """The response to each handshake; None for a connection."""
        self.heard = []

    async def __aenter__(self):
        self._server = await serve(
            self._serve, "127.0.0.1", 0, compression=None, process_request=lambda *_: self.refusal
        )
        port = self._server.sockets[0].getsockname()[1]
        self.target = Target(f"ws://127.0.0.1:{port}/", 20.0)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, socket):
        await self.handler(socket)


@pytest.fixture
async def server():
    async with Server() as one:
        yield one


class Taker:
    def __init__(self):
        self.messages = []
        self.times = []

    def __call__(self, message, received_ns):
        self.messages.append(message)
        self.times.append(received_ns)


async def collect(server, receiver, taker):
    async with asyncio.timeout(10):
        async with open_stream(server.target, taker, time.monotonic_ns, receiver) as stream:
            return await stream.until_over()


async def test_a_burst_comes_whole_and_in_order(server, receiver):
    sent = [b'{"n":%d}' % n for n in range(5_000)]

    async def handler(socket):
        for message in sent:
            await socket.send(message, text=True)
        await socket.close(1001, "enough")

    server.handler = handler
    taker = Taker()
    began_ns = time.monotonic_ns()
    why = await collect(server, receiver, taker)
    assert taker.messages == sent
    assert all(type(message) is bytes for message in taker.messages[:10])
    assert taker.times == sorted(taker.times)
    assert began_ns < taker.times[0]
    assert taker.times[-1] < time.monotonic_ns()
    assert "1001" in why
    assert "enough" in why


@pytest.mark.parametrize("status", [418, 429, 451, 302])
async def test_a_handshake_that_is_refused_brings_the_whole_answer(server, receiver, status):
    """Its headers or its text say for how long the venue refuses this address."""
    headers = Headers({"Retry-After": "17", "Content-Length": "4", "Location": "https://elsewhere/x?sign=1"})
    server.refusal = Response(status, "No", headers, b"wait")
    with pytest.raises(HandshakeRefused) as raised:
        await collect(server, receiver, Taker())
    answer = raised.value.answer
    assert answer.status == status
    assert answer.headers["retry-after"] == "17"
    assert answer.body == b"wait"
    assert answer.pause_s == (17.0 if status in (418, 429) else 0.0)
    assert str(status) in str(raised.value)
    assert "sign=1" not in str(raised.value)


async def test_what_is_read_at_once_was_received_at_once(server, receiver):
    """A slow taker makes no message look newer than it is."""

    async def handler(socket):
        for _ in range(20):
            await socket.send(b"x", text=False)
        await socket.close()

    server.handler = handler
    times = []

    def slow(_, received_ns):
        times.append(received_ns)
        time.sleep(0.005)

    await collect(server, receiver, slow)
    # Twenty takings last 100 ms; all that was sent in one go was read in a few reads.
    assert len(times) == 20
    assert len(set(times)) < 10


async def test_fragments_are_put_together(server, receiver):
    async def handler(socket):
        await socket.send(["one ", "two ", "three"])
        await socket.send(b"whole")
        await socket.close()

    server.handler = handler
    taker = Taker()
    await collect(server, receiver, taker)
    assert taker.messages == [b"one two three", b"whole"]


async def test_what_we_say_arrives_and_pings_are_answered(server, receiver):
    async def handler(socket):
        server.heard.append(await socket.recv())
        await (await socket.ping(b"there?"))
        server.heard.append("pong")
        await socket.close()

    server.handler = handler
    async with (
        asyncio.timeout(10),
        open_stream(server.target, Taker(), time.monotonic_ns, receiver) as stream,
    ):
        await stream.send("subscribe")
        await stream.until_over()
    assert server.heard == ["subscribe", "pong"]
    with pytest.raises(VenueUnavailable, match=r"the connection is over|sent 1000 \(OK\)"):
        await stream.send("too late")


async def test_our_pings_are_answered(server, receiver):
    """The time of an answer shows that all that was sent before has come."""

    async def handler(socket):
        async for _ in socket:
            pass

    server.handler = handler
    async with open_stream(server.target, Taker(), time.monotonic_ns, receiver) as stream:
        assert stream.ponged_ns == 0
        for _ in range(3):
            before_ns = time.monotonic_ns()
            await stream.ping()
            async with asyncio.timeout(5):
                while stream.ponged_ns < before_ns:
                    await asyncio.sleep(0.001)
            assert stream.ponged_ns <= time.monotonic_ns()
        stream.abort()
        await stream.until_over()
        with pytest.raises(VenueUnavailable):
            await stream.ping()


async def test_a_defect_in_the_taker_is_raised_and_ends_the_connection(server, receiver):
    async def handler(socket):
        await socket.send("a")
        await socket.send("b")
        await socket.wait_closed()
        server.heard.append("gone")

    server.handler = handler
    taken = []

    def broken(message, _):
        taken.append(message)
        raise ZeroDivisionError("a defect of ours")

    with pytest.raises(ZeroDivisionError):
        await collect(server, receiver, broken)
    assert taken == [b"a"]


async def test_a_message_without_end_is_refused(server, receiver):
    async def handler(socket):
        for _ in range(4):
            await socket.send("y" * (MESSAGE_BYTES_MAX // 2 + 1))
        await socket.send(["z" * (MESSAGE_BYTES_MAX // 2 + 1)] * 4)
        await socket.wait_closed()

    server.handler = handler
    taker = Taker()
    await collect(server, receiver, taker)
    assert len(taker.messages) == 4


async def test_abort_lets_go_at_once(server, receiver):
    gone = asyncio.Event()

    async def handler(socket):
        await socket.wait_closed()
        gone.set()

    server.handler = handler
    async with (
        asyncio.timeout(10),
        open_stream(server.target, Taker(), time.monotonic_ns, receiver) as stream,
    ):
        stream.abort()
        await stream.until_over()
        await gone.wait()


async def test_nobody_there(receiver):
    with pytest.raises(VenueUnavailable, match="Connect call failed"):
        async with open_stream(Target("ws://127.0.0.1:1/", 20.0), Taker(), time.monotonic_ns, receiver):
            pass


async def test_not_a_websocket(receiver):
    async def answer(_, writer):
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    plain = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    try:
        with pytest.raises(VenueUnavailable, match="403"):
            async with open_stream(
                Target(f"ws://127.0.0.1:{port}/", 20.0), Taker(), time.monotonic_ns, receiver
            ):
                pass
    finally:
        plain.close()
        await plain.wait_closed()


async def test_an_address_that_is_none(receiver):
    with pytest.raises(VenueUnavailable, match="Invalid IPv6 URL"):
        async with open_stream(Target("http://[", 20.0), Taker(), time.monotonic_ns, receiver):
            pass


async def test_headers_go_with_the_handshake_and_are_not_shown(server, receiver):
    seen = {}

    async def handler(socket):
        seen["token"] = socket.request.headers["Authorization"]
        await socket.close()

    server.handler = handler
    target = server.target._replace(headers=(("Authorization", "Bearer s3cret"),))
    assert "s3cret" not in f"{target!r} {target}"
    async with asyncio.timeout(10), open_stream(target, Taker(), time.monotonic_ns, receiver) as stream:
        await stream.until_over()
    assert seen["token"] == "Bearer s3cret"
