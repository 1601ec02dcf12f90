"""What a connection hands on to its session."""

import asyncio

import pytest
from aiohttp import WSMsgType

from arbshard.clock import ManualClock
from arbshard.exchanges import connection as connection_module
from arbshard.exchanges.connection import ClientConnection
from arbshard.exchanges.counters import VenueCounters
from arbshard.exchanges.hub import Hub
from arbshard.exchanges.session import CloseClient, SendData, SharedStream


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

    def on_open(self, now_ms):
        return ()

    def on_ping(self, now_ns):
        self.heard.append("ping")
        return ()

    def on_pong(self, payload, now_ns):
        self.heard.append(("pong", payload))
        return ()

    def on_text(self, text, now_ns, now_ms):
        self.heard.append(text)
        return (SendData(b"reply"),)

    def on_time(self, now_ns, quiet_ns):
        return (CloseClient(1008, "enough"),)


class Socket:
    compress = 0


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_control_frames_are_heard_however_their_payload_comes(kind):
    transport, session = Transport(), Session()
    connection = ClientConnection(
        Socket(), transport, session, Hub(binary=False), VenueCounters(), ManualClock()
    )
    connection._on_message(WSMsgType.PING, kind(b"abc"))
    connection._on_message(WSMsgType.PONG, kind(b"xyz"))
    assert session.heard == ["ping", ("pong", b"xyz")]
    assert transport.written == [b"\x8a\x03abc"]


def test_after_a_message_the_accounts_are_looked_at_once_it_is_answered():
    transport, session = Transport(), Session()
    transport.get_write_buffer_size = lambda: 0
    seen = []
    connection = ClientConnection(
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
    connection = ClientConnection(
        Socket(), transport, session, Hub(binary=False), VenueCounters(), ManualClock()
    )
    connection.on_time(1)
    said = list(transport.written)
    assert said
    connection.act([SendData(b"late")])
    connection.on_time(2)
    assert transport.written == said


class Talker(Session):
    """Subscribed to one stream, and has a word for a shutdown."""

    streams = frozenset({SharedStream("BTCUSDT", "diff", 0, slow=False, form="raw", name="btcusdt@depth")})

    def on_shutdown(self, now_ms):
        return (SendData(b"shutdown"),)


@pytest.fixture
def talk():
    """A connection, what was written, its hub and its counters."""
    transport, counters, hub = Transport(), VenueCounters(), Hub(binary=False)
    transport.get_write_buffer_size = lambda: 0
    connection = ClientConnection(Socket(), transport, Talker(), hub, counters, ManualClock())
    connection._follow()
    return connection, transport.written, hub, counters


def members(hub):
    return sum(len(found) for streams in hub._by_symbol.values() for found in streams.values())


def test_a_stalled_client_answers_pings_and_hears_nothing_else(talk):
    connection, written, hub, counters = talk
    assert members(hub) == 1
    connection.stall(on=True)
    connection.act([SendData(b"event")])
    connection._on_message(WSMsgType.TEXT, "hello")
    connection._on_message(WSMsgType.PING, b"abc")
    assert (written, members(hub), counters.withheld) == ([b"\x8a\x03abc"], 0, 2)
    connection.stall(on=False)
    connection.act([SendData(b"event")])
    assert (written[1:], members(hub), counters.withheld) == ([b"\x81\x05event"], 1, 2)


async def test_a_stalled_client_that_goes_does_not_come_back(talk):
    connection, _, hub, counters = talk

    class Ended:
        compress = 0

        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

    connection._socket = Ended()
    connection.stall(on=True)
    await connection.run()
    connection.stall(on=False)
    connection.act([SendData(b"event")])
    assert (members(hub), counters.clients) == (0, 0)


def test_a_shutdown_is_announced_where_there_is_a_word_for_it(talk):
    connection, written, _, _ = talk
    connection.announce_shutdown()
    assert written == [b"\x81\x08shutdown"]
    mute = ClientConnection(
        Socket(), Transport(), Session(), Hub(binary=False), VenueCounters(), ManualClock()
    )
    mute.announce_shutdown()
    assert mute._transport.written == []


async def test_what_comes_later_comes_at_once_when_too_much_is_waiting(talk, monkeypatch):
    connection, written, _, _ = talk
    monkeypatch.setattr(connection_module, "LATE_MAX", 2)
    for text in (b"1", b"2", b"3"):
        connection.act_later(10, SendData(text))
    assert written == [b"\x81\x013"]
    async with asyncio.timeout(5):
        while len(written) < 3:
            await asyncio.sleep(0.005)
    connection.act_later(1, SendData(b"4"))
    assert written == [b"\x81\x013", b"\x81\x011", b"\x81\x012"]


async def test_a_cut_is_counted_once(talk):
    connection, written, hub, counters = talk
    connection._transport.abort = lambda: None
    connection.cut("fault: test", clean=True)
    connection.cut("fault: test", clean=True)
    connection.cut("fault: test", clean=False)
    assert counters.closed == {"fault: test": 1}
    assert (len(written), members(hub)) == (1, 0)
