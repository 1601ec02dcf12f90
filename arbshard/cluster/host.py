"""Decides what one host of a cluster does: whom it follows, whether it leads, and which shards it may run.

``HostCore`` is the part of the cluster agent that decides. It has no clock, socket or file: the agent process and
the simulation of several hosts pass it everything that happens, with the time on the clock of leases, and carry out
the actions that it returns. It joins the parts that decide one thing each: ``election``, ``leader_link``, ``claims``,
``placement`` and ``leases``. ``docs/cluster.md`` gives the reason of each rule.

Whoever calls it obeys four rules, which safety depends on:

1. After each call the page is written first (``grants``, ``valid_until_ns``, ``leads``, ``lead_until_ns``); then the
   actions are carried out one after the other in their order. A ``Persist`` is on disk before the next action begins.
2. ``replica`` reports what the ledger has *before* the acknowledgement of these events leaves, and ``Unfollow``
   prevents all acknowledgements that have not left.
3. ``leader_message`` gets every message of the follow link in its order, an ``Events`` before its ``Stored`` leaves.
4. The sender of a message is the host that owns the key of its connection.
"""

from collections.abc import Mapping

from arbshard.cluster.actions import Action, PublishView, PutLease
from arbshard.cluster.claims import ShardClaims, WorkerUp
from arbshard.cluster.election import Election
from arbshard.cluster.leader_link import NEVER_NS, LeaderLink
from arbshard.cluster.leases import HostLeases, LeaseKeeper
from arbshard.cluster.neighbours import Neighbours
from arbshard.cluster.placement import OwnHost, ShardPlacer
from arbshard.cluster.terms import Promise, times_of
from arbshard.config.cluster import ClusterConfig
from arbshard.model.cluster_note import HostView, ShardPlace
from arbshard.wire.cluster import (
    AskVote,
    ClaimRefused,
    Gossip,
    Granted,
    Joined,
    LeaderMessage,
    LogPosition,
    NotJoined,
    Valid,
    Voted,
)


