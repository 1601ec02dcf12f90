"""Decides what one host of a cluster does: whom it follows, whether it leads, and which shards it may run.

``HostCore`` is the part of the cluster agent that decides. It has no clock, socket or file: the agent process and
the simulation of several hosts pass it everything that happens, with the time on the clock of leases, and carry out
the actions that it returns. ``docs/cluster.md`` gives the reason of each rule.

Whoever calls it obeys four rules, which safety depends on:

1. After each call the page is written first (``grants``, ``valid_until_ns``, ``leads``, ``lead_until_ns``); then the
   actions are carried out one after the other in their order. A ``Persist`` is on disk before the next action begins.
2. ``replica`` reports what the ledger has *before* the acknowledgement of these events leaves, and ``Unfollow``
   prevents all acknowledgements that have not left.
3. ``leader_message`` gets every message of the follow link in its order, an ``Events`` before its ``Stored`` leaves.
4. The sender of a message is the host that owns the key of its connection.
"""

import enum
from collections.abc import Mapping
from typing import NamedTuple

from arbshard.cluster.leases import LeaseKeeper, PutLease
from arbshard.cluster.placement import move, place
from arbshard.cluster.terms import PATIENCE, Candidacy, Promise, Voter
from arbshard.config.cluster import ClusterConfig
from arbshard.model.cluster_note import HostView, ShardPlace
from arbshard.wire.cluster import (
    EPOCHS_PER_GRANT,
    VERSION,
    AskVote,
    Claim,
    ClaimRefused,
    FollowerMessage,
    Gossip,
    Granted,
    HeldShard,
    HostBeat,
    Joined,
    LeaderMessage,
    LogPosition,
    NotJoined,
    Placement,
    Release,
    Valid,
    Voted,
)

RISK_KEY = "leases/risk"
"""Keys are the name of a bucket, a slash and the key in it."""

RISK_START_NS = 15_000_000_000
"""How long a new leader's risk may take until it confirms the first beat of its own host."""
_BALANCE_PAUSE_NS = 10_000_000_000
"""How long nothing has changed before a shard moves for the sake of balance."""
_GIVE_BACK_PAUSE_NS = 10_000_000_000
"""How long a host does not claim a shard again that it gave back."""
_PAIRS_PATIENCE = 5
"""For how many leases the leader waits for the supervisor of a host to get the pairs of the cluster: until the first
placement, and until it takes shards away from a host that has lost them."""
_NEVER_NS = -(2**62)


def shard_key(shard: int) -> str:
    """Return the key of a shard's lease."""
    return f"leases/shard.{shard}"


class Persist(NamedTuple):
    """Is an action: store the promise, so that it survives a loss of power, before anything that follows."""

    promise: Promise


class SendVote(NamedTuple):
    """Is an action: send a request for a vote, or a vote, to the agent of another host. It may be lost."""

    host: str
    message: AskVote | Voted


class Follow(NamedTuple):
    """Is an action: join this leader over a new link; an old one is closed. It is repeated while none answers."""

    host: str
    term: int


class Unfollow(NamedTuple):
    """Is an action: close the follow link. Nothing that was stored is acknowledged any more."""


class Lead(NamedTuple):
    """Is an action: close the ledger, then call ``replica(None)``. ``leads`` is shown only from then on."""

    term: int


class StepDown(NamedTuple):
    """Is an action: this host does not lead any more. Open the ledger once risk has ended, then call ``replica``."""

    why: str


class SendToLeader(NamedTuple):
    """Is an action: send a message over the follow link. It may be lost with the link."""

    message: FollowerMessage


class ReadEntry(NamedTuple):
    """Is an action: read a key and call ``kv_entry``. Nothing is called when NATS does not answer."""

    key: str


class PublishView(NamedTuple):
    """Is an action: send what ``gossip`` returns to the agents of all other hosts. It may be lost."""


Action = (
    Persist
    | SendVote
    | Follow
    | Unfollow
    | Lead
    | StepDown
    | SendToLeader
    | ReadEntry
    | PublishView
    | PutLease
)


class WorkerUp(NamedTuple):
    """Describes the worker process of a shard that exists on this host, also one that is ending."""

    epoch: int
    universe: int
    """Serial of the universe that it has carried out; -1 before it has."""


class _Role(enum.Enum):
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    WINNER = "winner"
    """The host is elected, and its agent still has the ledger open."""
    LEADER = "leader"


class _Beat(NamedTuple):
    sent_ns: int
    grants: dict[int, int]


class _Neighbour:
    """Is what this host knows of another one by its gossip."""

    def __init__(self, now_ns: int) -> None:
        self.view: HostView | None = None
        self.changed_ns = now_ns
        """When the view came."""
        self.joined_term = 0
        """The last term in which the host was in contact with the leader."""
        self.had_pairs_ns = now_ns
        """When its supervisor had the pairs of the cluster last."""


