"""Carries requests from risk's socket on a host that does not lead to the leader, and its replies back.

Workers, operators' commands and every other process of the host ask at the same Unix socket as when risk runs here.
A request keeps its id on the way, so the leader's stored replies make a repeat harmless, whichever way it comes. A
request that cannot be sent waits for a leader, at most as long as a client waits. When too many wait, or none can be
sent in time, nothing is answered, and workers do nothing without an answer. An operator's command that could never be
sent is denied with the reason, so that the person knows that nothing was done.

A reply that is handed over by the leader is held until this host has stored what it rests on (``held_replies``).

A halt is the exception: when it cannot be delivered soon it is stored on disk, the person is informed, and it is
delivered before anything else once there is a leader.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from arbshard.closable import Closable
from arbshard.cluster.files import KeptCommands
from arbshard.cluster.held_replies import HeldReplies
from arbshard.config.cluster import ClusterConfig
from arbshard.errors import ProtocolError, TransportError
from arbshard.log import get_logger
from arbshard.wire.envelope import HostReply
from arbshard.wire.links import HostChannel, HostLinks
from arbshard.wire.messages import Denied, Done, Halt, decode_command, encode
from arbshard.wire.replies import Asked
from arbshard.wire.request import RequestClient
from arbshard.wire.unix import UnixListener

OUT_MAX = 4096
"""Largest number of requests without a reply."""
HOLD_S = 5.0
"""How long a request waits for its reply, in seconds: as long as an operator's command does."""
_HALT_S = 1.5
"""How long a halt waits for its reply until it is stored, in seconds."""
_DENY_S = 4.0
"""How long an operator's command waits until it is denied because it cannot be sent, in seconds: its sender waits for
``HOLD_S`` and must get the answer before that."""
_TURN_S = 0.02
"""Interval in seconds at which it is tried to send what waits."""
_LATE_TURN_S = 0.2
"""Interval in seconds at which it is seen whether what was sent has waited for too long."""
_BATCH = 1024
_LOCAL_TIMEOUT_MS, _LOCAL_TRIES = 1000, 10
_AGAIN_S = 1.0
"""Pause in seconds before a stored command is sent again that got no reply."""
_HALT_TAG = b"Halt"
KEPT = (
    "the halt is kept on this host, because risk cannot be reached: no entry is approved on this host meanwhile, and "
    "the halt is delivered before anything else once risk can be reached. Hosts that reach risk trade until then"
)
_TOO_MANY = f"not kept: {KeptCommands.LIMIT} commands wait already"


@dataclass
class _Waiting:
    """Is a request without a reply."""

    asked: Asked
    since_s: float
    is_sent: bool = False
    """Whether it was sent to the present leader."""
    was_sent: bool = False
    """Whether it was sent to any leader, which may have acted."""
    halt: Halt | None = None


