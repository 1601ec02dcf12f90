"""Serves the other hosts of a cluster while this host's risk leads. ``assembly`` runs it in risk's loop.

Each host's agent opens one link. The leader sends it every event after the commit, and each message of events is
answered by one ``Stored`` in the same order, so the leader knows when it sent what was acknowledged. A host whose
ledger contradicts the leader's, or lacks what the leader has only in archives, gets a whole copy.

The same link confirms beats, grants shards, brings the page to the other hosts, and brings their newest books here.
Nothing waits unbounded: a host that does not answer gets no further events, and joins anew.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import msgspec

from arbshard.config.cluster import ClusterConfig
from arbshard.errors import ProtocolError, SharedMemoryError
from arbshard.ledger.copying import LedgerCopy
from arbshard.ledger.events import Event, LeaderBegan
from arbshard.log import get_logger
from arbshard.risk.leadership.quorum import CommitQuorum
from arbshard.risk.leadership.remote_books import RemoteBooks
from arbshard.risk.shards.grants import ShardGrants
from arbshard.wire.cluster import (
    VERSION,
    Claim,
    CopyPart,
    Events,
    FollowerMessage,
    Granted,
    HostBeat,
    Join,
    Joined,
    NotJoined,
    PageState,
    Release,
    Samples,
    Stored,
    StuckWorker,
    Valid,
    decode_follower,
    encode,
)

_TICK_S = 0.05
_EVENTS_MAX = 256
"""Largest number of events in a message."""
_UNANSWERED_MAX = 64
"""Largest number of messages of events that wait for their answers, by host."""
_PART_BYTES = 64 * 1024
_PARTS = 8
"""Number of parts of a copy sent in one turn of the loop."""
_PARTS_S = 0.002
_FIGURES_NS = 250_000_000
"""Least time between two messages with counters that only show how risk is doing, in ns: most of them change with
each tick, and each message wakes two processes."""
_AT_ONCE = frozenset(
    {"session", "ready", "instructions", "terms", "halted", "listing_wanted", "universe", "closed"}
)
"""The counters by which processes of other hosts act, and so do the fences (``_FENCE``)."""
_FENCE = "fence_"
_NOTE_NS = 500_000_000
"""Least time between two notes sent to a host, in ns."""
_DRAIN_MS = 10
_SILENT_LEASES = 5
"""A host that has not answered for so many leases must join anew."""

SendTo = Callable[[bytes, bytes], bool]
"""Sends a message over a route; returns whether that was possible."""


class FollowedLedger(Protocol):
    """Is the leader's ledger: ``ledger.store.LedgerStore``."""

    path: Path
    tag: str
    last_seq: int
    archived_seq: int
    last_body: str

    def bodies(self, after: int, limit: int) -> list[str]:
        """Return the texts of at most ``limit`` events that follow the event ``after``."""
        ...

    def find(self, kind: str) -> list[tuple[int, Event]]:
        """Return (sequence, event) of all events of a kind that are not archived."""
        ...


class LeaderActions(Protocol):
    """Provides what a leader does for other hosts: ``service.RiskService``."""

    def grant(self, shard: int, host: str, number: int) -> int:
        """Store a grant. Return the last event that this rests on. Raises ``LedgerError``."""
        ...

    def fence(self, shard: int, reason: str) -> None:
        """Refuse a shard's incarnation from now on. Raises ``LedgerError``."""
        ...

    def show_fences(self) -> None:
        """Put on the page which epochs may still trade."""
        ...


class SharedPage(Protocol):
    """Is risk's page: ``shm.pages.PageReader``."""

    def values(self) -> dict[str, int]:
        """Return all counters by name."""
        ...

    def note(self) -> bytes:
        """Return the newest note. Raises ``SharedMemoryError``."""
        ...


@dataclass(eq=False)
class _Follower:
    host: str
    route: bytes
    is_own: bool
    sent_seq: int
    """The last event that was sent."""
    heard_ns: int
    """When it last answered, or joined."""
    sent_ns: int = 0
    """When events were last sent, or none of them."""
    unanswered: deque[tuple[int, int]] = field(default_factory=deque)
    """(last event, time of sending) of each message that a ``Stored`` is to answer, in order."""
    copy: LedgerCopy | None = None
    shown: dict[str, int] = field(default_factory=dict)
    note: bytes = b""
    noted_ns: int = 0
    shown_ns: int = 0
    """When counters were last sent."""


