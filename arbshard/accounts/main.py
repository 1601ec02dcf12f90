"""The accounts process: ``python -m arbshard.accounts --run-dir DIR --state-dir DIR``. Live only.

Started by the supervisor. Publishes what the venues say of our orders, and states balances and open orders to risk.
Exit codes: 0 told to end, 1 a defect (logged), 2 settings that cannot work, 4 the supervisor died.
"""

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

import msgspec
import uvloop

from arbshard.accounts.asking import Asker
from arbshard.accounts.counters import COUNTERS, HISTOGRAMS
from arbshard.accounts.markets import Markets
from arbshard.accounts.meter import Meter
from arbshard.accounts.orders import VenueOrders
from arbshard.accounts.statements import Statements
from arbshard.accounts.watch import VenueWatch
from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.crashpoint import reach
from arbshard.data.clients import open_client
from arbshard.errors import ArbshardError, UsageError
from arbshard.execution.live.gate import Gate
from arbshard.execution.live.keys import receive_keys
from arbshard.last_words import end_with
from arbshard.ledger.reader import LedgerReader
from arbshard.log import get_logger, setup
from arbshard.model.money import use_money_context
from arbshard.model.rundir import RunFiles
from arbshard.process import Parent, add_parent_option, keep_what_is_there, leave_ending_to_the_supervisor
from arbshard.shm.books import BooksReader
from arbshard.shm.budget import Budget
from arbshard.shm.pages import PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.venues.registry import TRADED, get_adapter, rate_windows
from arbshard.wire import order_events
from arbshard.wire.bus import Publisher
from arbshard.wire.order_events import OrderEvent
from arbshard.wire.request import RequestClient

_STDIN = 0
_BEAT_S = 0.05
_RISK_TIMEOUT_MS = 1000
_RISK_TRIES = 2
_LAST_WORDS_S = 3.0


class Announcer:
    """Publishes order events to the worker of the shard that made the order."""

    def __init__(self, publisher: Publisher, meter: Meter) -> None:
        self._publisher = publisher
        self._meter = meter

    def publish(self, event: OrderEvent) -> None:
        """Tell whoever listens."""
        reach("before_publish")
        topic = order_events.topic_of(event.client_id)
        if topic is None or not self._publisher.publish(topic, order_events.encode(event)):
            self._meter.count("unheard")


async def _work(arguments: argparse.Namespace) -> int:
    files = RunFiles(arguments.run_dir)
    config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
    setup("accounts", arguments.state_dir / "logs", config.run.log_level)
    for library in ("websockets", "picows", "aiohttp"):
        logging.getLogger(library).setLevel(
            logging.WARNING
        )  # below it they write headers, and with them keys
    clock = SystemClock()
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def stop(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    def finished(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            get_logger().error("watching ended in a defect", exc_info=error)
            stop(1)

    async with AsyncExitStack() as cleanup:
        page = cleanup.enter_context(PageWriter.create(files.accounts_page, COUNTERS, HISTOGRAMS, 0))
        books = cleanup.enter_context(BooksReader.attach(files.books))
        meter = Meter(page)
        meter.set("pid", os.getpid())
        markets = Markets(UniverseFile(books, files.universe))
        watches = _watches(cleanup, files, config, _tag(arguments.state_dir), markets, meter, clock)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop, 0)
        tasks = [asyncio.create_task(watch.run()) for watch in watches]
        parent = Parent(arguments.parent_pid)
        tasks.append(asyncio.create_task(_beat(parent, markets, meter, clock, stop)))
        for task in tasks:
            task.add_done_callback(finished)
        meter.set("ready", 1)
        keep_what_is_there()
        get_logger().info("watching accounts", venues=TRADED)
        try:
            code = await ended
            if code == 0:
                await _last_words(watches)
            return code
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _last_words(watches: Sequence[VenueWatch]) -> None:
    """The workers have ended: what the venues say now is what risk closes its books with."""
    try:
        async with asyncio.timeout(_LAST_WORDS_S):
            await asyncio.gather(*(watch.state() for watch in watches))
    except TimeoutError:
        get_logger().warning("no last statements in time")


def _watches(
    cleanup: AsyncExitStack,
    files: RunFiles,
    config: Config,
    tag: str,
    markets: Markets,
    meter: Meter,
    clock: SystemClock,
) -> list[VenueWatch]:
    """One per venue, with all they use; what is to be closed goes to ``cleanup``."""
    keys = receive_keys(_STDIN)
    publisher = cleanup.enter_context(Publisher(files.accounts_endpoint))
    publisher.start()
    risk = RequestClient(files.risk_endpoint, timeout_ms=_RISK_TIMEOUT_MS, tries=_RISK_TRIES)
    cleanup.enter_context(closing(risk))
    budget = cleanup.enter_context(closing(Budget.open(files.dir, "accounts", rate_windows())))
    announcer, statements = Announcer(publisher, meter), Statements(risk, meter)
    gate = Gate(budget, config.live, clock, meter.count)
    watches = []
    for name in TRADED:
        client = open_client(name, config, keys[name], clock)
        cleanup.push_async_callback(client.close)
        watch = VenueWatch(
            get_adapter(name).account,
            config,
            keys[name],
            Asker(name, client, gate),
            VenueOrders(name, tag, markets.of(name)),
            announcer.publish,
            statements.send,
            client.set_clock,
            meter.of(name),
            clock,
        )
        watches.append(watch)
    return watches


def _tag(state_dir: Path) -> str:
    """What our orders' names at the venues begin with. Risk has opened the ledger before we are started."""
    with closing(LedgerReader(state_dir / "ledger.sqlite")) as ledger:
        return ledger.meta["tag"]


async def _beat(
    parent: Parent, markets: Markets, meter: Meter, clock: SystemClock, stop: Callable[[int], None]
) -> None:
    """Show that the loop is alive, see that the supervisor is, and whether pairs have come.

    A supervisor that is merely silent is no reason to stop: what the venues say of our orders is wanted all the more.
    """
    while True:
        due_ns = clock.monotonic_ns() + int(_BEAT_S * 1e9)
        await asyncio.sleep(_BEAT_S)
        now_ns = clock.monotonic_ns()
        meter.beat(now_ns, max(now_ns - due_ns, 0))
        markets.follow()
        if parent.is_gone():
            get_logger().error("the supervisor is dead")
            stop(4)
            return


def main() -> int:
    """Run until told to end; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.accounts")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    add_parent_option(parser)
    given = parser.parse_args()
    use_money_context()
    leave_ending_to_the_supervisor()
    try:
        return uvloop.run(_work(given))
    except (ArbshardError, OSError) as error:
        get_logger().error("accounts ends", why=str(error))
        return end_with(2 if isinstance(error, UsageError) else 1, f"accounts: {error}")
