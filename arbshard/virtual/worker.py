"""Implements a worker as a virtual process: virtual ports for the assembly in ``arbshard.worker``.

Every decision and every order's end is reported to the oracle at its instant.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from typing_extensions import override

from arbshard.clock import Clock
from arbshard.config import Config, ExecutionConfig
from arbshard.engine.engine import ArbitrageEngine, EntryOrExit, Exit
from arbshard.engine.followed import FollowedOutcome
from arbshard.execution.executor import ExecutorFactory, Observer
from arbshard.execution.ports import BookPort, RiskPort
from arbshard.model.market import Leg
from arbshard.model.order import OrderResult
from arbshard.model.refusal import Refusal
from arbshard.model.rundir import RunFiles
from arbshard.shm.books import BooksReader
from arbshard.shm.pages import PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.virtual.accounts import LiveWorld
from arbshard.virtual.bells import Bells
from arbshard.virtual.clock import VirtualClock
from arbshard.virtual.exchange_port import ExchangeExecutors
from arbshard.virtual.loop import VirtualLoop, VirtualProcess
from arbshard.virtual.network import Port, VirtualClient
from arbshard.virtual.oracle import Decision, Oracle
from arbshard.virtual.tally import OracleCounts
from arbshard.virtual.unkind import Unkind
from arbshard.worker.assembly import Worker, WorkerPorts
from arbshard.worker.live import LiveSide
from arbshard.worker.meter import WorkerMeter
from arbshard.worker.spare import Assignment

_WHATEVER_THE_BOOKS = ("manual", "kill_switch", "shutdown", "warned")
"""Reasons for exits that are sent on an old book: the order's limit protects the price, and keeping the position is
the greater risk.
"""


class VirtualSurroundings(NamedTuple):
    """Holds what surrounds all processes of one run."""

    loop: VirtualLoop
    clock: VirtualClock
    files: RunFiles
    config: Config
    port: Port
    bells: Bells
    oracle: Oracle
    timer_s: float
    supervisor: VirtualProcess
    unkind: Unkind
    live: LiveWorld | None = None
    """Destination of live orders; None on paper."""

    def is_orphan(self) -> bool:
        """Return whether the supervisor has died."""
        return not self.supervisor.alive


class WatchedMeter(WorkerMeter):
    """Informs the oracle of the end of each order, and counts over all workers what rules refused.

    Its owner sets both fields at once.
    """

    on_order: Callable[[OrderResult], None]
    tally: OracleCounts

    @override
    def doubted(self, reason: Refusal) -> None:
        super().doubted(reason)
        self.tally.barred[reason.name] += 1

    @override
    def followed(self, outcome: FollowedOutcome) -> None:
        super().followed(outcome)
        self.tally.followed(outcome.reason.name, outcome.pnl)

    def order_done(self, result: OrderResult) -> None:
        """Count the end of an order, and report it to the oracle."""
        super().order_done(result)
        self.on_order(result)


class VirtualWorker:
    """Executes one incarnation of a shard's worker."""

    def __init__(self, around: VirtualSurroundings, process: VirtualProcess, shard: int, epoch: int) -> None:
        self._around = around
        self.process = process
        self.shard = shard
        self._epoch = epoch
        self._worker: Worker | None = None
        """The worker; None before it has begun."""

    @property
    def engine(self) -> ArbitrageEngine | None:
        """Return the engine; None before the worker has begun."""
        return self._worker.engine if self._worker is not None else None

    @property
    def trading_since_ns(self) -> int:
        """Return when the worker began to trade; 0 before."""
        return self._worker.trading_since_ns if self._worker is not None else 0

    def may_trade(self, base: str) -> bool:
        """Return whether the worker regards ``base`` as its own."""
        worker = self._worker
        if worker is None or not worker.trading_since_ns:
            return False
        return base in worker.engine.pairs and not worker.desk.is_suspended(base)

    async def run(self) -> int:
        """Run until the worker ends by itself or is ordered to end. Returns the exit code."""
        around, files = self._around, self._around.files
        ports = WorkerPorts(
            clock=around.clock,
            files=files,
            pid=self.process.pid,
            is_orphan=around.is_orphan,
            connect=partial(VirtualClient, around.port, self.process.name),
            bell=around.bells.bell(self.shard),
            make_meter=self._make_meter,
            make_executors=self._make_executors if around.live is None else ExecutorFactory,
            open_live=partial(self._open_live, around.live) if around.live is not None else None,
            timer_s=around.timer_s,
        )
        with BooksReader.attach(files.books) as books:
            universe = UniverseFile(books, files.universe).load()
            assignment = Assignment(self.shard, self._epoch)
            with Worker(ports, around.config, universe, books, assignment) as worker:
                self._worker = worker
                worker.desk.on_decision = self._decided
                return await worker.run()

    def _make_meter(self, page: PageWriter, pid: int, epoch: int, pairs: int) -> WorkerMeter:
        meter = WatchedMeter(page, pid, epoch, pairs)
        meter.tally = self._around.oracle.tally
        meter.on_order = self._around.oracle.order_done
        return meter

    def _make_executors(
        self, risk: RiskPort, books: BookPort, execution: ExecutionConfig, clock: Clock, observer: Observer
    ) -> ExecutorFactory:
        around = self._around
        return ExchangeExecutors(
            risk, books, execution, clock, observer, self.process, around.port.network, around.oracle,
            around.unkind.refusal,
        )  # fmt: skip

    def _open_live(
        self,
        live: LiveWorld,
        shard: int,
        legs: Iterable[Leg],
        books: BookPort,
        count: Callable[[str], None],
        on_failure: Callable[[BaseException], None],
        is_fenced: Callable[[], bool],
    ) -> LiveSide:
        around = self._around
        ports = live.worker_ports(self.process, around.files, shard)
        return LiveSide(around.config, ports, around.clock, legs, books, count, on_failure, is_fenced)

    def _decided(self, trade: EntryOrExit) -> None:
        decision = Decision(
            trade.pair.base,
            trade.pair.home.market.symbol,
            trade.pair.away.market.symbol,
            f"exit {trade.position_id} {trade.reason}"
            if isinstance(trade, Exit)
            else f"entry {trade.direction}",
            not (isinstance(trade, Exit) and trade.reason in _WHATEVER_THE_BOOKS),
            not isinstance(trade, Exit),
        )
        self._around.oracle.decided(self.shard, self._epoch, decision)
