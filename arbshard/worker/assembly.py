"""Assembles a worker from its parts and its ports, and runs it from the greeting of risk to its end.

``main`` gives real ports and the simulation gives virtual ones, so that start, drain and end are the same code in
both. ``Trader`` is the part that does not need a process; the library runs it over ports of its own.
"""

import asyncio
import signal
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, NamedTuple

from arbshard.clock import Clock, lease_ns
from arbshard.closable import Closable
from arbshard.config import Config, ExecutionConfig
from arbshard.engine.engine import ArbitrageEngine
from arbshard.execution.executor import ExecutorFactory, Observer
from arbshard.execution.ports import BookPort, Fenced, RiskPort
from arbshard.log import get_logger
from arbshard.model.market import Leg
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksReader
from arbshard.shm.doorbell import Bell, ShardWaiter
from arbshard.shm.former import keep_counts
from arbshard.shm.pages import PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.venues.registry import codecs
from arbshard.wire.cluster import PAUSE_NS
from arbshard.wire.messages import Welcome
from arbshard.wire.request import RequestClient
from arbshard.worker.counters import GAUGES, counters, histograms
from arbshard.worker.desk import Desk
from arbshard.worker.feed import BookView, ShardFeed
from arbshard.worker.fence import Fence
from arbshard.worker.lease_page import LeasePage
from arbshard.worker.loop import BUSY_TIMER_S, TIMER_S, ShardLoop
from arbshard.worker.membership import Membership
from arbshard.worker.meter import WorkerMeter, missing_by_predecessor
from arbshard.worker.risk_link import RiskLink, RiskTransport
from arbshard.worker.risk_news import RiskNews
from arbshard.worker.risk_page import RiskPage
from arbshard.worker.spare import Assignment
from arbshard.worker.standing_orders import StandingOrders

if TYPE_CHECKING:
    from arbshard.worker.live import LiveSide

RISK_TIMEOUT_MS = 500
RISK_TRIES = 2
_BEATS = 5
"""Least number of beats that risk sees within the time after which a worker counts as stuck."""
_ORPHAN_CHECK_S = 0.5
"""Pause in seconds between two checks, by a worker that waits for risk's greeting, whether its supervisor is alive.
"""


MakeExecutors = Callable[[RiskPort, BookPort, ExecutionConfig, Clock, Observer], ExecutorFactory]
OpenLive = Callable[
    [
        int,
        Iterable[Leg],
        BookPort,
        Callable[[str], None],
        Callable[[BaseException], None],
        Callable[[], bool],
    ],
    "LiveSide",
]
"""Opens the connections for real orders. Its arguments are the shard, the shard's legs, their books, what counts by
name, what receives failures, and what returns whether this worker was replaced: then nothing may be sent."""
MakeMeter = Callable[[PageWriter, int, int, int], WorkerMeter]


def _nothing() -> None:
    """Do nothing."""


class WorkerPorts(NamedTuple):
    """Holds what a worker needs from the process that it runs in."""

    clock: Clock
    files: RunFiles
    pid: int
    is_orphan: Callable[[], bool]
    """Whether the supervisor has died."""
    connect: Callable[[float, int], RequestClient]
    """Makes the connection to risk from a time-out in milliseconds and a number of tries."""
    bell: Bell | None = None
    """The doorbell, which the worker closes; None for the FIFO in the run directory."""
    make_meter: MakeMeter = WorkerMeter
    """Makes what writes the worker's page, from the page, the process id, the epoch and the number of pairs."""
    further_histograms: tuple[str, ...] = ()
    """Names of histograms that the page has beside the usual ones."""
    make_executors: MakeExecutors = ExecutorFactory
    open_live: OpenLive | None = None
    """None on paper."""
    on_trading: Callable[[], None] = _nothing
    """Called once, when the worker has begun to trade."""
    timer_s: float | None = None
    """Period in seconds of the worker's timer, which limits every sleep of its loop; None for the period that
    ``run.stuck_after_ms`` requires."""
    lease_ns: Callable[[], int] = lease_ns
    """Returns the time of the clock of leases, for a run on several hosts."""


