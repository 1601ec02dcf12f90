"""Displays the progress of a campaign: a table on a terminal, otherwise lines."""

import sys
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from arbshard.campaign.file import CampaignFile
from arbshard.campaign.monitor import WatchFile

_LINE_EVERY_S = 30.0
_ANOMALIES_SHOWN = 5


class Progress:
    """Displays the progress of a campaign."""

    def __init__(self, campaign: CampaignFile, console: Console | None = None) -> None:
        self._campaign = campaign
        self._console = console or Console(file=sys.stderr)
        self._began_s = time.monotonic()
        self._shown_s = self._began_s
        self._live = (
            Live(console=self._console, auto_refresh=False, transient=True)
            if self._console.is_terminal
            else None
        )

    def print_line(self, line: str) -> None:
        """Print one line that stays."""
        self._console.print(
            f"campaign {self._campaign.name}: {line}", markup=False, highlight=False, soft_wrap=True
        )

    def show(self, watch: WatchFile) -> None:
        """Show the present progress."""
        elapsed_s = time.monotonic() - self._began_s
        if self._live is not None:
            self._live.update(table_of(self._campaign, watch, elapsed_s), refresh=True)
        elif time.monotonic() - self._shown_s >= _LINE_EVERY_S:
            self._shown_s = time.monotonic()
            self.print_line(line_of(self._campaign, watch, elapsed_s))

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(max(seconds, 0))))


def _win_rate(watch: WatchFile) -> str:
    closed = watch.wins + watch.losses
    return f"{100 * watch.wins / closed:.0f} %" if closed else "none closed"


def line_of(campaign: CampaignFile, watch: WatchFile, elapsed_s: float) -> str:
    """Return the progress as one line."""
    return (
        f"{_duration(elapsed_s)} of {_duration(campaign.duration_s)}, "
        f"{_duration(campaign.duration_s - elapsed_s)} left, "
        f"{watch.state}, {watch.entries:,} entries, {watch.exits:,} exits, won {_win_rate(watch)}, "
        f"PnL {float(watch.pnl):,.0f}, {len(watch.anomalies) + watch.left_out} anomalies"
    )


def table_of(campaign: CampaignFile, watch: WatchFile, elapsed_s: float) -> Table:
    """Return the progress as a table."""
    table = Table(title=f"campaign {campaign.name}", show_header=False, title_justify="left")
    left_s = campaign.duration_s - elapsed_s
    table.add_row("elapsed", f"{_duration(elapsed_s)} of {_duration(campaign.duration_s)}")
    table.add_row("left", _duration(left_s) if left_s > 0 else "closing")
    table.add_row("state", watch.state)
    table.add_row("entries, exits, open", f"{watch.entries:,}, {watch.exits:,}, {watch.open:,}")
    table.add_row("won", _win_rate(watch))
    table.add_row("PnL", f"{float(watch.pnl):,.0f}")
    table.add_row("anomalies", f"{len(watch.anomalies) + watch.left_out:,}")
    for one in watch.anomalies[-_ANOMALIES_SHOWN:]:
        table.add_row(f"  {one.severity}", f"{one.rule}: {one.text}")
    return table
