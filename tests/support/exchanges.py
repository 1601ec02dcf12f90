"""Runs the embedded exchanges in a process of their own, for tests that start no run of arbshard."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

READY_S = 60.0
VENUES = """
[venues.upbit]
ws_url = "{upbit[ws_url]}"
rest_url = "{upbit[rest_url]}"
[venues.binance]
ws_url = "{binance[ws_url]}"
rest_url = "{binance[rest_url]}"
"""
"""The part of a configuration that names them; to be formatted with what is in their ready file."""


@contextmanager
def running_exchanges(folder: Path, **settings: object) -> Iterator[Any]:
    """Start them with ``settings`` and end them afterwards. Yields what is in their ready file, ``sim.json``."""
    ready, log = folder / "sim.json", folder / "exchanges.log"
    ready.unlink(missing_ok=True)  # of those that ran here before
    command = [sys.executable, "-m", "arbshard.exchanges", "--settings", json.dumps(settings)]
    with log.open("ab") as errors:
        process = subprocess.Popen([*command, "--ready-file", str(ready)], stderr=errors)
    try:
        deadline_s = time.monotonic() + READY_S
        while not ready.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, f"not ready in time: {log.read_text()}"
            time.sleep(0.02)
        yield json.loads(ready.read_text())
    finally:
        process.kill()
        process.wait(60)


def set_faults(said: Any, venue: str, order: object) -> None:
    """Switch faults of ``venue``; ``said`` is what is in the ready file."""
    request = urllib.request.Request(
        f"{said[venue]['rest_url']}/sim/faults",
        json.dumps(order).encode(),
        {"Authorization": f"Bearer {said['token']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200, reply.read()


@contextmanager
def exchanges_in(folder: Path, **usual: object) -> Iterator[Callable[..., Any]]:
    """Yield a function that starts them with other settings on top of the usual ones, and end all afterwards."""
    with ExitStack() as started:

        def start(**settings: object) -> Any:
            return started.enter_context(running_exchanges(folder, **(usual | settings)))

        yield start
