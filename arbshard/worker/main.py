"""Executes one shard in one process: ``python -m arbshard.worker``. The supervisor starts and watches it.

With ``--spare`` it waits until it is assigned a shard (``spare``); from then on it is a worker like any other. Exit
codes: 0 drained or ended by a signal, 1 a defect (logged), 4 the supervisor died, 5 fenced by risk,
or its host of a cluster may not trade any more.
"""

import argparse
import asyncio
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvloop

from arbshard.clock import Clock, SystemClock
from arbshard.config import Config
from arbshard.errors import ArbshardError
from arbshard.last_words import end_with
from arbshard.log import get_logger, setup
from arbshard.model.money import use_money_context
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.process import (
    Parent,
    add_parent_option,
    freeze_gc,
    leave_ending_to_the_supervisor,
    pin,
)
from arbshard.ready import STDIN
from arbshard.shm.books import BooksReader
from arbshard.shm.doorbell import Bell
from arbshard.wire.request import RequestClient
from arbshard.worker.assembly import OpenLive, Worker, WorkerPorts
from arbshard.worker.meter import WorkerMeter
from arbshard.worker.spare import Assignment, wait_for_shard, warm_up

if TYPE_CHECKING:
    from arbshard.venues.keys import Keys

_SETTLED_S = 0.2
"""Pause in seconds before memory is tidied, which takes tens of milliseconds; all books are read by then."""


class _RunSettings:
    """Holds the configuration and the universe. The universe is read anew if its file has changed."""

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self.config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
        self._text = b""
        self._universe: Universe | None = None

    def universe(self) -> Universe:
        """Return the newest universe."""
        text = self._files.universe.read_bytes()
        if self._universe is None or text != self._text:
            self._text = text
            self._universe = msgspec.json.decode(text, type=Universe)
        return self._universe

    def forget(self) -> None:
        """Forget the universe, so that nothing of other shards' pairs is kept."""
        self._text, self._universe = b"", None


def _live_opener(config: Config, keys: dict[str, "Keys"], files: RunFiles, clock: Clock) -> OpenLive | None:
    """Return what opens the connections for real orders; None on paper, where none of that is even imported."""
    if config.mode == "paper":
        return None
    from arbshard.worker.live import open_live_side

    return partial(open_live_side, config, keys, files, clock)


def _risk_client(files: RunFiles, config: Config, timeout_ms: float, tries: int) -> RequestClient:
    endpoint = files.risk_zmq_endpoint if config.run.transport == "zmq" else files.risk_endpoint
    return RequestClient(endpoint, timeout_ms, tries)


def _bell(files: RunFiles, config: Config, shard: int) -> Bell | None:
    """Return the doorbell on the bus; None for the one that needs no library."""
    if config.run.transport != "zmq":
        return None
    from arbshard.wire.doorbell import BusBell

    return BusBell(files.bus_endpoint, shard)


async def _work(arguments: argparse.Namespace, meter_type: type[WorkerMeter]) -> int:
    """Run as the worker of a shard, at once or when one is assigned; return the exit code."""
    files = RunFiles(arguments.run_dir)
    settings = _RunSettings(files)
    parent = Parent(arguments.parent_pid)
    with BooksReader.attach(files.books) as books:
        keys: dict[str, Keys] = {}
        if settings.config.mode == "live":
            from arbshard.execution.live.keys import receive_keys

            keys = receive_keys(STDIN)
        given: Assignment | None = None
        if arguments.spare:
            warm_up(settings.config, settings.universe(), books)
            freeze_gc()
            given = await wait_for_shard(parent.is_gone)
            if given is None:
                return 4
        else:
            freeze_gc()
            given = Assignment(arguments.shard, arguments.epoch)
        return await _trade(files, arguments.state_dir, settings, books, given, keys, meter_type, parent)


async def _trade(
    files: RunFiles,
    state_dir: Path,
    settings: _RunSettings,
    books: BooksReader,
    given: Assignment,
    keys: dict[str, "Keys"],
    meter_type: type[WorkerMeter],
    parent: Parent,
) -> int:
    config, universe = settings.config, settings.universe()
    settings.forget()
    pin(config.run.pin_cores, given.shard + 1)
    setup(f"worker-{given.shard}", state_dir / "logs", config.run.log_level)
    clock = SystemClock()
    ports = WorkerPorts(
        clock=clock,
        files=files,
        pid=os.getpid(),
        is_orphan=parent.is_gone,
        connect=partial(_risk_client, files, config),
        bell=_bell(files, config, given.shard),
        make_meter=meter_type,
        further_histograms=meter_type.further_histograms,
        open_live=_live_opener(config, keys, files, clock),
        on_trading=_tidy_soon,
    )
    with Worker(ports, config, universe, books, given) as worker:
        return await worker.run()


def _tidy_soon() -> None:
    asyncio.get_running_loop().call_later(_SETTLED_S, freeze_gc)


def main(meter_type: type[WorkerMeter] = WorkerMeter) -> int:
    """Run the worker and return the exit code. The perf harness passes a meter of its own."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.worker")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--shard", type=int)
    parser.add_argument("--epoch", type=int)
    parser.add_argument("--spare", action="store_true", help="wait on stdin for shard and epoch")
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
