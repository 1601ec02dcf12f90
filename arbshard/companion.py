"""Manages the life of a process that only observes a run: of ``arbshard.series`` and ``arbshard.metrics``."""

import argparse
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from arbshard.errors import ArbshardError
from arbshard.last_words import end_with
from arbshard.log import get_logger
from arbshard.process import add_parent_option, leave_ending_to_the_supervisor

_NICE = 10
"""Niceness, which leaves the cores to the run."""


def run_companion(name: str, work: Callable[[argparse.Namespace, threading.Event], int]) -> int:
    """Run ``work`` at a low priority until SIGTERM sets the event that it gets; return the exit code.

    ``work`` gets ``run_dir``, ``state_dir`` and ``parent_pid`` of the command line. When it raises ``ArbshardError``
    or ``OSError``, the error is logged and printed on stderr, and the exit code is 1.
    """
    parser = argparse.ArgumentParser(prog=f"python -m arbshard.{name}")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    add_parent_option(parser)
    given = parser.parse_args()
    leave_ending_to_the_supervisor()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    os.nice(_NICE)
    try:
        return work(given, stop)
    except (ArbshardError, OSError) as error:
        get_logger().error("a companion of the run ends", companion=name, why=str(error))
        return end_with(1, f"{name}: {error}")
