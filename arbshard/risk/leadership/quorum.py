"""Says what a majority of the hosts has stored, and until when the leader may commit. Pure.

All times are of the leader's clock of leases. What a host has acknowledged counts from the moment at which the leader
sent what was acknowledged: the host promised its loyalty later than that, so its promise lasts longer than the
leader counts on it, whatever the delays are.
"""

from collections import deque
from collections.abc import Collection

_NEVER_NS = -(2**62)
_ALWAYS_NS = 2**62


class CommitQuorum:
    """Knows what each host of a cluster has acknowledged to its leader."""

    def __init__(
        self,
        host: str,
        hosts: Collection[str],
        *,
        lease_ns: int,
        lag_ns: int | None = None,
        seq: int = 0,
        first: int = 1,
    ) -> None:
        """Begin to lead at ``host``, whose last event is ``seq``. ``first`` is the first event of this leadership.

        Events of earlier leaders count as stored by a majority only together with that one: a majority that has
        stored only them may still lose them to another leader.

        ``lag_ns`` is None for synchronous replication; else replies may leave before a majority has stored the
        events, as long as no event waits longer than this for a majority.
        """
        assert host in hosts, host
        assert lease_ns > 0, lease_ns
        self._own = host
        self._majority = len(hosts) // 2 + 1
        self._lease_ns = lease_ns
        self._lag_ns = lag_ns
        self._first = first
        self._stored = dict.fromkeys(hosts, 0)
        self._stored[host] = seq
        self._sent_ns = dict.fromkeys(hosts, _NEVER_NS)
        self._sent_ns[host] = _ALWAYS_NS
        self._waiting: deque[tuple[int, int]] = deque()
        """(event, time at which it was stored here) of the commits that no majority has stored yet; only with a
        ``lag_ns``.
        """
        self.committed = 0
        """The last event that a majority has stored."""
        self.until_ns = _NEVER_NS
        """Until when the leader may commit."""
        self._count()

    def store(self, seq: int, now_ns: int) -> None:
        """Note that this host has stored all events up to ``seq``."""
        assert seq >= self._stored[self._own], seq
        self._stored[self._own] = seq
        if self._lag_ns is not None:
            self._waiting.append((seq, now_ns))
        self._count()

    def acknowledge(self, host: str, seq: int, sent_ns: int) -> None:
        """Note that another host has stored all events up to ``seq``, in answer to what was sent at ``sent_ns``."""
        assert host != self._own, host
        self._stored[host] = max(seq, self._stored[host])
        self._sent_ns[host] = max(sent_ns, self._sent_ns[host])
        self._count()

    def stored_by(self, host: str) -> int:
        """Return the last event that ``host`` is known to have stored."""
        return self._stored[host]

    def is_completed_by(self, host: str, seq: int) -> bool:
        """Return whether a majority has stored all events up to ``seq`` as soon as ``host`` has."""
        others = sum(stored >= seq for one, stored in self._stored.items() if one != host)
        return seq >= self._first and others >= self._majority - 1

    def may_commit(self, now_ns: int) -> bool:
        """Return whether a majority is certain not to have chosen another leader."""
        return now_ns < self.until_ns

    def released(self, now_ns: int) -> int:
        """Return the last event that a reply may rest on."""
        if self._lag_ns is None or (self._waiting and now_ns - self._waiting[0][1] > self._lag_ns):
            return self.committed
        return self._stored[self._own]

    def _count(self) -> None:
        place = self._majority - 1
        stored = sorted(self._stored.values(), reverse=True)[place]
        self.committed = stored if stored >= self._first else 0
        self.until_ns = sorted(self._sent_ns.values(), reverse=True)[place] + self._lease_ns
        while self._waiting and self._waiting[0][0] <= self.committed:
            self._waiting.popleft()
