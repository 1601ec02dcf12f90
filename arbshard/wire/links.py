"""Carries messages between the hosts of a cluster: ZeroMQ over TCP, encrypted and authenticated by CURVE.

``HostLinks`` opens all sockets of one process. A server accepts only clients whose public key is that of a host in
the cluster file, and knows by this key which host has sent a message; whoever else connects is refused and counted.
A client accepts only the server whose public key it was given. Each message to a ``HostServer`` carries what its
sender's cluster file says of that on which all hosts must agree; a server hears no host that has it otherwise.
CURVE encrypts each frame by itself, which takes longer than all else that is done with a message, so a message is one
frame.

Every queue is bounded, and nothing waits in a queue while there is no connection: ``send`` then returns False. A
connection on which nothing arrives for ``lease_ms`` is closed and made anew, so that a host which was cut off does
not receive afterwards what was meant for earlier.
"""

import asyncio
import errno
import socket as sockets
from collections.abc import Callable, Sequence
from functools import partial

import zmq
from typing_extensions import override
from zmq.utils import z85

from arbshard.closable import Closable
from arbshard.config.cluster import AGREEMENT_BYTES, PORTS, ClusterConfig, HostConfig
from arbshard.errors import TransportError, UsageError
from arbshard.log import get_logger
from arbshard.secret import Secret
from arbshard.wire.envelope import REPLY_BYTES_MAX, HostReply, join, join_reply, split, split_reply
from arbshard.wire.replies import Asked
from arbshard.wire.router import RouterListener
from arbshard.wire.sockets import Socket, SocketReader, is_readable, open_socket, receive

LINK_BYTES_MAX = REPLY_BYTES_MAX
"""Size in bytes of the longest message between two hosts."""
_AUTHENTICATOR = "inproc://zeromq.zap.01"
"""Where ZeroMQ asks whether a client's key is accepted (its RFC 27)."""
_REFUSED = b"400", b"the key is not one of a host of this cluster"
_ACCEPTED = b"200", b"OK"
_UNKNOWN_KEY = "its key is not one of a host of the cluster file of this host"
_OTHER_FILE = (
    "its cluster file differs from that of this host in the name, shards, replication, lease_ms, async_lag_ms, or "
    "the hosts and their keys; copy one file to all hosts"
)
_REFUSED_FRESH_S = 5.0
_REFUSALS_MAX = 16
"""Largest number of refused hosts that are named."""
_ZAP_FRAMES = 7
"""Number of frames of a question about a CURVE key."""
_ZAP_ADDRESS = 3
"""Number of its frame with the client's address."""
_IPV4_IN_IPV6 = "::ffff:"
_CONNECT_MS = 1000
_DRAIN = 256
"""Number of messages received in one turn of the loop."""


