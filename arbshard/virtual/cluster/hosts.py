"""Simulates a host of a cluster: its disk, its supervisor, its agent around the real ``HostCore``, its workers."""

from collections.abc import Callable, Iterable
from functools import partial

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
from arbshard.cluster.claims import WorkerUp
from arbshard.cluster.held_replies import HeldReplies
from arbshard.cluster.host import HostCore
from arbshard.cluster.terms import Promise
from arbshard.config.cluster import ClusterConfig
from arbshard.virtual.cluster.checks import ClusterChecks
from arbshard.virtual.cluster.kv import VirtualNats
from arbshard.virtual.cluster.leader import AskedOrder, LeaderRisk, position_of
from arbshard.virtual.cluster.world import (
    MS,
    ClusterWorld,
    HostClock,
    HostProcess,
    MessageStream,
    ProcessKilled,
    S,
)
from arbshard.wire.cluster import (
    EPOCHS_PER_GRANT,
    PAUSE_NS,
    VERSION,
    AskVote,
    CopyPart,
    Events,
    FollowerMessage,
    Gossip,
    Join,
    LeaderMessage,
    Stored,
    Voted,
)

_TICK_NS = 50 * MS
_POLL_NS = 40 * MS
_TIME_OUT_NS = 300 * MS
_PAUSE_NS = S
"""Pause before a risk process is started in the place of one that was kept ready and has died."""
_CONNECT_NS = 100 * MS
"""How often a connection is tried where no process listens."""


class AgentPage:
    """Is the agent's page. A process that has opened it sees it until it opens another one."""

    def __init__(self) -> None:
        self.leads = False
        self.term = 0
        self.lead_until_ns = 0
        self.valid_until_ns = 0
        self.grants: dict[int, int] = {}


class HostDisk:
    """Holds what survives the host's processes."""

    def __init__(self) -> None:
        self.promise = Promise()
        self.ledger: list[bytes] = []
        self.lock: HostProcess | None = None
        """The process that has the ledger open."""


class AgentLink:
    """Is one connection of an agent to a leader's risk."""

    def __init__(self, agent: "ClusterAgent", target: str, term: int) -> None:
        self.agent = agent
        self.target = target
        self.term = term
        self.up = MessageStream()
        self.down = MessageStream()
        self.risk: LeaderRisk | None = None
        """The process at the other end; the connection breaks when that is another one."""
        self.copy: list[bytes] = []
        """The ledger of which ``CopyPart`` is the last part."""

    def send(self, message: FollowerMessage) -> None:
        """Send to the leader."""
        host = self.agent.host
        host.world.send(host.name, self.target, self.up, self._arrive, message)

    def join(self) -> None:
        """Ask the leader to accept this host, as soon as there is a connection."""
        if self.agent.link is self:
            host = self.agent.host
            self.send(Join(VERSION, host.name, self.term, position_of(host.disk.ledger), b""))

    def _arrive(self, message: FollowerMessage) -> None:
        risk = self.agent.host.cluster[self.target].risk
        if isinstance(message, Join):
            if risk is None or not risk.listens:
                self.agent.host.world.after(_CONNECT_NS, self.agent.process, self.join)
                return
            self.risk = risk
        if risk is not None and self.risk is risk:
            risk.host.world.enter(risk.process, risk.receive, self, message)

    def deliver(self, message: LeaderMessage) -> None:
        """Have the agent receive a message of the leader."""
        self.agent.host.world.enter(self.agent.process, self.agent.receive, self, message)


