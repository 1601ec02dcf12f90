"""Implements the supervisor as a virtual process: the real ``supervisor.run.Run`` with virtual ports.

``machine`` makes one for each start of the whole system; the ledger's disk and the exchanges outlive it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from arbshard.config import Config
from arbshard.data.listings import Listings, read_listings
from arbshard.errors import ArbshardError, MarketsClosed, UsageError
from arbshard.model.market import Pair
from arbshard.model.notes import RunState
from arbshard.model.rundir import RunFiles
from arbshard.model.silence import SETTLED_NS
from arbshard.model.universe import Universe
from arbshard.venues.listing import names_without_pair
from arbshard.virtual.accounts import VirtualAccounts
from arbshard.virtual.bells import Bells
from arbshard.virtual.children import KILLED, Program, VirtualChild, VirtualHost
from arbshard.virtual.costs import UNIVERSE_NS
from arbshard.virtual.loop import VirtualProcess
from arbshard.virtual.risk import VirtualRisk
from arbshard.virtual.stand_ins import QuietBus, VirtualFetch, VirtualServer, VirtualWorld, no_rest
from arbshard.virtual.worker import VirtualSurroundings, VirtualWorker
from arbshard.wire.replies import Handler
from supervisor.ports import SupervisorPorts, Timers
from supervisor.run import Defect, Run

_LISTING_S = 0.3
"""Time in seconds that the venues take to return their listings."""
_STATE_DIR = Path("virtual-state")
"""Shown in status; nothing is written there."""


class VirtualSupervisor:
    """Is one run of the system: ``run`` until it is ordered to end, fails, or is killed. Implements
    ``ports.RunObserver``.
    """

    def __init__(
        self, world: VirtualWorld, process: VirtualProcess, run_dir: Path, name: str, *, is_service: bool
    ) -> None:
        """Begin. ``is_service``: whether the start waits for venues that do not answer."""
        self._world = world
        self.process = process
        self.name = name
        self.files = RunFiles(run_dir)
        self.host = VirtualHost(world.loop, process, self._make, self._boot_s, self._child_ended)
        bells = Bells(world.loop, world.config.run.shards)
        self._around = VirtualSurroundings(
            world.loop, world.clock, self.files, world.config, world.port, bells, world.oracle,
            world.timing.worker_timer_s, process, world.unkind, world.live,
        )  # fmt: skip
        self.control: VirtualServer | None = None
        """The control server; None until it takes orders."""
        timing = world.timing
        ports = SupervisorPorts(
            clock=world.clock,
            pid=process.pid,
            cpu_ns=lambda: 0,
            host=self.host,
            open_bus=lambda *_: QuietBus(),
            open_server=self._open_server,
            open_ringer=lambda _, shard: bells.bell(shard),
            opener=world.exchanges.open_stream,
            fetch=no_rest,
            find_universe=self._find_universe,
            read_listings=self._read_listings,
            note_children=_keep_no_note,
            before_trading=lambda: None,
            observer=self,
            timers=Timers(
                timing.supervisor_tick_s,
                timing.supervisor_beat_s,
                timing.supervisor_note_s,
                timing.supervisor_tick_s,
            ),
        )
        self._run = Run(world.config, self.files, _STATE_DIR, ports, waits_for_venues=is_service)
        self.failure = ""
        """Why the run failed; empty while it has not."""

    async def run(self) -> int:
        """Run until the end. Returns the exit code: 0 in order, 1 when the run could not continue."""
        try:
            await self._run.run(None, None, _remove_nothing)
        except ArbshardError as error:
            self.failure = str(error)
        else:
            self.failure = str(self._run.failure or "")
        if self.failure:
            self._world.trace.note("failed", self.failure)
        if isinstance(self._run.failure, Defect):
            # In production the run is drained and ends in order in this case too.
            self._world.oracle.differs(f"defect: {self.failure}")
        return 1 if self.failure else 0

    def request_stop(self, *, keep_positions: bool = False) -> None:
        """End the run in order, with its positions kept or closed."""
        self._run.request_stop(keep_positions=keep_positions)

    @property
    def is_running(self) -> bool:
        """Return whether it has started and was not asked to end."""
        return self.process.alive and self._run.state == "running" and not self._run.is_stopping

    @property
    def is_ending(self) -> bool:
        """Return whether it was asked to end and has not ended yet."""
        return self.process.alive and self._run.is_stopping

    @property
    def children(self) -> Sequence[VirtualChild]:
        """Return the newest incarnation of each child."""
        return tuple(self.host.children.values())

    def child(self, name: str) -> VirtualChild | None:
        """Return the newest incarnation of a child, or None."""
        return self.host.children.get(name)

    def worker(self, shard: int) -> VirtualWorker | None:
        """Return the program of a shard's newest incarnation, or None."""
        child = self.child(f"worker-{shard}")
        return child.program if child is not None and isinstance(child.program, VirtualWorker) else None

    @property
    def risk(self) -> VirtualRisk | None:
        """Return the program of the newest incarnation of risk."""
        child = self.child("risk")
        return child.program if child is not None and isinstance(child.program, VirtualRisk) else None

    @property
    def has_given_up(self) -> bool:
        """Return whether a child is not started again."""
        return any(child.state == "quarantined" for child in self._run.processes.children)

    @property
    def silent_ns(self) -> int:
        """Return for how long this process has done nothing, or did nothing until a moment ago; otherwise 0."""
        process, now_ns = self.process, self._world.clock.monotonic_ns()
        if process.stopped or process.held:
            return now_ns - process.stopped_ns
        return process.continued_ns - process.stopped_ns if now_ns - process.continued_ns < SETTLED_NS else 0

    @property
    def universe(self) -> Universe:
        """Return the universe in force."""
        shards = self._run.shards
        return shards.assignments.universe if shards is not None else self._world.universe

    @property
    def is_changing(self) -> bool:
        """Return whether a change of the universe waits or is under way."""
        return self._run.shards is not None and not self._run.shards.assignments.is_idle

    def _make(self, name: str, process: VirtualProcess, epoch: int) -> Program:
        world = self._world
        if name == "accounts":
            assert world.live is not None, "on paper there are no accounts"
            return VirtualAccounts(world.live, self.files, world.port, process, self.process)
        if name != "risk":
            return VirtualWorker(self._around, process, int(name.removeprefix("worker-")), epoch)
        return VirtualRisk(
            self._around, process, world.disk, self.name, world.audit, world.timing.risk_tick_s
        )

    def _boot_s(self, name: str) -> float:
        timing = self._world.timing
        has_no_spare = name in ("risk", "accounts")
        return self._world.random.uniform(*(timing.risk_boot_s if has_no_spare else timing.worker_boot_s))

    def _open_server(self, endpoint: str, handler: Handler) -> VirtualServer:
        del endpoint
        self.control = VirtualServer(handler)
        return self.control

    async def _find_universe(
        self, config: Config, names: Sequence[str], timeout_s: float, alert: Callable[[str], None]
    ) -> Universe:
        """Implements ``preflight.FindUniverse``: the pairs whose markets are both listed as trading now.

        Raises ``VenueUnavailable`` in an outage and when there is none, and ``UsageError`` for a name that means
        none.
        """
        del alert
        await asyncio.sleep(_LISTING_S)
        universe, listed = self._world.universe, await self._read_listings(config, {}, timeout_s)
        pairs = [pair for pair in universe.pairs if _is_trading(pair, listed)]
        if unknown := names_without_pair(pairs, names):
            raise UsageError(f"not tradable on both venues: {', '.join(unknown)}")
        found = tuple(pair for pair in pairs if not names or any(pair.answers_to(name) for name in names))
        if not found:
            raise MarketsClosed("no pair is tradable on both venues")
        bases = {pair.base for pair in found}
        shards = tuple(tuple(base for base in shard if base in bases) for shard in universe.shards)
        return replace(universe, pairs=found, shards=shards)

    async def _read_listings(
        self, config: Config, symbols: Mapping[str, Sequence[str]], timeout_s: float
    ) -> Listings:
        """Implements ``preflight.ReadListings`` on this loop. Raises ``VenueUnavailable``."""
        del timeout_s
        world = self._world
        return await read_listings(config, symbols, lambda name, _: VirtualFetch(name, world))

    def alerted(self, line: str) -> None:
        """Write an alert into the trace."""
        self._world.trace.note("alert", line)

    def state_changed(self, state: RunState) -> None:
        """Write the state into the trace."""
        self._world.trace.note(state, self.name)

    def start_delayed(self, why: str, pause_s: float) -> None:
        """Write into the trace that the start waits for the venues."""
        self._world.trace.note("delayed", f"{pause_s:g} {why}")

    def universe_changed(self, universe: Universe) -> None:
        """Write the universe into the trace."""
        self._world.loop.charge(UNIVERSE_NS, "writes a universe")
        self._world.trace.note("universe", f"{universe.serial} {universe.shards} leaving {universe.leaving}")

    def _child_ended(self, name: str, epoch: int, code: int) -> None:
        self._world.trace.note("ended", f"{name}.{epoch} code {code}")
        risk = self.risk
        if name == "risk" and code == KILLED and risk is not None and risk.core is not None:
            self._world.audit.left(risk.core.state)
        self._world.oracle.ended(name, epoch, code)


def _is_trading(pair: Pair, listed: Listings) -> bool:
    markets = [listed.markets[leg.market.venue].get(leg.market.symbol) for leg in (pair.home, pair.away)]
    return all(market is not None and market.tradable for market in markets)


def _keep_no_note(children: Mapping[str, int]) -> None:
    """Do nothing: ``machine`` knows the children of a killed supervisor."""
    del children


async def _remove_nothing() -> None:
    """Do nothing: ``machine`` removes the run directory."""
