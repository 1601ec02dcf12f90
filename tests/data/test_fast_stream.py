"""What picows does with connections that are lost at once or about to end."""

import pytest
from websockets.asyncio.server import serve

from arbshard.data.stream import Target
from arbshard.errors import VenueUnavailable


@pytest.mark.needs("fast")
async def test_a_connection_that_is_lost_as_it_is_opened_is_a_venue_that_is_unavailable(monkeypatch):
    """An exchange that is killed right after the handshake: a failed assertion here ended the whole run."""

    from arbshard.data import fast_stream  # it needs the extra

    async def lost(*_: object, **__: object) -> tuple[None, None]:
        return None, None

    monkeypatch.setattr(fast_stream, "ws_connect", lost)
    target = Target("ws://127.0.0.1:1/ws", 30.0)
    with pytest.raises(VenueUnavailable, match="lost as it was opened"):
        async with fast_stream.open_fast_stream(target, lambda message, at_ns: None, lambda: 0):
            raise AssertionError("it is not open")


@pytest.mark.needs("fast")
async def test_a_message_after_a_close_frame_is_refused_and_not_dropped(monkeypatch):
    """A venue takes its time to close the socket; picows drops what is sent meanwhile without an error."""
    from arbshard.data import fast_stream

    connect, transports = fast_stream.ws_connect, []

    async def connect_and_keep(*arguments, **further):
        transport, listener = await connect(*arguments, **further)
        transports.append(transport)
        return transport, listener

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    monkeypatch.setattr(fast_stream, "ws_connect", connect_and_keep)
    async with serve(echo, "127.0.0.1", 0) as server:
        target = Target(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", 30.0)
        async with fast_stream.open_fast_stream(target, lambda message, at_ns: None, lambda: 0) as stream:
            stream.write("an order")
            transports[0].send_close()
            with pytest.raises(VenueUnavailable, match="the connection is over"):
                stream.write("an order")
