"""``python -m arbshard.worker``: one shard, one process. Started and watched by the supervisor.

With ``--spare`` it waits until it is told its shard (``spare``); from there on it is a worker like any other.
Exit codes: 0 drained or told to end, 1 a defect (logged), 4 the supervisor died, 5 fenced by risk.
"""

import argparse
import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvloop

from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.engine.engine import ArbitrageEngine
from arbshard.errors import ArbshardError
from arbshard.execution.executor import ExecutorFactory
from arbshard.last_words import end_with
from arbshard.log import get_logger, setup
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.intent import FxQuote
from arbshard.model.market import Leg, Pair
from arbshard.model.money import exact, use_money_context
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.process import (
    Parent,
    add_parent_option,
    keep_what_is_there,
    leave_ending_to_the_supervisor,
    pin,
)
from arbshard.shm.books import BooksReader
from arbshard.shm.doorbell import ShardWaiter
from arbshard.shm.pages import PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.venues.registry import codecs
from arbshard.wire.doorbell import BusBell
from arbshard.wire.messages import Welcome
from arbshard.wire.request import RequestClient
from arbshard.worker.counters import COUNTERS
from arbshard.worker.desk import Desk
from arbshard.worker.feed import ShardFeed
from arbshard.worker.fence import Fence
from arbshard.worker.loop import ShardLoop
from arbshard.worker.membership import Membership
from arbshard.worker.meter import Meter
from arbshard.worker.risk_link import Fenced, RiskLink
from arbshard.worker.risk_page import RiskPage
from arbshard.worker.spare import STDIN, Assignment, wait_for_shard, warm_up
from arbshard.worker.standing_orders import StandingOrders

if TYPE_CHECKING:
    from arbshard.venues.keys import Keys
    from arbshard.worker.live import LiveSide

_RISK_TIMEOUT_MS = 500
_RISK_TRIES = 2
_SETTLED_S = 0.2
"""Tidying memory takes tens of milliseconds: only when the books have been looked at once."""


class FeedBooks:
    """``execution.ports.BookPort`` over the shard's feed."""

    def __init__(
        self, feed: ShardFeed, engine: ArbitrageEngine, fx: Leg, age_ns_max: int, clock: SystemClock
    ) -> None:
        self._feed = feed
        self._engine = engine
        self._fx = fx
        self._age_ns_max = age_ns_max
        self._clock = clock

    def tradable(self, leg: Leg) -> OrderBookSnapshot | None:
        """See ``BookPort``. A book older than ``max_book_age_ms`` is no book: nothing fills against it."""
        newer = self._feed.look(leg.slot)  # also when the loop has not come to it yet
        if newer is not None:
            self._engine.observe(leg.slot, newer)
        view = self._feed.views[leg.slot]
        book = view.book if view.live else None
        if book is None or self._clock.monotonic_ns() - book.received_ns > self._age_ns_max:
            return None
        return book

    def fx(self) -> FxQuote | None:
        """See ``BookPort``."""
        top = self._feed.views[self._fx.slot].top
        return FxQuote(exact(top.best_bid), exact(top.best_ask)) if top is not None else None


class _Papers:
    """Configuration and universe, read once; the universe is looked at anew, for it may have changed since."""

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self.config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
        self._text = b""
        self._universe: Universe | None = None

    def universe(self) -> Universe:
        """As it stands now."""
        text = self._files.universe.read_bytes()
        if self._universe is None or text != self._text:
            self._text = text
            self._universe = msgspec.json.decode(text, type=Universe)
        return self._universe

    def forget(self) -> None:
        """Of other shards' pairs nothing is kept."""
        self._text, self._universe = b"", None


def _risk_client(files: RunFiles, config: Config) -> RequestClient:
    endpoint = files.risk_endpoint if config.run.requests == "unix" else files.risk_zmq_endpoint
    return RequestClient(endpoint, timeout_ms=_RISK_TIMEOUT_MS, tries=_RISK_TRIES)


def _live_side(
    config: Config,
    keys: dict[str, "Keys"],
    files: RunFiles,
    shard: int,
    legs: Sequence[Leg],
    books: FeedBooks,
    clock: SystemClock,
    meter: Meter,
    fail: Callable[[BaseException], None],
    fence: Fence,
) -> "LiveSide | None":
    """None on paper, where none of it is even imported."""
    if config.mode == "paper":
        return None
    from arbshard.worker.live import LiveSide

    return LiveSide(config, keys, files, shard, legs, books, clock, meter.count, fail, fence.is_fenced)


class _End:
    """How this process ends: the first word counts."""

    def __init__(self) -> None:
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def stop(self, code: int) -> None:
        """With this exit code."""
        if not self.code.done():
            self.code.set_result(code)

    def fail(self, error: BaseException) -> None:
        """Because of this."""
        if isinstance(error, Fenced):
            get_logger().warning("fenced", why=str(error))
            self.stop(5)
        else:
            get_logger().error("a trade ended in a defect", exc_info=error)
            self.stop(1)


