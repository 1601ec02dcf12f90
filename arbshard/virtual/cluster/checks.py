"""Checks the invariants of a cluster while it is simulated: the venue's and the ledgers' point of view."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from arbshard.virtual.cluster.world import MS, ClusterWorld, S

_NEWEST = 100
"""Number of a ledger's events that are searched first."""


class AckedEvent(NamedTuple):
    """Is an approval that may be used."""

    body: bytes
    term: int
    stored_ns: int
    """When the leader had it in its own ledger."""
    left_ns: int


class ClusterChecks:
    """Judges orders, approvals and leaders by those before."""

    def __init__(self, world: ClusterWorld, lag_ns: int | None) -> None:
        self._world = world
        self._lag_ns = lag_ns
        self.ledgers: Callable[[], Iterable[list[bytes]]] = tuple
        """Returns the ledger of each host."""
        self.violations: list[str] = []
        self.orders = 0
        self.elections = 0
        self.lost = 0
        """Number of approvals that were lost within the bound of asynchronous replication."""
        self.decided_ns: dict[int, int] = {}
        """By shard: when an approval of it was last used, or left the leader for a host that need not hold it."""
        self._epochs: dict[int, int] = {}
        """By shard: the newest epoch that has sent an order."""
        self._approved: dict[int, int] = {}
        """By shard: the newest epoch of which an approval has left."""
        self._leaders: dict[int, str] = {}
        self._acked: dict[bytes, AckedEvent] = {}
        self._acting_term = 0

    def violate(self, what: str) -> None:
        """Record that an invariant does not hold."""
        self.violations.append(f"{self._world.now_ns / S:.3f} s: {what}")
        self._world.log(f"VIOLATED: {what}")

    def order(self, shard: int, epoch: int, who: str) -> None:
        """Note an order at the venue."""
        self.orders += 1
        newest = self._epochs.get(shard, 0)
        if epoch < newest:
            self.violate(f"order of shard {shard} by {who} of epoch {epoch} after one of epoch {newest}")
        self._epochs[shard] = max(newest, epoch)

    def leader_began(self, term: int, host: str, ledger: list[bytes]) -> None:
        """Note that risk of ``host`` leads with this ledger."""
        self.elections += 1
        other = self._leaders.setdefault(term, host)
        if other != host:
            self.violate(f"term {term} has two leaders: {other} and {host}")
        stored = set(ledger)
        missing = [one for body, one in self._acked.items() if one.term < term and body not in stored]
        for one in missing:
            del self._acked[one.body]
        if not missing:
            return
        self.lost += len(missing)
        if self._lag_ns is None:
            self.violate(f"{len(missing)} approvals are missing in the ledger of term {term}: {missing[0]}")
            return
        for lost_term in {one.term for one in missing}:
            lost = [one for one in missing if one.term == lost_term]
            # When the last of them left, none that no majority had was older than the lag.
            waited_ns = max(one.left_ns for one in lost) - min(one.stored_ns for one in lost)
            if waited_ns > self._lag_ns * 1.03 + 5 * MS:
                self.violate(
                    f"approvals of {waited_ns / MS:.0f} ms are lost with the leader of term {lost_term}"
                )

    def approval_left(self, shard: int, epoch: int, term: int) -> None:
        """Note that an approval has left the leader of ``term``."""
        newest = self._approved.get(shard, 0)
        if epoch < newest:
            self.violate(f"shard {shard}: an approval of epoch {epoch} leaves after one of epoch {newest}")
        self._approved[shard] = max(newest, epoch)
        if term < self._acting_term:
            self.violate(f"term {term} approves after term {self._acting_term} did")
        self._acting_term = max(self._acting_term, term)

    def approval_used(self, shard: int, body: bytes, term: int, stored_ns: int) -> None:
        """Note that nothing holds an approval of the leader of ``term`` any more: it must not be lost."""
        now_ns = self._world.now_ns
        stored = [body in ledger[-_NEWEST:] or body in ledger for ledger in self.ledgers()]
        if self._lag_ns is None and sum(stored) <= len(stored) // 2:
            self.violate(
                f"an approval is used that {sum(stored)} of {len(stored)} hosts have stored: {body!r}"
            )
        self.decided_ns[shard] = now_ns
        self._acked[body] = AckedEvent(body, term, stored_ns, now_ns)
