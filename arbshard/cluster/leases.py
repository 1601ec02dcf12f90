"""Keeps leases at NATS: keys that one host writes again and again, each time over the revision it knows.

Nothing here makes anything safe: NATS may lose what it acknowledged, answer with old entries or exist twice. A lease
says which host should ask for a vote or for a grant, so that hosts do not compete.
"""

import msgspec

from arbshard.cluster.actions import Action, PutLease, ReadEntry
from arbshard.cluster.terms import LeaseTimes

RISK_KEY = "leases/risk"
"""Keys are the name of a bucket, a slash and the key in it."""


class LeaseValue(msgspec.Struct, frozen=True):
    """Is what the key of a lease has."""

    host: str
    """The holder; empty after it has given the lease up."""
    serial: int
    """Number of the write, counted by its host."""


def shard_key(shard: int) -> str:
    """Return the key of a shard's lease."""
    return f"leases/shard.{shard}"


class LeaseKeeper:
    """Observes one key, and holds it while ``is_wanted``."""

    def __init__(
        self, key: str, host: str, lease_ns: int, patience_ns: int, *, is_free_when_absent: bool = False
    ) -> None:
        self.key = key
        self._is_free_when_absent = is_free_when_absent
        """Whether an absent key is written at once. Otherwise its former holder, if NATS lost it, may be first."""
        self._host = host
        self._lease_ns = lease_ns
        self._patience_ns = patience_ns
        self.is_wanted = False
        self.held_until_ns = 0
        """Until when the lease holds, counted from the sending of the last write that succeeded."""
        self.value: LeaseValue | None = None
        """The newest value that was seen; None for an absent one, or one that cannot be read."""
        self._revision = -1
        """Revision that was seen last; -1 before any."""
        self._seen_ns = 0
        """When this revision was first seen."""
        self._own = -1
        """Revision of the own last write; -1 while none is known to be in force."""
        self._is_in_doubt = True
        """Whether the key must be read before it may be written."""
        self._pending: PutLease | None = None
        self._serial = 0
        self._sent_ns = -(2**62)

    def is_held(self, now_ns: int) -> bool:
        """Return whether the lease holds."""
        return now_ns < self.held_until_ns

    @property
    def wants_entry(self) -> bool:
        """Return whether the key has to be read: it is wanted, and another host's, or in doubt."""
        return self._pending is None and (self._is_in_doubt or self._own < 0)

    def entry(self, revision: int, data: bytes | None, now_ns: int) -> None:
        """Note what the key has; ``data`` is None for an absent or deleted key."""
        if self._pending is not None:
            return  # It may be older or newer than the write under way; the answer to that decides.
        value = _decode(data)
        if revision != self._revision or value != self.value:
            self._revision, self.value, self._seen_ns = revision, value, now_ns
        if self._own >= 0 and not self._is_in_doubt:
            return  # An entry may be old. Only a refused write shows that the lease is lost.
        self._is_in_doubt = False
        self._own = -1
        if data is not None and (value is None or value.host != self._host):
            self.held_until_ns = 0

    def written(self, put: PutLease, revision: int | None, now_ns: int) -> None:
        """Note the outcome of a write: its revision, or None when it was refused or its outcome is not known."""
        if self._pending is None or put.serial != self._pending.serial:
            return  # It was given up; the key is read instead.
        self._pending = None
        if revision is None:
            self._doubt()
            return
        value = _decode(put.value)
        self._revision, self.value, self._seen_ns = revision, value, now_ns
        self._is_in_doubt = False
        if value is not None and value.host == self._host:
            self._own = revision
            self.held_until_ns = put.sent_ns + self._lease_ns
        else:
            self._own = -1
            self.held_until_ns = 0

    def tick(self, now_ns: int, *, holder_is_gone: bool = False) -> PutLease | None:
        """Return the write that is due. ``holder_is_gone``: the holder is known to be gone by other means."""
        if self._pending is not None:
            if now_ns - self._pending.sent_ns < self._lease_ns // 2:
                return None
            self._pending = None
            self._doubt()
        if self._is_in_doubt:
            return None
        if not self.is_wanted:
            self.held_until_ns = 0
            is_own = self._own >= 0 or (self.value is not None and self.value.host == self._host)
            return self._put("", self._revision, now_ns) if is_own else None
        if self._own >= 0:
            is_due = now_ns - self._sent_ns >= self._lease_ns // 4
            return self._put(self._host, self._own, now_ns) if is_due else None
        return (
            self._put(self._host, self._revision, now_ns) if self._may_take(now_ns, holder_is_gone) else None
        )

    def _may_take(self, now_ns: int, holder_is_gone: bool) -> bool:
        holder = self.value.host if self.value is not None else None
        if holder in ("", self._host) or holder_is_gone:
            return True
        if self._revision == 0 and (self._is_free_when_absent or self.is_held(now_ns)):
            return True
        return now_ns - self._seen_ns >= self._patience_ns

    def _put(self, host: str, revision: int, now_ns: int) -> PutLease:
        self._serial += 1
        self._sent_ns = now_ns
        value = msgspec.json.encode(LeaseValue(host, self._serial))
        self._pending = PutLease(self.key, value, revision, self._serial, now_ns)
        return self._pending

    def _doubt(self) -> None:
        self._is_in_doubt = True
        self._own = -1


class HostLeases:
    """Keeps the leases of one host: that of risk and one for each shard.

    What is to be done is added to ``actions``.
    """

    def __init__(self, host: str, shards: int, times: LeaseTimes, actions: list[Action], now_ns: int) -> None:
        self._lease_ns = times.lease_ns
        self._actions = actions
        self.risk = LeaseKeeper(RISK_KEY, host, times.lease_ns, times.patience_ns)
        # Where a shard shall be is the leader's decision, so no other host is waited for when nothing is written.
        self.shards = tuple(
            LeaseKeeper(shard_key(shard), host, times.lease_ns, times.patience_ns, is_free_when_absent=True)
            for shard in range(shards)
        )
        self._keepers = {one.key: one for one in (self.risk, *self.shards)}
        self._answered_ns = now_ns
        """When NATS answered last."""

    def is_out(self, now_ns: int) -> bool:
        """Return whether NATS has not answered for a lease."""
        return now_ns - self._answered_ns >= self._lease_ns

    def entry(self, key: str, revision: int, value: bytes | None, now_ns: int) -> None:
        """Note what NATS has under ``key``."""
        self._answered_ns = now_ns
        keeper = self._keepers.get(key)
        if keeper is not None:
            keeper.entry(revision, value, now_ns)

    def written(self, put: PutLease, revision: int | None, now_ns: int) -> None:
        """Note the outcome of a write: its revision, or None when it was refused or its outcome is not known."""
        if revision is not None:
            self._answered_ns = now_ns
        self._keepers[put.key].written(put, revision, now_ns)

    def keep(self, keeper: LeaseKeeper, now_ns: int, *, holder_is_gone: bool, may_read: bool) -> None:
        """Write a lease when that is due, or else read it when it must be known and ``may_read`` says so."""
        put = keeper.tick(now_ns, holder_is_gone=holder_is_gone)
        if put is not None:
            self._actions.append(put)
        elif may_read and keeper.wants_entry:
            self._actions.append(ReadEntry(keeper.key))


def _decode(data: bytes | None) -> LeaseValue | None:
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=LeaseValue)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
