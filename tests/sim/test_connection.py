"""The shell of one client, on a transport that writes to a list."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import WSMsgType

from arbshard.clock import ManualClock
from arbshard.sim.connection import Connection
from arbshard.sim.counters import VenueCounters
from arbshard.sim.hub import Hub
from arbshard.sim.session import Action, Close, Cut, Ping, Send, Stream
from arbshard.sim.wsframe import Frame, close_frame, ping_frame, pong_frame

STREAM = Stream("KRW-BTC", "orderbook", 5, slow=False, form="DEFAULT", name="KRW-BTC")


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.waiting = 0
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


class Socket:
    """Hands out messages, then ends."""

    compress = 0

    def __init__(self, *messages: tuple[WSMsgType, Any]) -> None:
        self._messages = list(messages)

    def __aiter__(self) -> "Socket":
        return self

    async def __anext__(self) -> SimpleNamespace:
        await asyncio.sleep(0)
        if not self._messages:
            raise StopAsyncIteration
        kind, data = self._messages.pop(0)
        return SimpleNamespace(type=kind, data=data)


class Session:
    """Answers what it is told to; subscribed once anything was said."""

    def __init__(self, *answers: Action) -> None:
        self._answers = answers
        self.streams: frozenset[Stream] = frozenset()
        self.seen: list[object] = []

    def on_open(self, now_ms: int) -> Sequence[Action]:
        return ()

    def on_text(self, text: str, now_ns: int, now_ms: int) -> Sequence[Action]:
        self.seen.append(text)
        self.streams = frozenset([STREAM])
        return self._answers

    def on_ping(self, now_ns: int) -> Sequence[Action]:
        self.seen.append("ping")
        return ()

    def on_pong(self, payload: bytes, now_ns: int) -> Sequence[Action]:
        self.seen.append(payload)
        return ()

    def on_time(self, now_ns: int, quiet_ns: int) -> Sequence[Action]:
        self.seen.append(quiet_ns)
        return self._answers


class Rig:
    def __init__(self, session: Session, *messages: tuple[WSMsgType, Any]) -> None:
        self.transport, self.hub, self.counters = Transport(), Hub(binary=True), VenueCounters()
        self.clock = ManualClock()
        self.connection = Connection(
            Socket(*messages),  # type: ignore[arg-type]
            self.transport,  # type: ignore[arg-type]
            session,
            self.hub,
            self.counters,
            self.clock,
            write_buffer_max=1000,
        )

    def subscribers(self) -> int:
        return sum(len(members) for streams in self.hub._by_symbol.values() for members in streams.values())


async def test_text_is_answered_and_the_client_leaves_nothing_behind() -> None:
    session = Session(Send(b"{}"))
    rig = Rig(session, (WSMsgType.TEXT, "hello"), (WSMsgType.BINARY, b"bytes"))
    await rig.connection.run()
    assert session.seen == ["hello", "bytes"]
    assert rig.transport.written == [Frame(b"{}", binary=True).wire(0)] * 2
    assert rig.subscribers() == 0
    assert (rig.counters.clients, rig.counters.clients_seen, rig.counters.frames_sent) == (0, 1, 2)


async def test_pings_are_answered_and_shown_to_the_session() -> None:
    session = Session()
    rig = Rig(session, (WSMsgType.PING, b"a"), (WSMsgType.PONG, b"b"))
    await rig.connection.run()
    assert rig.transport.written == [pong_frame(b"a")]
    assert session.seen == ["ping", b"b"]


async def test_a_client_that_does_not_read_is_dropped_with_1008() -> None:
    rig = Rig(Session())
    rig.connection._session.on_text("x", 0, 0)
    rig.connection._follow()
    assert rig.subscribers() == 1
    rig.transport.waiting = 1001
    rig.connection.send(Frame(b"{}", binary=True))
    rig.connection.send(Frame(b"{}", binary=True))
    assert rig.transport.written == [close_frame(1008, "client too slow")]
    assert rig.counters.dropped_slow == 1
    assert rig.subscribers() == 0
    assert not rig.transport.aborted  # it has a second to read the rest


@pytest.mark.parametrize(
    ("action", "written", "aborted"),
    [
        (Ping(b"p"), [ping_frame(b"p")], False),
        (Close(1008, "no"), [close_frame(1008, "no")], False),
        (Cut("idle"), [], True),
    ],
)
async def test_actions_of_time(action: Action, written: list[bytes], aborted: bool) -> None:
    session = Session(action)
    rig = Rig(session)
    rig.clock.advance_ms(2500)
    rig.connection.on_time(rig.clock.monotonic_ns())
    assert session.seen == [2_500_000_000]
    assert rig.transport.written == written
    assert rig.transport.aborted is aborted
    assert sum(rig.counters.closed.values()) == (not isinstance(action, Ping))


async def test_nothing_more_is_said_to_a_client_that_was_sent_away() -> None:
    session = Session()
    rig = Rig(session, (WSMsgType.TEXT, "late"))
    rig.connection.go_away()
    rig.connection.send(Frame(b"{}", binary=True))
    await rig.connection.run()
    assert session.seen == []
    assert len(rig.transport.written) == 1
