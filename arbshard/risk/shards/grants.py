"""Decides which host may run a shard of a cluster. Pure; ``leadership.following`` uses it.

A grant is a number that only grows, and it is stored in the ledger before its host learns of it, so a host that holds
an older one is refused by every leader. A shard that another host was granted is given away only when that host has
released it, or when it certainly trades no more because its validity has expired.

All times are of the leader's clock of leases. Only a confirmed beat makes a shard valid, and only those that it
lists. Validity counts from the moment at which the host sent the beat, which is before the leader received it;
``PATIENCE`` allows for clocks that run at different rates. No validity outlives the leadership that gave it
(``Valid.left_ns``), and a leader is elected only after the one before has ended. So a new leader need not wait for a
holder whose beats have never listed the shard.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from arbshard.config.cluster import PATIENCE
from arbshard.risk.portfolio.state import GrantedShard
from arbshard.wire.cluster import EPOCHS_PER_GRANT, Claim, ClaimRefused, Granted, HeldShard, Release

GRANT_MAX = 999_999
"""The highest number of a grant: an epoch is part of every intent's id, whose length venues limit."""


class BeatAnswer(NamedTuple):
    """Is what a beat of a host leads to."""

    is_valid: bool
    """Whether the beat may be confirmed: the host runs nothing that the ledger has given to another one."""
    messages: tuple[Granted | ClaimRefused, ...] = ()
    """What the host does not know."""


class ShardGrants:
    """Knows the hosts that run the shards, for the leader of one term."""

    def __init__(
        self,
        granted: Mapping[int, GrantedShard],
        *,
        shards: int,
        lease_ns: int,
        elected_ns: int | None = None,
    ) -> None:
        """Begin to lead. ``granted`` is the state's table, which the events change.

        ``elected_ns`` is set when another process has led in this term before: until then it may have confirmed
        beats.
        """
        self._granted = granted
        self._shards = shards
        self._lease_ns = lease_ns
        self._expiry_ns = int(lease_ns * PATIENCE)
        self._elected_ns = elected_ns
        self._listed: dict[int, tuple[int, int]] = {}
        """By shard: the grant that its host's beats have listed last, and when; or the newest grant."""
        self._contacts: dict[str, int] = {}
        """When the last beat of each host was received."""
        self._released: dict[int, int] = {}
        """By shard: the number of the grant that its host has released."""
        self._reminded_ns: dict[int, int] = {}
        """By shard: when its host was last sent the grant."""

    def beat(self, host: str, held: Sequence[HeldShard], now_ns: int) -> BeatAnswer:
        """Note a beat of ``host``, which runs the shards ``held``."""
        self._contacts[host] = now_ns
        messages: list[Granted | ClaimRefused] = []
        for one in held:
            if self._is_granted(host, one.shard, one.grant):
                self._listed[one.shard] = one.grant, now_ns
            else:
                why = f"shard {one.shard} is not granted to {host} as {one.grant}"
                messages.append(ClaimRefused(one.shard, self._lowest(one.shard), why, is_lasting=True))
        is_valid = not messages
        listed = {(one.shard, one.grant) for one in held}
        for shard, granted in self._granted.items():
            known = (shard, granted.number)
            if granted.host != host or self._released.get(shard) == granted.number:
                continue
            if known in listed:
                self._reminded_ns.pop(shard, None)
                continue
            since_ns = self._reminded_ns.setdefault(shard, now_ns)
            if now_ns - since_ns >= self._lease_ns:
                self._reminded_ns[shard] = now_ns
                messages.append(Granted(*known))
        return BeatAnswer(is_valid, tuple(messages))

    def is_holder(self, host: str, shard: int, epoch: int) -> bool:
        """Return whether ``host`` runs the shard with this epoch."""
        return self._is_granted(host, shard, epoch // EPOCHS_PER_GRANT)

    def release(self, host: str, message: Release) -> None:
        """Note that ``host`` runs a shard no more, and never will under this number."""
        if self._is_granted(host, message.shard, message.grant):
            self._released[message.shard] = message.grant

    def answer(self, host: str, claim: Claim, now_ns: int) -> Granted | ClaimRefused:
        """Answer a claim of ``host``. A grant that the state does not have yet is to be stored before it is sent."""
        shard, number, lowest = claim.shard, claim.grant, self._lowest(claim.shard)
        if not 0 <= shard < self._shards:
            return ClaimRefused(shard, lowest, f"there is no shard {shard}", is_lasting=True)
        if self._is_granted(host, shard, number):
            return Granted(shard, number)
        if not lowest <= number <= GRANT_MAX:
            why = f"the number of a grant must be from {lowest} to {GRANT_MAX}, this is {number}"
            return ClaimRefused(shard, lowest, why, is_lasting=True)
        contact_ns = self._contacts.get(host)
        if contact_ns is None or now_ns - contact_ns > self._lease_ns:
            return ClaimRefused(shard, lowest, f"no beat of {host} has come lately")
        wait_ns = self._wait_ns(shard, now_ns)
        if wait_ns > 0:
            holder = self._granted[shard].host
            return ClaimRefused(shard, lowest, f"{holder} may run it for another {wait_ns / 1e9:.2f} s")
        self._reminded_ns[shard] = now_ns
        self._listed[shard] = number, now_ns
        return Granted(shard, number)

    def _is_granted(self, host: str, shard: int, number: int) -> bool:
        known = self._granted.get(shard)
        return known == GrantedShard(host, number) and self._released.get(shard) != number

    def _lowest(self, shard: int) -> int:
        known = self._granted.get(shard)
        return known.number + 1 if known is not None else 1

    def _wait_ns(self, shard: int, now_ns: int) -> int:
        """Return for how long the shard may still be run under its last grant."""
        known = self._granted.get(shard)
        if known is None or self._released.get(shard) == known.number:
            return 0
        listed = self._listed.get(shard)
        last_ns = listed[1] if listed is not None and listed[0] == known.number else self._elected_ns
        return last_ns + self._expiry_ns - now_ns if last_ns is not None else 0