class ClusterAgent:
    """Is the agent process: a shell around the real core."""

    def __init__(self, host: "ClusterHost") -> None:
        self.host = host
        self.process = HostProcess(f"{host.name}/agent")
        self.page = host.page = AgentPage()
        self.core = HostCore(host.config, host.disk.promise, host.now())
        self.core.nats_state(connected=True)
        self.link: AgentLink | None = None
        """The connection to the leader."""
        self._held: HeldReplies[Callable[[], None]] = HeldReplies()
        self._stored_ns = 0
        self._tick()

    def _tick(self) -> None:
        host = self.host
        self.core.workers(
            {shard: WorkerUp(one.epoch, 1) for shard, one in host.workers.items() if one.process.alive}
        )
        self.core.universe(1, host.now())
        self.core.risk_ended(host.ended_term)
        if not self.core.leads and host.disk.lock is None and host.risk is None:
            host.disk.lock = self.process
            self.do(self.core.replica(position_of(host.disk.ledger), host.now()))
        self.do(self.core.tick(host.now()))
        host.world.after(_TICK_NS, self.process, self._tick)

    def do(self, actions: Iterable[Action]) -> None:
        """Show the page, then carry out the actions in their order."""
        page, core = self.page, self.core
        page.leads, page.term = core.leads, core.term
        page.lead_until_ns = core.lead_until_ns
        page.grants = core.grants(self.host.now())
        page.valid_until_ns = core.valid_until_ns
        self._carry_out_all(list(actions))

    def _carry_out_all(self, actions: list[Action]) -> None:
        for number, action in enumerate(actions):
            self._carry_out(action)
            if isinstance(action, Persist) and self.host.wait_for_disk(self.process):
                self.host.world.enter(self.process, self._carry_out_all, actions[number + 1 :])
                return

    def _carry_out(self, action: Action) -> None:  # noqa: C901, PLR0912 - one case for each action
        host = self.host
        if not isinstance(action, ReadEntry | PublishView | SendToLeader):
            host.world.log(f"{host.name} {action}")
        match action:
            case Persist(promise):
                host.crash_point(self.process, "promise")
                self.persist(promise)
                host.crash_point(self.process, "promised")
            case SendVote(target, message):
                host.world.send(host.name, target, None, host.cluster[target].vote_message, message)
            case Follow(target, term):
                self._held.unfollow()
                self.link = AgentLink(self, target, term)
                self.link.join()
            case Unfollow():
                self._held.unfollow()
                self.link = None
            case Lead(term):
                host.world.log(f"{host.name} is elected for term {term}")
                self._close_ledger()
                self.do(self.core.replica(None, host.now()))
            case StepDown(why):
                host.world.log(f"{host.name} steps down: {why}")
            case SendToLeader(message):
                if self.link is not None:
                    self.link.send(message)
            case PutLease():
                self._put(action)
            case ReadEntry(key):
                host.nats.read(host.name, lambda revision, value: self._read(key, revision, value))(key)
            case PublishView():
                frames_s = 100.0 * len(self.page.grants)
                gossip = self.core.gossip(at_ms=0, version="1", frames_s=frames_s, cpu=0.1, now_ns=host.now())
                for name, other in host.cluster.items():
                    if name != host.name:
                        host.world.send(host.name, name, None, other.vote_message, gossip)

    def persist(self, promise: Promise) -> None:
        """Store a promise."""
        self.host.disk.promise = promise

    def _close_ledger(self) -> None:
        if self.host.disk.lock is self.process:
            self.host.disk.lock = None

    def _read(self, key: str, revision: int, value: bytes | None) -> None:
        self.host.world.enter(
            self.process, lambda: self.do(self.core.kv_entry(key, revision, value, self.host.now()))
        )

    def _put(self, put: PutLease) -> None:
        is_answered = False

        def answer(revision: int | None) -> None:
            nonlocal is_answered
            if not is_answered:
                is_answered = True
                self.do(self.core.lease_written(put, revision, self.host.now()))

        world, process = self.host.world, self.process
        self.host.nats.write(
            self.host.name,
            put.key,
            put.value,
            put.revision,
            lambda revision: world.enter(process, answer, revision),
        )
        world.after(_TIME_OUT_NS, process, answer, None)

    def vote_message(self, message: AskVote | Voted | Gossip) -> None:
        """Take a message of another agent."""
        self.do(self.core.vote_message(message, self.host.now()))

    # The replica.

    def receive(self, link: AgentLink, message: LeaderMessage) -> None:
        """Take a message of the leader."""
        if link is not self.link:
            return
        self.do(self.core.leader_message(link.term, message, self.host.now()))
        if isinstance(message, Events | CopyPart) and link is self.link:
            # Commits take a while, and happen one after the other.
            world = self.host.world
            self._stored_ns = max(self._stored_ns, world.now_ns + world.rng.randrange(100_000, 1_500_000)) + 1
            world.after(self._stored_ns - world.now_ns, self.process, self._store, link, message)

    def _store(self, link: AgentLink, message: Events | CopyPart) -> None:
        disk = self.host.disk
        if link is not self.link or disk.lock is not self.process:
            return
        if isinstance(message, CopyPart):
            disk.ledger = list(link.copy)
            self.do(self.core.replica(position_of(disk.ledger), self.host.now()))
            return
        if message.first != len(disk.ledger) + 1:
            return
        disk.ledger.extend(message.bodies)
        if message.bodies:
            self.host.crash_point(self.process, "stored")
            self.do(self.core.replica(position_of(disk.ledger), self.host.now()))
            self.host.wait_for_disk(self.process)
        self.host.world.enter(self.process, self._acknowledge, link)

    def _acknowledge(self, link: AgentLink) -> None:
        if link is not self.link:
            return
        seq = len(self.host.disk.ledger)
        for deliver in self._held.stored(link.term, seq):
            deliver()
        link.send(Stored(link.term, seq))

    def admit(self, deliver: Callable[[], None], term: int, seq: int) -> None:
        """Deliver a reply to a worker as soon as this host has stored what it rests on, as the relay does."""
        if self._held.admit(deliver, term, seq):
            deliver()


