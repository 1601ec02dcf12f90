"""Garbage over real sockets, kind by kind: what is sent, and how much of it the other side has to count as bad.

Nothing that is sent is a whole message the instance would act on: those are the business of the target ``risk``.
"""

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import zmq

from arbshard.errors import ProtocolError
from arbshard.model.rundir import RunFiles
from arbshard.wire import control, unix
from arbshard.wire.control import decode_order
from arbshard.wire.envelope import REPLY_BYTES_MAX, VERSION, unpack
from arbshard.wire.messages import decode_command, decode_request
from arbshard.wire.request import ask
from fuzzing.target import require

_TIMEOUT_S = 10.0
_ABORT = struct.pack("ii", 1, 0)
"""Linger: on, and none of it."""


def is_garbage(payload: bytes) -> bool:
    """Whether it is nothing that risk or the supervisor would act on."""
    for decode in (decode_request, decode_command, decode_order):
        try:
            decode(payload)
        except ProtocolError:
            continue
        return False
    return True


@contextmanager
def _connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        _connect(line, path)
        yield line


def _connect(line: socket.socket, path: str) -> None:
    line.settimeout(_TIMEOUT_S)
    deadline_s = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return line.connect(path)
        except BlockingIOError:  # so many wait to be accepted already
            require(time.monotonic() < deadline_s, f"{path}: nobody is accepted")
            time.sleep(0.001)


def _until_end(line: socket.socket) -> bytes:
    """All that comes until the other side has closed."""
    heard = bytearray()
    try:
        while data := line.recv(65536):
            heard += data
    except ConnectionResetError:
        pass  # it closed while more of ours was coming
    return bytes(heard)


