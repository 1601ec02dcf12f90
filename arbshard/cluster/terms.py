"""Decides who may lead: the promises of a voter, and the votes of a candidate.

``HostCore`` uses both. A majority of the configured hosts gives its votes for a term, and any two majorities have a
host in common. That host promises each term once, remembers it on disk, votes for no ledger that lacks what its own
has, and gives no vote while it has acknowledged a living leader within ``PATIENCE`` leases. So a term has one leader,
a new leader has every event that a majority has stored, and it is elected only after its predecessor has stopped.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from arbshard.config.cluster import PATIENCE, ClusterConfig
from arbshard.wire.cluster import VERSION, AskVote, LogPosition, Voted

_START_MIN_NS = 15_000_000_000
_START_LEASES = 15


class LeaseTimes(NamedTuple):
    """Holds the durations of a cluster, in ns."""

    lease_ns: int
    beat_ns: int
    patience_ns: int
    """How long is waited until another host's lease has certainly expired."""

    @property
    def risk_start_ns(self) -> int:
        """Return how long a new leader's risk may take until it confirms the first beat of its own host.

        A longer lease is for machines that are busy, and they start processes as slowly.
        """
        return max(_START_MIN_NS, _START_LEASES * self.lease_ns)


def times_of(config: ClusterConfig) -> LeaseTimes:
    """Return the durations of a cluster."""
    lease_ns = config.lease_ms * 1_000_000
    return LeaseTimes(lease_ns, config.beat_ms * 1_000_000, int(lease_ns * PATIENCE))


class Promise(msgspec.Struct, frozen=True):
    """Is what a voter must remember on disk before its vote leaves."""

    term: int = 0
    """The greatest term in which it voted or followed. It does neither in a lesser one."""
    host: str = ""
    """The host that has its vote in this term."""


class Voter:
    """Answers requests for the vote of one host. A vote has changed ``promise``, which must be stored first."""

    def __init__(self, host: str, promise: Promise, patience_ns: int, now_ns: int) -> None:
        self._host = host
        self._patience_ns = patience_ns
        self.promise = promise
        self.position: LogPosition | None = None
        """What the host's ledger has; None while its agent does not have the ledger open."""
        # The process may have acknowledged a leader just before it was started again.
        self._acknowledged_ns = now_ns

    def acknowledge(self, now_ns: int) -> None:
        """Remember that a leader lives, before anything is sent that it may count as this host's acknowledgement."""
        self._acknowledged_ns = now_ns

    @property
    def patient_until_ns(self) -> int:
        """Return until when a leader that this host acknowledged may still lead."""
        return self._acknowledged_ns + self._patience_ns

    def is_patient(self, now_ns: int) -> bool:
        """Return whether a leader that this host acknowledged may still lead."""
        return now_ns < self.patient_until_ns

    def follow(self, host: str, term: int) -> bool:
        """Follow a leader that accepted this host. Returns whether its term is a new promise."""
        if term <= self.promise.term:
            return False
        self.promise = Promise(term, host)
        return True

    def vote(self, ask: AskVote, now_ns: int) -> Voted:
        """Answer a candidate; its own request is judged by the same rules."""
        objection = self._objection(ask, now_ns)
        if not objection and not ask.is_trial and ask.term > self.promise.term:
            self.promise = Promise(ask.term, ask.host)
            self._acknowledged_ns = now_ns  # The elected host needs time to start risk.
        position = self.position if self.position is not None else LogPosition(0, 0)
        term = ask.term if not objection else self.promise.term
        return Voted(self._host, term, not objection, position, objection, ask.is_trial)

    def _objection(self, ask: AskVote, now_ns: int) -> str:
        promise = self.promise
        if ask.version != VERSION:
            return f"this host has version {VERSION} of the messages between hosts, the candidate has {ask.version}"
        if ask.term < promise.term:
            return f"this host has promised term {promise.term}"
        if ask.term == promise.term and ask.host != promise.host:
            return f"this host has promised term {promise.term} to {promise.host or 'no host'}"
        if self.position is None:
            return "the ledger of this host is not open to its agent"
        if ask.position < self.position:
            return "this host has more of the ledger"
        if self.is_patient(now_ns) and ask.term > promise.term:
            return "this host has just acknowledged a leader"
        return ""


class Candidacy:
    """Collects the votes for one host in one term."""

    def __init__(self, ask: AskVote, majority: int) -> None:
        self.ask = ask
        self._majority = majority
        self.votes: set[str] = set()
        self.later_term = 0
        """The greatest term that a voter has promised to another host; 0 when there is none."""
        self.is_behind = False
        """Whether a voter has more of the ledger."""
        self.objections: dict[str, str] = {}

    def add(self, voted: Voted) -> None:
        """Count an answer. One that belongs to another term is not counted."""
        if voted.is_trial != self.ask.is_trial:
            return
        if voted.granted:
            if voted.term == self.ask.term:
                self.votes.add(voted.host)
                self.objections.pop(voted.host, None)
            return
        self.objections[voted.host] = voted.why
        if voted.term >= self.ask.term and voted.host not in self.votes:
            self.later_term = max(self.later_term, voted.term)
        self.is_behind = self.is_behind or voted.position > self.ask.position

    @property
    def is_won(self) -> bool:
        """Return whether a majority has voted for the candidate."""
        return len(self.votes) >= self._majority

    def missing(self, hosts: Iterable[str]) -> list[str]:
        """Return the hosts that have not voted for the candidate, in order."""
        return sorted(set(hosts) - self.votes)