class HostCore:
    """Is the pure core of the agent of ``config.host``. Each method returns the actions that it leads to."""

    def __init__(self, config: ClusterConfig, promise: Promise, now_ns: int) -> None:
        self.host = config.host
        times = times_of(config)
        others = tuple(sorted(set(config.hosts) - {config.host}))
        actions: list[Action] = []
        self._actions = actions
        self._shards = range(config.shards)
        self._renew_ns = times.lease_ns // 4
        self._renewed_ns = NEVER_NS
        self._leases = HostLeases(config.host, config.shards, times, actions, now_ns)
        self._link = LeaderLink(times, actions)
        self._election = Election(
            config, times, promise, self._leases, self._link, actions, self._may_stand, now_ns
        )
        self._claims = ShardClaims(times, self._leases, self._link, actions, now_ns)
        self._neighbours = Neighbours(others, times.patience_ns, now_ns)
        self._placer = ShardPlacer(config, times, self._neighbours, now_ns)
        self._is_connected = False
        self._nats_trouble = ""
        self._universe = 0
        """Serial of the universe that the supervisor of this host has in force; 0 for none."""
        self._frames_s = 0.0
        self.is_leaving = False
        self.phase = 0
        """What the operators of any host ordered; see ``Gossip.phase``."""
        self.is_concluded = False
        """Whether this host's copy says that the leader has ended in order and left nothing open."""

    # What the page and the note show.

    @property
    def leads(self) -> bool:
        """Return whether this host's risk shall run, in term ``term``."""
        return self._election.leads

    @property
    def term(self) -> int:
        """Return the term of the leader that this host follows or is; 0 for none."""
        return self._link.term

    @property
    def leader(self) -> str:
        """Return the host that this host follows; empty for none."""
        return self._link.leader

    @property
    def promise(self) -> Promise:
        """Return what this host has promised."""
        return self._election.voter.promise

    @property
    def lead_until_ns(self) -> int:
        """Return until when this host's risk may decide unless its agent is alive; 0 while it does not lead."""
        return self._election.lead_until_ns

    @property
    def valid_until_ns(self) -> int:
        """Return until when the workers of this host may send orders, for the shards that ``grants`` has."""
        return self._link.valid_until_ns

    @property
    def contact_ns(self) -> int:
        """Return when the leader confirmed a beat last; 0 for never."""
        return self._link.valid_ns

    def has_contact(self, now_ns: int) -> bool:
        """Return whether the leader has accepted this host and confirmed a beat within a lease."""
        return self._link.has_contact(now_ns)

    def grants(self, now_ns: int) -> dict[int, int]:
        """Return the grant of each shard that this host may run now. A shard without one is not in it."""
        return self._claims.grants(now_ns)

    @property
    def placement(self) -> tuple[tuple[int, str], ...]:
        """Return where the leader wants each shard, as far as this host knows."""
        return tuple(enumerate(self._placer.hosts))

    def why(self, now_ns: int) -> str:
        """Return why this host runs no shard, for people; empty when it does, or shall run none."""
        if self.grants(now_ns):
            return ""
        if self.is_leaving:
            return "this host leaves the cluster"
        if self._election.why:
            return self._election.why
        if not self.has_contact(now_ns):
            refusal = f": {self._link.refusal}" if self._link.refusal else ""
            return f"the leader {self.leader} of term {self.term} does not confirm this host{refusal}"
        if not self._universe:
            return self._why_no_pairs()
        return "waiting for the grant of its shards" if self.host in self._placer.hosts else ""

    def _why_no_pairs(self) -> str:
        if self.leads:
            return "this host leads, and its supervisor has not got the pairs of the cluster yet"
        if self._is_connected:
            return "this host has not got the pairs of the cluster yet: the leader writes them to NATS"
        why = f": {self._nats_trouble}" if self._nats_trouble else ""
        return f"this host has not got the pairs of the cluster: NATS cannot be used{why}"

    @property
    def views(self) -> dict[str, HostView]:
        """Return the newest view of each other host that has sent one."""
        return self._neighbours.views

    def gossip(
        self,
        *,
        at_ms: int,
        version: str,
        frames_s: float,
        cpu: float,
        now_ns: int,
        alerts: bool = False,
    ) -> Gossip:
        """Return what this host sends to all others. The arguments are what only its processes know."""
        self._frames_s = frames_s
        position = self._election.voter.position
        view = HostView(
            host=self.host,
            at_ms=at_ms,
            version=version,
            leads=self.leads,
            term=self.term if self.leads or self.has_contact(now_ns) else 0,
            seq=position.seq if position is not None else 0,
            shards=tuple(
                ShardPlace(one.shard, one.grant, one.epoch, one.universe) for one in self._claims.held()
            ),
            frames_s=frames_s,
            cpu=cpu,
            nats=self._is_connected,
            note=self.why(now_ns),
            leaving=self.is_leaving,
            universe=self._universe,
            alerts=alerts,
        )
        return Gossip(self.host, view, self._placer.placement, self.phase)

    # What happens.

    def nats_state(self, *, connected: bool, trouble: str = "") -> None:
        """Note whether NATS is connected, and why not. It is only shown: what counts is whether writes succeed."""
        self._is_connected = connected
        self._nats_trouble = trouble

    def universe(self, serial: int, now_ns: int) -> None:
        """Note the serial of the universe that the supervisor of this host has in force; 0 for none."""
        self._placer.note_pairs(now_ns, has_pairs=serial > 0)
        self._election.has_pairs = serial > 0
        self._universe = serial

    def workers(self, up: Mapping[int, WorkerUp]) -> None:
        """Note the worker processes that exist on this host, by shard."""
        self._claims.workers = up

    def replica(self, position: LogPosition | None, now_ns: int) -> list[Action]:
        """Note what the ledger has that the agent has open; None: it is closed, or risk has it."""
        self._election.replica(position, now_ns)
        return self._done()

    def risk_ended(self, term: int) -> None:
        """Note the newest term whose risk has ended on this host and is not started again; 0 for none."""
        self._election.ended_term = term

    def leave(self, now_ns: int) -> list[Action]:
        """Give up every shard and the leadership, and claim nothing more."""
        if not self.is_leaving:
            self.is_leaving = True
            self._claims.give_up_all(now_ns)
            self._election.step_down("this host leaves the cluster", now_ns)
            self._actions.append(PublishView())
        return self._done()

    def give_back(self, shard: int, grant: int, now_ns: int) -> list[Action]:
        """Give up a grant that the supervisor cannot use any more; the shard is not claimed again for a while."""
        self._claims.give_back(shard, grant, now_ns)
        return self._done()

    def order_phase(self, phase: int) -> None:
        """Note what an operator ordered on this host; it reaches all others, and is never taken back."""
        self.phase = max(self.phase, phase)

    def kv_entry(self, key: str, revision: int, value: bytes | None, now_ns: int) -> list[Action]:
        """Note what NATS has under ``key``; ``value`` is None for no entry, and revision 0 if there never was one."""
        self._leases.entry(key, revision, value, now_ns)
        return self._done()

    def lease_written(self, put: PutLease, revision: int | None, now_ns: int) -> list[Action]:
        """Note the outcome of a ``PutLease``: its new revision; None if it was refused or is not known in time."""
        self._leases.written(put, revision, now_ns)
        return self._done()

    def vote_message(self, message: AskVote | Voted | Gossip, now_ns: int) -> list[Action]:
        """Note a message of another host's agent."""
        if message.host in self._neighbours:
            match message:
                case Gossip():
                    self._heed_gossip(message, now_ns)
                case AskVote():
                    self._election.heed_ask(message, now_ns)
                case Voted():
                    self._election.heed_vote(message, now_ns)
        return self._done()

    def leader_message(self, term: int, message: LeaderMessage, now_ns: int) -> list[Action]:
        """Note a message of the link that ``Follow(…, term)`` opened."""
        link = self._link
        if link.following is None or link.term != term:
            return self._done()
        if isinstance(message, NotJoined):
            link.is_joined = False
            link.refusal = message.why
            self._election.seen_term = max(self._election.seen_term, message.term)
            return self._done()
        self._election.voter.acknowledge(now_ns)
        link.contact_ns = now_ns
        match message:
            case Joined():
                self._election.follow()
                link.is_joined = True
                link.refusal = ""
                self._claims.begin_link()
                self._beat(now_ns)
            case Valid():
                link.heed_valid(message, now_ns)
                self._election.forget_attempts()
            case Granted():
                if self._claims.heed_grant(message, now_ns):
                    self._beat(now_ns)  # Only a confirmed beat that lists the grant makes it valid.
            case ClaimRefused():
                self._claims.heed_refusal(message)
        return self._done()

    def tick(self, now_ns: int) -> list[Action]:
        """Do what is due by the clock. It is called every half ``beat_ms``."""
        self._election.judge_lead(now_ns)
        self._renew(now_ns)
        self._election.campaign(now_ns)
        self._link.keep(now_ns)
        self._claims.tick(now_ns)
        if self._link.is_beat_due(now_ns):
            self._beat(now_ns)
        return self._done()

    def _done(self) -> list[Action]:
        actions = self._actions.copy()
        self._actions.clear()
        return actions

    def _may_stand(self) -> bool:
        """Return whether this host may lead: not when it leaves, or the cluster ends and nothing is left to do."""
        return not self.is_leaving and not (self.phase and self.is_concluded)

    def _beat(self, now_ns: int) -> None:
        self._link.beat(self._claims.held(), now_ns)

    def _heed_gossip(self, message: Gossip, now_ns: int) -> None:
        self._neighbours.heed(message.host, message.view, now_ns)
        self.phase = max(self.phase, message.phase)
        if message.view.leads:
            self._election.heed_leader(message.host, message.view.term, now_ns)
        if not self.leads and self._placer.heed(message.placement):
            self._renewed_ns = NEVER_NS  # Leases of shards that are placed here are read at the next tick.

    # Leases and placement.

    def _renew(self, now_ns: int) -> None:
        is_placed_anew = self.leads and self._place(now_ns)
        is_due = is_placed_anew or now_ns - self._renewed_ns >= self._renew_ns
        self._leases.risk.is_wanted = self._election.wants_lease(now_ns)
        if is_due:
            self._renewed_ns = now_ns
            self._actions.append(PublishView())
        self._keep(self._leases.risk, now_ns, may_read=is_due)
        for shard in self._shards:
            keeper = self._claims.want(shard, now_ns, is_here=self._is_placed_here(shard))
            self._keep(keeper, now_ns, may_read=is_due and keeper.is_wanted)

    def _keep(self, keeper: LeaseKeeper, now_ns: int, *, may_read: bool) -> None:
        holder = keeper.value.host if keeper.value is not None else ""
        is_gone = holder in self._neighbours and self._neighbours.is_silent(holder, now_ns)
        self._leases.keep(keeper, now_ns, holder_is_gone=is_gone, may_read=may_read)

    def _is_placed_here(self, shard: int) -> bool:
        if self.is_leaving:
            return False
        hosts = self._placer.hosts
        return hosts[shard] == self.host if hosts else shard in self._claims.granted

    def _place(self, now_ns: int) -> bool:
        """Decide where the shards shall be. Return whether that is another placement, which is stated at once."""
        before = self._placer.placement
        if self.has_contact(now_ns):
            own = OwnHost(self.term, self.is_leaving, self._frames_s, self._claims.granted)
            self._placer.decide(own, now_ns)
        else:
            self._placer.wait(now_ns)
        return self._placer.placement is not before
