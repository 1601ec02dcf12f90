"""A worker as a virtual process: the real parts of ``arbshard.worker``, put together as its ``main`` does.

What is watched besides: every decision and every fill is told to the oracle at the instant it is made.
"""

import asyncio
from contextlib import closing
from typing import NamedTuple, Protocol

from arbshard.config import Config
from arbshard.engine.engine import ArbitrageEngine, Exit, PairState, Trade
from arbshard.errors import SharedMemoryError
from arbshard.log import get_logger
from arbshard.model.order import OrderResult
from arbshard.model.rundir import RunFiles
from arbshard.shm.books import BooksReader
from arbshard.shm.doorbell import ShardFiles, ShardWaiter
from arbshard.shm.pages import PageWriter
from arbshard.shm.rings import ParkWriter, RingReader
from arbshard.shm.universe import UniverseFile
from arbshard.venues.registry import codecs
from arbshard.virtual.bells import Bells
from arbshard.virtual.clock import VirtualClock
from arbshard.virtual.exchange_port import Account, ExchangeExecutors
from arbshard.virtual.loop import VirtualLoop, VirtualProcess
from arbshard.virtual.network import Port, VirtualClient
from arbshard.virtual.oracle import Decision
from arbshard.worker.counters import COUNTERS, HISTOGRAMS
from arbshard.worker.desk import Desk
from arbshard.worker.feed import ShardFeed
from arbshard.worker.fence import Fence
from arbshard.worker.loop import ShardLoop
from arbshard.worker.main import FeedBooks
from arbshard.worker.membership import Membership
from arbshard.worker.meter import Meter
from arbshard.worker.risk_link import Fenced, RiskLink
from arbshard.worker.risk_page import RiskPage
from arbshard.worker.standing_orders import StandingOrders

_WHATEVER_THE_BOOKS = ("manual", "kill_switch", "shutdown")
"""Exits that go out on an old book: the order's limit protects the price, and staying is the greater risk."""
_RISK_TIMEOUT_MS = 500
_RISK_TRIES = 2


class TradeWatch(Account, Protocol):
    """Who is told what a worker does: ``oracle.Oracle``."""

    def decided(self, shard: int, epoch: int, decision: Decision) -> None:
        """A worker has decided."""
        ...

    def order_done(self, shard: int, epoch: int, result: OrderResult) -> None:
        """An order met the book that was there, or none."""
        ...


class Surroundings(NamedTuple):
    """What all processes of one run stand in."""

    loop: VirtualLoop
    clock: VirtualClock
    files: RunFiles
    config: Config
    port: Port
    bells: Bells
    watch: TradeWatch
    timer_s: float
    supervisor: VirtualProcess

    def is_orphan(self) -> bool:
        """Whether the supervisor has died."""
        return not self.supervisor.alive


class WatchedMeter(Meter):
    """Tells the oracle of orders as well."""

    def __init__(self, page: PageWriter, worker: "VirtualWorker", pairs: int) -> None:
        super().__init__(page, worker.process.pid, worker.epoch, pairs)
        self._worker = worker
        self.fence: Fence | None = None

    def beat(self, now_ns: int, late_ns: int, feed: ShardFeed, overflows: int, torn: int, busy: int) -> None:
        """See ``Meter``. The fence is looked at besides, as often as all else is here."""
        super().beat(now_ns, late_ns, feed, overflows, torn, busy)
        if self.fence is not None:
            self.fence.is_fenced()

    def order_done(self, result: OrderResult) -> None:
        """See ``Observer``."""
        super().order_done(result)
        self._worker.around.watch.order_done(self._worker.shard, self._worker.epoch, result)


class WatchedDesk(Desk):
    """Tells the oracle of decisions as well. ``worker`` is set before the first."""

    worker: "VirtualWorker"

    def act(self, state: PairState, trade: Trade) -> None:
        """See ``Desk``."""
        decision = Decision(
            trade.pair.base,
            trade.pair.home.market.symbol,
            trade.pair.away.market.symbol,
            f"exit {trade.position_id} {trade.reason}"
            if isinstance(trade, Exit)
            else f"entry {trade.direction}",
            not (isinstance(trade, Exit) and trade.reason in _WHATEVER_THE_BOOKS),
        )
        self.worker.around.watch.decided(self.worker.shard, self.worker.epoch, decision)
        super().act(state, trade)


