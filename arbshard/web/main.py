"""The process that serves the desk of a run: ``python -m arbshard.web --run-dir DIR --state-dir DIR``.

Started by the supervisor once the run trades, at a low priority. It reads pages; what operators order goes to risk
and to the supervisor as from the command line. Exit codes: 0 asked to end, 1 a wrong address or token, or a defect
(logged), 4 the supervisor died.
"""

import argparse
import asyncio
import os
import threading

import msgspec

from arbshard.clock import Clock, SystemClock
from arbshard.companion import run_companion
from arbshard.config import Config
from arbshard.log import get_logger, setup
from arbshard.model.money import use_money_context
from arbshard.model.rundir import RunFiles
from arbshard.process import Parent
from arbshard.shm.pages import PageWriter
from arbshard.web import COUNTERS
from arbshard.web.reading import DeskReader
from arbshard.web.serving import DeskServer
from arbshard.web.setup import open_desk

_NOTE_BYTES = 512


def _work(given: argparse.Namespace, stop: threading.Event) -> int:
    use_money_context()
    files = RunFiles(given.run_dir)
    config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
    setup("web", given.state_dir / "logs", config.run.log_level)
    clock, parent = SystemClock(), Parent(given.parent_pid)
    address = open_desk(config.web, given.state_dir)
    with PageWriter.create(files.web_page, COUNTERS, (), _NOTE_BYTES) as page:
        page.set(page.counter("port"), address.listener.getsockname()[1])
        page.set(page.counter("pid"), os.getpid())
        page.write_note(address.url.encode()[:_NOTE_BYTES])
        get_logger().info("desk", address=address.sentence())
        reader = DeskReader(config.name, lambda: files.dir, clock)
        return asyncio.run(_serve(DeskServer([reader], address, clock), page, clock, parent, stop))


async def _serve(
    server: DeskServer, page: PageWriter, clock: Clock, parent: Parent, stop: threading.Event
) -> int:
    def is_over() -> bool:
        page.set(page.counter("beat_ns"), clock.monotonic_ns())
        for name in ("viewers", "actions", "refused", "failures"):
            page.set(page.counter(name), getattr(server.counts, name))
        return stop.is_set() or parent.is_gone()

    await server.serve(is_over)
    if not stop.is_set():
        get_logger().error("the supervisor is dead")
        return 4
    return 0


def main() -> int:
    """Serve until SIGTERM, and return the exit code."""
    return run_companion("web", _work)
