"""Keeps a host's link to the leader that it follows, and knows what that leader has confirmed. ``HostCore`` has one.

A host that leads has such a link to its own risk. The host may run its shards until a lease after it *sent* the last
beat that was confirmed, and only those that a confirmed beat has listed.
"""

from typing import NamedTuple

from arbshard.cluster.actions import Action, Follow, SendToLeader, Unfollow
from arbshard.cluster.terms import LeaseTimes
from arbshard.wire.cluster import HeldShard, HostBeat, Valid

NEVER_NS = -(2**62)


class _Beat(NamedTuple):
    sent_ns: int
    grants: dict[int, int]


class LeaderLink:
    """Is the link. What is to be done is added to ``actions``."""

    def __init__(self, times: LeaseTimes, actions: list[Action]) -> None:
        self._times = times
        self._actions = actions
        self.following: tuple[str, int] | None = None
        """The leader, and its term."""
        self.is_joined = False
        self.since_ns = 0
        """When this leader was followed first."""
        self._opened_ns = 0
        """When the link was opened last."""
        self._wait_ns = 0
        """How long an answer is waited for until the link is opened anew."""
        self.vain = 0
        """Number of leaders, one after the other, that have never confirmed a beat of this host."""
        self.contact_ns = NEVER_NS
        """When the leader sent anything last."""
        self.valid_ns = 0
        """When the leader confirmed a beat last; 0 for never in this term."""
        self.refusal = ""
        """Why the leader does not accept this host; empty when it does, or has not answered."""
        self._number = 0
        self._sent_ns = NEVER_NS
        """When the last beat was sent."""
        self._beats: dict[int, _Beat] = {}
        self._confirmed = 0
        self.confirmed_grants: dict[int, int] = {}
        """The grants that the newest confirmed beat has listed, by shard."""
        self.valid_until_ns = 0
        """Until when the workers of this host may send orders."""

    @property
    def leader(self) -> str:
        """Return the host that is followed; empty for none."""
        return self.following[0] if self.following is not None else ""

    @property
    def term(self) -> int:
        """Return the term of the leader that is followed; 0 for none."""
        return self.following[1] if self.following is not None else 0

    def has_contact(self, now_ns: int) -> bool:
        """Return whether the leader has accepted this host and confirmed a beat within a lease."""
        return self.is_joined and self.valid_ns > 0 and now_ns - self.valid_ns < self._times.lease_ns

    def is_silent(self, now_ns: int) -> bool:
        """Return whether the leader has sent nothing for a lease."""
        return now_ns - self.contact_ns >= self._times.lease_ns

    def open(self, host: str, term: int, now_ns: int) -> None:
        """Open the link to a leader, or open it anew."""
        if self.following != (host, term):
            self.since_ns = now_ns
            self.valid_ns = 0
            self.contact_ns = NEVER_NS
            self.refusal = ""
            self.vain += 1
            self._wait_ns = self._times.lease_ns // 4
        else:
            # On a busy machine a connection takes long to be made, and each attempt ends the one before.
            self._wait_ns = min(2 * self._wait_ns, self._times.lease_ns)
        self.following = (host, term)
        self.is_joined = False
        self._opened_ns = now_ns
        self._actions.append(Follow(host, term))

    def close(self) -> None:
        """Close the link, and follow no leader any more."""
        if self.following is not None:
            self.following = None
            self.is_joined = False
            self.valid_ns = 0
            self.contact_ns = NEVER_NS
            self._actions.append(Unfollow())

    def keep(self, now_ns: int) -> None:
        """Open the link anew while the leader is silent."""
        if self.following is not None:
            since_ns = max(self._opened_ns, self.contact_ns if self.is_joined else 0)
            if now_ns - since_ns >= (self._times.lease_ns if self.is_joined else self._wait_ns):
                self.open(*self.following, now_ns)

    def is_beat_due(self, now_ns: int) -> bool:
        """Return whether the next beat is to be sent."""
        return now_ns - self._sent_ns >= self._times.beat_ns

    def beat(self, held: tuple[HeldShard, ...], now_ns: int) -> None:
        """Report to the leader what this host runs."""
        if not self.is_joined:
            return
        self._sent_ns = now_ns
        self._number += 1
        self._beats[self._number] = _Beat(now_ns, {one.shard: one.grant for one in held})
        while self._beats and now_ns - next(iter(self._beats.values())).sent_ns > self._times.lease_ns:
            del self._beats[next(iter(self._beats))]
        self._actions.append(SendToLeader(HostBeat(self._number, held)))

    def heed_valid(self, message: Valid, now_ns: int) -> None:
        """Note that the leader has confirmed a beat."""
        beat = self._beats.get(message.number)
        if beat is None:
            return  # It is older than a lease, so what it confirms has expired.
        self.valid_ns = now_ns
        self.vain = 0
        # From the sending, never from the receipt: the leader's time begins when it receives the beat.
        until_ns = beat.sent_ns + max(min(self._times.lease_ns, message.left_ns), 0)
        self.valid_until_ns = max(self.valid_until_ns, until_ns)
        if message.number > self._confirmed:
            self._confirmed = message.number
            self.confirmed_grants = beat.grants