class ShardWorker:
    """Replaces the worker of a shard: it asks, and sends orders when its page allows it at that moment."""

    def __init__(self, host: "ClusterHost", shard: int, epoch: int) -> None:
        self.host = host
        self.shard = shard
        self.epoch = epoch
        self.process = HostProcess(f"{host.name}/worker-{shard}-{epoch}")
        self._page = host.page
        self._asked = 0
        self._is_waiting = False

    def run(self) -> None:
        """Check the page, and ask for an approval unless one is under way. It may pause, and go on later."""
        is_paused = self.is_paused()
        if not is_paused and not self._may_trade():
            return
        if not is_paused and not self._is_waiting:
            self._asked += 1
            self._is_waiting = True
            self._ask(self._asked)
        self.host.world.after(self.host.world.rng.randrange(60 * MS, 140 * MS), self.process, self.run)

    def is_allowed(self) -> bool:
        """Return whether the agent's page lets this worker send orders now."""
        page = self._page
        return (
            self.host.now() <= page.valid_until_ns
            and page.grants.get(self.shard) == self.epoch // EPOCHS_PER_GRANT
        )

    def is_paused(self) -> bool:
        """Return whether this worker may send nothing for want of time only, and may go on later."""
        page, grant = self.host.page, self.epoch // EPOCHS_PER_GRANT
        self._page = page  # another agent shows there what it allows
        is_over = 0 < self.host.now() - page.valid_until_ns <= self.host.pause_ns
        return is_over and page.grants.get(self.shard, grant) == grant

    def _may_trade(self) -> bool:
        if not self.process.alive:
            return False
        if self.is_allowed():
            return True
        self.host.kill(self.process)
        return False

    def _ask(self, number: int) -> None:
        if number != self._asked or not self._is_waiting:
            return
        self.host.ask_risk(f"{self.shard}-{self.epoch}-{number}", self, self._reply)
        self.host.world.after(_TIME_OUT_NS, self.process, self._ask, number)

    def _reply(self, request: str, is_approved: bool) -> None:
        if not self._is_waiting or request != f"{self.shard}-{self.epoch}-{self._asked}":
            return
        self._is_waiting = False
        if not is_approved:
            self.host.kill(self.process)  # Risk knows a later epoch.
            return
        self._order()
        # A hedge needs no further approval: only the page keeps a replaced worker from sending it.
        self.host.world.after(self.host.world.rng.randrange(20 * MS, 4000 * MS), self.process, self._order)

    def _order(self) -> None:
        if self._may_trade():
            self.host.checks.order(self.shard, self.epoch, self.process.name)


