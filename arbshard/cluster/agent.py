"""Is the cluster agent of one host: the shell around ``HostCore``, which decides.

The agent brings everything that happens to the core, with the time on the clock of leases: entries of NATS, messages
of other agents, messages of the leader, and what the supervisor and the workers show. After each call it writes its
page first, and then carries out the core's actions in their order. While this host does not lead, the agent keeps its
copy of the ledger, relays requests to the leader, and mirrors the leader's page.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from arbshard.clock import SystemClock, lease_ns
from arbshard.cluster.actions import (
    Action,
    Follow,
    Lead,
    Persist,
    PublishView,
    PutLease,
    ReadEntry,
    SendToLeader,
    SendVote,
    StepDown,
    Unfollow,
)
from arbshard.cluster.files import KeptCommands, PromiseFile
from arbshard.cluster.host import HostCore
from arbshard.cluster.local import CpuMeter, LocalProcesses, StuckReports, SupervisorState
from arbshard.cluster.mirror import RiskMirror
from arbshard.cluster.relay import Relay
from arbshard.cluster.replica import Replica
from arbshard.cluster.samples import FrameSampler
from arbshard.cluster.store import RUN, LeaseStore, StoredEntry
from arbshard.cluster.universe import SharedUniverse
from arbshard.config import Config
from arbshard.config.cluster_file import HostKeys
from arbshard.errors import LedgerError, ProtocolError, RunDirError, SharedMemoryError, TransportError
from arbshard.log import error_count, get_logger
from arbshard.model.cluster_note import ClusterNote, HostSight, HostView, counters
from arbshard.model.rundir import RunFiles
from arbshard.repeat import BackgroundTasks
from arbshard.risk.portfolio.state import Shard
from arbshard.risk.shards.workers import WorkerWatch
from arbshard.shm.pages import PageWriter
from arbshard.version import __version__
from arbshard.wire.cluster import (
    VERSION,
    Claim,
    ClaimRefused,
    CopyPart,
    Events,
    Gossip,
    Join,
    Joined,
    LogPosition,
    PageState,
    StuckWorker,
    decode_leader,
    decode_vote,
    encode,
)
from arbshard.wire.links import HostClient, HostLinks, HostServer

NOTE_BYTES = 1 << 18
_NOTE_NS = 250_000_000
_MEASURE_NS = 1_000_000_000
_JOIN_S = 0.01
"""Interval in seconds at which it is tried to join a leader to whom there is no connection yet."""
_REJOIN_S = 0.1
_END_S = 0.3
"""How long the end of the agent waits until what it gives back has left, in seconds."""
_VOTES_HIGH_WATER = 64
_ANEW_NS = 2_000_000_000
_WRITES_MAX = 256
"""Largest number of reads and writes at NATS that are under way."""
_UNIVERSE = "universe"

MakeStore = Callable[[Callable[[StoredEntry], None], Callable[[bool], None]], LeaseStore]
"""Makes the store from its two callbacks: for each entry, and for whether there is a connection."""


class AgentExit(IntEnum):
    """Says how the process ended."""

    ORDERLY = 0
    FAILED = 1
    USAGE = 2
    LEDGER = 3
    ORPHANED = 4


class AgentPorts(NamedTuple):
    """What the agent needs from the process that it runs in."""

    clock: SystemClock
    files: RunFiles
    state_dir: Path
    pid: int
    keys: HostKeys
    make_store: MakeStore
    is_orphan: Callable[[], bool]


class _Link:
    """Is the link to one leader."""

    def __init__(self, host: str, term: int) -> None:
        self.host = host
        self.term = term
        self.client: HostClient | None = None
        self.is_asked = False
        """Whether the message by which this host joins has been sent."""

    def send(self, message: msgspec.Struct) -> bool:
        """Send a message. Return whether that was possible."""
        return self.client is not None and self.client.send(encode(message))


class Agent:
    """Is the agent. ``run`` it once, and close it."""

    def __init__(self, ports: AgentPorts, config: Config) -> None:
        """Open everything but the ledger. For use in a running loop.

        Raises ``UsageError``, ``SharedMemoryError``, ``TransportError``, ``OSError``.
        """
        assert config.cluster is not None, "only a run on several hosts has an agent"
        cluster = self._cluster = config.cluster
        self._ports = ports
        self._config = config
        self._end: asyncio.Future[AgentExit] = asyncio.get_running_loop().create_future()
        files, clock = ports.files, ports.clock
        self._promise_file = PromiseFile(ports.state_dir)
        self._core = HostCore(cluster, self._promise_file.load(), lease_ns())
        self._kept = KeptCommands(ports.state_dir)
        self._universe = SharedUniverse(ports.state_dir, files.cluster_universe)
        self._tasks = BackgroundTasks(self._fail)
        self._busy: set[str] = set()
        """Keys that are being read or written."""
        self._shown: tuple[bool, int, int, int, dict[int, int]] | None = None
        """What the page shows of the core; None before it shows anything."""
        self._view: HostView | None = None
        """What this host has last shown to the others."""
        self._sights: dict[str, tuple[int, int]] = {}
        """When the newest view of each other host has arrived (ns), and how far its wall clock was ahead (ms)."""
        self._sent_ns: dict[str, int] = {}
        """When something was last sent to each other agent."""
        self._began_ns = lease_ns()
        self._frames_s = self._cpu = 0.0
        self._sends_alerts = False
        self._state = SupervisorState()
        self._counts = dict.fromkeys(("votes", "claims", "claims_refused", "bad_messages"), 0)
        self._link: _Link | None = None
        self._stuck = StuckReports()
        self._noted_ns = self._measured_ns = self._sampled_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        with ExitStack() as opened:
            self._page = opened.enter_context(
                PageWriter.create(files.cluster_page, counters(cluster.shards), (), NOTE_BYTES)
            )
            self._set("pid", ports.pid)
            self._links = opened.enter_context(HostLinks(cluster, ports.keys.curve))
            self._server = opened.enter_context(
                HostServer(
                    self._links, cluster.own.agent_endpoint, self._on_vote, high_water=_VOTES_HIGH_WATER
                )
            )
            self._voters = {host: self._voter(host) for host in cluster.hosts if host != cluster.host}
            opened.callback(self._close_voters)
            self._local = opened.enter_context(LocalProcesses(files, cluster.shards, clock.monotonic_ns))
            self._meter = CpuMeter(clock.monotonic_ns)
            self._replica = opened.enter_context(
                Replica(ports.state_dir / "ledger.sqlite", config, clock, os.environ)
            )
            self._mirror = opened.enter_context(RiskMirror(files.risk_page))
            self._is_mirroring = False
            self._relay = opened.enter_context(
                Relay(self._links, cluster, files.risk_endpoint, self._kept, self._why_no_leader, self._fail)
            )
            self._sampler = opened.enter_context(FrameSampler(files, clock.monotonic_ns))
            self._watch = WorkerWatch(files, cluster.shards, int(config.run.stuck_after_ms * 1e6))
            opened.callback(self._watch.close)
            opened.callback(self._close_link)
            self._opened = opened.pop_all()
        self._store = ports.make_store(self._on_entry, self._on_nats)

    def _voter(self, host: str) -> HostClient:
        endpoint = self._cluster.hosts[host].agent_endpoint
        return HostClient(self._links, host, endpoint, self._ignore_answer, high_water=_VOTES_HIGH_WATER)

    def _close_voters(self) -> None:
        for one in self._voters.values():
            one.close()

    async def run(self, stop: asyncio.Event) -> AgentExit:
        """Work until ``stop`` is set or there is a reason to end. Return how it ended.

        Raises whatever a turn raised, but ``LedgerError``, which ends it with a code.
        """
        self._tasks.start(self._store.run(), name="store")
        self._set("ready", 1)
        self._on_timer()
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((stopping, self._end), return_when=asyncio.FIRST_COMPLETED)
            if not self._end.done():
                await self._give_everything_back()
            return self._end.result() if self._end.done() else AgentExit.ORDERLY
        finally:
            stopping.cancel()
            if self._timer is not None:
                self._timer.cancel()
            await self._tasks.close()
            await self._relay.end()

    def close(self) -> None:
        """Show that this host may do nothing any more, and close everything. May be called again.

        Raises ``LedgerError`` when the ledger cannot be closed in order.
        """
        for shard in range(self._cluster.shards):
            self._set(f"grant_{shard}", 0)
        for name in ("valid_until_ns", "lead_until_ns", "leads", "ready"):
            self._set(name, 0)
        self._opened.close()

    async def _give_everything_back(self) -> None:
        """Leave the cluster in order, so that other hosts need not wait until leases have expired."""
        self._run(self._core.leave(lease_ns()))
        await self._universe.forget()  # When it comes back, NATS has the newest one, or a new run has begun.
        if self._core.phase:
            await self._store.put(RUN, _UNIVERSE, b"", None)
        await asyncio.sleep(_END_S)

    # What happens.

    def _guarded(self, step: Callable[[], None]) -> None:
        """Carry out a step; what it raises ends the process."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - ``run`` raises it
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._end.done():
            return
        if isinstance(error, LedgerError):
            get_logger().error("the ledger cannot be trusted or written", error=str(error))
            self._end.set_result(AgentExit.LEDGER)
        else:
            self._end.set_exception(error)

    def _on_timer(self) -> None:
        tick_s = self._cluster.beat_ms / 2000
        self._timer = asyncio.get_running_loop().call_later(tick_s, self._on_timer)
        self._guarded(self._tick)
        if self._ports.is_orphan() and not self._end.done():
            get_logger().error("the supervisor is gone")
            self._end.set_result(AgentExit.ORPHANED)

    def _tick(self) -> None:
        now_ns = self._ports.clock.monotonic_ns()
        core, state = self._core, self._local.supervisor()
        self._state = state
        core.workers(self._local.workers(state.epochs))
        core.universe(state.universe, lease_ns())
        core.risk_ended(state.risk_ended)
        core.nats_state(connected=self._store.is_connected, trouble=self._store.trouble)
        for shard, grant in enumerate(state.backs):
            if grant:
                self._run(core.give_back(shard, grant, lease_ns()))
        core.order_phase(state.phase)
        core.is_concluded = self._replica.is_concluded
        if state.leaves:
            self._run(core.leave(lease_ns()))
        self._keep_ledger(now_ns)
        self._run(core.tick(lease_ns()))
        self._keep_relay()
        self._publish()
        if self._link is not None and self._link.host != self._cluster.host:
            self._report_stuck(now_ns)
            self._send_samples(now_ns)
        self._page.add(self._page.counter("beat"))
        self._set("beat_ns", now_ns)
        self._measure(now_ns)
        if now_ns - self._noted_ns >= _NOTE_NS:
            self._noted_ns = now_ns
            self._write_note()

    def _on_vote(self, _: bytes, host: str, data: bytes) -> None:
        self._guarded(partial(self._heed_vote, host, data))

    def _heed_vote(self, host: str, data: bytes) -> None:
        try:
            message = decode_vote(data)
        except ProtocolError as error:
            self._count_bad(host, str(error))
            return
        if message.host != host:
            self._count_bad(host, f"it names itself {message.host}")
            return
        if isinstance(message, Gossip):
            self._sights[host] = lease_ns(), message.view.at_ms - self._ports.clock.wall_ms()
        else:
            self._counts["votes"] += 1
        self._run(self._core.vote_message(message, lease_ns()))

    def _ignore_answer(self, _: bytes) -> None:
        self._count_bad("an agent", "its port only receives")

    def _on_entry(self, entry: StoredEntry) -> None:
        self._guarded(partial(self._heed_entry, entry))

    def _heed_entry(self, entry: StoredEntry) -> None:
        bucket, key, revision, value = entry
        if bucket != RUN:
            self._run(self._core.kv_entry(f"{bucket}/{key}", revision, value, lease_ns()))
        elif key == _UNIVERSE:
            try:
                self._universe.heed(value)
            except ProtocolError as error:
                self._count_bad("NATS", str(error))

    def _on_nats(self, connected: bool) -> None:
        self._core.nats_state(connected=connected, trouble=self._store.trouble)

    # What the core wants.

    def _run(self, actions: Sequence[Action]) -> None:
        """Write the page, then carry out the actions in their order."""
        self._show()
        for action in actions:
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:  # noqa: C901 - one branch for each kind
        match action:
            case Persist(promise):
                self._promise_file.save(promise)
            case SendVote(host, message):
                self._send_to_agent(host, encode(message))
            case Follow(host, term):
                self._open_link(host, term)
            case Unfollow():
                self._close_link()
            case Lead(term):
                get_logger().warning("this host is elected", term=term)
                self._replica.close()
                self._run(self._core.replica(None, lease_ns()))
            case StepDown(why):
                get_logger().warning("this host does not lead any more", why=why)
            case SendToLeader(message):
                self._counts["claims"] += isinstance(message, Claim)
                if self._link is not None:
                    self._link.send(message)
            case PutLease():
                self._begin(action.key, self._put_lease(action), is_lease=True)
            case ReadEntry(key):
                self._begin(key, self._store.read(*_parts(key)))
            case PublishView():
                self._gossip()

    def _begin(self, key: str, work: Coroutine[None, None, None], *, is_lease: bool = False) -> None:
        """Begin a read or a write at NATS; one of each key is under way, and what is too much is left out."""
        name = f"{key} lease" if is_lease else key
        if name in self._busy or len(self._busy) >= _WRITES_MAX:
            work.close()
            return
        self._busy.add(name)
        self._tasks.start(self._finish(name, work))

    async def _finish(self, name: str, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        finally:
            self._busy.discard(name)

    async def _put_lease(self, put: PutLease) -> None:
        revision = await self._store.put(*_parts(put.key), put.value, put.revision)
        self._run(self._core.lease_written(put, revision, lease_ns()))

    def _gossip(self) -> None:
        """Send what this host knows to the agents of all others."""
        message = self._core.gossip(
            at_ms=self._ports.clock.wall_ms(),
            version=__version__,
            frames_s=self._frames_s,
            cpu=self._cpu,
            now_ns=lease_ns(),
            alerts=self._sends_alerts,
        )
        self._view = message.view
        data = encode(message)
        for host in self._voters:
            self._send_to_agent(host, data)

    def _send_to_agent(self, host: str, data: bytes) -> None:
        """Send to another agent. A connection on which nothing can be sent for a while is made anew.

        ZeroMQ does not try again by itself where the other side refused a key.
        """
        now_ns = lease_ns()
        if self._voters[host].send(data):
            self._sent_ns[host] = now_ns
        elif now_ns - self._sent_ns.get(host, self._began_ns) > _ANEW_NS:
            self._sent_ns[host] = now_ns
            self._voters[host].close()
            self._voters[host] = self._voter(host)

    # The leader.

    def _open_link(self, host: str, term: int, after_s: float = 0.0) -> None:
        """Open the link to a leader anew, and join it as soon as there is a connection."""
        self._close_link()
        link = self._link = _Link(host, term)
        self._sampler.forget()
        endpoint = self._cluster.hosts[host].follow_endpoint
        try:
            link.client = HostClient(self._links, host, endpoint, partial(self._on_leader, link))
        except TransportError as error:
            get_logger().error("the leader cannot be reached", leader=host, why=str(error))
            return
        asyncio.get_running_loop().call_later(max(after_s, _JOIN_S), self._try_to_join, link)

    def _close_link(self) -> None:
        self._relay.unfollow()
        if self._link is not None and self._link.client is not None:
            self._link.client.close()
        self._link = None

    def _try_to_join(self, link: _Link) -> None:
        if link is self._link and not self._end.done():
            self._guarded(partial(self._join, link))

    def _join(self, link: _Link) -> None:
        own = self._cluster.host
        if link.host == own:  # risk has the ledger, and counts itself
            link.is_asked = link.send(Join(VERSION, own, link.term, LogPosition(0, 0), b""))
        elif self._replica.is_open:
            link.is_asked = link.send(self._replica.join(own, link.term))
        if not link.is_asked:
            asyncio.get_running_loop().call_later(_JOIN_S, self._try_to_join, link)

    def _on_leader(self, link: _Link, data: bytes) -> None:
        if link is self._link and not self._end.done():
            self._guarded(partial(self._heed_leader, link, data))

    def _heed_leader(self, link: _Link, data: bytes) -> None:
        try:
            message = decode_leader(data)
        except ProtocolError as error:
            self._count_bad(link.host, str(error))
            return
        stored = None
        actions: list[Action] = []
        if isinstance(message, Joined | Events | CopyPart) and link.host != self._cluster.host:
            try:
                stored = self._replica.receive(message)
            except ProtocolError as error:
                get_logger().warning("the leader is joined anew", leader=link.host, why=str(error))
                self._open_link(link.host, link.term, _REJOIN_S)
                return
            # The core must know what this host has before the leader learns of it.
            actions += self._core.replica(self._replica.position, lease_ns())
        self._counts["claims_refused"] += isinstance(message, ClaimRefused)
        if isinstance(message, PageState):
            self._mirror.show(message, self._ports.clock.monotonic_ns())
        self._run([*actions, *self._core.leader_message(link.term, message, lease_ns())])
        if stored is not None and link is self._link:
            self._relay.stored(stored.term, stored.seq)
            link.send(stored)

    # What this host keeps while it does not lead.

    def _keep_ledger(self, now_ns: int) -> None:
        """Open the ledger once risk of this host has ended, and take care of it."""
        if self._replica.is_open:
            self._replica.tick(now_ns)
        elif not self._core.leads and not self._state.risk_term:
            try:
                self._replica.open()
            except RunDirError:
                return  # risk has not ended yet
            self._run(self._core.replica(self._replica.position, lease_ns()))

    def _keep_relay(self) -> None:
        """Answer in the place of risk while neither this host leads nor a risk process of it exists."""
        if self._core.leads:
            if self._state.risk_term:
                self._relay.deliver_here()
            return
        if self._state.risk_term:
            return
        if not self._relay.is_open:
            self._relay.open()
        # A leader that leaves keeps the last page of its risk, which says how the ledger was closed.
        if not self._is_mirroring and not self._state.leaves:
            self._mirror.open()
            self._is_mirroring = True
        leader = self._core.leader
        self._relay.set_leader(leader if leader != self._cluster.host else "")

    def _why_no_leader(self) -> str:
        return self._core.why(lease_ns())

    def _report_stuck(self, now_ns: int) -> None:
        shards = {
            shard: Shard(epoch, 0, self._mirror.fence(shard))
            for shard, epoch in enumerate(self._state.epochs)
            if epoch
        }
        stuck = self._watch.judge(now_ns, shards)
        found = [StuckWorker(shard, shards[shard].epoch, reason) for shard, reason in stuck.items()]
        for report in self._stuck.due(found, now_ns):
            get_logger().warning("a worker is stuck", shard=report.shard, reason=report.reason)
            if self._link is not None:
                self._link.send(report)

    def _send_samples(self, now_ns: int) -> None:
        if self._link is None or now_ns - self._sampled_ns < 1e9 / self._cluster.samples_hz:
            return
        self._sampled_ns = now_ns
        held = self._core.grants(lease_ns())
        for samples in self._sampler.changed(held):
            if not self._link.send(samples):
                self._sampler.forget()
                return

    def _publish(self) -> None:
        """Publish which pairs the supervisor of the leader has chosen, and keep those of this host."""
        if not self._universe.is_kept:
            self._begin("the copy of the universe", self._universe.keep())
        is_ending = self._core.phase != 0
        if self._core.leads and self._state.universe and self._store.is_connected and not is_ending:
            packed = self._universe.publish(self._ports.files.universe, self._state.universe)
            if packed is not None:
                self._begin(f"{RUN}/{_UNIVERSE}", self._put_universe(packed, self._state.universe))

    async def _put_universe(self, packed: bytes, serial: int) -> None:
        if await self._store.put(RUN, _UNIVERSE, packed, None) is not None:
            self._universe.is_published(serial)

    # What is shown.

    def _show(self) -> None:
        core, now_ns = self._core, lease_ns()
        if core.leads and (self._relay.is_open or self._is_mirroring):
            # Risk's socket and page must be free before the supervisor starts it.
            self._relay.close()
            self._mirror.close()
            self._is_mirroring = False
        grants = core.grants(now_ns)
        shown = core.leads, core.term, core.valid_until_ns, core.lead_until_ns, grants
        if shown == self._shown:
            return  # Most of what happens changes nothing of it.
        self._shown = shown
        if not core.leads:
            self._set("leads", 0)
        for shard in range(self._cluster.shards):
            self._set(f"grant_{shard}", grants.get(shard, 0))
        self._set("valid_until_ns", core.valid_until_ns)
        self._set("lead_until_ns", core.lead_until_ns)
        self._set("term", core.term)
        if core.leads:
            self._set("leads", 1)

    def _write_note(self) -> None:
        core, now_ns, relay = self._core, lease_ns(), self._relay
        self._set("universe", self._universe.serial)
        self._set("phase", core.phase)
        self._set("errors", error_count())
        self._set("relayed", relay.relayed)
        self._set("unrelayed", relay.unrelayed + relay.dropped)
        self._set("bad_messages", self._counts["bad_messages"] + relay.bad + self._links.refused)
        for name in ("votes", "claims", "claims_refused"):
            self._set(name, self._counts[name])
        self._set("nats_failures", self._store.failures)
        self._set("stored_seq", self._replica.position.seq)
        self._set("copies", self._replica.copies)
        self._set("unknown_counters", self._mirror.unknown)
        why = core.why(now_ns)
        note = ClusterNote(
            cluster=self._cluster.name,
            host=self._cluster.host,
            leader=core.leader,
            term=core.term,
            nats=self._store.is_connected,
            contact_ms=(now_ns - core.contact_ns) / 1e6 if core.contact_ns else -1.0,
            hosts=self._views(),
            placement=core.placement,
            kept=self._kept.texts,
            why=why,
            sights={
                host: HostSight((now_ns - at_ns) / 1e6, ahead_ms)
                for host, (at_ns, ahead_ms) in self._sights.items()
            },
            refused=self._links.refusals,
        )
        try:
            self._page.write_note(msgspec.json.encode(note))
        except SharedMemoryError as error:
            get_logger().error("the note cannot be written", error=str(error))

    def _views(self) -> tuple[HostView, ...]:
        views = dict(self._core.views)
        if self._view is not None:
            views[self._cluster.host] = self._view
        return tuple(views[host] for host in sorted(views))

    def _measure(self, now_ns: int) -> None:
        if now_ns - self._measured_ns < _MEASURE_NS:
            return
        self._measured_ns = now_ns
        self._sends_alerts = self._local.sends_alerts()
        note = self._local.note()
        if note is not None:
            self._frames_s = sum(venue.msg_s for venue in note.venues)
            self._cpu = self._meter.share([note.pid, *(one.pid for one in note.children if one.pid)])

    def _count_bad(self, source: str, why: str) -> None:
        self._counts["bad_messages"] += 1
        if self._counts["bad_messages"] <= 10:
            get_logger().warning("a message was refused", source=source, why=why)

    def _set(self, name: str, value: int) -> None:
        self._page.set(self._page.counter(name), value)


def _parts(key: str) -> tuple[str, str]:
    """Return bucket and key."""
    bucket, _, name = key.partition("/")
    return bucket, name