class _ShardHold:
    """Is what a host has of one shard: the lease at NATS, the grant of risk."""

    def __init__(self, keeper: LeaseKeeper) -> None:
        self.keeper = keeper
        self.placed_ns = 0
        """Since when the shard is to be claimed; 0 while it is not."""
        self.granted = 0
        """The grant that this host may run; 0 for none."""
        self.claimed = 0
        """The number that was claimed on this link and is not answered; 0 for none."""
        self.claimed_ns = 0
        self.lowest = 1
        """The lowest number that may be claimed, as far as this host knows."""
        self.releasing = 0
        """A grant that is to be released once its worker has ended; 0 for none."""
        self.releasing_ns = 0
        self.not_before_ns = 0
        """When the shard may be claimed again."""


class HostCore:
    """Is the pure core of the agent of ``config.host``. Each method returns the actions that it leads to."""

    def __init__(self, config: ClusterConfig, promise: Promise, now_ns: int) -> None:  # noqa: PLR0915 - one table
        self._config = config
        self.host = config.host
        self._lease_ns = config.lease_ms * 1_000_000
        self._beat_ns = config.beat_ms * 1_000_000
        self._renew_ns = self._lease_ns // 4
        self._patience_ns = int(self._lease_ns * PATIENCE)
        self._started_ns = now_ns
        self._others = tuple(sorted(set(config.hosts) - {config.host}))
        self._actions: list[Action] = []

        self._voter = Voter(config.host, promise, self._patience_ns, now_ns)
        self._role = _Role.FOLLOWER
        self._candidacy: Candidacy | None = None
        self._candidate_since_ns = 0
        self._asked_ns = 0
        self._seen_term = promise.term
        self._no_campaign_before_ns = 0
        self.elected_ns = 0
        """When this host won the term that it leads; 0 while it does not lead."""
        self._trial: Candidacy | None = None
        """A candidacy that nothing is promised for yet."""
        self._lead_until_ns = 0
        self._answered_ns = now_ns
        """When NATS answered last."""
        self._risk_lease = LeaseKeeper(RISK_KEY, config.host, self._lease_ns, self._patience_ns)

        self._following: tuple[str, int] | None = None
        self._is_joined = False
        self._following_since_ns = 0
        """When this leader was followed first."""
        self._followed_ns = 0
        """When the link was opened last."""
        self._contact_ns = _NEVER_NS
        """When the leader sent anything last."""
        self._valid_ns = 0
        """When the leader confirmed a beat last; 0 for never in this term."""
        self._refusal = ""
        self._complained_ns = _NEVER_NS

        self._beat_number = 0
        self._beat_sent_ns = _NEVER_NS
        self._beats: dict[int, _Beat] = {}
        self._confirmed = 0
        self._confirmed_grants: dict[int, int] = {}
        self.valid_until_ns = 0
        """Until when the workers of this host may send orders, for the shards that ``grants`` has."""

        self._shards = {shard: _ShardHold(self._shard_keeper(shard)) for shard in range(config.shards)}
        self._keepers = {one.key: one for one in self._leases()}
        self._rank = sorted(config.hosts).index(config.host)
        self._workers: Mapping[int, WorkerUp] = {}
        self._is_connected = False
        self._nats_trouble = ""
        self._universe = 0
        """Serial of the universe that the supervisor of this host has in force; 0 for none."""
        self._has_pairs_since_ns = self._had_pairs_ns = now_ns
        self.is_leaving = False

        self._placement: Placement | None = None
        self.phase = 0
        """What the operators of any host ordered; see ``Gossip.phase``."""
        self.is_concluded = False
        """Whether this host's copy says that the leader has ended in order and left nothing open."""
        self._contact_since_ns = now_ns
        """Since when this host, as the leader, is in contact with its own risk."""
        self._unchanged_since_ns = now_ns
        self._neighbours = {host: _Neighbour(now_ns) for host in self._others}
        self._renewed_ns = _NEVER_NS
        self._frames_s = 0.0

    def _leases(self) -> list[LeaseKeeper]:
        return [self._risk_lease, *(hold.keeper for hold in self._shards.values())]

    def _shard_keeper(self, shard: int) -> LeaseKeeper:
        # Where a shard shall be is the leader's decision, so no other host is waited for when nothing is written.
        return LeaseKeeper(
            shard_key(shard), self.host, self._lease_ns, self._patience_ns, is_free_when_absent=True
        )

    # What the page and the note show.

    @property
    def leads(self) -> bool:
        """Return whether this host's risk shall run, in term ``term``."""
        return self._role is _Role.LEADER

    @property
    def term(self) -> int:
        """Return the term of the leader that this host follows or is; 0 for none."""
        return self._following[1] if self._following is not None else 0

    @property
    def leader(self) -> str:
        """Return the host that this host follows; empty for none."""
        return self._following[0] if self._following is not None else ""

    @property
    def promise(self) -> Promise:
        """Return what this host has promised."""
        return self._voter.promise

    @property
    def lead_until_ns(self) -> int:
        """Return until when this host's risk may decide unless its agent is alive; 0 while it does not lead."""
        return self._lead_until_ns if self.leads else 0

    def has_contact(self, now_ns: int) -> bool:
        """Return whether the leader has accepted this host and confirmed a beat within a lease."""
        return self._is_joined and self._valid_ns > 0 and now_ns - self._valid_ns < self._lease_ns

    @property
    def contact_ns(self) -> int:
        """Return when the leader confirmed a beat last; 0 for never."""
        return self._valid_ns

    def grants(self, now_ns: int) -> dict[int, int]:
        """Return the grant of each shard that this host may run now. A shard without one is not in it."""
        if now_ns >= self.valid_until_ns:
            return {}
        return {
            shard: hold.granted
            for shard, hold in self._shards.items()
            if hold.granted and self._confirmed_grants.get(shard) == hold.granted
        }

    @property
    def placement(self) -> tuple[tuple[int, str], ...]:
        """Return where the leader wants each shard, as far as this host knows."""
        return tuple(enumerate(self._placement.hosts)) if self._placement is not None else ()

    def why(self, now_ns: int) -> str:
        """Return why this host runs no shard, for people; empty when it does, or shall run none."""
        if self.grants(now_ns):
            return ""
        if self.is_leaving:
            return "this host leaves the cluster"
        candidacy = self._candidacy or self._trial
        if candidacy is not None:
            votes, needed = len(candidacy.votes), self._config.majority
            reasons = "; ".join(f"{host}: {why}" for host, why in sorted(candidacy.objections.items()))
            text = (
                f"waiting for a leader: {votes} of {len(self._config.hosts)} hosts votes, {needed} are needed"
            )
            return f"{text} ({reasons})" if reasons else text
        if self._following is None:
            count = len(self._config.hosts)
            return f"waiting for a leader: {self._config.majority} of {count} hosts are needed"
        if not self.has_contact(now_ns):
            refusal = f": {self._refusal}" if self._refusal else ""
            return f"the leader {self.leader} of term {self.term} does not confirm this host{refusal}"
        if not self._universe:
            return self._why_no_pairs()
        if any(host == self.host for host in (self._placement.hosts if self._placement else ())):
            return "waiting for the grant of its shards"
        return ""

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
        return {host: one.view for host, one in self._neighbours.items() if one.view is not None}

    def gossip(self, *, at_ms: int, version: str, frames_s: float, cpu: float, now_ns: int) -> Gossip:
        """Return what this host sends to all others. The arguments are what only its processes know."""
        self._frames_s = frames_s
        position = self._voter.position
        view = HostView(
            host=self.host,
            at_ms=at_ms,
            version=version,
            leads=self.leads,
            term=self.term if self.leads or self.has_contact(now_ns) else 0,
            seq=position.seq if position is not None else 0,
            shards=tuple(
                ShardPlace(one.shard, one.grant, one.epoch, one.universe) for one in self._held_shards()
            ),
            frames_s=frames_s,
            cpu=cpu,
            nats=self._is_connected,
            note=self.why(now_ns),
            leaving=self.is_leaving,
            universe=self._universe,
        )
        return Gossip(self.host, view, self._placement, self.phase)

    # What happens.

    def nats_state(self, *, connected: bool, trouble: str = "") -> None:
        """Note whether NATS is connected, and why not. It is only shown: what counts is whether writes succeed."""
        self._is_connected = connected
        self._nats_trouble = trouble

    def universe(self, serial: int, now_ns: int) -> None:
        """Note the serial of the universe that the supervisor of this host has in force; 0 for none."""
        if serial:
            if not self._universe:
                self._has_pairs_since_ns = now_ns
            self._had_pairs_ns = now_ns
        self._universe = serial

    def workers(self, up: Mapping[int, WorkerUp]) -> None:
        """Note the worker processes that exist on this host, by shard."""
        self._workers = up

    def replica(self, position: LogPosition | None, now_ns: int) -> list[Action]:
        """Note what the ledger has that the agent has open; None: it is closed, or risk has it."""
        if self._role in (_Role.WINNER, _Role.LEADER):
            if position is None and self._role is _Role.WINNER:
                assert self._candidacy is not None
                self._role = _Role.LEADER
                self._lead_until_ns = now_ns + self._lease_ns
                self._follow(self.host, self._candidacy.ask.term, now_ns)
                self._candidacy = None
            return self._done()
        if self._voter.position is None:
            self._voter.acknowledge(now_ns)  # This host's risk may have confirmed beats until just now.
        self._voter.position = position
        return self._done()

    def leave(self, now_ns: int) -> list[Action]:
        """Give up every shard and the leadership, and claim nothing more."""
        if not self.is_leaving:
            self.is_leaving = True
            for shard in self._shards:
                self._give_up(shard, now_ns)
            self._abdicate("this host leaves the cluster", now_ns)
            self._actions.append(PublishView())
        return self._done()

    def give_back(self, shard: int, grant: int, now_ns: int) -> list[Action]:
        """Give up a grant that the supervisor cannot use any more; the shard is not claimed again for a while."""
        hold = self._shards[shard]
        if hold.granted == grant:
            self._give_up(shard, now_ns)
            hold.not_before_ns = now_ns + _GIVE_BACK_PAUSE_NS
        return self._done()

    def order_phase(self, phase: int) -> None:
        """Note what an operator ordered on this host; it reaches all others, and is never taken back."""
        self.phase = max(self.phase, phase)

    def kv_entry(self, key: str, revision: int, value: bytes | None, now_ns: int) -> list[Action]:
        """Note what NATS has under ``key``; ``value`` is None for no entry, and revision 0 if there never was one."""
        self._answered_ns = now_ns
        keeper = self._keepers.get(key)
        if keeper is not None:
            keeper.entry(revision, value, now_ns)
        return self._done()

    def lease_written(self, put: PutLease, revision: int | None, now_ns: int) -> list[Action]:
        """Note the outcome of a ``PutLease``: its new revision; None if it was refused or is not known in time."""
        if revision is not None:
            self._answered_ns = now_ns
        self._keepers[put.key].written(put, revision, now_ns)
        return self._done()

    def vote_message(self, message: AskVote | Voted | Gossip, now_ns: int) -> list[Action]:
        """Note a message of another host's agent."""
        if message.host not in self._others:
            return self._done()
        if isinstance(message, Gossip):
            self._heed_gossip(message, now_ns)
        elif isinstance(message, AskVote):
            if not message.is_trial:
                self._seen_term = max(self._seen_term, message.term)
            self._vote(message, now_ns)
        else:
            if not message.is_trial or not message.granted:
                self._seen_term = max(self._seen_term, message.term)
            self._count(message, now_ns)
        return self._done()

    def leader_message(self, term: int, message: LeaderMessage, now_ns: int) -> list[Action]:
        """Note a message of the link that ``Follow(…, term)`` opened."""
        if self._following is None or self._following[1] != term:
            return self._done()
        if isinstance(message, NotJoined):
            self._is_joined = False
            self._refusal = message.why
            self._seen_term = max(self._seen_term, message.term)
            return self._done()
        self._voter.acknowledge(now_ns)
        self._contact_ns = now_ns
        if isinstance(message, Joined):
            if self._voter.follow(*self._following):
                self._actions.append(Persist(self._voter.promise))
            self._is_joined = True
            self._refusal = ""
            for hold in self._shards.values():
                hold.claimed = 0
            self._beat(now_ns)
        elif isinstance(message, Valid):
            self._heed_valid(message, now_ns)
        elif isinstance(message, Granted):
            self._heed_grant(message, now_ns)
        elif isinstance(message, ClaimRefused):
            self._heed_refusal(message)
        return self._done()

    def tick(self, now_ns: int) -> list[Action]:
        """Do what is due by the clock. It is called every half ``beat_ms``."""
        self._judge_lead(now_ns)
        self._lead_until_ns = now_ns + self._lease_ns
        self._renew(now_ns)
        self._campaign(now_ns)
        self._keep_link(now_ns)
        for shard, hold in self._shards.items():
            self._claim(shard, hold, now_ns)
            self._release(shard, hold, now_ns)
        if now_ns - self._beat_sent_ns >= self._beat_ns:
            self._beat(now_ns)
        return self._done()

    def _done(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    # Votes.

    def _vote(self, ask: AskVote, now_ns: int) -> None:
        before = self._voter.promise
        voted = self._voter.vote(ask, now_ns)
        if self._voter.promise != before:
            # A vote for a later term ends what this host does in an earlier one, before the vote leaves.
            self._unfollow()
            self._withdraw(now_ns)
            self._actions.append(Persist(self._voter.promise))
        self._actions.append(SendVote(ask.host, voted))
        if voted.granted and not ask.is_trial and self._following != (ask.host, ask.term):
            self._follow(ask.host, ask.term, now_ns)

    def _count(self, voted: Voted, now_ns: int) -> None:
        if voted.is_trial:
            if self._trial is not None:
                self._trial.add(voted)
                self._stand_if_promising(now_ns)
        elif self._role is _Role.CANDIDATE and self._candidacy is not None:
            self._candidacy.add(voted)
            self._win_if_elected(now_ns)
        elif self.leads and not voted.granted and voted.term > self.term:
            # That host can follow no leader of this term any more; only a new election brings it back.
            self._abdicate(f"{voted.host} has promised term {voted.term}", now_ns, pause_ns=0)

    def _campaign(self, now_ns: int) -> None:
        if self._role is _Role.CANDIDATE:
            self._go_on_campaigning(now_ns)
        elif self._role is not _Role.FOLLOWER or not self._may_compete(now_ns):
            self._trial = None
        elif self._trial is None:
            self._candidate_since_ns = now_ns
            self._try_out(now_ns)
        elif now_ns - self._candidate_since_ns > self._patience_of(self._trial):
            self._trial = None
            self._pause_campaign(self._lease_ns, now_ns)
        elif now_ns - self._asked_ns >= self._beat_ns:
            if self._trial.later_term:
                self._try_out(now_ns)
            else:
                self._send_asks(self._trial, now_ns)

    def _may_compete(self, now_ns: int) -> bool:
        """Return whether this host may ask for votes now: the one that holds the lease goes first."""
        voter = self._voter
        if self.is_leaving or voter.position is None or voter.is_patient(now_ns):
            return False
        if self.phase and self.is_concluded:
            return False  # The cluster ends, and no leader has anything left to do.
        since_ns = max(voter.patient_until_ns, self._no_campaign_before_ns)
        if not self._risk_lease.is_held(now_ns):
            since_ns += self._rank * self._lease_ns // 8
            since_ns += 0 if self._is_nats_out(now_ns) else self._lease_ns // 2
        return now_ns >= since_ns

    def _is_nats_out(self, now_ns: int) -> bool:
        return now_ns - self._answered_ns >= self._lease_ns

    def _patience_of(self, candidacy: Candidacy) -> int:
        """Return how long a candidate goes on: another host may have more of the ledger, or reach more hosts."""
        return self._lease_ns // 4 if candidacy.is_behind else 2 * self._lease_ns

    def _new_ask(self, *, is_trial: bool) -> AskVote:
        """Return a request for a vote in a term that no known host has promised."""
        assert self._voter.position is not None
        term = max(self._seen_term, self._voter.promise.term) + 1
        return AskVote(VERSION, self.host, term, self._voter.position, is_trial)

    def _try_out(self, now_ns: int) -> None:
        """Ask what the votes would be. An isolated host gets no further, so it disturbs nothing when it is back."""
        ask = self._new_ask(is_trial=True)
        self._trial = Candidacy(ask, self._config.majority)
        self._trial.add(self._voter.vote(ask, now_ns))
        self._send_asks(self._trial, now_ns)
        self._stand_if_promising(now_ns)

    def _stand_if_promising(self, now_ns: int) -> None:
        """Begin a candidacy when a majority would vote for this host."""
        if self._trial is None or not self._trial.is_won or not self._may_compete(now_ns):
            return
        self._trial = None
        ask = self._new_ask(is_trial=False)
        voted = self._voter.vote(ask, now_ns)
        if not voted.granted:
            return
        self._seen_term = ask.term
        self._unfollow()
        self._role = _Role.CANDIDATE
        self._candidate_since_ns = now_ns
        self._candidacy = Candidacy(ask, self._config.majority)
        self._candidacy.add(voted)
        self._actions.append(Persist(self._voter.promise))
        self._send_asks(self._candidacy, now_ns)
        self._win_if_elected(now_ns)

    def _go_on_campaigning(self, now_ns: int) -> None:
        candidacy = self._candidacy
        assert candidacy is not None
        if now_ns - self._candidate_since_ns > self._patience_of(candidacy):
            self._withdraw(now_ns)
        elif now_ns - self._asked_ns >= self._beat_ns:
            if candidacy.later_term:
                self._role, self._candidacy = _Role.FOLLOWER, None  # It tries again in a later term.
            else:
                self._send_asks(candidacy, now_ns)

    def _send_asks(self, candidacy: Candidacy, now_ns: int) -> None:
        self._asked_ns = now_ns
        for host in candidacy.missing(self._others):
            self._actions.append(SendVote(host, candidacy.ask))

    def _win_if_elected(self, now_ns: int) -> None:
        candidacy = self._candidacy
        if self._role is not _Role.CANDIDATE or candidacy is None or not candidacy.is_won:
            return
        self._role = _Role.WINNER
        self._voter.position = None  # No vote from now on: this host's risk will have the ledger.
        self.elected_ns = now_ns
        self._actions.append(Lead(candidacy.ask.term))

    def _withdraw(self, now_ns: int) -> None:
        """End a candidacy, and let other hosts go first for a while."""
        self._trial = None
        if self._role is _Role.CANDIDATE:
            self._role = _Role.FOLLOWER
            self._candidacy = None
            self._pause_campaign(self._lease_ns, now_ns)

    def _pause_campaign(self, pause_ns: int, now_ns: int) -> None:
        self._no_campaign_before_ns = now_ns + pause_ns + self._rank * pause_ns // 4

    def _judge_lead(self, now_ns: int) -> None:
        """Step down when this host cannot lead any more: its risk has ended, or no majority confirms it."""
        if self._role in (_Role.WINNER, _Role.LEADER):
            silence_ns = now_ns - (self._valid_ns or self.elected_ns + RISK_START_NS - self._patience_ns)
            if silence_ns > self._patience_ns:
                self._abdicate("its risk does not confirm this host's beats", now_ns)

    def _abdicate(self, why: str, now_ns: int, *, pause_ns: int | None = None) -> None:
        self._withdraw(now_ns)
        if self._role is _Role.FOLLOWER:
            return
        self._role = _Role.FOLLOWER
        self._candidacy = None
        self.elected_ns = 0
        self._unfollow()
        self._pause_campaign(self._lease_ns if pause_ns is None else pause_ns, now_ns)
        self._actions.append(StepDown(why))

    # The leader that this host follows.

    def _heed_gossip(self, message: Gossip, now_ns: int) -> None:
        neighbour = self._neighbours[message.host]
        neighbour.view, neighbour.changed_ns = message.view, now_ns
        if message.view.universe:
            neighbour.had_pairs_ns = now_ns
        neighbour.joined_term = max(neighbour.joined_term, message.view.term)
        self.phase = max(self.phase, message.phase)
        if message.view.leads:
            is_starting = now_ns - self._following_since_ns < 4 * self._lease_ns
            if (message.host, message.view.term) == self._following and is_starting:
                self._voter.acknowledge(now_ns)  # Its risk may still be starting.
            self._heed_leader(message.host, message.view.term, now_ns)
        known, placed = self._placement, message.placement
        if placed is None or len(placed.hosts) != self._config.shards or self.leads:
            return
        if known is None or (placed.term, placed.serial) > (known.term, known.serial):
            self._placement = placed

    def _heed_leader(self, host: str, term: int, now_ns: int) -> None:
        """Follow a host that leads, unless this host is in contact with a leader, or leads or campaigns."""
        self._seen_term = max(self._seen_term, term)
        if self._role is not _Role.FOLLOWER or (host, term) == self._following:
            return
        is_silent = now_ns - self._contact_ns >= self._lease_ns
        if term < self._voter.promise.term:
            if is_silent and now_ns - self._complained_ns >= self._lease_ns:
                self._complained_ns = now_ns
                why = f"{self.host} has promised term {self._voter.promise.term}"
                position = self._voter.position if self._voter.position is not None else LogPosition(0, 0)
                refusal = Voted(
                    self.host, self._voter.promise.term, granted=False, position=position, why=why
                )
                self._actions.append(SendVote(host, refusal))
        elif is_silent or self._following is None or term > self._following[1]:
            self._follow(host, term, now_ns)

    def _follow(self, host: str, term: int, now_ns: int) -> None:
        if self._following != (host, term):
            self._following_since_ns = now_ns
            self._valid_ns = 0
            self._contact_ns = _NEVER_NS
            self._refusal = ""
        self._following = (host, term)
        self._is_joined = False
        self._followed_ns = now_ns
        self._actions.append(Follow(host, term))

    def _unfollow(self) -> None:
        if self._following is not None:
            self._following = None
            self._is_joined = False
            self._valid_ns = 0
            self._contact_ns = _NEVER_NS
            self._actions.append(Unfollow())

    def _keep_link(self, now_ns: int) -> None:
        """Open the link anew while the leader is silent."""
        if self._following is not None:
            since_ns = max(self._followed_ns, self._contact_ns if self._is_joined else 0)
            if now_ns - since_ns >= (self._lease_ns if self._is_joined else self._lease_ns // 4):
                self._follow(*self._following, now_ns)

    def _beat(self, now_ns: int) -> None:
        if not self._is_joined:
            return
        self._beat_sent_ns = now_ns
        self._beat_number += 1
        held = self._held_shards()
        self._beats[self._beat_number] = _Beat(now_ns, {one.shard: one.grant for one in held})
        while self._beats and now_ns - next(iter(self._beats.values())).sent_ns > self._lease_ns:
            del self._beats[next(iter(self._beats))]
        self._actions.append(SendToLeader(HostBeat(self._beat_number, held)))

    def _held_shards(self) -> tuple[HeldShard, ...]:
        held = []
        for shard, hold in self._shards.items():
            if hold.granted:
                worker = self._workers.get(shard)
                is_own = worker is not None and worker.epoch // EPOCHS_PER_GRANT == hold.granted
                epoch, universe = (
                    (worker.epoch, worker.universe) if worker is not None and is_own else (0, -1)
                )
                held.append(HeldShard(shard, hold.granted, epoch, universe))
        return tuple(held)

    def _heed_valid(self, message: Valid, now_ns: int) -> None:
        beat = self._beats.get(message.number)
        if beat is None:
            return  # It is older than a lease, so what it confirms has expired.
        self._valid_ns = now_ns
        # From the sending, never from the receipt: the leader's time begins when it receives the beat.
        until_ns = beat.sent_ns + max(min(self._lease_ns, message.left_ns), 0)
        self.valid_until_ns = max(self.valid_until_ns, until_ns)
        if message.number > self._confirmed:
            self._confirmed = message.number
            self._confirmed_grants = beat.grants

    # Shards.

    def _is_placed_here(self, shard: int) -> bool:
        if self.is_leaving:
            return False
        if self._placement is None:
            return self._shards[shard].granted > 0
        return self._placement.hosts[shard] == self.host

    def _heed_grant(self, message: Granted, now_ns: int) -> None:
        hold = self._shards.get(message.shard)
        if hold is None or message.grant in (hold.granted, hold.releasing):
            return
        if message.grant == hold.claimed and hold.placed_ns:
            hold.claimed = 0
            hold.granted = message.grant
            hold.lowest = max(hold.lowest, message.grant + 1)
            self._beat(now_ns)  # Only a confirmed beat that lists the grant makes it valid.
        elif now_ns - self._started_ns >= self._patience_ns:
            # An earlier process of this agent held it; what that one showed to its workers has expired by now.
            hold.lowest = max(hold.lowest, message.grant + 1)
            self._actions.append(SendToLeader(Release(message.shard, message.grant)))

    def _heed_refusal(self, message: ClaimRefused) -> None:
        hold = self._shards.get(message.shard)
        if hold is None:
            return
        hold.lowest = max(hold.lowest, message.lowest)
        if message.is_lasting:
            if hold.claimed < hold.lowest:
                hold.claimed = 0
            if 0 < hold.granted < hold.lowest:
                hold.granted = 0  # Risk's ledger gives the shard to another host, or to none.

    def _claim(self, shard: int, hold: _ShardHold, now_ns: int) -> None:
        can_claim = (
            self._is_joined
            and hold.placed_ns
            and not hold.granted
            and not hold.releasing
            # The host that has the lease at NATS goes first; risk decides.
            and (
                hold.keeper.is_held(now_ns)
                or self._is_nats_out(now_ns)
                or now_ns - hold.placed_ns >= self._lease_ns // 2
            )
            # Until then a worker may run by what an earlier process of this agent showed to it.
            and now_ns - self._started_ns >= self._patience_ns
        )
        if can_claim and (not hold.claimed or now_ns - hold.claimed_ns >= self._beat_ns):
            hold.claimed = hold.claimed or hold.lowest
            hold.claimed_ns = now_ns
            self._actions.append(SendToLeader(Claim(shard, hold.claimed)))

    def _give_up(self, shard: int, now_ns: int) -> None:
        hold = self._shards[shard]
        hold.keeper.is_wanted = False
        hold.placed_ns = 0
        number = hold.granted or hold.claimed
        if number and not hold.releasing:
            hold.releasing = number
            hold.releasing_ns = now_ns
            hold.lowest = max(hold.lowest, number + 1)
        hold.granted = hold.claimed = 0

    def _release(self, shard: int, hold: _ShardHold, now_ns: int) -> None:
        """Release a grant once its worker has ended, or has been fenced for a lease by the page."""
        if not hold.releasing:
            return
        worker = self._workers.get(shard)
        is_up = worker is not None and worker.epoch // EPOCHS_PER_GRANT == hold.releasing
        if self._is_joined and (not is_up or now_ns - hold.releasing_ns >= self._lease_ns):
            self._actions.append(SendToLeader(Release(shard, hold.releasing)))
            hold.releasing = 0  # If the message is lost, the leader states the grant again.

    # Leases and placement.

    def _renew(self, now_ns: int) -> None:
        voter = self._voter
        self._risk_lease.is_wanted = self._role is not _Role.FOLLOWER or not (
            self.is_leaving
            or voter.position is None
            or voter.is_patient(now_ns)
            or now_ns < self._no_campaign_before_ns
        )
        is_due = now_ns - self._renewed_ns >= self._renew_ns
        if is_due:
            self._renewed_ns = now_ns
            if self.leads:
                self._place(now_ns)
            self._actions.append(PublishView())
        self._keep(self._risk_lease, is_due, now_ns, is_read=True)
        for shard, hold in self._shards.items():
            if self._is_placed_here(shard) and now_ns >= hold.not_before_ns:
                hold.placed_ns = hold.placed_ns or now_ns
                hold.keeper.is_wanted = True
            elif hold.placed_ns:
                self._give_up(shard, now_ns)
            self._keep(hold.keeper, is_due, now_ns, is_read=hold.keeper.is_wanted)

    def _keep(self, keeper: LeaseKeeper, is_due: bool, now_ns: int, *, is_read: bool) -> None:
        holder = keeper.value.host if keeper.value is not None else ""
        neighbour = self._neighbours.get(holder)
        is_gone = neighbour is not None and self._is_silent(neighbour, now_ns)
        put = keeper.tick(now_ns, holder_is_gone=is_gone)
        if put is not None:
            self._actions.append(put)
        elif is_due and is_read and keeper.wants_entry:
            self._actions.append(ReadEntry(keeper.key))

    def _is_silent(self, neighbour: _Neighbour, now_ns: int) -> bool:
        return neighbour.view is None or now_ns - neighbour.changed_ns >= self._patience_ns

    def _can_run(self, neighbour: _Neighbour, now_ns: int) -> bool:
        """Return whether shards may be placed on a host: it lives, stays, and is in contact with this leader."""
        view = neighbour.view
        if view is None or self._is_silent(neighbour, now_ns) or view.leaving:
            return False
        if view.term == self.term:
            return True
        return neighbour.joined_term < self.term and self._is_early(now_ns)

    def _is_early(self, now_ns: int) -> bool:
        """Return whether hosts may need more time to join this leader."""
        return now_ns - self._contact_since_ns < 2 * self._lease_ns

    def _place(self, now_ns: int) -> None:
        """Decide where the shards shall be."""
        if not self.has_contact(now_ns):
            self._contact_since_ns = self._unchanged_since_ns = now_ns
            return
        had_pairs_ns = {
            host: one.had_pairs_ns for host, one in self._neighbours.items() if self._can_run(one, now_ns)
        }
        if not self.is_leaving:
            had_pairs_ns[self.host] = self._had_pairs_ns
        capacities = {
            host: self._config.hosts[host].capacity for host in had_pairs_ns if self._has_pairs(host)
        }
        # A host whose supervisor has just begun anew keeps its shards for a while, and gets no other ones.
        patience_ns = _PAIRS_PATIENCE * self._lease_ns
        keeping = {
            host
            for host, at_ns in had_pairs_ns.items()
            if host not in capacities and now_ns - at_ns < patience_ns
        }
        known = self._placement
        if known is None:
            is_awaited = (
                len(capacities) < len(had_pairs_ns) and now_ns - self._has_pairs_since_ns < patience_ns
            )
            is_awaited |= len(had_pairs_ns) < len(self._config.hosts) and self._is_early(now_ns)
            if is_awaited or not capacities:
                return
        placed = dict(self.placement)
        loads = self._loads()
        result = place(self._config.shards, placed, capacities, loads, keeping)
        if result != placed:
            self._unchanged_since_ns = now_ns
        elif now_ns - self._unchanged_since_ns >= _BALANCE_PAUSE_NS:
            better = move(result, capacities, loads)
            if better is not None:
                result[better[0]] = better[1]
                self._unchanged_since_ns = now_ns
        hosts = tuple(result[shard] for shard in range(self._config.shards))
        if known is None or known.term != self.term:
            self._placement = Placement(self.term, 1, hosts)
        elif known.hosts != hosts:
            self._placement = Placement(self.term, known.serial + 1, hosts)

    def _has_pairs(self, host: str) -> bool:
        """Return whether the supervisor of a host has the pairs of the cluster. Without them it starts no worker."""
        if host == self.host:
            return self._universe > 0
        view = self._neighbours[host].view
        return view is not None and view.universe > 0

    def _loads(self) -> dict[int, float]:
        """Return the frames per second of each shard, of which only the sum of each host is known."""
        own = {shard: hold for shard, hold in self._shards.items() if hold.granted}
        loads: dict[int, float] = {shard: self._frames_s / len(own) for shard in own}
        for neighbour in self._neighbours.values():
            view = neighbour.view
            if view is not None and view.shards:
                loads.update((one.shard, view.frames_s / len(view.shards)) for one in view.shards)
        return loads