class VirtualWorker:
    """One incarnation of a shard's worker."""

    def __init__(self, around: Surroundings, process: VirtualProcess, shard: int, epoch: int) -> None:
        self.around = around
        self.process = process
        self.shard = shard
        self.epoch = epoch
        self.engine: ArbitrageEngine | None = None
        """None before it has begun."""
        self.desk: Desk | None = None
        self.trading_since_ns = 0
        """When it began to trade; 0 before."""
        self._end: asyncio.Future[int] | None = None

    def terminate(self) -> None:
        """As by SIGTERM."""
        if self._end is not None:
            self._stop(0)

    def _stop(self, code: int) -> None:
        assert self._end is not None
        if not self._end.done():
            self._end.set_result(code)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, Fenced):
            self._stop(5)
        else:
            get_logger().error("a trade ended in a defect", shard=self.shard, exc=repr(error))
            self._stop(1)

    def may_trade(self, base: str) -> bool:
        """Whether it takes ``base`` for its own."""
        engine, desk = self.engine, self.desk
        is_here = engine is not None and base in engine.pairs and self.trading_since_ns > 0
        return is_here and desk is not None and not desk.is_held(base)

    async def run(self) -> int:
        """Until it ends by itself or is told to; the exit code."""
        around, files, clock, config = self.around, self.around.files, self.around.clock, self.around.config
        end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._end = end
        shard_files = ShardFiles(files.dir, self.shard)
        with (
            BooksReader.attach(files.books) as books,
            closing(RiskPage(files.risk_page)) as risk_page,
            ShardWaiter(
                RingReader.attach(shard_files.ring),
                ParkWriter.open(shard_files.park),
                around.bells.bell(self.shard),
            ) as waiter,
            closing(VirtualClient(around.port, self.process.name, _RISK_TIMEOUT_MS, _RISK_TRIES)) as client,
            closing(Fence(risk_page, self.shard, self.epoch, clock, self._fail)) as fence,
        ):
            universes = UniverseFile(books, files.universe)
            universe = universes.load()
            pairs, fx = universe.pairs_of(self.shard), universe.fx
            legs = [fx, *(leg for pair in pairs for leg in (pair.home, pair.away))]
            with PageWriter.create(files.worker_page(self.shard), COUNTERS, HISTOGRAMS) as page:
                meter = WatchedMeter(page, self, len(pairs))
                meter.follow(waiter)
                feed = ShardFeed(books, waiter, legs, codecs())
                engine = self.engine = ArbitrageEngine(pairs, fx, config)
                risk = RiskLink(client, self.shard, self.epoch, lambda: meter.count("silent"))
                age_ns_max = int(config.data_quality.max_book_age_ms * 1e6)
                feed_books = FeedBooks(feed, engine, fx, age_ns_max, clock)
                executors = ExchangeExecutors(
                    risk, feed_books, config.execution, clock, meter, self.process, around.port.weather,
                    around.watch,
                )  # fmt: skip
                desk = WatchedDesk(engine, executors, risk, config, clock, meter, self._fail)
                desk.worker = self
                self.desk = desk
                orders = StandingOrders(risk, risk_page, self._fail)
                membership = Membership(
                    self.shard, universes, risk, engine, feed, desk, meter.carried_out, self._fail
                )
                loop = ShardLoop(
                    books, waiter, feed, engine, desk, orders, meter, clock, self._stop,
                    around.is_orphan, config.run.spin_us, membership, around.timer_s,
                )  # fmt: skip
                try:
                    hello = asyncio.ensure_future(
                        risk.hello(self.process.pid, tuple(pair.base for pair in pairs))
                    )
                    await asyncio.wait((hello, end), return_when=asyncio.FIRST_COMPLETED)
                    if not hello.done():
                        hello.cancel()
                        return await end
                    welcome = hello.result()
                    desk.take_over(welcome, self.shard, self.epoch)
                    orders.take(welcome)
                    self.trading_since_ns = clock.monotonic_ns()
                    meter.fence = fence
                    loop.start()
                    return await end
                except Fenced as error:
                    self._fail(error)
                    return await end
                except SharedMemoryError as error:
                    get_logger().error("a worker ends", exc=repr(error))
                    return 1
                finally:
                    loop.close()
                    await membership.close()
                    await orders.close()
                    await desk.close()