class HostLinks(Closable):
    """Opens the sockets between this host and the others. For use in a running loop; close it after them."""

    def __init__(self, cluster: ClusterConfig, secret: Secret) -> None:
        """Answer which keys are accepted from now on. ``secret`` is this host's secret key."""
        self._cluster = cluster
        self._secret = secret
        self._hosts = {z85.decode(one.key): name for name, one in cluster.hosts.items()}
        self._beat_ms = max(cluster.lease_ms // 4, 50)
        self.refused = 0
        """Number of connections refused because of their key, and of messages because of their sender's cluster
        file."""
        self._refusals: dict[str, tuple[str, float]] = {}
        """Who was refused lately: why, and when by the loop's clock."""
        self._fresh_s = max(_REFUSED_FRESH_S, 2 * cluster.lease_ms / 1000)
        self._now_s = asyncio.get_running_loop().time
        self._context = zmq.Context()
        try:
            self._authenticator = open_socket(
                zmq.REP, _AUTHENTICATOR, bind=True, high_water=_DRAIN, context=self._context
            )
            self._reader = SocketReader(self._authenticator, self._authenticate)
        except BaseException:
            self._context.destroy(linger=0)
            raise

    @property
    def own(self) -> HostConfig:
        """Return this host as the cluster file describes it."""
        return self._cluster.own

    @property
    def agreement(self) -> bytes:
        """Return what the messages of this host carry."""
        return self._cluster.agreement

    @property
    def refusals(self) -> tuple[str, ...]:
        """Return who was refused lately and why, for people."""
        oldest_s = self._now_s() - self._fresh_s
        self._refusals = {who: one for who, one in self._refusals.items() if one[1] >= oldest_s}
        return tuple(f"{who} is refused: {why}" for who, (why, _) in sorted(self._refusals.items()))

    def refuse(self, who: str, why: str) -> None:
        """Count a refusal, and log it when it is the first one of ``who`` for a while."""
        self.refused += 1
        oldest_s = self._now_s() - self._fresh_s
        is_new = self._refusals.get(who, ("", 0.0))[1] < oldest_s
        if who in self._refusals or len(self._refusals) < _REFUSALS_MAX:
            self._refusals[who] = why, self._now_s()
            if is_new:
                get_logger().warning("a host is refused", who=who, why=why)

    def bind(self, endpoint: str, *, high_water: int) -> Socket:
        """Return a ROUTER socket at ``endpoint``, one of this host's own. Raises ``TransportError``."""
        return open_socket(
            zmq.ROUTER,
            _local(endpoint),
            bind=True,
            high_water=high_water,
            frame_max=LINK_BYTES_MAX + AGREEMENT_BYTES,
            context=self._context,
            prepare=self._serve,
        )

    def connect(self, host: str, endpoint: str, *, high_water: int) -> Socket:
        """Return a DEALER socket that connects to ``endpoint`` of ``host``. Raises ``TransportError``."""
        return open_socket(
            zmq.DEALER,
            endpoint,
            bind=False,
            high_water=high_water,
            frame_max=LINK_BYTES_MAX,
            context=self._context,
            prepare=partial(self._ask, self._cluster.hosts[host].key),
        )

    def close(self) -> None:
        """Close every socket that is still open. May be called again."""
        self._reader.close()
        self._context.destroy(linger=0)

    def _serve(self, socket: Socket) -> None:
        self._prepare(socket)
        # Without this a message that cannot be delivered would vanish uncounted.
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"cluster")
        # Without it a server whose authenticator is closed would accept every key.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self._secret.use_encoded(partial(socket.setsockopt, zmq.CURVE_SECRETKEY))

    def _ask(self, server_key: str, socket: Socket) -> None:
        self._prepare(socket)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing is queued before there is a connection
        socket.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_MS)
        socket.setsockopt(zmq.CURVE_SERVERKEY, server_key.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._cluster.own.key.encode())
        self._secret.use_encoded(partial(socket.setsockopt, zmq.CURVE_SECRETKEY))

    def _prepare(self, socket: Socket) -> None:
        socket.setsockopt(zmq.IPV6, 1)
        socket.setsockopt(zmq.HEARTBEAT_IVL, self._beat_ms)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, self._cluster.lease_ms)
        socket.setsockopt(zmq.HEARTBEAT_TTL, self._cluster.lease_ms)

    def _authenticate(self) -> None:
        """Answer ZeroMQ's question about one client."""
        asked = receive(self._authenticator)
        if asked is None:
            return
        is_whole = len(asked) == _ZAP_FRAMES
        host = self._hosts.get(asked[6]) if is_whole and asked[5] == b"CURVE" else None
        if host is None:
            address = asked[_ZAP_ADDRESS].decode("ascii", "replace") if is_whole else "an unknown address"
            address = address.removeprefix(_IPV4_IN_IPV6)
            self.refuse(f"a host at {address}", _UNKNOWN_KEY)
        code, text = _REFUSED if host is None else _ACCEPTED
        name = (host or "").encode()
        self._authenticator.send_multipart((*asked[:2], code, text, name, b""), zmq.NOBLOCK)