class Following:
    """Serves the followers of one leadership."""

    def __init__(
        self,
        cluster: ClusterConfig,
        term: int,
        store: FollowedLedger,
        actions: LeaderActions,
        granted: ShardGrants,
        epoch_of: Callable[[int], int | None],
        lease_ns: Callable[[], int],
        lead_until_ns: Callable[[], int],
        first: int,
    ) -> None:
        """Begin the leadership ``term``, whose first event is ``first``. Raises ``LedgerError``.

        ``epoch_of`` returns the epoch of a shard's worker, None for none. ``lead_until_ns`` returns until when the
        lease at NATS allows this host to lead.
        """
        self._cluster = cluster
        self._term = term
        self._store = store
        self._actions = actions
        self._grants = granted
        self._epoch_of = epoch_of
        self._lease_ns = lease_ns
        self._lead_until_ns = lead_until_ns
        lag_ns = cluster.async_lag_ms * 1_000_000 if cluster.replication == "async" else None
        self.quorum = CommitQuorum(
            cluster.host,
            cluster.hosts,
            lease_ns=cluster.lease_ms * 1_000_000,
            lag_ns=lag_ns,
            seq=store.last_seq,
            first=first,
        )
        self._first = first
        self._terms = [
            (seq, event.term) for seq, event in store.find("LeaderBegan") if isinstance(event, LeaderBegan)
        ]
        self._followers: dict[str, _Follower] = {}
        self._waiting_grants: deque[tuple[int, str, Granted]] = deque()
        """(event, host, message) of grants that a majority has not stored yet."""
        self._grant_seqs: dict[int, int] = {}
        """By shard: the event of its grant."""
        self._bodies: tuple[int, tuple[bytes, ...]] = (0, ())
        """The event after which the bodies begin that were read last, and these."""
        self._send: SendTo = _to_nobody
        self._fail: Callable[[Exception], None] = _raise
        self._page: SharedPage | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parts: asyncio.TimerHandle | None = None
        self.remote: RemoteBooks | None = None
        self.on_progress: Callable[[], None] = _nothing
        """Called when more events are stored by a majority, and at each tick."""
        self.bad = 0
        """Number of messages that are not those of this version, or that no follower of this leader may send."""

    def start(self, send: SendTo, page: SharedPage, on_error: Callable[[Exception], None]) -> None:
        """Serve in the running loop from now on. What a message raises is given to ``on_error``."""
        self._send, self._page, self._fail = send, page, on_error
        self._on_timer()

    def close(self) -> None:
        """Serve no more. May be called again."""
        for handle in (self._timer, self._parts):
            if handle is not None:
                handle.cancel()
        for follower in self._followers.values():
            _end_copy(follower)
        self._followers.clear()
        self._waiting_grants.clear()
        self._send = _to_nobody

    @property
    def until_ns(self) -> int:
        """Return until when this host may lead, by the clock of leases."""
        return min(self.quorum.until_ns, self._lead_until_ns())

    @property
    def has_majority(self) -> bool:
        """Return whether a majority of the hosts follows, whatever this host's agent wants."""
        return self.quorum.may_commit(self._lease_ns())

    @property
    def is_leading(self) -> bool:
        """Return whether this host may commit and answer now."""
        return self._lease_ns() < self.until_ns

    @property
    def safe_seq(self) -> int:
        """Return the last event that a reply may rest on now; -1 when nothing may be answered."""
        now_ns = self._lease_ns()
        return self.quorum.released(now_ns) if now_ns < self.until_ns else -1

    def is_safe_with(self, host: str, seq: int) -> bool:
        """Return whether ``host`` makes all events up to ``seq`` safe by storing them, and was sent them.

        A host that lacks more than that is not relied on: others may well be faster.
        """
        follower = self._followers.get(host)
        if follower is None or follower.is_own or follower.copy is not None or follower.sent_seq < seq:
            return False
        return self.is_leading and self.quorum.is_completed_by(host, seq)

    @property
    def followers(self) -> int:
        """Return the number of other hosts that are linked."""
        return sum(not one.is_own for one in self._followers.values())

    async def drain(self) -> None:
        """Send the last page; wait until every linked follower has stored all events, for one lease at most.

        The followers end by what the page shows: one that shows an open position would wait for its end.
        """
        values = self._page.values() if self._page is not None else {}
        for follower in tuple(self._followers.values()):
            self._show(follower, values, self._lease_ns(), is_last=True)
        last = self._store.last_seq
        for _ in range(self._cluster.lease_ms // _DRAIN_MS):
            others = (one.host for one in self._followers.values() if not one.is_own)
            if all(self.quorum.stored_by(host) >= last for host in others):
                return
            await asyncio.sleep(_DRAIN_MS / 1000)

    def stored(self, seq: int) -> None:
        """Note that risk has committed all events up to ``seq``, and send them."""
        self.quorum.store(seq, self._lease_ns())
        for follower in tuple(self._followers.values()):
            self._send_events(follower)

    def receive(self, route: bytes, host: str, data: bytes) -> None:
        """Act on a message of ``host``."""
        try:
            message = decode_follower(data)
        except ProtocolError as error:
            self.bad += 1
            get_logger().warning("a message of a follower cannot be read", host=host, error=str(error))
            return
        try:
            self._act(route, host, message)
        except Exception as error:  # noqa: BLE001 -- handed to the owner, who ends the process
            self._fail(error)

    def _act(self, route: bytes, host: str, message: FollowerMessage) -> None:
        if isinstance(message, Join):
            self._join(route, host, message)
            return
        follower = self._followers.get(host)
        if follower is None or follower.route != route:
            self._send(route, encode(NotJoined(self._term, "a link begins with Join")))
            return
        match message:
            case Stored():
                self._acknowledge(follower, message)
            case HostBeat():
                self._confirm(follower, message)
            case Claim():
                self._claim(follower, message)
            case Release():
                self._grants.release(host, message)
            case StuckWorker():
                self._fence(host, message)
            case Samples():
                if self.remote is not None:
                    self.remote.add(message)

    # joining

    def _join(self, route: bytes, host: str, message: Join) -> None:
        refusal = self._objection(host, message)
        if refusal:
            get_logger().warning("a follower is refused", host=host, why=refusal)
            self._send(route, encode(NotJoined(self._term, refusal)))
            return
        former = self._followers.pop(host, None)
        if former is not None:
            _end_copy(former)
        is_own = host == self._cluster.host
        contradiction = "" if is_own else self._contradiction(message)
        seq = message.position.seq
        follower = _Follower(host, route, is_own, seq, self._lease_ns())
        if not self._send(route, encode(Joined(self._term, bool(contradiction)))):
            return
        self._followers[host] = follower
        get_logger().info("a follower has joined", host=host, seq=seq, copy=contradiction or None)
        if contradiction:
            target = self._store.path.with_name(f"{self._store.path.name}.copy-{host}")
            follower.copy = LedgerCopy(self._store.path, target)
            self._plan_parts()
        self._send_events(follower)
        self._beat(follower)

    def _objection(self, host: str, message: Join) -> str:
        if message.version != VERSION:
            return f"the leader has version {VERSION} of the messages between hosts"
        if message.host != host:
            return f"the key of this link is that of {host}"
        if message.term != self._term:
            return f"term {self._term} is led here"
        if self._lease_ns() >= self._lead_until_ns():
            # Its agent does not answer. Whoever follows would give its vote to no other host meanwhile.
            return "this host may not lead any more"
        return ""

    def _contradiction(self, message: Join) -> str:
        """Return why the follower's ledger is not the beginning of this one; empty when it is."""
        store, (term, seq) = self._store, (message.position.term, message.position.seq)
        if seq == 0 or not message.digest:
            return "it has no ledger"
        if seq > store.last_seq:
            return f"it has event {seq}, the leader ends with {store.last_seq}"
        if seq == store.last_seq and store.last_body:
            body = store.last_body
        elif seq <= store.archived_seq:
            return f"the events up to {store.archived_seq} are in archives"
        else:
            body = store.bodies(seq - 1, 1)[0]
        if digest_of(store.tag, body) != message.digest:
            return f"its event {seq} is another one"
        place = bisect_right(self._terms, seq, key=lambda one: one[0])
        if place and self._terms[place - 1][1] != term:
            return f"its event {seq} is of term {term}, the leader's of term {self._terms[place - 1][1]}"
        return ""

    # events and their acknowledgements

    def _send_events(self, follower: _Follower) -> None:
        store = self._store
        while (
            not follower.is_own
            and follower.copy is None
            and follower.sent_seq < store.last_seq
            and len(follower.unanswered) < _UNANSWERED_MAX
        ):
            if follower.sent_seq < store.archived_seq:
                self._drop(follower, "what follows its last event is in archives by now")
                return
            bodies = self._read(follower.sent_seq)
            if not self._send_some(follower, bodies):
                return
            follower.sent_seq += len(bodies)

    def _read(self, after: int) -> tuple[bytes, ...]:
        if self._bodies[0] != after or after + len(self._bodies[1]) < min(
            after + _EVENTS_MAX, self._store.last_seq
        ):
            found = self._store.bodies(after, _EVENTS_MAX)
            self._bodies = after, tuple(body.encode() for body in found)
        return self._bodies[1]

    def _send_some(self, follower: _Follower, bodies: tuple[bytes, ...]) -> bool:
        """Send ``bodies``, which may be none, as the events after the last that was sent."""
        now_ns = self._lease_ns()
        message = Events(self._term, follower.sent_seq + 1, bodies)
        if not self._send(follower.route, encode(message)):
            return False
        last = follower.sent_seq + len(bodies) if follower.copy is None else 0
        follower.unanswered.append((last, now_ns))
        follower.sent_ns = now_ns
        return True

    def _acknowledge(self, follower: _Follower, message: Stored) -> None:
        if message.term != self._term or not follower.unanswered:
            self._drop(follower, "it acknowledges what was not sent")
            return
        last, sent_ns = follower.unanswered.popleft()
        if message.seq > last:
            self._drop(follower, f"it acknowledges event {message.seq}, and {last} was sent")
            return
        follower.heard_ns = self._lease_ns()
        self.quorum.acknowledge(follower.host, message.seq, sent_ns)
        self._progress()
        self._send_events(follower)

    def _progress(self) -> None:
        committed = self.quorum.committed
        while self._waiting_grants and self._waiting_grants[0][0] <= committed:
            _, host, message = self._waiting_grants.popleft()
            self._send_to(host, message)
        self.on_progress()

    def _drop(self, follower: _Follower, why: str) -> None:
        """Forget a follower, which joins again."""
        self.bad += 1
        get_logger().warning("a follower must join again", host=follower.host, why=why)
        _end_copy(follower)
        if self._followers.get(follower.host) is follower:
            del self._followers[follower.host]
        self._send(follower.route, encode(NotJoined(self._term, why)))

    # shards

    def _confirm(self, follower: _Follower, message: HostBeat) -> None:
        now_ns = self._lease_ns()
        left_ns = self.until_ns - now_ns
        if left_ns <= 0:
            return
        answer = self._grants.beat(follower.host, message.shards, now_ns)
        for one in answer.messages:
            if not isinstance(one, Granted) or self._is_stored(one):
                self._send(follower.route, encode(one))
        if answer.is_valid:
            left_ns = min(left_ns, self._cluster.lease_ms * 1_000_000)
            self._send(follower.route, encode(Valid(self._term, message.number, left_ns)))

    def _is_stored(self, message: Granted) -> bool:
        """Return whether a majority has stored the grant."""
        return self.quorum.committed >= self._grant_seqs.get(message.shard, self._first)

    def _claim(self, follower: _Follower, message: Claim) -> None:
        if not self.is_leading:
            return  # the host claims it from the next leader
        answer = self._grants.answer(follower.host, message, self._lease_ns())
        if not isinstance(answer, Granted):
            self._send(follower.route, encode(answer))
            return
        seq = self._actions.grant(answer.shard, follower.host, answer.grant)
        if seq <= self.quorum.committed:
            self._send(follower.route, encode(answer))
        elif all(one[1:] != (follower.host, answer) for one in self._waiting_grants):
            self._grant_seqs[answer.shard] = seq
            self._waiting_grants.append((seq, follower.host, answer))

    def _fence(self, host: str, message: StuckWorker) -> None:
        is_its_own = self._grants.is_holder(host, message.shard, message.epoch)
        if self.is_leading and is_its_own and self._epoch_of(message.shard) == message.epoch:
            self._actions.fence(message.shard, message.reason)
            self._actions.show_fences()

    # what goes out by the time

    def _on_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(
            min(_TICK_S, self._cluster.beat_ms / 1000), self._on_timer
        )
        try:
            self._tick()
        except Exception as error:  # noqa: BLE001 -- handed to the owner, who ends the process
            self._fail(error)

    def _tick(self) -> None:
        now_ns = self._lease_ns()
        values = self._page.values() if self._page is not None else {}
        silent_ns = self._cluster.lease_ms * 1_000_000 * _SILENT_LEASES
        for follower in tuple(self._followers.values()):
            if follower.unanswered and now_ns - max(follower.heard_ns, follower.unanswered[0][1]) > silent_ns:
                self._drop(follower, "it does not answer")
                continue
            self._send_events(follower)
            self._beat(follower)
            self._show(follower, values, now_ns)
        self.on_progress()

    def _beat(self, follower: _Follower) -> None:
        """Send a message without events when none was sent for a while, so that it is answered."""
        due_ns = self._cluster.beat_ms * 1_000_000 - int(_TICK_S * 5e8)
        is_due = self._lease_ns() - follower.sent_ns >= due_ns
        if is_due and not follower.is_own and len(follower.unanswered) < _UNANSWERED_MAX:
            self._send_some(follower, ())

    def _show(
        self, follower: _Follower, values: dict[str, int], now_ns: int, *, is_last: bool = False
    ) -> None:
        """Send what has changed on the page: what others act on at once, the rest and the note when they are due."""
        if follower.is_own or self._page is None:
            return
        changed = {name: value for name, value in values.items() if follower.shown.get(name) != value}
        is_due = is_last or now_ns - follower.shown_ns >= _FIGURES_NS
        if not is_due and not any(name in _AT_ONCE or name.startswith(_FENCE) for name in changed):
            changed = {}
        note = None
        if is_last or now_ns - follower.noted_ns >= _NOTE_NS:
            follower.noted_ns = now_ns
            try:
                note = self._page.note()
            except SharedMemoryError as error:
                get_logger().warning("the note cannot be sent", error=str(error))
            if note == follower.note:
                note = None
        if (changed or note) and self._send(follower.route, encode(PageState(changed, note))):
            follower.shown.update(changed)
            follower.shown_ns = now_ns if changed else follower.shown_ns
            follower.note = note or follower.note

    # copies

    def _plan_parts(self) -> None:
        if self._parts is None:
            self._parts = asyncio.get_running_loop().call_later(_PARTS_S, self._on_parts)

    def _on_parts(self) -> None:
        self._parts = None
        copying = [one for one in self._followers.values() if one.copy is not None]
        try:
            for follower in copying:
                self._send_parts(follower)
        except Exception as error:  # noqa: BLE001 -- handed to the owner, who ends the process
            self._fail(error)
            return
        if any(one.copy is not None for one in self._followers.values()):
            self._plan_parts()

    def _send_parts(self, follower: _Follower) -> None:
        copy = follower.copy
        if copy is None or not copy.is_made:
            return
        if copy.problem is not None:
            self._drop(follower, f"its copy cannot be made: {copy.problem}")
            return
        for _ in range(_PARTS):
            try:
                part = copy.part(_PART_BYTES)
            except OSError as error:
                self._drop(follower, f"its copy cannot be read: {error}")
                return
            message = CopyPart(part.offset, part.data, part.is_last, copy.seq, part.archive)
            if not self._send(follower.route, encode(message)):
                return  # its queue is full: the same part again, later
            copy.go_on(part)
            if part.is_last:
                follower.sent_seq = copy.seq
                follower.unanswered.append((copy.seq, self._lease_ns()))
                _end_copy(follower)
                self._send_events(follower)
                return

    def _send_to(self, host: str, message: msgspec.Struct) -> None:
        follower = self._followers.get(host)
        if follower is not None:
            self._send(follower.route, encode(message))


def digest_of(tag: str, body: str) -> bytes:
    """Return the digest by which a follower states its last event (``Join.digest``)."""
    return sha256(b"\0".join((tag.encode(), body.encode()))).digest()


def _end_copy(follower: _Follower) -> None:
    copy, follower.copy = follower.copy, None
    if copy is not None:
        copy.close()


def _to_nobody(_route: bytes, _message: bytes) -> bool:
    return False


def _raise(error: Exception) -> None:
    raise error


def _nothing() -> None:
    """Do nothing: the default of the callbacks."""
