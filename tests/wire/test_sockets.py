"""Endpoints that cannot work are said so; a reader misses nothing, also when its owner fails."""

import asyncio

import pytest
import zmq

from arbshard.errors import TransportError
from arbshard.wire.sockets import SocketReader, is_readable, open_socket, receive


def test_a_path_too_long_for_a_socket_is_said_so_before_it_is_tried():
    longest = "ipc:///tmp/" + "x" * 102
    with pytest.raises(TransportError, match="108 bytes long, a socket's may have 107; choose a shorter"):
        open_socket(zmq.REQ, longest + "x", bind=False, high_water=1)
    with pytest.raises(TransportError, match="110 bytes"):
        open_socket(zmq.REQ, "ipc:///tmp/" + "€" * 35, bind=False, high_water=1)
    open_socket(zmq.REQ, longest[:118], bind=False, high_water=1).close()


@pytest.mark.parametrize("endpoint", ["ipc:///nowhere/at/all", "nonsense://x"])
def test_an_endpoint_that_cannot_be_bound_is_an_error_with_its_name(endpoint):
    with pytest.raises(TransportError, match=endpoint):
        open_socket(zmq.ROUTER, endpoint, bind=True, high_water=1)


def test_no_message_is_none_and_no_wait(endpoint):
    with open_socket(zmq.PULL, endpoint, bind=True, high_water=1) as socket:
        assert not is_readable(socket)
        assert receive(socket) is None


async def test_a_reader_that_takes_one_message_at_a_time_gets_all(endpoint, until):
    push = open_socket(zmq.PUSH, endpoint, bind=False, high_water=1000)
    pull = open_socket(zmq.PULL, endpoint, bind=True, high_water=1000)
    got = []
    reader = SocketReader(pull, lambda: got.append(receive(pull)))
    try:
        for n in range(500):
            push.send(b"%d" % n)
        await until(lambda: len([frames for frames in got if frames]) >= 500)
        assert [frames[0] for frames in got if frames] == [b"%d" % n for n in range(500)]
    finally:
        reader.close()
        reader.close()
        pull.close()
        push.close()


async def test_a_failing_owner_is_reported_and_the_messages_behind_are_not_forgotten(endpoint, until):
    push = open_socket(zmq.PUSH, endpoint, bind=False, high_water=1000)
    pull = open_socket(zmq.PULL, endpoint, bind=True, high_water=1000)
    got, reported = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def drain() -> None:
        frames = receive(pull)
        if frames is not None:
            got.append(frames[0])
            raise LookupError(frames[0])

    reader = SocketReader(pull, drain)
    try:
        for n in range(5):
            push.send(b"%d" % n)
        await until(lambda: len(got) >= 5)
        assert [type(error) for error in reported] == [LookupError] * 5
    finally:
        reader.close()
        pull.close()
        push.close()


async def test_a_closed_reader_is_never_called_again(endpoint):
    push = open_socket(zmq.PUSH, endpoint, bind=False, high_water=10)
    pull = open_socket(zmq.PULL, endpoint, bind=True, high_water=10)
    calls = []
    reader = SocketReader(pull, lambda: calls.append(1))
    try:
        push.send(b"x")
        assert pull.poll(5000)
        reader.poke()
        reader.close()
        reader.poke()
        await asyncio.sleep(0.01)
        assert calls == []
    finally:
        pull.close()
        push.close()
