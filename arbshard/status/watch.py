"""Draws the live table: a ``Status`` is drawn again and again until the run ends."""

import signal
import time
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live

from arbshard.clock import SystemClock
from arbshard.status.collect import Collector
from arbshard.status.model import Status
from arbshard.status.render import render_status

_EVERY_S = 0.5
_SYMBOLS_MIN = 3


def watch(run_dir: Path) -> int:
    """Draw until the run ends or this process receives a signal to end. Returns the exit code of the last status.

    Raises ``OSError`` when the terminal is gone.
    """
    received_signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda signum, _: received_signals.append(signum))
    collector = Collector(run_dir, SystemClock())
    status = collector.collect()
    if status is None:
        return 2
    console = Console()
    on_terminal = console.is_terminal
    with Live(console=console, screen=on_terminal, auto_refresh=False) as live:
        while status is not None and status.state not in ("ended", "dead") and not received_signals:
            if console.is_terminal != on_terminal:
                break  # the terminal is gone: ``Live`` would draw nothing and not say so before it stops
            live.update(_fitting(status, console), refresh=True)
            time.sleep(_EVERY_S)
            status = collector.collect()
    return status.exit_code if status is not None else 2


def _fitting(status: Status, console: Console) -> RenderableType:
    """Return the whole status with as many symbols as there is room for below it, and at least three."""
    fewest = render_status(status, symbols_shown=_SYMBOLS_MIN)
    if not console.is_terminal:
        return fewest
    room = console.height - len(console.render_lines(fewest))
    return fewest if room <= 0 else render_status(status, symbols_shown=_SYMBOLS_MIN + room)