class Trader:
    """Holds the engine, the executors and the desk of one shard, and its connection to risk."""

    def __init__(
        self,
        assignment: Assignment,
        engine: ArbitrageEngine,
        config: Config,
        clock: Clock,
        transport: RiskTransport,
        books: BookPort,
        meter: WorkerMeter,
        on_failure: Callable[[BaseException], None],
        make_executors: MakeExecutors = ExecutorFactory,
        live: "LiveSide | None" = None,
        is_fenced: Callable[[], bool] | None = None,
    ) -> None:
        """Assemble the parts. ``on_failure`` receives each error that ends a trade without an outcome.

        ``is_fenced``, where it is given, is asked before every paper order: if it returns true, none is sent.
        """
        self._assignment = assignment
        self.engine = engine
        engine.on_followed = meter.followed
        self.risk = RiskLink(transport, *assignment, lambda: meter.count("silent"))
        executors = make_executors(self.risk, books, config.execution, clock, meter)
        executors.is_fenced = is_fenced
        self.desk = Desk(
            engine,
            executors,
            self.risk,
            config,
            clock,
            meter,
            on_failure,
            live.port if live is not None else None,
        )

    async def introduce(self, pid: int) -> Welcome:
        """Introduce this incarnation to risk. Raises ``Fenced``."""
        return await self.risk.hello(pid, tuple(self.engine.pairs))

    def take_over(self, welcome: Welcome) -> None:
        """Begin with what risk knows."""
        self.desk.take_over(welcome, *self._assignment)


class _Ending:
    """Decides how the worker ends; the first call counts."""

    def __init__(self) -> None:
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def stop(self, code: int) -> None:
        """End with this exit code."""
        if not self.code.done():
            self.code.set_result(code)

    def fail(self, error: BaseException) -> None:
        """End because of ``error``."""
        if isinstance(error, Fenced):
            get_logger().warning("fenced", why=str(error))
            self.stop(5)
        else:
            get_logger().error("a trade ended in a defect", exc_info=error)
            self.stop(1)


