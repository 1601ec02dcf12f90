"""Implements the accounts process: ``python -m arbshard.accounts --run-dir DIR --state-dir DIR``. Live only.

The supervisor starts it. It publishes what the venues state of our orders, and sends statements of balances and open
orders to risk. ``assembly`` puts it together; its real ports are here. Exit codes: 0 it was asked to end, 1 a defect
(logged), 2 settings that cannot work, 4 the supervisor died.
"""

import argparse
import logging
import os
from contextlib import AsyncExitStack, closing
from pathlib import Path

import msgspec
import uvloop

from arbshard.accounts.assembly import RISK_TIMEOUT_MS, RISK_TRIES, AccountsPorts, AccountsProcess
from arbshard.accounts.counters import HISTOGRAMS, counters
from arbshard.accounts.markets import MarketTables
from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.data.clients import open_client
from arbshard.data.stream import open_stream
from arbshard.errors import ArbshardError, UsageError
from arbshard.execution.live.account_part import AccountPart
from arbshard.execution.live.keys import receive_keys
from arbshard.last_words import end_with
from arbshard.ledger.reader import LedgerReader
from arbshard.log import get_logger, setup
from arbshard.model.money import use_money_context
from arbshard.model.rundir import RunFiles
from arbshard.process import Parent, add_parent_option, freeze_gc, leave_ending_to_the_supervisor
from arbshard.shm.books import BooksReader
from arbshard.shm.budget import Budget
from arbshard.shm.pages import PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.venues.base.client import VenueClient
from arbshard.venues.registry import rate_windows
from arbshard.wire.bus import Publisher
from arbshard.wire.request import RequestClient

_STDIN = 0


async def _work(arguments: argparse.Namespace) -> int:
    files = RunFiles(arguments.run_dir)
    config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
    setup("accounts", arguments.state_dir / "logs", config.run.log_level)
    for library in ("websockets", "picows", "aiohttp"):
        # Below it they write headers, and with them keys.
        logging.getLogger(library).setLevel(logging.WARNING)
    async with AsyncExitStack() as cleanup:
        page = cleanup.enter_context(
            PageWriter.create(files.accounts_page, counters(config.venues.traded), HISTOGRAMS, 0)
        )
        books = cleanup.enter_context(BooksReader.attach(files.books))
        markets = MarketTables(UniverseFile(books, files.universe))
        keys = receive_keys(_STDIN)
        publisher = cleanup.enter_context(Publisher(files.accounts_endpoint))
        publisher.start()
        risk = RequestClient(files.risk_endpoint, timeout_ms=RISK_TIMEOUT_MS, tries=RISK_TRIES)
        cleanup.enter_context(closing(risk))
        budget = cleanup.enter_context(
            closing(Budget.open(files.dir, "accounts", rate_windows(config.venues.traded)))
        )
        clock = SystemClock()
        if config.cluster is not None:
            budget.account_part = AccountPart(files.cluster_page, config.cluster, clock.monotonic_ns)
        clients: dict[str, VenueClient] = {}
        for name in config.venues.traded:
            clients[name] = open_client(name, config, keys[name], clock)
            cleanup.push_async_callback(clients[name].close)
        process = AccountsProcess(
            AccountsPorts(
                config=config,
                keys=keys,
                tag=_tag(arguments.state_dir),
                pid=os.getpid(),
                page=page,
                markets=markets,
                publisher=publisher,
                risk=risk,
                budget=budget,
                clients=clients,
                opener=open_stream,
                clock=clock,
                is_orphan=Parent(arguments.parent_pid).is_gone,
            )
        )
        freeze_gc()
        return await process.run()


def _tag(state_dir: Path) -> str:
    """Return the beginning of our orders' names at the venues. Risk has opened the ledger before this process
    starts.
    """
    with closing(LedgerReader(state_dir / "ledger.sqlite")) as ledger:
        return ledger.meta["tag"]


def main() -> int:
    """Run until asked to end. Return the exit code."""
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
