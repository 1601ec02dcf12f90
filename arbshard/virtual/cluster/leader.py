"""Replaces the leader's risk: real quorum and grants, events of a few bytes, approvals without limits."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from arbshard.risk.leadership.quorum import CommitQuorum
from arbshard.risk.portfolio.state import GrantedShard
from arbshard.risk.shards.grants import ShardGrants
from arbshard.virtual.cluster.world import MS, HostProcess, S
from arbshard.wire.cluster import (
    EPOCHS_PER_GRANT,
    Claim,
    CopyPart,
    Events,
    FollowerMessage,
    Granted,
    HostBeat,
    Join,
    Joined,
    LeaderMessage,
    LogPosition,
    NotJoined,
    Release,
    Stored,
    Valid,
)

if TYPE_CHECKING:
    from arbshard.virtual.cluster.hosts import AgentLink, AgentPage, ClusterHost

TICK_NS = 20 * MS
_START_MAX_NS = 15 * S


def event(term: int, kind: str, *fields: object) -> bytes:
    """Return an event as it is in the ledger of the simulation."""
    return " ".join((str(term), kind, *map(str, fields))).encode()


def position_of(ledger: list[bytes]) -> LogPosition:
    """Return how much a ledger has: every event names the term of the leadership that wrote it."""
    return LogPosition(int(ledger[-1].split(b" ", 1)[0]) if ledger else 0, len(ledger))


class Held(NamedTuple):
    """Is a reply that waits until its events are stored by a majority."""

    seq: int
    is_grant: bool
    send: Callable[[], None]


class AskedOrder(NamedTuple):
    """Is a worker's request."""

    request: str
    shard: int
    epoch: int
    host: str
    reply: Callable[[bool], None]
    hand_over: Callable[[int, int, Callable[[], None]], None]
    """Sends an approval that its host holds until it has stored the event on which it rests: of which term, and
    which one. The last argument is called when it is used."""


class _Peer:
    """Is a follower that has joined."""

    def __init__(self, link: "AgentLink", host: str) -> None:
        self.link = link
        self.host = host
        self.sent: deque[int] = deque()
        """When each message that is to be acknowledged was sent."""
        self.next = 1
        """Sequence number of the first event that it was not sent."""
        self.sent_ns = -S


