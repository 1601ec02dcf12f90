"""Decides which workers run on this host of a cluster, by the grants that its agent shows. It is pure."""

from collections.abc import Mapping
from typing import NamedTuple

from arbshard.wire.cluster import EPOCHS_PER_GRANT, PAUSE_NS
from supervisor.processes.restarts import pause_s

_KEEP_MARKETS_NS = 10_000_000_000
"""How long (ns) the markets of a shard are still carried after its grant has ended. The venues limit how often a
market may be subscribed to, and an agent that was restarted gets the same shards again."""
_CALM_NS = 60_000_000_000
"""How long (ns) after its predecessor's a worker's end counts as the first one again."""


class AgentView(NamedTuple):
    """Holds what the page of the agent shows at one moment."""

    term: int = 0
    leads: bool = False
    valid_until_ns: int = 0
    """Until when workers of this host may send orders, by the clock of leases."""
    universe: int = 0
    """Serial of the newest universe of the cluster; 0 for none."""
    phase: int = 0
    """1: the cluster ends; 2: the same, positions kept."""
    grants: tuple[int, ...] = ()
    """The grant that this host holds of each shard; 0 for none."""


class HeldWorker(NamedTuple):
    """States what is known of a shard's worker on this host."""

    epoch: int
    exists: bool
    """Whether its process exists, though it may be ending."""
    is_ended: bool = False
    """Whether it is not restarted: it was asked to end, or has drained."""
    is_given_up: bool = False


class Begin(NamedTuple):
    """Says to start the worker of a shard."""

    shard: int
    before: int
    """The epoch before its first one."""
    last: int
    """The last epoch of the grant."""


class Retire(NamedTuple):
    """Says to end the worker of a shard."""

    shard: int
    why: str


class Forget(NamedTuple):
    """Says that a worker that has ended is of the past: another one may follow."""

    shard: int
    pause_s: float = 0.0
    """How long none follows, because workers of this shard have ended by themselves again and again although this
    host may run it."""


class HeldShards:
    """Decides which workers run on this host, and from which epoch on."""

    def __init__(self, *, pauses: bool = False) -> None:
        """Begin. ``pauses``: a worker is not ended at once when the time for which this host may trade is over."""
        self._pause_ns = PAUSE_NS if pauses else 0
        self._used: dict[int, int] = {}
        """The highest epoch of each shard that was used on this host."""
        self._back: dict[int, int] = {}
        self._asked: set[int] = set()
        """The shards whose worker was asked to end."""
        self._ends: dict[int, tuple[int, int]] = {}
        """By shard: how many workers in a row have ended by themselves, and when the last one did."""
        self._due_ns: dict[int, int] = {}
        """By shard: when the next worker may begin."""
        self._held_ns: dict[int, int] = {}

    @property
    def given_back(self) -> Mapping[int, int]:
        """Return the grants, by shard, that this host cannot use any more."""
        return self._back

    def plan(
        self, view: AgentView, workers: Mapping[int, HeldWorker], lease_ns: int, *, ends: bool
    ) -> list[Begin | Retire | Forget]:
        """Return what to do now. ``lease_ns``: the time by the clock of leases.

        ``ends``: the run is ending, so a worker that has ended by itself has drained, and none follows it in the same
        grant.
        """
        steps: list[Begin | Retire | Forget] = []
        is_valid = lease_ns < view.valid_until_ns
        is_paused = not is_valid and lease_ns - view.valid_until_ns < self._pause_ns
        for shard, grant in enumerate(view.grants):
            worker = workers.get(shard)
            if worker is not None:
                self._used[shard] = max(self._used.get(shard, 0), worker.epoch)
                is_current = grant > 0 and worker.epoch // EPOCHS_PER_GRANT == grant
                if worker.is_given_up and is_current:
                    self._back[shard] = grant
                # Without validity the page shows no grant.
                may_stay = (is_current and is_valid) or (
                    is_paused and grant in (0, worker.epoch // EPOCHS_PER_GRANT)
                )
                if not worker.is_ended and not (may_stay and not worker.is_given_up):
                    self._asked.add(shard)
                    steps.append(Retire(shard, self._why(worker, grant, is_current=is_current)))
                elif worker.is_ended and not worker.exists and not (ends and is_current):
                    is_own_end = is_current and is_valid and shard not in self._asked
                    steps.append(Forget(shard, self._pause(shard, lease_ns) if is_own_end else 0.0))
                    self._asked.discard(shard)
                continue
            if self._back.get(shard) not in (None, grant):
                del self._back[shard]
            is_due = lease_ns >= self._due_ns.get(shard, lease_ns)
            if grant and is_valid and is_due and shard not in self._back:
                before = max(self._used.get(shard, 0), grant * EPOCHS_PER_GRANT)
                last = (grant + 1) * EPOCHS_PER_GRANT - 1
                if before < last:
                    steps.append(Begin(shard, before, last))
                else:
                    self._back[shard] = grant
        return steps

    def markets(self, view: AgentView, now_ns: int) -> frozenset[int]:
        """Return the shards whose markets are carried: those that are held, or were until a while ago."""
        for shard, grant in enumerate(view.grants):
            if grant:
                self._held_ns[shard] = now_ns
        return frozenset(
            shard for shard, held_ns in self._held_ns.items() if now_ns - held_ns <= _KEEP_MARKETS_NS
        )

    def _pause(self, shard: int, now_ns: int) -> float:
        """Count a worker that has ended by itself: risk has fenced it. Return how long none follows, in seconds.

        The first successor begins at once; a fault that fences each of them must not use up the epochs of a grant.
        """
        count, last_ns = self._ends.get(shard, (0, now_ns))
        count = count + 1 if now_ns - last_ns < _CALM_NS else 1
        self._ends[shard] = count, now_ns
        pause = pause_s(count - 1) if count > 1 else 0.0
        self._due_ns[shard] = now_ns + int(pause * 1e9)
        return pause

    @staticmethod
    def _why(worker: HeldWorker, grant: int, *, is_current: bool) -> str:
        if worker.is_given_up:
            return "given up here, so that another host may run the shard"
        if is_current:
            return "this host may not trade at the moment"
        return (
            f"the grant of the shard is {grant} now" if grant else "this host has no grant of the shard now"
        )
