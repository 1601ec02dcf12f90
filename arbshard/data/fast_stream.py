"""Implements ``data.stream`` on picows, a WebSocket client in Cython (extra ``fast``): a third of the CPU per
message.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from picows import (
    WSAutoPingStrategy,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSInvalidURL,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)
from python_socks import ProxyError  # picows raises it

from arbshard.data.stream import (
    CLOSE_TIMEOUT_S,
    MESSAGE_BYTES_MAX,
    OPEN_TIMEOUT_S,
    PONG_TIMEOUT_S,
    OnMessage,
    Stream,
    Target,
    refused_handshake,
)
from arbshard.errors import VenueUnavailable

_DATA = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION)


@asynccontextmanager
async def open_fast_stream(
    target: Target, on_message: OnMessage, now_ns: Callable[[], int]
) -> AsyncIterator[Stream]:
    """Connect, as ``data.stream.open_stream`` does."""
    listener = _Listener(on_message, now_ns)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            transport, connected = await ws_connect(
                lambda: listener,
                target.address,
                enable_auto_ping=True,
                auto_ping_idle_timeout=target.ping_interval_s,
                auto_ping_reply_timeout=PONG_TIMEOUT_S,
                auto_ping_strategy=WSAutoPingStrategy.PING_PERIODICALLY,
                max_frame_size=MESSAGE_BYTES_MAX,
                extra_headers=target.headers or None,
                ssl_context=target.context(),
                proxy=target.proxy,
                max_redirects=0,  # picows would send the headers, and with them a token, to any host
            )
    except WSHandshakeError as error:
        answer = error.response
        if answer is None:
            raise VenueUnavailable(str(error)) from error
        headers, body = answer.headers.items(), error.raw_body or b""
        raise refused_handshake(target, str(error), int(answer.status), headers, body) from error
    except (WSError, WSInvalidURL, ProxyError, OSError, TimeoutError, ValueError) as error:
        raise VenueUnavailable(str(error) or type(error).__name__) from error
    # picows returns neither of them when the connection was lost between the handshake and here.
    if transport is None or connected is None:
        raise VenueUnavailable("the connection was lost as it was opened")
    try:
        yield _PicowsStream(transport, listener)
    finally:
        await _close(transport)


class _Listener(WSListener):
    """Receives frames as they are parsed. What ``on_message`` raises ends the connection, and ``until_over`` raises
    it.
    """

    def __init__(self, on_message: OnMessage, now_ns: Callable[[], int]) -> None:
        self.on_message = on_message
        self._now_ns = now_ns
        self._received_ns = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._is_over = False
        self.ponged_ns = 0

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        """Record the answer to a ping. picows calls this while it waits for one itself, and keeps that one."""
        is_pong = frame.msg_type is WSMsgType.PONG
        if is_pong:
            self.ponged_ns = self._now_ns()
        return is_pong

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        received_ns = self._received_ns or self._now_ns()
        # All frames that one read brought have the same time of receipt.
        self._received_ns = 0 if frame.last_in_buffer else received_ns
        kind = frame.msg_type
        if self._is_over:  # picows also reports the rest of what it has read
            return
        if kind in _DATA:
            try:
                if frame.fin and not self._parts:
                    self.on_message(frame.get_payload_as_bytes(), received_ns)
                else:
                    self._collect(frame, received_ns)
            except Exception:
                self._is_over = True
                raise
        elif kind is WSMsgType.PONG:
            self.ponged_ns = received_ns
        elif kind is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def _collect(self, frame: WSFrame, received_ns: int) -> None:
        self._parts.append(frame.get_payload_as_bytes())
        self._size += frame.payload_size
        if self._size > MESSAGE_BYTES_MAX:
            raise VenueUnavailable(f"a message of more than {MESSAGE_BYTES_MAX} bytes")
        if frame.fin:
            message = b"".join(self._parts)
            self._parts, self._size = [], 0
            self.on_message(message, received_ns)


class _PicowsStream:
    """Is a ``Stream`` on ``picows``."""

    def __init__(self, transport: WSTransport, listener: _Listener) -> None:
        self._transport = transport
        self._listener = listener

    async def send(self, text: str) -> None:
        self.write(text)

    def write(self, text: str) -> None:
        transport = self._transport
        # After a close frame picows drops messages without an error.
        is_closing = transport.is_close_frame_sent or transport.underlying_transport.is_closing()
        if transport.is_disconnected or is_closing:
            raise VenueUnavailable("the connection is over")
        transport.send(WSMsgType.TEXT, text.encode())

    async def ping(self) -> None:
        if self._transport.is_disconnected:
            raise VenueUnavailable("the connection is over")
        self._transport.send_ping()

    @property
    def ponged_ns(self) -> int:
        return self._listener.ponged_ns

    async def until_over(self) -> str:
        try:
            await self._transport.wait_disconnected()
        except (WSError, OSError, VenueUnavailable) as error:
            return str(error) or type(error).__name__
        ending = self._transport.close_handshake
        if not ending or ending.recv is None:  # None where no such frame was seen, whatever its type says
            return "closed without a word"
        said = ending.recv
        return f"closed with code {said.code.value}{f': {said.reason}' if said.reason else ''}"

    def redirect(self, on_message: OnMessage) -> None:
        self._listener.on_message = on_message

    def abort(self) -> None:
        self._transport.disconnect(graceful=False)


async def _close(transport: WSTransport) -> None:
    """Send a close frame, and abort when the venue does not answer. ``until_over`` has reported what ended it."""
    if not transport.is_disconnected:
        transport.send_close()
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await asyncio.gather(transport.wait_disconnected(), return_exceptions=True)
    except TimeoutError:
        transport.disconnect(graceful=False)
