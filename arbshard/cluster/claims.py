"""Keeps what one host has of the shards: it claims those that are placed here, and releases the others.

Risk of the leader grants a shard under a number. The host may run it once a beat that lists the grant is confirmed.
"""

from collections.abc import Mapping
from typing import NamedTuple

from arbshard.cluster.actions import Action, SendToLeader
from arbshard.cluster.leader_link import LeaderLink
from arbshard.cluster.leases import HostLeases, LeaseKeeper
from arbshard.cluster.terms import LeaseTimes
from arbshard.wire.cluster import EPOCHS_PER_GRANT, Claim, ClaimRefused, Granted, HeldShard, Release

_GIVE_BACK_PAUSE_NS = 10_000_000_000
"""How long a host does not claim a shard again that it gave back."""


class WorkerUp(NamedTuple):
    """Describes the worker process of a shard that exists on this host, also one that is ending."""

    epoch: int
    universe: int
    """Serial of the universe that it has carried out; -1 before it has."""


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


class ShardClaims:
    """Is what the host has of each shard. What is to be done is added to ``actions``."""

    def __init__(
        self, times: LeaseTimes, leases: HostLeases, link: LeaderLink, actions: list[Action], now_ns: int
    ) -> None:
        self._times = times
        self._leases = leases
        self._link = link
        self._actions = actions
        self._started_ns = now_ns
        self._holds = {shard: _ShardHold(keeper) for shard, keeper in enumerate(leases.shards)}
        self.workers: Mapping[int, WorkerUp] = {}
        """The worker processes that exist on this host, by shard."""

    @property
    def granted(self) -> frozenset[int]:
        """Return the shards that this host was granted and has not given up."""
        return frozenset(shard for shard, hold in self._holds.items() if hold.granted)

    def grants(self, now_ns: int) -> dict[int, int]:
        """Return the grant of each shard that this host may run now. A shard without one is not in it."""
        if now_ns >= self._link.valid_until_ns:
            return {}
        confirmed = self._link.confirmed_grants
        return {
            shard: hold.granted
            for shard, hold in self._holds.items()
            if hold.granted and confirmed.get(shard) == hold.granted
        }

    def held(self) -> tuple[HeldShard, ...]:
        """Return what a beat lists."""
        held = []
        for shard, hold in self._holds.items():
            if hold.granted:
                worker = self.workers.get(shard)
                is_own = worker is not None and worker.epoch // EPOCHS_PER_GRANT == hold.granted
                epoch, universe = (
                    (worker.epoch, worker.universe) if worker is not None and is_own else (0, -1)
                )
                held.append(HeldShard(shard, hold.granted, epoch, universe))
        return tuple(held)

    def want(self, shard: int, now_ns: int, *, is_here: bool) -> LeaseKeeper:
        """Note whether a shard shall run on this host. Return its lease."""
        hold = self._holds[shard]
        if is_here and now_ns >= hold.not_before_ns:
            hold.placed_ns = hold.placed_ns or now_ns
            hold.keeper.is_wanted = True
        elif hold.placed_ns:
            self._give_up(hold, now_ns)
        return hold.keeper

    def give_up_all(self, now_ns: int) -> None:
        """Give up every shard."""
        for hold in self._holds.values():
            self._give_up(hold, now_ns)

    def give_back(self, shard: int, grant: int, now_ns: int) -> None:
        """Give up a grant that the supervisor cannot use any more; the shard is not claimed again for a while."""
        hold = self._holds[shard]
        if hold.granted == grant:
            self._give_up(hold, now_ns)
            hold.not_before_ns = now_ns + _GIVE_BACK_PAUSE_NS

    def begin_link(self) -> None:
        """Note that the leader has accepted this host on a new link, over which nothing was claimed yet."""
        for hold in self._holds.values():
            hold.claimed = 0

    def heed_grant(self, message: Granted, now_ns: int) -> bool:
        """Note a grant. Return whether it is a new one, which counts once a beat that lists it is confirmed."""
        hold = self._holds.get(message.shard)
        if hold is None or message.grant in (hold.granted, hold.releasing):
            return False
        if message.grant == hold.claimed and hold.placed_ns:
            hold.claimed = 0
            hold.granted = message.grant
            hold.lowest = max(hold.lowest, message.grant + 1)
            return True
        if now_ns - self._started_ns >= self._times.patience_ns:
            # An earlier process of this agent held it; what that one showed to its workers has expired by now.
            hold.lowest = max(hold.lowest, message.grant + 1)
            self._actions.append(SendToLeader(Release(message.shard, message.grant)))
        return False

    def heed_refusal(self, message: ClaimRefused) -> None:
        """Note that a claim was refused, or that a grant does not count any more."""
        hold = self._holds.get(message.shard)
        if hold is None:
            return
        hold.lowest = max(hold.lowest, message.lowest)
        if message.is_lasting:
            if hold.claimed < hold.lowest:
                hold.claimed = 0
            if 0 < hold.granted < hold.lowest:
                hold.granted = 0  # Risk's ledger gives the shard to another host, or to none.

    def tick(self, now_ns: int) -> None:
        """Claim and release what is due."""
        for shard, hold in self._holds.items():
            self._claim(shard, hold, now_ns)
            self._release(shard, hold, now_ns)

    def _claim(self, shard: int, hold: _ShardHold, now_ns: int) -> None:
        can_claim = (
            self._link.is_joined
            and hold.placed_ns
            and not hold.granted
            and not hold.releasing
            # The host that has the lease at NATS goes first; risk decides.
            and (
                hold.keeper.is_held(now_ns)
                or self._leases.is_out(now_ns)
                or now_ns - hold.placed_ns >= self._times.lease_ns // 2
            )
            # Until then a worker may run by what an earlier process of this agent showed to it.
            and now_ns - self._started_ns >= self._times.patience_ns
        )
        if can_claim and (not hold.claimed or now_ns - hold.claimed_ns >= self._times.beat_ns):
            hold.claimed = hold.claimed or hold.lowest
            hold.claimed_ns = now_ns
            self._actions.append(SendToLeader(Claim(shard, hold.claimed)))

    @staticmethod
    def _give_up(hold: _ShardHold, now_ns: int) -> None:
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
        worker = self.workers.get(shard)
        is_up = worker is not None and worker.epoch // EPOCHS_PER_GRANT == hold.releasing
        if self._link.is_joined and (not is_up or now_ns - hold.releasing_ns >= self._times.lease_ns):
            self._actions.append(SendToLeader(Release(shard, hold.releasing)))
            hold.releasing = 0  # If the message is lost, the leader states the grant again.
