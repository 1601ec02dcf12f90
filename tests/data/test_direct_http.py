"""Calls over kept connections: what a venue may send, and what must never become the answer to another call."""

import asyncio
import socket

import pytest
from yarl import URL

from arbshard.data.direct_http import DirectHttp
from arbshard.data.trust import system_trust
from arbshard.secret import Secret
from arbshard.venues.base.client import NoAnswer, Withheld

OK = b"HTTP/1.1 200 OK\r\nX-Name: a\r\nContent-Length: 2\r\n\r\nok"


class Venue:
    """Sends ``answer`` for each request, and keeps what it received by connection."""

    def __init__(self):
        self.received = []
        self.answer = OK
        self.closes = False
        self.writers = []

    async def serve(self, reader, writer):
        mine = []
        self.received.append(mine)
        self.writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].partition(b":")[2])) if length else b""
                mine.append((head, body))
                writer.write(self.answer)
                await writer.drain()
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def venue():
    one = Venue()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield one
    server.close()
    for writer in one.writers:
        writer.close()
    await asyncio.sleep(0.01)


@pytest.fixture
async def http():
    one = DirectHttp(system_trust(), timeout_s=0.3, body_bytes_max=100)
    yield one
    await one.close()


async def send(http, venue, method="POST", target="/p", body: bytes | None = b"a=b", **further):
    url = URL(venue.url + target, encoded=True)
    headers = {"X-Key": Secret("the-key")}
    return await http.send(method, url, headers=headers, body=body, proxy=None, is_secret=True, **further)


async def test_a_request_is_sent_whole_and_its_connection_is_used_again(http, venue):
    told = []
    for _ in range(3):
        answer = await send(http, venue, on_sent=lambda: told.append(1))
        assert (answer.status, answer.body, answer.headers["x-name"]) == (200, b"ok", "a")
    await send(http, venue, "GET", "/q?x=1%2C2", None)
    (requests,) = venue.received
    assert [body for _, body in requests] == [b"a=b"] * 3 + [b""]
    head = requests[0][0].decode()
    assert head.startswith("POST /p HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "\r\nX-Key: the-key\r\n" in head
    assert requests[3][0].startswith(b"GET /q?x=1%2C2 HTTP/1.1\r\n")
    assert told == [1, 1, 1]


async def test_calls_at_the_same_time_have_connections_of_their_own(http, venue):
    assert [one.body for one in await asyncio.gather(*(send(http, venue) for _ in range(8)))] == [b"ok"] * 8
    assert len(venue.received) == 8
    await asyncio.gather(*(send(http, venue) for _ in range(8)))
    assert len(venue.received) == 8


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" + OK,
    ],
)
async def test_forms_of_an_answer(http, venue, answer):
    venue.answer = answer
    assert (await send(http, venue)).body == b"ok"
    assert (await send(http, venue)).body == b"ok"
    assert len(venue.received) == 1


@pytest.mark.parametrize("status", [307, 404, 429, 503])
async def test_every_status_is_an_answer(http, venue, status):
    venue.answer = b"HTTP/1.1 %d X\r\nLocation: http://127.0.0.2:9/\r\nContent-Length: 0\r\n\r\n" % status
    assert (await send(http, venue)).status == status


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"nonsense\r\n\r\n", "ValueError"),
        (b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "ValueError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101, "ValueError"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n", "ValueError"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok", "ValueError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "TimeoutError"),
        (b"", "TimeoutError"),
    ],
)
async def test_an_answer_that_cannot_be_read_may_mean_that_the_call_was_carried_out(http, venue, answer, why):
    venue.answer = answer
    with pytest.raises(NoAnswer) as caught:
        await send(http, venue)
    assert (str(caught.value), caught.value.sent) == (why, True)
    venue.answer = OK
    assert (await send(http, venue)).body == b"ok"
    assert len(venue.received) == 2


async def test_a_connection_that_is_closed_after_an_answer_is_not_used_again(http, venue):
    venue.closes = True
    assert (await send(http, venue)).body == b"ok"
    await asyncio.sleep(0.05)
    assert (await send(http, venue)).body == b"ok"
    assert len(venue.received) == 2


async def test_an_answer_cut_short_by_the_end_of_the_connection(http, venue):
    venue.answer, venue.closes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", True
    with pytest.raises(NoAnswer, match="ConnectionResetError") as caught:
        await send(http, venue)
    assert caught.value.sent