class LeaderRisk:
    """Is the risk process of the host that leads."""

    def __init__(self, host: "ClusterHost", term: int, process: HostProcess | None = None) -> None:
        """Begin. ``process``: one that was kept ready; None for a new one."""
        self.host = host
        self.term = term
        self.process = process if process is not None else HostProcess(f"{host.name}/risk")
        self.is_serving = False
        self.has_given_up = False
        """Whether it ended because it may not lead, as risk does with an exit code of its own."""
        self._checks = host.checks
        self._peers: dict[str, _Peer] = {}
        self._held: deque[Held] = deque()
        self._approved: dict[str, tuple[bytes, int]] = {}
        """By request: the event, and when it was stored."""
        self._granted: dict[int, GrantedShard] = {}
        self._released: set[tuple[int, int]] = set()
        self._epochs: dict[int, int] = {}
        self._was_ready = False

    def start(self) -> None:
        """Open the ledger and begin to lead, if the agent still wants it."""
        host, page = self.host, self.host.page
        if not page.leads or page.term != self.term or host.disk.lock is not None or host.refusals:
            self.end("may not lead")
            return
        host.disk.lock = self.process
        self._page: AgentPage = page
        self._started_ns = host.now()
        ledger = host.disk.ledger
        began = event(self.term, "began", host.name)
        is_first = began not in ledger
        for body in ledger:
            self._replay(body)
        config = host.config
        lag_ns = config.async_lag_ms * MS if config.replication == "async" else None
        self.quorum = CommitQuorum(
            host.name,
            config.hosts,
            lease_ns=config.lease_ms * MS,
            lag_ns=lag_ns,
            seq=len(ledger),
            first=len(ledger) + 1 if is_first else ledger.index(began) + 1,
        )
        self.grants = ShardGrants(self._granted, shards=config.shards, lease_ns=config.lease_ms * MS)
        self._checks.leader_began(self.term, host.name, ledger)
        self.is_serving = True
        if is_first:
            self._append(began)
        self._tick()

    @property
    def listens(self) -> bool:
        """Return whether another host can connect to it."""
        return self.is_serving and self.process.alive

    def end(self, why: str) -> None:
        """End the process."""
        self.host.world.log(f"{self.process.name} of term {self.term} ends: {why}")
        self.has_given_up = True
        self.host.kill(self.process)

    def _replay(self, body: bytes) -> None:
        _, kind, *fields = body.decode().split(" ")
        if kind == "granted":
            self._granted[int(fields[0])] = GrantedShard(fields[1], int(fields[2]))
        elif kind == "approved":
            shard, epoch = int(fields[1]), int(fields[2])
            self._approved[fields[0]] = body, self.host.world.now_ns
            self._epochs[shard] = max(epoch, self._epochs.get(shard, 0))

    def _may_lead(self) -> bool:
        """Return whether this process may commit now; end it when it may not any more."""
        if not self.is_serving:
            return False
        now_ns = self.host.now()
        page = self._page
        has_lease = bool(page.leads) and page.term == self.term and now_ns < page.lead_until_ns
        is_ready = has_lease and self.quorum.may_commit(now_ns)
        if not is_ready and (self._was_ready or not has_lease or now_ns - self._started_ns > _START_MAX_NS):
            self.is_serving = False
            self.end(f"leads no more (lease at NATS: {has_lease})")
        self._was_ready = self._was_ready or is_ready
        return is_ready

    def _tick(self) -> None:
        self._may_lead()
        if self.is_serving:
            self._send_events()
            self._let_go()
            self.host.world.after(TICK_NS, self.process, self._tick)

    def _append(self, body: bytes) -> None:
        """Commit an event to the own ledger and send it to the followers."""
        self.host.crash_point(self.process, "commit")
        self.host.disk.ledger.append(body)
        self.quorum.store(len(self.host.disk.ledger), self.host.now())
        self._send_events()
        self.host.wait_for_disk(self.process)

    def _send_events(self) -> None:
        ledger, now_ns = self.host.disk.ledger, self.host.now()
        for peer in self._peers.values():
            bodies = tuple(ledger[peer.next - 1 :])
            if bodies or now_ns - peer.sent_ns >= self.host.config.beat_ms * MS:
                self._send(peer.link, Events(self.term, peer.next, bodies))
                peer.next += len(bodies)
                peer.sent_ns = now_ns
                peer.sent.append(now_ns)

    def _hold(self, send: Callable[[], None], *, is_grant: bool = False) -> None:
        # A reply may rest on any event of the ledger, also on one of a former leader that no majority has yet.
        self._held.append(Held(len(self.host.disk.ledger), is_grant, send))
        self._let_go()

    def _let_go(self) -> None:
        if not self._held or not self._may_lead():
            return
        released = self.quorum.released(self.host.now())
        waiting: deque[Held] = deque()
        for one in self._held:
            if one.seq <= (self.quorum.committed if one.is_grant else released):
                one.send()
            else:
                waiting.append(one)
        self._held = waiting

    def _send(self, link: "AgentLink", message: LeaderMessage) -> None:
        self.host.world.send(self.host.name, link.agent.host.name, link.down, link.deliver, message)

    # What followers send.

    def receive(self, link: "AgentLink", message: FollowerMessage) -> None:
        """Take a message of the follow link."""
        if not self.is_serving:
            return
        name = link.agent.host.name
        if isinstance(message, Join):
            self._join(link, message)
            return
        peer = self._peers.get(name)
        if peer is None or peer.link is not link:
            return
        if isinstance(message, Stored):
            if peer.sent and name != self.host.name:
                self.quorum.acknowledge(name, message.seq, peer.sent.popleft())
                self._let_go()
        elif isinstance(message, HostBeat):
            self._beat(peer, message)
        elif isinstance(message, Claim):
            self._claim(peer, message)
        elif isinstance(message, Release):
            self.grants.release(name, message)
            if self._granted.get(message.shard) == GrantedShard(name, message.grant):
                self._released.add((message.shard, message.grant))

    def _join(self, link: "AgentLink", join: Join) -> None:
        if join.term != self.term:
            self._send(link, NotJoined(self.term, f"this host leads term {self.term}"))
            return
        ledger = self.host.disk.ledger
        peer = _Peer(link, join.host)
        if join.host == self.host.name:
            self._peers.pop(join.host, None)
            self._peers[join.host] = peer
            peer.next = 2**62  # It gets no events, and acknowledges none.
            peer.sent_ns = 2**62
            self._send(link, Joined(self.term, must_copy=False))
            return
        seq = join.position.seq
        is_prefix = seq == 0 or (seq <= len(ledger) and position_of(ledger[:seq]) == join.position)
        self._peers[join.host] = peer
        peer.next = seq + 1 if is_prefix else len(ledger) + 1
        self._send(link, Joined(self.term, must_copy=not is_prefix))
        if not is_prefix:
            link.copy = list(ledger)
            self._send(link, CopyPart(0, b"", is_last=True, seq=len(ledger)))
        self._send_events()

    def _beat(self, peer: _Peer, beat: HostBeat) -> None:
        now_ns = self.host.now()
        answer = self.grants.beat(peer.host, beat.shards, now_ns)
        for message in answer.messages:
            self._send(peer.link, message)
        if answer.is_valid and self._may_lead():
            left_ns = min(self.quorum.until_ns - now_ns, self.host.config.lease_ms * MS)
            self._send(peer.link, Valid(self.term, beat.number, left_ns))

    def _claim(self, peer: _Peer, claim: Claim) -> None:
        if not self._may_lead():
            return
        answer = self.grants.answer(peer.host, claim, self.host.now())
        self.host.world.log(f"{self.process.name}: {peer.host} claims {claim}: {answer}")
        if not isinstance(answer, Granted):
            self._send(peer.link, answer)
            return
        granted = GrantedShard(peer.host, answer.grant)
        if self._granted.get(answer.shard) != granted:
            self._granted[answer.shard] = granted
            self._append(event(self.term, "granted", answer.shard, peer.host, answer.grant))
        self._hold(lambda: self._send(peer.link, answer), is_grant=True)

    # What workers ask.

    def ask(self, asked: AskedOrder) -> None:
        """Approve an order of an epoch that is granted and not replaced."""
        if not self._may_lead():
            return
        request, shard, epoch = asked[:3]
        granted = self._granted.get(shard)
        number = epoch // EPOCHS_PER_GRANT
        is_granted = (
            granted is not None and granted.number == number and (shard, number) not in self._released
        )
        if not is_granted or epoch < self._epochs.get(shard, 0):
            asked.reply(False)
            return
        if request not in self._approved:
            self._epochs[shard] = epoch
            body = event(self.term, "approved", request, shard, epoch)
            self._approved[request] = body, self.host.world.now_ns
            self._append(body)
        body, stored_ns = self._approved[request]

        def use() -> None:
            self._checks.approval_used(shard, body, self.term, stored_ns)

        def leave() -> None:
            self._checks.approval_left(shard, epoch, self.term)
            use()
            self.host.crash_point(self.process, "reply")
            asked.reply(True)

        seq = len(self.host.disk.ledger)
        if seq > self.quorum.released(self.host.now()) and self._is_safe_with(asked.host, seq):
            self._checks.approval_left(shard, epoch, self.term)
            self.host.crash_point(self.process, "reply")
            asked.hand_over(self.term, seq, use)
        else:
            self._hold(leave)

    def _is_safe_with(self, host: str, seq: int) -> bool:
        """Return whether ``host`` makes all events up to ``seq`` safe by storing them, and was sent them."""
        peer = self._peers.get(host)
        if peer is None or host == self.host.name or peer.next <= seq:
            return False
        return self._may_lead() and self.quorum.is_completed_by(host, seq)
