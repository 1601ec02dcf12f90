"""What a connection hands on to its session."""

import pytest
from aiohttp import WSMsgType

from arbshard.clock import ManualClock
from arbshard.sim.connection import Connection
from arbshard.sim.counters import VenueCounters
from arbshard.sim.hub import Hub
from arbshard.sim.session import Close, Send


class Transport:
    def __init__(self):
        self.written = []

    def write(self, data):
        self.written.append(data)

    def is_closing(self):
        return False


class Session:
    streams = frozenset()

    def __init__(self):
        self.heard = []

    def on_ping(self, now_ns):
        self.heard.append("ping")
        return ()

    def on_pong(self, payload, now_ns):
        self.heard.append(("pong", payload))
        return ()

    def on_text(self, text, now_ns, now_ms):
        self.heard.append(text)
        return (Send(b"reply"),)

    def on_time(self, now_ns, quiet_ns):
        return (Close(1008, "enough"),)


class Socket:
    compress = 0


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_control_frames_are_heard_however_their_payload_comes(kind):
    transport, session = Transport(), Session()
    connection = Connection(Socket(), transport, session, Hub(binary=False), VenueCounters(), ManualClock())
    connection._on_message(WSMsgType.PING, kind(b"abc"))
    connection._on_message(WSMsgType.PONG, kind(b"xyz"))
    assert session.heard == ["ping", ("pong", b"xyz")]
    assert transport.written == [b"\x8a\x03abc"]


def test_after_a_message_the_accounts_are_looked_at_once_it_is_answered():
    transport, session = Transport(), Session()
    transport.get_write_buffer_size = lambda: 0
    seen = []
    connection = Connection(
        Socket(),
        transport,
        session,
        Hub(binary=False),
        VenueCounters(),
        ManualClock(),
        after_message=lambda: seen.append(list(transport.written)),
    )
    connection._on_message(WSMsgType.TEXT, "order")
    assert seen == [[b"\x81\x05reply"]]
    connection._on_message(WSMsgType.PING, b"")
    assert len(seen) == 1


async def test_nothing_more_is_said_to_a_client_that_was_sent_away():
    transport, session = Transport(), Session()
    transport.get_write_buffer_size = lambda: 0
    transport.abort = lambda: None
    connection = Connection(Socket(), transport, session, Hub(binary=False), VenueCounters(), ManualClock())
    connection.on_time(1)
    said = list(transport.written)
    assert said
    connection.act([Send(b"late")])
    connection.on_time(2)
    assert transport.written == said