async def test_an_answer_without_a_length_ends_with_the_connection(http, venue):
    """Some proxies refuse calls with such a page; it must not look like an answer that was lost."""
    venue.answer, venue.closes = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nno", True
    answer = await send(http, venue)
    assert (answer.status, answer.body) == (403, b"no")
    venue.answer, venue.closes = OK, False
    assert (await send(http, venue)).body == b"ok"
    assert len(venue.received) == 2


async def test_closing_completes_no_answer(http, venue):
    venue.answer = b"HTTP/1.1 200 OK\r\n\r\nhal"
    call = asyncio.create_task(send(http, venue))
    await asyncio.sleep(0.05)
    await http.close()
    with pytest.raises(NoAnswer, match="ConnectionResetError") as caught:
        await call
    assert caught.value.sent


async def test_what_comes_without_a_request_is_no_answer_to_the_next_one(http, venue):
    venue.answer = OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse"
    assert (await send(http, venue)).body == b"ok"
    venue.answer = OK
    await asyncio.sleep(0.05)
    assert (await send(http, venue)).body == b"ok"
    assert len(venue.received) == 2


async def test_a_call_that_is_given_up_leaves_no_connection_to_others(http, venue):
    venue.answer = b""
    call = asyncio.create_task(send(http, venue))
    await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    venue.answer = OK
    assert (await send(http, venue)).body == b"ok"
    assert len(venue.received) == 2


async def test_without_a_connection_nothing_was_sent(http):
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    url = URL(f"http://127.0.0.1:{port}/p")
    with pytest.raises(NoAnswer, match="ConnectionRefusedError") as caught:
        await http.send("POST", url, body=b"x", proxy=None, is_secret=True)
    assert not caught.value.sent


async def test_a_new_connection_that_is_closed_before_the_request_has_sent_nothing(http, venue, monkeypatch):
    loop = asyncio.get_running_loop()
    create = loop.create_connection

    async def create_and_lose(*arguments, **further):
        transport, connection = await create(*arguments, **further)
        transport.abort()
        await connection.lost
        return transport, connection

    monkeypatch.setattr(loop, "create_connection", create_and_lose)
    with pytest.raises(NoAnswer, match="ConnectionResetError") as caught:
        await send(http, venue)
    assert not caught.value.sent
    assert venue.received in ([], [[]])


async def test_the_opening_of_a_connection_and_the_answer_share_one_time_limit(http, venue, monkeypatch):
    loop = asyncio.get_running_loop()
    create = loop.create_connection
    limits = []
    timeout_at = asyncio.timeout_at

    async def create_slowly(*arguments, **further):
        await asyncio.sleep(0.1)
        return await create(*arguments, **further)

    def note(when):
        limits.append(when)
        return timeout_at(when)

    monkeypatch.setattr(loop, "create_connection", create_slowly)
    monkeypatch.setattr(asyncio, "timeout_at", note)
    await send(http, venue)
    assert len(limits) == 2
    assert limits[0] == limits[1]


async def test_what_is_objected_to_once_a_slow_connection_is_open_is_not_written(http, venue, monkeypatch):
    loop = asyncio.get_running_loop()
    create, fenced, told = loop.create_connection, [], []

    async def create_slowly(*arguments, **further):
        made = await create(*arguments, **further)
        fenced.append(1)
        return made

    monkeypatch.setattr(loop, "create_connection", create_slowly)

    def objection():
        return "this worker has been replaced" if fenced else ""

    with pytest.raises(Withheld, match="not sent: this worker has been replaced") as caught:
        await send(http, venue, objection=objection, on_sent=lambda: told.append(1))
    assert not caught.value.sent
    assert told == []
    assert venue.received in ([], [[]])
    fenced.clear()
    assert (await send(http, venue, objection=objection)).body == b"ok"
    assert len(venue.received) == 1  # over the connection that was opened before


@pytest.fixture
def unanswered():
    """An address at which connections are neither accepted nor refused."""
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = []
    for _ in range(3):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(full.getsockname())
        waiting.append(one)
    yield full.getsockname()
    for one in (*waiting, full):
        one.close()


async def test_of_several_addresses_the_first_that_answers_is_used(venue, unanswered, monkeypatch):
    loop = asyncio.get_running_loop()
    good = ("127.0.0.1", URL(venue.url).port)

    async def find(host, port, **further):
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, unanswered), (*kind, good)]

    monkeypatch.setattr(loop, "getaddrinfo", find)
    http = DirectHttp(system_trust(), timeout_s=30.0, body_bytes_max=100)
    try:
        async with asyncio.timeout(20):
            assert (await send(http, venue)).body == b"ok"
    finally:
        await http.close()
    assert len(venue.received) == 1