async def _greet(risk: RiskLink, pairs: Sequence[Pair], ended: asyncio.Future[int]) -> Welcome | None:
    """Risk's answer to our first word; None when this process was told to end before it came."""
    hello = asyncio.ensure_future(risk.hello(os.getpid(), tuple(pair.base for pair in pairs)))
    await asyncio.wait((hello, ended), return_when=asyncio.FIRST_COMPLETED)
    if not hello.done():
        hello.cancel()
        return None
    return hello.result()


async def _work(arguments: argparse.Namespace, meter_type: type[Meter]) -> int:
    """As the worker of a shard, at once or when we are told which."""
    files = RunFiles(arguments.run_dir)
    papers = _Papers(files)
    parent = Parent(arguments.parent_pid)
    with BooksReader.attach(files.books) as books:
        keys: dict[str, Keys] = {}
        if papers.config.mode == "live":
            from arbshard.execution.live.keys import receive_keys

            keys = receive_keys(STDIN)
        given: Assignment | None = None
        if arguments.spare:
            warm_up(papers.config, papers.universe(), books)
            keep_what_is_there()
            given = await wait_for_shard(parent.is_gone)
            if given is None:
                return 4
        else:
            keep_what_is_there()
            given = Assignment(arguments.shard, arguments.epoch)
        return await _trade(files, arguments.state_dir, papers, books, given, keys, meter_type, parent)


async def _trade(
    files: RunFiles,
    state_dir: Path,
    papers: _Papers,
    books: BooksReader,
    given: Assignment,
    keys: dict[str, "Keys"],
    meter_type: type[Meter],
    parent: Parent,
) -> int:
    shard, epoch = given
    config, universe = papers.config, papers.universe()
    fx, pairs = universe.fx, universe.pairs_of(shard)
    papers.forget()
    pin(config.run.pin_cores, shard + 1)
    setup(f"worker-{shard}", state_dir / "logs", config.run.log_level)
    log = get_logger()
    legs = [fx, *(leg for pair in pairs for leg in (pair.home, pair.away))]
    clock = SystemClock()
    end = _End()
    bell = BusBell(files.bus_endpoint, shard) if config.run.doorbell == "zmq" else None
    with (
        PageWriter.create(files.worker_page(shard), COUNTERS, meter_type.histograms) as page,
        ShardWaiter.attach(files.dir, shard, bell=bell) as waiter,
        closing(RiskPage(files.risk_page)) as risk_page,
        closing(_risk_client(files, config)) as client,
        closing(Fence(risk_page, shard, epoch, clock, end.fail)) as fence,
    ):
        meter = meter_type(page, os.getpid(), epoch, len(pairs))
        meter.follow(waiter)
        feed = ShardFeed(books, waiter, legs, codecs())
        engine = ArbitrageEngine(pairs, fx, config)
        risk = RiskLink(client, shard, epoch, lambda: meter.count("silent"))
        age_ns_max = int(config.data_quality.max_book_age_ms * 1e6)
        feed_books = FeedBooks(feed, engine, fx, age_ns_max, clock)
        executors = ExecutorFactory(risk, feed_books, config.execution, clock, meter)
        live = _live_side(config, keys, files, shard, legs, feed_books, clock, meter, end.fail, fence)
        port = live.port if live is not None else None
        desk = Desk(engine, executors, risk, config, clock, meter, end.fail, port)
        orders = StandingOrders(risk, risk_page, end.fail)
        membership = Membership(
            shard,
            UniverseFile(books, files.universe),
            risk,
            engine,
            feed,
            desk,
            meter.carried_out,
            end.fail,
        )
        loop = ShardLoop(
            books,
            waiter,
            feed,
            engine,
            desk,
            orders,
            meter,
            clock,
            end.stop,
            parent.is_gone,
            config.run.spin_us,
            membership,
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.stop, 0)
        try:
            welcome = await _greet(risk, pairs, end.code)
            if welcome is None:
                return await end.code
            if live is not None:
                await live.start(welcome.tag)
            desk.take_over(welcome, shard, epoch)
            desk.start_rehearsing()
            orders.take(welcome)
            log.info("trading", pairs=len(pairs), epoch=epoch)
            loop.start()
            fence.start()
            asyncio.get_running_loop().call_later(_SETTLED_S, keep_what_is_there)
            return await end.code
        except Fenced as error:
            end.fail(error)
            return await end.code
        finally:
            loop.close()
            await membership.close()
            await orders.close()
            await desk.close()
            if live is not None:
                await live.close()
            log.info("ended", code=end.code.result() if end.code.done() else None)


def main(meter_type: type[Meter] = Meter) -> int:
    """Run the worker; returns the exit code. The perf harness measures with a meter of its own."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.worker")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--shard", type=int)
    parser.add_argument("--epoch", type=int)
    parser.add_argument("--spare", action="store_true", help="wait on stdin to be told shard and epoch")
    add_parent_option(parser)
    use_money_context()
    leave_ending_to_the_supervisor()
    given = parser.parse_args()
    if not given.spare and (given.shard is None or given.epoch is None):
        parser.error("--shard and --epoch, or --spare")
    try:
        return uvloop.run(_work(given, meter_type))
    except (ArbshardError, OSError) as error:
        get_logger().error("a worker ends", why=str(error))
        return end_with(1, f"worker: {error}")