class ReadyRisk:
    """Is a risk process that waits for the term in which its host leads. It has not opened the ledger."""

    def __init__(self, host: "ClusterHost") -> None:
        self.process = HostProcess(f"{host.name}/ready risk")
        self.is_ready = False
        host.world.after(host.world.rng.randrange(*host.boot_ns), self.process, self._boot)

    def _boot(self) -> None:
        self.is_ready = True


class ClusterHost:
    """Is one host. ``cluster`` has all of them by name."""

    def __init__(
        self,
        config: ClusterConfig,
        world: ClusterWorld,
        nats: VirtualNats,
        checks: ClusterChecks,
        clock: HostClock,
        cluster: dict[str, "ClusterHost"],
    ) -> None:
        self.name = config.host
        self.config = config
        self.world = world
        self.nats = nats
        self.checks = checks
        self.cluster = cluster
        self._clock = clock
        self.disk = HostDisk()
        self.page = AgentPage()
        self.agent: ClusterAgent | None = None
        self.risk: LeaderRisk | None = None
        self.ready: ReadyRisk | None = None
        self._ready_due_ns = 0
        """When a risk process that is kept ready may be started."""
        self.workers: dict[int, ShardWorker] = {}
        self._incarnations: dict[tuple[int, int], int] = {}
        self.ended_term = 0
        """The newest term whose risk has ended and is not started again."""
        self.supervisor = HostProcess(f"{self.name}/supervisor")
        self.is_up = False
        self.pause_ns = PAUSE_NS if config.replication == "sync" else 0
        self.boot_ns = (30 * MS, 700 * MS)
        """Least and greatest time in which risk starts."""
        self.takeover_ns = (10 * MS, 150 * MS)
        """The same for risk that was kept ready."""
        self.slow_takeovers = 0
        """Number of faults by which that takes seconds."""
        self.disk_ns = 0
        """The longest time in which something reaches the disk; the process waits meanwhile. 0: at once."""
        self.refusals = 0
        """Number of faults by which risk that is started does not begin to lead."""
        self.muted: dict[str, int] = {}
        """By host: number of faults that keep messages of its agent from this host's."""
        self.crash: tuple[str, float] | None = None
        """A point at which a process dies, and the probability that it does."""

    def now(self) -> int:
        """Return the time on this host's clock of leases."""
        return self._clock.read(self.world.now_ns)

    def crash_point(self, process: HostProcess, point: str) -> None:
        """Kill the process here, if a fault wants it."""
        if self.crash is not None and self.crash[0] == point and self.world.rng.random() < self.crash[1]:
            self.crash = None
            self.kill(process)
            raise ProcessKilled

    def wait_for_disk(self, process: HostProcess) -> bool:
        """Have a process do nothing until what it has written is on the disk. Return whether that takes a while."""
        if not self.disk_ns:
            return False
        self.world.pause(process)
        self.world.after(self.world.rng.randrange(self.disk_ns), None, self.world.resume, process)
        return True

    # Processes.

    def start(self) -> None:
        """Start the supervisor, which starts everything else."""
        self.is_up = True
        self.ended_term = 0
        self.supervisor = HostProcess(f"{self.name}/supervisor")
        self._incarnations = {}
        self._poll()

    def processes(self) -> list[HostProcess]:
        """Return the processes that exist."""
        found = [self.supervisor]
        found += [one.process for one in (self.agent, self.risk, self.ready) if one is not None]
        found += [one.process for one in self.workers.values()]
        return [one for one in found if one.alive]

    def kill(self, process: HostProcess) -> None:
        """End a process at once; what it had locked becomes free."""
        if process.alive:
            self.world.log(f"{process.name} is dead")
        process.alive = False
        process.parked.clear()
        if self.disk.lock is process:
            self.disk.lock = None

    def stop(self) -> None:
        """Lose the power: every process is gone, the disk stays."""
        for process in self.processes():
            self.kill(process)
        self.agent = self.risk = self.ready = None
        self.workers = {}
        self.is_up = False

    def _poll(self) -> None:
        """Do what the supervisor does on its timer."""
        if self.agent is None or not self.agent.process.alive:
            self.agent = ClusterAgent(self)
        self._poll_risk()
        self._keep_risk_ready()
        for shard in range(self.config.shards):
            self._poll_worker(shard)
        self.world.after(_POLL_NS, self.supervisor, self._poll)

    def _poll_risk(self) -> None:
        page, risk = self.page, self.risk
        if risk is not None and not risk.process.alive:
            self.ended_term = max(self.ended_term, risk.term) if risk.has_given_up else self.ended_term
            self.risk = None
        elif risk is not None and (not page.leads or page.term != risk.term):
            self.kill(risk.process)
            self.ended_term = max(self.ended_term, risk.term)
            self.risk = None
        elif risk is None and page.leads and page.term > self.ended_term:
            ready = self.ready
            if ready is not None and ready.is_ready and ready.process.alive:
                self.ready = None
                self.risk = LeaderRisk(self, page.term, ready.process)
                start_ns = (S, 6 * S) if self.slow_takeovers else self.takeover_ns
            else:
                self.risk = LeaderRisk(self, page.term)
                start_ns = self.boot_ns
            self.world.after(self.world.rng.randrange(*start_ns), self.risk.process, self.risk.start)

    def _keep_risk_ready(self) -> None:
        ready, now_ns = self.ready, self.world.now_ns
        if ready is not None and not ready.process.alive:
            self.ready = None
            self._ready_due_ns = now_ns + _PAUSE_NS
        elif ready is None and self.risk is None and not self.page.leads and now_ns >= self._ready_due_ns:
            self.ready = ReadyRisk(self)
        elif ready is not None and (self.risk is not None or self.page.leads):
            self.kill(ready.process)
            self.ready = None

    def _poll_worker(self, shard: int) -> None:
        grant = self.page.grants.get(shard, 0)
        worker = self.workers.get(shard)
        if worker is not None:
            if not worker.process.alive:
                del self.workers[shard]
            elif worker.epoch // EPOCHS_PER_GRANT != grant and not worker.is_paused():
                # It ends in its own time, which may be long; the page keeps it from sending anything.
                late_ns = self.world.rng.choice((0, 50 * MS, 400 * MS))
                self.world.after(late_ns, self.supervisor, self.kill, worker.process)
        elif grant:
            number = self._incarnations[shard, grant] = self._incarnations.get((shard, grant), 0) + 1
            worker = self.workers[shard] = ShardWorker(self, shard, grant * EPOCHS_PER_GRANT + number)
            self.world.after(self.world.rng.randrange(20 * MS, 150 * MS), worker.process, worker.run)

    # What arrives from other processes.

    def vote_message(self, message: AskVote | Voted | Gossip) -> None:
        """Take a message of another host's agent."""
        if self.agent is not None and not self.muted.get(message.host):
            self.world.enter(self.agent.process, self.agent.vote_message, message)

    def ask_risk(self, request: str, worker: ShardWorker, reply: Callable[[str, bool], None]) -> None:
        """Pass a worker's request to the leader, as the relay of the agent does."""
        agent = self.agent
        if agent is None or not agent.process.alive or agent.process.paused or not agent.core.leader:
            return
        world, leader = self.world, self.cluster[agent.core.leader]
        use = partial(world.enter, worker.process, reply, request)

        def answer(is_approved: bool) -> None:
            world.send(leader.name, self.name, None, use, is_approved)

        def hand_over(term: int, seq: int, on_use: Callable[[], None]) -> None:
            def deliver() -> None:
                on_use()
                use(True)

            world.send(
                leader.name, self.name, None, world.enter, agent.process, agent.admit, deliver, term, seq
            )

        def arrive() -> None:
            risk = leader.risk
            if risk is not None:
                asked = AskedOrder(request, worker.shard, worker.epoch, self.name, answer, hand_over)
                world.enter(risk.process, risk.ask, asked)

        world.send(self.name, leader.name, None, arrive)