class _OpenLink(Closable):
    """Is one open socket that messages are sent to and received from: a half of a link between two hosts."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._reader = SocketReader(socket, self._drain)
        self.bad = 0
        """Number of messages of the wrong form."""
        self.unsent = 0
        """Number of messages that could not be sent: there is no connection, its queue is full, or the host has gone
        or does not read."""

    def close(self) -> None:
        """Close the socket. May be called again."""
        self._reader.close()
        self._socket.close()

    def _send(self, *frames: bytes) -> bool:
        """Send one message. Return whether that is possible."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError:
            self.unsent += 1
            return False
        finally:
            self._reader.poke()
        return True

    def _drain(self) -> None:
        for _ in range(_DRAIN):
            if self._socket.closed or not is_readable(self._socket):
                return
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self.bad += not self._take(frames)

    def _take(self, frames: Sequence[zmq.Frame]) -> bool:
        """Act on one message. Return whether it has the right form."""
        raise NotImplementedError


class HostServer(_OpenLink):
    """Receives messages of other hosts and answers them. Each connection is a route of its own.

    ``on_message`` is called with route, name of the host, and message.
    """

    def __init__(
        self,
        links: HostLinks,
        endpoint: str,
        on_message: Callable[[bytes, str, bytes], None],
        *,
        high_water: int = 1024,
    ) -> None:
        """Listen at ``endpoint``. Raises ``TransportError``."""
        self._links = links
        self._on_message = on_message
        super().__init__(links.bind(endpoint, high_water=high_water))

    def send(self, route: bytes, message: bytes) -> bool:
        """Send to the host at ``route``. Return whether that is possible; it is not when its queue is full."""
        return self._send(route, message)

    def _take(self, frames: Sequence[zmq.Frame]) -> bool:
        if len(frames) != 2 or len(frames[1]) < AGREEMENT_BYTES:
            return False
        route, message = frames
        host = str(message.get("User-Id"))  # set by our own authenticator
        data = message.bytes
        if data[:AGREEMENT_BYTES] == self._links.agreement:
            self._on_message(route.bytes, host, data[AGREEMENT_BYTES:])
        else:
            self._links.refuse(f"host {host}", _OTHER_FILE)
        return True


class HostClient(_OpenLink):
    """Sends messages to another host's ``HostServer``, and receives its answers.

    It connects again by itself after a connection was lost, but not after its key was refused. So an owner that hears
    nothing for long makes another client.
    """

    def __init__(
        self,
        links: HostLinks,
        host: str,
        endpoint: str,
        on_message: Callable[[bytes], None],
        *,
        high_water: int = 1024,
    ) -> None:
        """Connect to ``endpoint`` of ``host``. Raises ``TransportError``."""
        self._agreement = links.agreement
        self._on_message = on_message
        super().__init__(links.connect(host, endpoint, high_water=high_water))

    def send(self, message: bytes) -> bool:
        """Send to the host. Return whether that is possible."""
        return self._send(self._agreement + message)

    def _take(self, frames: Sequence[zmq.Frame]) -> bool:
        if len(frames) != 1:
            return False
        self._on_message(frames[0].bytes)
        return True


class HostListener(RouterListener):
    """Receives the requests of other hosts: a ``serve.Listener``. The leader of ``term`` has it."""

    def __init__(self, links: HostLinks, endpoint: str, term: int) -> None:
        """Listen at ``endpoint``, one of this host's own. Raises ``TransportError``."""
        super().__init__(endpoint, links.bind)
        self._term = term

    @override
    def receive(self, limit: int) -> list[Asked]:
        taken: list[Asked] = []
        for _ in range(limit):
            if not is_readable(self.socket):
                break
            try:
                route, *rest = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            request = split(rest[0].bytes) if len(rest) == 1 else None
            if request is None:
                self.bad += 1
                continue
            reply = partial(self._reply, route.bytes, request[0])
            host = str(rest[0].get("User-Id"))  # set by our own authenticator
            taken.append(Asked(*request, reply, host, partial(self._hand_over, route.bytes, request[0])))
        return taken

    def _reply(self, route: bytes, request_id: bytes, payload: bytes) -> None:
        self._send(route, join_reply(HostReply(request_id, payload)))

    def _hand_over(self, route: bytes, request_id: bytes, payload: bytes, seq: int) -> None:
        self._send(route, join_reply(HostReply(request_id, payload, self._term, seq)))


