"""Serves the figures of a run: ``python -m arbshard.metrics --run-dir DIR --state-dir DIR``.

The supervisor starts it once the run trades, at a low priority. It only reads pages, so whatever happens to it
costs figures only. Exit codes: 0 ended by a signal, 1 a defect or an address that is in use (logged), 4 the
supervisor died.
"""

import argparse
import os
import threading

import msgspec
from prometheus_client import CollectorRegistry

from arbshard.clock import Clock, SystemClock
from arbshard.companion import run_companion
from arbshard.config import Config
from arbshard.log import get_logger, setup
from arbshard.metrics import COUNTERS
from arbshard.metrics.reading import RunReader
from arbshard.metrics.serving import MetricsServer, serve_metrics
from arbshard.model.rundir import RunFiles
from arbshard.process import Parent
from arbshard.shm.pages import PageWriter

_CHECK_S = 1.0


def _work(given: argparse.Namespace, stop: threading.Event) -> int:
    files = RunFiles(given.run_dir)
    config = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False)
    setup("metrics", given.state_dir / "logs", config.run.log_level)
    clock, parent, chosen = SystemClock(), Parent(given.parent_pid), config.metrics
    reader, registry = RunReader(files, config, clock), CollectorRegistry()
    registry.register(reader)
    with (
        PageWriter.create(files.metrics_page, COUNTERS, (), 0) as page,
        serve_metrics(chosen.host, chosen.port, registry, reader.status) as server,
    ):
        page.set(page.counter("port"), server.server_port)
        page.set(page.counter("pid"), os.getpid())
        get_logger().info("metrics", address=f"http://{chosen.host}:{server.server_port}/metrics")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            return _until_stopped(server, page, clock, parent, stop)
        finally:
            server.shutdown()


def _until_stopped(
    server: MetricsServer, page: PageWriter, clock: Clock, parent: Parent, stop: threading.Event
) -> int:
    while not stop.wait(_CHECK_S):
        page.set(page.counter("beat_ns"), clock.monotonic_ns())
        page.set(page.counter("scrapes"), server.answered)
        page.set(page.counter("failures"), server.failures)
        if parent.is_gone():
            get_logger().error("the supervisor is dead")
            return 4
    return 0


def main() -> int:
    """Answer until a signal ends the process; return the exit code."""
    return run_companion("metrics", _work)
