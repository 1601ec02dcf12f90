"""What a connection hands on to its session."""

import pytest
from aiohttp import WSMsgType

from arbshard.clock import ManualClock
from arbshard.sim.connection import Connection
from arbshard.sim.counters import VenueCounters
from arbshard.sim.hub import Hub


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