class Worker(Closable):
    """Is one incarnation of a shard's worker. Make it in its event loop, ``run`` it once, and close it."""

    def __init__(
        self,
        ports: WorkerPorts,
        config: Config,
        universe: Universe,
        books: BooksReader,
        assignment: Assignment,
    ) -> None:
        """Open its page, ring, doorbell and connections.

        Raises ``SharedMemoryError`` if a file of the run is missing or of another form.
        """
        shard, epoch = assignment
        fx, pairs = universe.fx, universe.pairs_of(shard)
        legs = [fx, *(leg for pair in pairs for leg in (pair.home, pair.away))]
        self._ports = ports
        self.shard = shard
        self.epoch = epoch
        self.trading_since_ns = 0
        """When it began to trade (monotonic nanoseconds); 0 before."""
        self._ending = ending = _Ending()
        files, clock = ports.files, ports.clock
        with ExitStack() as opened:
            missing = missing_by_predecessor(files.worker_page(shard))
            keep_counts(files.worker_page(shard), GAUGES)
            page = opened.enter_context(
                PageWriter.create(
                    files.worker_page(shard),
                    counters(config.venues.traded),
                    (*histograms(config.venues.traded), *ports.further_histograms),
                )
            )
            waiter = opened.enter_context(ShardWaiter.attach(files.dir, shard, bell=ports.bell))
            risk_page = opened.enter_context(closing(RiskPage(files.risk_page)))
            client = opened.enter_context(ports.connect(RISK_TIMEOUT_MS, RISK_TRIES))
            meter = ports.make_meter(page, ports.pid, epoch, len(pairs))
            meter.follow(waiter)
            meter.go_on_from(missing)
            permit = None
            if config.cluster is not None:
                pause_ns = PAUSE_NS if config.cluster.replication == "sync" else 0
                permit = opened.enter_context(
                    LeasePage(files.cluster_page, shard, epoch, ports.lease_ns, pause_ns)
                )
            fence = Fence(risk_page, shard, epoch, clock, ending.fail, permit)
            feed = ShardFeed(books, waiter, legs, codecs(config.venues.traded))
            self.feed = feed
            self.engine = engine = ArbitrageEngine(pairs, fx, config, feed.confirmed_ns, feed.late_after_ns)
            meter.publish_funnels(engine.pairs)
            feed_books = BookView(feed, engine, fx, config.data_quality, clock)
            self._live = (
                ports.open_live(shard, legs, feed_books, meter.count, ending.fail, fence.is_fenced)
                if ports.open_live is not None
                else None
            )
            self._trader = trader = Trader(
                assignment, engine, config, clock, client, feed_books, meter, ending.fail,
                ports.make_executors, self._live, fence.is_fenced if permit is not None else None,
            )  # fmt: skip
            self.desk = trader.desk
            self._orders = StandingOrders(trader.risk, risk_page, ending.fail)
            self._terms = RiskNews("terms", risk_page, trader.desk.update_terms, ending.fail)
            trader.desk.on_adopted = self._terms.forget
            self._membership = Membership(
                shard,
                UniverseFile(books, files.universe),
                trader.risk,
                engine,
                feed,
                trader.desk,
                meter.carried_out,
                ending.fail,
            )
            beat_s = config.run.stuck_after_ms / 1000 / _BEATS
            self.loop = ShardLoop(
                books,
                waiter,
                feed,
                engine,
                trader.desk,
                self._orders,
                self._terms,
                meter,
                clock,
                ending.stop,
                ports.is_orphan,
                config.run.spin_us,
                self._membership,
                # On a host of a cluster other hosts may take over what this worker has.
                ports.timer_s or min(TIMER_S if config.cluster is None else BUSY_TIMER_S, beat_s),
                fence.must_wait,
                ports.timer_s or min(BUSY_TIMER_S, beat_s),
            )
            self._opened = opened.pop_all()

    @property
    def is_settled(self) -> bool:
        """Return whether it trades the pairs that it is to trade, and no others."""
        return self._membership.is_settled

    async def run(self) -> int:
        """Trade until there is a reason to end; return the exit code."""
        ending = self._ending
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.stop, 0)
        try:
            hello = asyncio.ensure_future(self._trader.introduce(self._ports.pid))
            while not (hello.done() or ending.code.done()):
                await asyncio.wait(
                    (hello, ending.code), timeout=_ORPHAN_CHECK_S, return_when=asyncio.FIRST_COMPLETED
                )
                # Risk may have ended together with the supervisor, and then no process answers any more.
                if not hello.done() and self._ports.is_orphan():
                    get_logger().error("the supervisor is dead")
                    ending.stop(4)
            if hello.done():
                await self._start(hello.result())
            else:
                hello.cancel()
            return await ending.code
        except Fenced as error:
            ending.fail(error)
            return await ending.code
        finally:
            await self._end()

    async def _start(self, welcome: Welcome) -> None:
        """Take over what risk knows, and trade."""
        if self._live is not None:
            await self._live.start(welcome.tag)
        self._trader.take_over(welcome)
        self._orders.apply(welcome)
        get_logger().info("trading", pairs=len(self.engine.pairs), epoch=self.epoch)
        self.trading_since_ns = self._ports.clock.monotonic_ns()
        self.loop.start()
        self._ports.on_trading()

    async def _end(self) -> None:
        """Close the parts. The loop stops reading first, because the books it reads are unmapped soon after."""
        self.loop.close()
        await self._membership.close()
        await self._orders.close()
        await self._terms.close()
        await self.desk.close()
        if self._live is not None:
            await self._live.close()
        code = self._ending.code
        get_logger().info("ended", code=code.result() if code.done() else None)

    def close(self) -> None:
        """Close what was opened. Trades under way are not ended here: ``run`` does that."""
        self._opened.close()
