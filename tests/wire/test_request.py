"""A question is answered, repeated under its own id, or given up, and never mixed up with another."""

import asyncio
import gc

import pytest
import zmq

from arbshard.errors import RequestTimeout, TransportError
from arbshard.wire.envelope import VERSION
from arbshard.wire.request import RequestClient
from arbshard.wire.sockets import SocketReader, open_socket, receive


class ScriptedServer:
    """Keeps every request; replies with what ``reply`` makes of (number, id, payload), None for silence."""

    def __init__(self, endpoint, reply):
        self.socket = open_socket(zmq.ROUTER, endpoint, bind=True, high_water=100)
        self.requests = []
        self.reply = reply
        self.reader = SocketReader(self.socket, self.drain)

    def drain(self):
        frames = receive(self.socket)
        if frames is None:
            return
        route, empty, _version, request_id, payload = frames
        self.requests.append((request_id, payload))
        reply = self.reply(len(self.requests), request_id, payload)
        if reply is not None:
            self.socket.send_multipart([route, empty, *reply])

    def close(self):
        self.reader.close()
        self.socket.close()


@pytest.fixture
async def serve(endpoint):
    servers = []

    def start(reply):
        servers.append(ScriptedServer(endpoint, reply))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def echo(_number, request_id, payload):
    return [VERSION, request_id, b"re: " + payload]


async def test_questions_are_answered_one_after_the_other_on_one_socket(serve, endpoint):
    server = serve(echo)
    with RequestClient(endpoint, 5000, 1) as client:
        replies = await asyncio.gather(*(client.request(b"%d" % n) for n in range(50)))
    assert replies == [b"re: %d" % n for n in range(50)]
    assert len({request_id for request_id, _ in server.requests}) == 50
    assert (client.sent, client.retried, client.timed_out, client.late) == (50, 0, 0, 0)


async def test_waiting_questions_go_out_by_priority_then_by_age(serve, endpoint):
    server = serve(echo)
    with RequestClient(endpoint, 5000, 1) as client:
        asks = [(b"out already", 9), (b"c", 2), (b"a", 0), (b"d", 2), (b"b", 1)]
        await asyncio.gather(*(client.request(payload, priority=priority) for payload, priority in asks))
    assert [payload for _, payload in server.requests] == [b"out already", b"a", b"b", b"c", b"d"]


async def test_a_question_without_reply_is_resent_under_its_id(serve, endpoint):
    server = serve(lambda number, *ask: echo(number, *ask) if number == 3 else None)
    with RequestClient(endpoint, 30, 20) as client:
        assert await client.request(b"x", request_id=b"mine") == b"re: x"
    assert [request_id for request_id, _ in server.requests] == [b"mine"] * 3
    assert client.sent == 1
    assert client.retried >= 2
    assert client.timed_out == 0


async def test_after_the_last_try_the_outcome_is_unknown_and_the_next_question_goes_out(serve, endpoint):
    server = serve(
        lambda number, request_id, payload: None if payload == b"x" else echo(number, request_id, payload)
    )
    with RequestClient(endpoint, 100, 3) as client:
        first = asyncio.ensure_future(client.request(b"x"))
        second = asyncio.ensure_future(client.request(b"y"))
        with pytest.raises(RequestTimeout, match="3 tries"):
            await first
        assert await second == b"re: y"
    assert (client.sent, client.timed_out) == (2, 1)
    assert client.retried >= 2  # the answer to the second one may be late as well
    assert {payload for _, payload in server.requests} == {b"x", b"y"}


async def test_nobody_there_is_a_time_out_and_somebody_later_is_found(serve, endpoint):
    with RequestClient(endpoint, 20, 2) as client:
        with pytest.raises(RequestTimeout):
            await client.request(b"x")
        serve(echo)
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await client.request(b"y") == b"re: y"
                    break
                except RequestTimeout:
                    continue


@pytest.mark.parametrize(
    "wrong", [[VERSION, b"another", b"poison"], [b"arb0", b"mine", b"poison"], [VERSION, b"mine"]]
)
async def test_a_reply_to_something_else_is_dropped_counted_and_asked_again(serve, endpoint, wrong):
    serve(lambda number, *ask: wrong if number == 1 else echo(number, *ask))
    with RequestClient(endpoint, 50, 20) as client:
        assert await client.request(b"x", request_id=b"mine") == b"re: x"
        assert client.late == 1
        assert client.retried >= 1


async def test_a_full_queue_is_an_error_at_once_and_counted(endpoint):
    with RequestClient(endpoint, 5000, 1, queue_limit=2) as client:
        asked = [asyncio.ensure_future(client.request(b"x")) for _ in range(3)]  # one out, two waiting
        await asyncio.sleep(0)
        with pytest.raises(TransportError, match="request queue full"):
            await client.request(b"x")
        assert client.refused == 1
        client.close()
        results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [TransportError] * 3


async def test_a_cancelled_question_is_not_sent_and_one_in_flight_blocks_nobody_for_long(serve, endpoint):
    server = serve(
        lambda number, request_id, payload: None if payload == b"out" else echo(number, request_id, payload)
    )
    with RequestClient(endpoint, 50, 100) as client:
        out, waiting, last = (
            asyncio.ensure_future(client.request(name)) for name in (b"out", b"waiting", b"last")
        )
        await asyncio.sleep(0.01)
        out.cancel()
        waiting.cancel()
        assert await last == b"re: last"
        assert b"waiting" not in [payload for _, payload in server.requests]
        assert await asyncio.gather(out, waiting, return_exceptions=True)


async def test_a_closed_client_takes_no_question(endpoint):
    client = RequestClient(endpoint, 50, 1)
    client.close()
    client.close()
    with pytest.raises(TransportError, match="closed"):
        await client.request(b"x")


async def test_an_endpoint_that_cannot_be_opened_is_told_to_the_asker():
    with (
        RequestClient("ipc:///tmp/" + "x" * 200, 50, 1) as client,
        pytest.raises(TransportError, match="bytes"),
    ):
        await client.request(b"x")


async def test_a_client_that_closes_reports_no_question_that_nobody_waits_for(endpoint):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
    client = RequestClient(endpoint, 5000, 1)
    client.request(b"is anybody there?")
    client.close()
    gc.collect()
    await asyncio.sleep(0)
    assert reported == []