class HostChannel:
    """Sends requests to the ``HostListener`` of another host; any number of them may be out."""

    def __init__(
        self,
        links: HostLinks,
        host: str,
        endpoint: str,
        on_reply: Callable[[HostReply | None], None],
        *,
        high_water: int = 4096,
    ) -> None:
        """Make a channel. ``on_reply`` gets None for an invalid reply."""
        self._open = partial(links.connect, host, endpoint, high_water=high_water)
        self._endpoint = endpoint
        self._on_reply = on_reply
        self._socket: Socket | None = None
        self._reader: SocketReader | None = None

    def connect(self) -> None:
        """Begin to connect, so that the first request can be sent. Raises ``TransportError``."""
        if self._socket is None:
            self._socket = self._open()
            self._reader = SocketReader(self._socket, self._drain)

    def send(self, request_id: bytes, payload: bytes) -> None:
        """Send a request. Raises ``TransportError`` while there is no connection, or when its queue is full."""
        self.connect()
        assert self._socket is not None
        assert self._reader is not None
        try:
            self._socket.send(join(request_id, payload), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise TransportError(f"{self._endpoint}: cannot send: {error.strerror}") from error
        finally:
            self._reader.poke()

    def drop(self) -> None:
        """Close the connection, so that no late reply comes over it. May be called again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _drain(self) -> None:
        for _ in range(_DRAIN):
            if self._socket is None:  # dropped by the receiver of a reply
                return
            frames = receive(self._socket)
            if frames is None:
                return
            self._on_reply(split_reply(frames[0]) if len(frames) == 1 else None)


def require_ports(cluster: ClusterConfig) -> None:
    """Raise ``UsageError`` unless this host can listen at its three ports.

    It needs two of them only while it leads, which is too late to learn of it.
    """
    own, host = cluster.own, cluster.host
    for port, endpoint in enumerate(
        (own.agent_endpoint, own.requests_endpoint, own.follow_endpoint), own.port
    ):
        try:
            family, address = _find_place(endpoint)
        except TransportError as error:
            raise UsageError(f"hosts.{host}.address of the cluster file: {error}") from error
        try:
            with sockets.socket(family, sockets.SOCK_STREAM) as probe:
                probe.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UsageError(
                    f"hosts.{host}.address of the cluster file: {own.address} is not an address of this machine; "
                    f"start host {host} on the machine that has it"
                ) from error
            raise UsageError(
                f"hosts.{host}.port of the cluster file: host {host} needs the ports {own.port} to "
                f"{own.port + PORTS - 1} of {own.address}, and {port} cannot be used: {error.strerror}"
            ) from error


def _local(endpoint: str) -> str:
    """Return ``endpoint`` with an address that can be bound: ZeroMQ does not look up names for that.

    Raises ``TransportError``.
    """
    family, address = _find_place(endpoint)
    port = endpoint.rpartition(":")[2]
    return f"tcp://[{address}]:{port}" if family == sockets.AF_INET6 else f"tcp://{address}:{port}"


def _find_place(endpoint: str) -> tuple[sockets.AddressFamily, str]:
    """Return the family and the IP address of ``endpoint``. Raises ``TransportError``."""
    name, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    try:
        found = sockets.getaddrinfo(name.strip("[]"), int(port), type=sockets.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise TransportError(f"{endpoint}: there is no such address: {error}") from error
    family, _, _, _, address = found[0]
    return family, str(address[0])