class Relay(Closable):
    """Relays requests while it is open. For use in a running loop."""

    def __init__(
        self,
        links: HostLinks,
        cluster: ClusterConfig,
        endpoint: str,
        kept: KeptCommands,
        why: Callable[[], str],
        on_error: Callable[[Exception], None],
    ) -> None:
        """Prepare. ``endpoint``: risk's on this host. ``why`` returns why no leader is known, for people.
        ``on_error`` gets what a turn raises.
        """
        self._links = links
        self._cluster = cluster
        self._endpoint = endpoint
        self._kept = kept
        self._why = why
        self._on_error = on_error
        self._listener: UnixListener | None = None
        self._channel: HostChannel | None = None
        self._leader = ""
        self._waiting: dict[bytes, _Waiting] = {}
        self._held: HeldReplies[HostReply] = HeldReplies()
        self._kept_sent_s: dict[bytes, float] = {}
        """When each stored command was sent over the present channel."""
        self._timer: asyncio.TimerHandle | None = None
        self._local: asyncio.Task[None] | None = None
        self._now_s = asyncio.get_running_loop().time
        self.relayed = 0
        """Number of requests answered."""
        self.unrelayed = 0
        """Number of requests given up without an answer, or refused because too many waited."""
        self.bad = 0
        """Number of invalid messages, and of connections closed because of too much data."""

    @property
    def is_open(self) -> bool:
        """Return whether this host's requests are accepted here."""
        return self._listener is not None

    @property
    def dropped(self) -> int:
        """Return the number of replies that were dropped because too many were held."""
        return self._held.dropped

    @property
    def waiting(self) -> int:
        """Return the number of requests without a reply."""
        return len(self._waiting)

    def open(self) -> None:
        """Accept requests at risk's socket. Raises ``TransportError``."""
        assert self._listener is None
        self._listener = UnixListener(self._endpoint)
        self._listener.start(self._accept)
        self._plan(_TURN_S)

    def set_leader(self, host: str) -> None:
        """Send to the risk of ``host`` from now on; empty while no other host is known to lead."""
        if host == self._leader:
            return
        self._leader = host
        self._drop_channel()
        if host:
            endpoint = self._cluster.hosts[host].requests_endpoint
            self._channel = HostChannel(self._links, host, endpoint, self._on_reply)
            with suppress(TransportError):  # the first request connects then, or waits like any other
                self._channel.connect()
            self._plan(_TURN_S)

    def stored(self, term: int, seq: int) -> None:
        """Note that this host has stored all events of the leader of ``term`` up to ``seq``."""
        for reply in self._held.stored(term, seq):
            self._answer(reply)

    def unfollow(self) -> None:
        """Note that this host follows no leader any more, or begins anew to follow one."""
        self._held.unfollow()

    def deliver_here(self) -> None:
        """Deliver stored commands to the risk of this host, which leads now."""
        if self._kept.payloads and (self._local is None or self._local.done()):
            self._local = asyncio.create_task(self._deliver_here())

    def close(self) -> None:
        """Accept nothing more, and forget what waits: clients ask again. May be called again."""
        if self._listener is not None:
            self.bad += self._listener.bad
            self._listener.close()
            self._listener = None
        self.set_leader("")
        self._waiting.clear()
        self._held.unfollow()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def end(self) -> None:
        """Close, and end the delivery to this host's risk."""
        self.close()
        if self._local is not None:
            self._local.cancel()
            await asyncio.gather(self._local, return_exceptions=True)

    def _plan(self, wait_s: float) -> None:
        """Plan a turn within ``wait_s``. While nothing waits there is none, because each wakes the process."""
        if self._listener is None:
            return
        due_s = self._now_s() + wait_s
        if self._timer is not None:
            if self._timer.when() <= due_s:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        try:
            self._turn(self._now_s())
        except Exception as error:  # noqa: BLE001 - handed to the owner, who ends the process
            self._on_error(error)
            return
        if self._kept.texts or not all(one.is_sent for one in self._waiting.values()):
            self._plan(_TURN_S)
        elif self._waiting:
            self._plan(_LATE_TURN_S)

    def _turn(self, now_s: float) -> None:
        """Send what waits, store halts that wait for too long, and give up what is too old."""
        self._send_kept(now_s)
        for request_id, one in tuple(self._waiting.items()):
            if one.halt is not None and now_s - one.since_s >= _HALT_S:
                self._keep(request_id, one.asked, one.halt)
            elif now_s - one.since_s >= HOLD_S:
                del self._waiting[request_id]
                self.unrelayed += 1
            elif now_s - one.since_s >= _DENY_S and not one.was_sent and _is_command(one.asked.payload):
                del self._waiting[request_id]
                self.unrelayed += 1
                one.asked.reply(encode(Denied(self._why_not_sent())))
            elif not one.is_sent:
                self._send(one)

    def _accept(self) -> None:
        try:
            assert self._listener is not None
            now_s = self._now_s()
            for asked in self._listener.receive(_BATCH):
                if len(self._waiting) >= OUT_MAX and asked.request_id not in self._waiting:
                    self.unrelayed += 1
                    continue
                one = self._waiting[asked.request_id] = _Waiting(asked, now_s, halt=_halt_of(asked.payload))
                self._send(one)
                self._plan(_LATE_TURN_S if one.is_sent else _TURN_S)
        except Exception as error:  # noqa: BLE001 - handed to the owner, who ends the process
            self._on_error(error)

    def _send(self, one: _Waiting) -> None:
        if self._channel is None or len(self._kept_sent_s) < len(self._kept.texts):
            return  # stored commands go first
        try:
            self._channel.send(one.asked.request_id, one.asked.payload)
        except TransportError:
            return  # there is no connection: it is tried again
        one.is_sent = one.was_sent = True

    def _why_not_sent(self) -> str:
        if self._leader:
            return (
                f"nothing was done: this host does not reach the risk of host {self._leader}, which led last"
            )
        why = self._why()
        text = "nothing was done: no leader is known on this host, so risk cannot be asked"
        return f"{text}: {why}" if why else text

    def _send_kept(self, now_s: float) -> None:
        if self._channel is None:
            return
        for request_id, payload in self._kept.payloads.items():
            sent_s = self._kept_sent_s.get(request_id)
            if sent_s is not None and now_s - sent_s < _AGAIN_S:
                continue
            try:
                self._channel.send(request_id, payload)
            except TransportError:
                return
            self._kept_sent_s[request_id] = now_s

    def _on_reply(self, reply: HostReply | None) -> None:
        if reply is None:
            self.bad += 1
        elif self._held.admit(reply, reply.term, reply.seq, len(reply.payload)):
            self._answer(reply)

    def _answer(self, reply: HostReply) -> None:
        one = self._waiting.pop(reply.request_id, None)
        if one is not None:
            one.asked.reply(reply.payload)
            self.relayed += 1
        if reply.request_id in self._kept:
            self._remove(reply.request_id)

    def _keep(self, request_id: bytes, asked: Asked, halt: Halt) -> None:
        """Store a halt, and inform the person. It is not answered if it cannot be stored."""
        del self._waiting[request_id]
        if not self._kept.has_room_for(request_id):
            asked.reply(encode(Denied(_TOO_MANY)))
            return
        text = f"halt by {halt.by or 'unknown'}: {halt.reason or 'no reason given'}"
        try:
            self._kept.add(request_id, asked.payload, text)
        except OSError as error:
            get_logger().error("a halt cannot be stored", why=str(error), halt=text)
            self.unrelayed += 1
            return
        get_logger().warning("a halt is kept until risk can be reached", halt=text)
        asked.reply(encode(Done(KEPT)))

    def _remove(self, request_id: bytes) -> None:
        get_logger().warning("a halt that was kept is delivered")
        self._kept_sent_s.pop(request_id, None)
        try:
            self._kept.remove(request_id)
        except OSError as error:
            get_logger().error("the file of commands that wait cannot be written", why=str(error))

    async def _deliver_here(self) -> None:
        with RequestClient(self._endpoint, _LOCAL_TIMEOUT_MS, _LOCAL_TRIES) as client:
            for request_id, payload in self._kept.payloads.items():
                try:
                    await client.request(payload, request_id=request_id)
                except TransportError as error:
                    get_logger().warning("a halt that was kept cannot be delivered yet", why=str(error))
                    return
                self._remove(request_id)

    def _drop_channel(self) -> None:
        if self._channel is not None:
            self._channel.drop()
            self._channel = None
        self._kept_sent_s.clear()
        for one in self._waiting.values():
            one.is_sent = False
            self._plan(_TURN_S)


def _is_command(payload: bytes) -> bool:
    """Return whether an operator has sent it: workers get no answer rather than a denial."""
    try:
        decode_command(payload)
    except ProtocolError:
        return False
    return True


def _halt_of(payload: bytes) -> Halt | None:
    """Return the halt that the payload is; None for anything else."""
    if _HALT_TAG not in payload:
        return None
    try:
        command = decode_command(payload)
    except ProtocolError:
        return None
    return command if isinstance(command, Halt) else None