class Attacks:
    """All ways to bother one instance. Each takes some payloads; the sum of what must be counted is ``expected``."""

    def __init__(self, files: RunFiles, addresses: dict[str, tuple[str, int]], rng: Random) -> None:
        self._files = files
        self._addresses = addresses
        self._rng = rng
        self.expected = 0
        """Payloads that risk got whole and that were no messages."""
        self.denied = 0
        self.ways: tuple[Callable[[list[bytes]], None], ...] = (
            self.unix_payloads, self.unix_payloads, self.unix_stream, self.unix_aborted, self.risk_router,
            self.risk_router, self.control_payloads, self.senseless_orders, self.bus_subscriptions,
            self.raw_zmq, self.venue_http, self.venue_socket,
        )  # fmt: skip

    def unix_payloads(self, payloads: list[bytes]) -> None:
        """Well-framed garbage to risk; each is answered."""
        self._framed(self._files.risk_endpoint, payloads)
        self.expected += len(payloads)

    def control_payloads(self, payloads: list[bytes]) -> None:
        """Likewise to the supervisor; each is denied."""
        self._framed(self._files.control_endpoint, payloads)
        self.denied += len(payloads)

    def _framed(self, endpoint: str, payloads: list[bytes]) -> None:
        """Send them and wait for as many answers."""
        messages = [unix.encode(os.urandom(16), payload) for payload in payloads]
        with _connected(unix.path_of(endpoint)) as line:
            line.sendall(b"".join(messages))
            reader, answers = unix.Messages(REPLY_BYTES_MAX), 0
            while answers < len(messages):
                data = line.recv(65536)
                require(bool(data), f"{endpoint}: hung up on a well-framed message")
                answers += len(reader.feed(data))

    def unix_stream(self, payloads: list[bytes]) -> None:
        """Wrong lengths, half messages, or no messages at all."""
        stream = b"".join(
            self._rng.choice(
                (payload, unix.encode(b"id", payload)[: self._rng.randrange(1, len(payload) + 8)])
            )
            for payload in payloads
        )
        reader = unix.Messages(REPLY_BYTES_MAX)
        try:
            if any(found is not None for found in reader.feed(stream)):
                return  # it became a message by chance, under an id that may be known
        except ValueError:
            pass
        with _connected(unix.path_of(self._files.risk_endpoint)) as line:
            try:
                line.sendall(stream)
                line.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                return  # it has heard enough
            _until_end(line)

    def unix_aborted(self, payloads: list[bytes]) -> None:
        """Connected, some of it said, and gone; sometimes without a word."""
        for payload in payloads:
            with _connected(unix.path_of(self._files.risk_endpoint)) as line:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                if self._rng.random() < 0.7:
                    message = unix.encode(b"id", payload)
                    line.send(message[: self._rng.randrange(1, min(30, len(message)))])

    def risk_router(self, payloads: list[bytes]) -> None:
        """Over ZeroMQ: well-framed garbage, and garbage in place of frames."""
        self.expected += self._router(self._files.risk_zmq_endpoint, payloads)

    def senseless_orders(self, payloads: list[bytes]) -> None:
        """Orders of good form about markets and shards there are none of; each is answered."""
        for payload in payloads:
            name = self._rng.choice(
                (payload[:40].decode("latin-1"), "", "NOPE", "KRW-", "é" * 300, "x" * 5_000)
            )
            shard = self._rng.choice((-1, 64, 2**40, -(2**40)))
            order = self._rng.choice(
                (
                    control.AddSymbols((name,)), control.RemoveSymbols((name, "NOPE")), control.AddSymbols(()),
                    control.RemoveSymbols(()), control.MovePairs((name,), shard), control.MovePairs((), 0),
                    control.RestartShard(shard), control.ShowShards(),
                    control.BalanceShards(dry_run=True), control.Ping(),
                )
            )  # fmt: skip
            control.decode_answer(
                ask(self._files.control_endpoint, control.encode(order), int(_TIMEOUT_S * 1000))
            )

    def _router(self, endpoint: str, payloads: list[bytes]) -> int:
        """How many were well-framed; waits for their answers."""
        dealer = zmq.Context.instance().socket(zmq.DEALER)
        try:
            dealer.setsockopt(zmq.LINGER, 1000)
            dealer.connect(endpoint)
            due = 0
            for payload in payloads:
                frames = self._rng.choice(
                    (
                        [b"", VERSION, os.urandom(16), payload], [b"", VERSION, os.urandom(16), payload],
                        [b"", b"arb9", b"id", payload], [payload], [b"", payload], [VERSION, b"id", payload],
                        [b"", VERSION, b"", payload], [b"", VERSION, b"i" * 65, payload],
                        [b"", VERSION, b"id", payload, payload],
                    )
                )  # fmt: skip
                due += len(frames) == 4 and frames[0] == b"" and unpack(frames[1:]) is not None
                dealer.send_multipart(frames)
            for _ in range(due):
                require(
                    dealer.poll(_TIMEOUT_S * 1000, zmq.POLLIN) != 0,
                    f"{endpoint}: a request without an answer",
                )
                require(len(dealer.recv_multipart()) == 4, "an answer of another form")
        finally:
            dealer.close()
        return due

    def bus_subscriptions(self, payloads: list[bytes]) -> None:
        """Subscribe to anything, and send what no subscriber sends."""
        teller = zmq.Context.instance().socket(zmq.XSUB)
        try:
            teller.setsockopt(zmq.LINGER, 1000)
            teller.connect(self._rng.choice((self._files.bus_endpoint, self._files.raw_endpoint)))
            for payload in payloads:
                teller.send_multipart(
                    [self._rng.choice((b"\x01", b"\x00", b"\x02", b"")) + payload[:300], payload]
                )
        finally:
            teller.close()

    def raw_zmq(self, payloads: list[bytes]) -> None:
        """Bytes that are no ZeroMQ, to each of its sockets."""
        files = self._files
        for payload in payloads:
            endpoint = self._rng.choice((files.risk_zmq_endpoint, files.bus_endpoint, files.raw_endpoint))
            with _connected(endpoint.removeprefix("ipc://")) as line:
                try:
                    greeting = self._rng.choice(
                        (b"", b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL")
                    )
                    line.sendall(greeting + payload[:2000])
                except (BrokenPipeError, ConnectionResetError):
                    continue  # heard enough

    def venue_http(self, payloads: list[bytes]) -> None:
        """Requests to the simulated exchanges, and what is none."""
        for payload in payloads:
            path = self._rng.choice(
                (
                    "/v1/orderbook",
                    "/v1/orders",
                    "/v1/accounts",
                    "/api/v3/depth",
                    "/api/v3/order",
                    "/api/v3/account",
                    "/x",
                )
            )
            query = "".join(f"%{byte:02x}" for byte in payload[:60])
            body = payload[:3000]
            method = self._rng.choice(("GET", "POST", "DELETE"))
            head = (
                f"{method} {path}?markets={query}&symbol={query} HTTP/1.1\r\nHost: x\r\n"
                f"Content-Length: {len(body)}\r\n"
                "Content-Type: application/json\r\nConnection: close\r\n\r\n"
            )
            text = head.encode() + body if self._rng.random() < 0.7 else payload
            self._tcp(text)

    def venue_socket(self, payloads: list[bytes]) -> None:
        """A WebSocket to a simulated exchange, and anything over it."""
        path = self._rng.choice(("/websocket/v1", "/websocket/v1/private", "/stream", "/ws", "/ws-api/v3"))
        upgrade = (
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        frames = b"".join(self._frame(payload[:500]) for payload in payloads)
        self._tcp(upgrade + frames, reads=False)

    def _frame(self, payload: bytes) -> bytes:
        """Masked text or binary; sometimes with a wrong length."""
        size = len(payload) if self._rng.random() < 0.7 else self._rng.choice((0, 125, 65535))
        head = bytes([self._rng.choice((0x81, 0x82, 0x89, 0x8A, 0x01, 0x80, 0xF1)), 0x80 | 126])
        return head + struct.pack(">H", min(size, 65535)) + b"\x00\x00\x00\x00" + payload

    def _tcp(self, text: bytes, *, reads: bool = True) -> None:
        address = self._addresses[self._rng.choice(tuple(self._addresses))]
        with socket.create_connection(address, timeout=_TIMEOUT_S) as line:
            try:
                line.sendall(text)
                if reads:
                    line.shutdown(socket.SHUT_WR)
                    _until_end(line)
            except (BrokenPipeError, ConnectionResetError):
                return  # heard enough

    def crowd(self, count: int) -> None:
        """So many connections at once to every socket, which say nothing and go."""
        files = self._files
        for path in (
            unix.path_of(files.risk_endpoint),
            unix.path_of(files.control_endpoint),
            files.risk_zmq_endpoint.removeprefix("ipc://"),
            files.bus_endpoint.removeprefix("ipc://"),
            files.raw_endpoint.removeprefix("ipc://"),
        ):
            lines = []
            try:
                for _ in range(count):
                    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    lines.append(line)
                    _connect(line, path)
            finally:
                for line in lines:
                    line.close()


def venue_addresses(sim_ready: Path) -> dict[str, tuple[str, int]]:
    """Host and port of each simulated exchange."""
    ready = json.loads(sim_ready.read_bytes())
    found = {}
    for venue in ("upbit", "binance"):
        parts = urlsplit(ready[venue]["rest_url"])
        assert parts.hostname is not None
        assert parts.port is not None
        found[venue] = parts.hostname, parts.port
    return found
