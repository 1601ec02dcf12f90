"""Decides whether this host asks for votes, whom it votes for, and whether it leads. ``HostCore`` has one.

``terms`` has the rules of votes, on which safety depends. What is decided here is who asks for votes and when, so
that hosts do not compete, and when a leader gives up.
"""

import enum
from collections.abc import Callable

from arbshard.cluster.actions import Action, Lead, Persist, SendVote, StepDown
from arbshard.cluster.leader_link import NEVER_NS, LeaderLink
from arbshard.cluster.leases import HostLeases
from arbshard.cluster.terms import Candidacy, LeaseTimes, Promise, Voter
from arbshard.config.cluster import ClusterConfig
from arbshard.wire.cluster import VERSION, AskVote, LogPosition, Voted

_START_LEASES = 4
"""For how many leases voters let a new leader's risk start, as long as its agent states that it leads. It is twice as
many after each leader whose risk did not answer, because the machines may be too busy for less."""
_DOUBLED_MAX = 2
"""How often waiting times are doubled at most."""


class _Role(enum.Enum):
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    WINNER = "winner"
    """The host is elected, and its agent still has the ledger open."""
    LEADER = "leader"


class Election:
    """Is the part that one host has in elections. What is to be done is added to ``actions``."""

    def __init__(
        self,
        config: ClusterConfig,
        times: LeaseTimes,
        promise: Promise,
        leases: HostLeases,
        link: LeaderLink,
        actions: list[Action],
        may_stand: Callable[[], bool],
        now_ns: int,
    ) -> None:
        """Begin as a follower. ``may_stand`` returns whether this host may become the leader at all."""
        self._config = config
        self._host = config.host
        self._others = tuple(sorted(set(config.hosts) - {config.host}))
        self._rank = sorted(config.hosts).index(config.host)
        self._times = times
        self._leases = leases
        self._link = link
        self._actions = actions
        self._may_stand = may_stand
        self.voter = Voter(config.host, promise, times.patience_ns, now_ns)
        self._role = _Role.FOLLOWER
        self._candidacy: Candidacy | None = None
        self._candidate_since_ns = 0
        self._asked_ns = 0
        self.seen_term = promise.term
        """The greatest term that this host has seen in a message."""
        self._no_campaign_before_ns = 0
        self._elected_ns = 0
        """When this host won the term that it leads; 0 while it does not lead."""
        self._trial: Candidacy | None = None
        """A candidacy that nothing is promised for yet."""
        self._in_vain: Candidacy | None = None
        """The last candidacy, on trial or not, that has ended without success since there was a leader."""
        self._lead_until_ns = 0
        self._complained_ns = NEVER_NS
        self.ended_term = 0
        """The newest term whose risk has ended on this host and is not started again; 0 for none."""
        self.has_pairs = False
        """Whether the supervisor of this host has the pairs of the cluster."""

    @property
    def leads(self) -> bool:
        """Return whether this host's risk shall run."""
        return self._role is _Role.LEADER

    @property
    def lead_until_ns(self) -> int:
        """Return until when this host's risk may decide unless its agent is alive; 0 while it does not lead."""
        return self._lead_until_ns if self.leads else 0

    @property
    def why(self) -> str:
        """Return what this host waits for until there is a leader; empty when it follows one and does not stand.

        A candidacy begins anew all the time, so the last one that has ended is described: its answers have come.
        """
        count, needed = len(self._config.hosts), self._config.majority
        candidacy = self._in_vain or self._candidacy or self._trial
        if candidacy is not None:
            reasons = "; ".join(f"{host}: {why}" for host, why in sorted(candidacy.objections.items()))
            votes = len(candidacy.votes)
            text = f"waiting for a leader: {votes} of {count} hosts votes, {needed} are needed"
            return f"{text} ({reasons})" if reasons else text
        if self._link.following is None:
            return f"waiting for a leader: {needed} of {count} hosts are needed"
        return ""

    # What happens.

    def replica(self, position: LogPosition | None, now_ns: int) -> None:
        """Note what the ledger has that the agent has open; None: it is closed, or risk has it."""
        if self._role in (_Role.WINNER, _Role.LEADER):
            if position is None and self._role is _Role.WINNER:
                assert self._candidacy is not None
                self._role = _Role.LEADER
                self._lead_until_ns = now_ns + self._times.lease_ns
                self._link.open(self._host, self._candidacy.ask.term, now_ns)
                self._candidacy = self._in_vain = None
            return
        if self.voter.position is None:
            self.voter.acknowledge(now_ns)  # This host's risk may have confirmed beats until just now.
        self.voter.position = position

    def heed_ask(self, ask: AskVote, now_ns: int) -> None:
        """Answer a candidate."""
        if not ask.is_trial:
            self.seen_term = max(self.seen_term, ask.term)
        before = self.voter.promise
        voted = self.voter.vote(ask, now_ns)
        if self.voter.promise != before:
            # A vote for a later term ends what this host does in an earlier one, before the vote leaves.
            self._link.close()
            self._withdraw(now_ns)
            self._actions.append(Persist(self.voter.promise))
        self._actions.append(SendVote(ask.host, voted))
        if voted.granted and not ask.is_trial and self._link.following != (ask.host, ask.term):
            self._link.open(ask.host, ask.term, now_ns)

    def heed_vote(self, voted: Voted, now_ns: int) -> None:
        """Count an answer of a voter."""
        if not voted.is_trial or not voted.granted:
            self.seen_term = max(self.seen_term, voted.term)
        if voted.is_trial:
            if self._trial is not None:
                self._trial.add(voted)
                self._stand_if_promising(now_ns)
        elif self._role is _Role.CANDIDATE and self._candidacy is not None:
            self._candidacy.add(voted)
            self._win_if_elected(now_ns)
        elif self.leads and not voted.granted and voted.term > self._link.term:
            # That host can follow no leader of this term any more; only a new election brings it back.
            self.step_down(f"{voted.host} has promised term {voted.term}", now_ns, pause_ns=0)

    def heed_leader(self, host: str, term: int, now_ns: int) -> None:
        """Follow a host that leads, unless this host is in contact with a leader, or leads or campaigns."""
        link = self._link
        # A cluster that has no pairs yet trades nothing, and its first leader finds them before its risk starts.
        doubled = min(max(link.vain - 1, 0), _DOUBLED_MAX) if self.has_pairs else _DOUBLED_MAX
        is_starting = now_ns - link.since_ns < _START_LEASES * self._times.lease_ns << doubled
        if (host, term) == link.following and is_starting:
            self.voter.acknowledge(now_ns)  # Its risk may still be starting.
        self.seen_term = max(self.seen_term, term)
        if self._role is not _Role.FOLLOWER or (host, term) == link.following:
            return
        is_silent = link.is_silent(now_ns)
        if term < self.voter.promise.term:
            if is_silent and now_ns - self._complained_ns >= self._times.lease_ns:
                self._complained_ns = now_ns
                why = f"{self._host} has promised term {self.voter.promise.term}"
                position = self.voter.position if self.voter.position is not None else LogPosition(0, 0)
                refusal = Voted(
                    self._host, self.voter.promise.term, granted=False, position=position, why=why
                )
                self._actions.append(SendVote(host, refusal))
        elif is_silent or link.following is None or term > link.following[1]:
            link.open(host, term, now_ns)

    def follow(self) -> None:
        """Follow the leader that has accepted this host: its term is a promise."""
        assert self._link.following is not None
        self.forget_attempts()
        if self.voter.follow(*self._link.following):
            self._actions.append(Persist(self.voter.promise))

    def forget_attempts(self) -> None:
        """Forget candidacies, because there is a leader, and it has accepted this host or confirmed its beat."""
        self._trial = self._in_vain = None

    def judge_lead(self, now_ns: int) -> None:
        """Step down when this host cannot lead any more: its risk has ended, or no majority confirms it."""
        if self.leads and self._link.term == self.ended_term:
            self.step_down("its risk has ended", now_ns)
        elif self._role in (_Role.WINNER, _Role.LEADER):
            valid_ns = self._link.valid_ns
            since_ns, longest_ns = self._elected_ns, self._times.risk_start_ns
            if valid_ns:
                since_ns, longest_ns = valid_ns, self._times.patience_ns
            if now_ns - since_ns > longest_ns:
                self.step_down("its risk does not confirm this host's beats", now_ns)
        self._lead_until_ns = now_ns + self._times.lease_ns

    def step_down(self, why: str, now_ns: int, *, pause_ns: int | None = None) -> None:
        """End a candidacy and a leadership, and let other hosts go first for a while."""
        self._withdraw(now_ns)
        if self._role is _Role.FOLLOWER:
            return
        self._role = _Role.FOLLOWER
        self._candidacy = None
        self._elected_ns = 0
        if pause_ns is None:
            pause_ns = self._times.lease_ns << min(self._link.vain, _DOUBLED_MAX)
        self._link.close()
        self._pause_campaign(pause_ns, now_ns)
        self._actions.append(StepDown(why))

    # Candidacies.

    def wants_lease(self, now_ns: int) -> bool:
        """Return whether this host shall hold the lease of risk, which lets it go first."""
        return self._role is not _Role.FOLLOWER or not (
            not self._may_stand()
            or self.voter.position is None
            or self.voter.is_patient(now_ns)
            or now_ns < self._no_campaign_before_ns
        )

    def campaign(self, now_ns: int) -> None:
        """Ask for votes when that is due."""
        if self._role is _Role.CANDIDATE:
            self._go_on_campaigning(now_ns)
        elif self._role is not _Role.FOLLOWER or not self._may_compete(now_ns):
            self._end_trial()
        elif self._trial is None:
            self._candidate_since_ns = now_ns
            self._try_out(now_ns)
        elif now_ns - self._candidate_since_ns > self._patience_of(self._trial):
            self._end_trial()
            self._pause_campaign(self._times.lease_ns, now_ns)
        elif now_ns - self._asked_ns >= self._times.beat_ns:
            if self._trial.later_term:
                self._try_out(now_ns)
            else:
                self._send_asks(self._trial, now_ns)

    def _may_compete(self, now_ns: int) -> bool:
        """Return whether this host may ask for votes now: the one that holds the lease goes first."""
        voter, lease_ns = self.voter, self._times.lease_ns
        if not self._may_stand() or voter.position is None or voter.is_patient(now_ns):
            return False
        since_ns = max(voter.patient_until_ns, self._no_campaign_before_ns)
        if not self._leases.risk.is_held(now_ns):
            since_ns += self._rank * lease_ns // 8
            since_ns += 0 if self._leases.is_out(now_ns) else lease_ns // 2
        return now_ns >= since_ns

    def _patience_of(self, candidacy: Candidacy) -> int:
        """Return how long a candidate goes on: another host may have more of the ledger, or reach more hosts."""
        return self._times.lease_ns // 4 if candidacy.is_behind else 2 * self._times.lease_ns

    def _new_ask(self, *, is_trial: bool) -> AskVote:
        """Return a request for a vote in a term that no known host has promised."""
        assert self.voter.position is not None
        term = max(self.seen_term, self.voter.promise.term) + 1
        return AskVote(VERSION, self._host, term, self.voter.position, is_trial)

    def _try_out(self, now_ns: int) -> None:
        """Ask what the votes would be. An isolated host gets no further, so it disturbs nothing when it is back."""
        ask = self._new_ask(is_trial=True)
        self._end_trial()
        self._trial = Candidacy(ask, self._config.majority)
        self._trial.add(self.voter.vote(ask, now_ns))
        self._send_asks(self._trial, now_ns)
        self._stand_if_promising(now_ns)

    def _stand_if_promising(self, now_ns: int) -> None:
        """Begin a candidacy when a majority would vote for this host."""
        if self._trial is None or not self._trial.is_won or not self._may_compete(now_ns):
            return
        self._trial = None
        ask = self._new_ask(is_trial=False)
        voted = self.voter.vote(ask, now_ns)
        if not voted.granted:
            return
        self.seen_term = ask.term
        self._link.close()
        self._role = _Role.CANDIDATE
        self._candidate_since_ns = now_ns
        self._candidacy = Candidacy(ask, self._config.majority)
        self._candidacy.add(voted)
        self._actions.append(Persist(self.voter.promise))
        self._send_asks(self._candidacy, now_ns)
        self._win_if_elected(now_ns)

    def _end_trial(self) -> None:
        if self._trial is not None:
            self._in_vain, self._trial = self._trial, None

    def _go_on_campaigning(self, now_ns: int) -> None:
        candidacy = self._candidacy
        assert candidacy is not None
        if now_ns - self._candidate_since_ns > self._patience_of(candidacy):
            self._withdraw(now_ns)
        elif now_ns - self._asked_ns >= self._times.beat_ns:
            if candidacy.later_term:
                self._in_vain = candidacy
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
        self.voter.position = None  # No vote from now on: this host's risk will have the ledger.
        self._elected_ns = now_ns
        self._actions.append(Lead(candidacy.ask.term))

    def _withdraw(self, now_ns: int) -> None:
        """End a candidacy, and let other hosts go first for a while."""
        self._end_trial()
        if self._role is _Role.CANDIDATE:
            self._role = _Role.FOLLOWER
            self._in_vain, self._candidacy = self._candidacy, None
            self._pause_campaign(self._times.lease_ns, now_ns)

    def _pause_campaign(self, pause_ns: int, now_ns: int) -> None:
        self._no_campaign_before_ns = now_ns + pause_ns + self._rank * pause_ns // 4
