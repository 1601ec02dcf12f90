"""``ClusterMember``: what a run does because it is one host of a cluster. It joins, follows the leader, and leaves.

``Run`` has one only in a run on several hosts.
"""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.errors import RunStopped
from arbshard.log import get_logger
from arbshard.model.risk_note import RiskNote
from arbshard.model.universe import Universe
from arbshard.wire import control
from supervisor.cluster.role import HostRole
from supervisor.processes.process_supervisor import ProcessSupervisor
from supervisor.shards.assignments import ChangeFailed
from supervisor.shards.manager import ShardManager
from supervisor.status_publisher import StatusPublisher

_SAY_S, _SAY_AGAIN_S = 5.0, 10.0
"""How long a host waits for a leader before it says so, and before it says so again, in seconds."""
_WAIT_S = 0.02
OPEN_STAYS = "no leader is known, so no position can be closed: what is open stays open until the next start"
"""What is added to the answer to an order to end."""
_LEAVE_S = 5.0
"""How long a host that leaves the cluster waits until its agent has given everything back, in seconds."""
_LAST_S = 15.0
"""How long a host of a cluster that ends waits until the leader has closed its ledger, in seconds."""


class ClusterMember:
    """Joins the cluster at the start of a run, follows it at each tick, and leaves it at the end."""

    def __init__(
        self,
        config: Config,
        role: HostRole,
        processes: ProcessSupervisor,
        status: StatusPublisher,
        clock: Clock,
        tick_s: float,
        alert: Callable[[str], None],
    ) -> None:
        """Begin. ``tick_s``: time between two checks while it leaves."""
        self.role = role
        self._config = config
        self._processes = processes
        self._status = status
        self._clock = clock
        self._tick_s = tick_s
        self._alert = alert

    @property
    def waits_for_leader(self) -> bool:
        """Return whether the run cannot begin before this host knows a leader and the pairs."""
        return self._status.universe is None and not self.role.leads

    @property
    def why_not_yet(self) -> str:
        """Return why orders cannot be carried out before a leader is known; empty once one is."""
        if not self.waits_for_leader:
            return ""
        why = self.role.why_no_leader().removeprefix("waiting for a leader").removeprefix(": ")
        return "this host waits for a leader" + (f": {why}" if why else "")

    async def join(
        self, find: Callable[[], Awaitable[Universe]], is_stopping: Callable[[], bool]
    ) -> Universe:
        """Return the universe of the cluster: the one it has, or, where this host leads and there is none, a new one.

        It waits for a leader as long as that takes. Raises ``RunStopped`` when a person stops this host,
        or all of them, meanwhile.
        """
        universe = await self._universe_of_cluster(is_stopping)
        if universe is None:
            # 0 on a page means that there is none. A later leader's universe always has a greater serial.
            universe = replace(await find(), serial=max(self.role.view.term, 1))
        elif self._config.mode == "live":
            # Its checks are made on each host: keys that are wrong here must not be found out at a takeover.
            await find()
        self.role.universe = universe.serial
        return universe

    def follow(self, shards: ShardManager) -> None:
        """Do what the agent shows: run what this host holds, and put the leader's universe in force."""
        role = self.role
        if not role.leads and role.view.universe > role.universe:
            universe = role.read_universe()
            if universe is not None and universe.serial > role.universe:
                try:
                    if shards.adopt(universe):
                        role.renew_workers()
                except ChangeFailed as error:
                    get_logger().warning("the universe of the cluster is not in force yet", error=str(error))
        role.universe = shards.assignments.universe.serial
        role.step()
        shards.hold(role.markets)
        self._status.away = role.away

    def order_end(self, order: control.Stop) -> str:
        """Have the whole cluster end, or this host alone. Return the answer to the person."""
        if order.host_only:
            return "this host leaves the cluster; its positions are kept for the other hosts"
        self.role.ordered_phase = 2 if order.keep_positions else 1
        open_stays = "" if self.role.leader or order.keep_positions else f"; {OPEN_STAYS}"
        unreached = self.role.unreached()
        if unreached:
            those = ", ".join(unreached)
            stop_there = f"{those} cannot be reached and may go on: stop each of them there"
            return f"stopping this host; {stop_there}{open_stays}"
        return f"stopping all hosts of the cluster{open_stays}"

    def are_others_at_work(self, read_note: Callable[[], RiskNote], *, keeps_positions: bool) -> bool:
        """Return whether other hosts of a cluster that ends have something left to close or to book.

        ``read_note`` returns what risk shows. Without this host they might be too few to book it, and its summary
        would be of before.
        """
        if self.role.others_at_work():
            return True
        if not self.role.leader:
            return False  # nothing can be booked
        note = read_note()
        if note.open_intents:
            return True
        stays = keeps_positions or (note.halt is not None and note.halt.level == "stopped")
        return bool(note.positions) and not stays

    async def leave(self, check_children: Callable[[], None], *, is_last: bool) -> None:
        """Wait until what this host holds is given back. Raises ``RunFailed`` by ``check_children``.

        ``is_last``: the whole cluster ends. Then the leader goes first: it needs the others to store its last events.
        """
        role = self.role
        role.leaves = role.is_over = True
        deadline_ns = self._clock.monotonic_ns() + int((_LAST_S if is_last else _LEAVE_S) * 1e9)
        while role.holds_anything() or (is_last and role.is_led_elsewhere()):
            role.step()
            check_children()
            if self._clock.monotonic_ns() > deadline_ns:
                self._alert("the agent has not given back in time what this host holds; it expires by itself")
                return
            await self._processes.until_next(self._tick_s)

    async def _universe_of_cluster(self, is_stopping: Callable[[], bool]) -> Universe | None:
        """Wait for a leader. Return the universe that the cluster has; None where this host is to find the first."""
        said_s = self._clock.monotonic_ns() / 1e9 - _SAY_AGAIN_S + _SAY_S
        while True:
            if is_stopping():
                raise RunStopped("the run was stopped while it waited for a leader")
            self.role.read()
            if self.role.view.phase:
                raise RunStopped("all hosts of the cluster were stopped before this one had begun")
            universe = self.role.read_universe() if self.role.view.universe else None
            if universe is not None:
                return universe
            if self.role.leads and not self.role.view.universe:
                return None
            now_s = self._clock.monotonic_ns() / 1e9
            if now_s - said_s >= _SAY_AGAIN_S:
                said_s = now_s
                self._alert(self.role.why_no_leader())
            self._processes.watch(with_spares=False)
            await asyncio.sleep(_WAIT_S)
