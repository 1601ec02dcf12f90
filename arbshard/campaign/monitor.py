"""Monitors a run from a process of its own: it samples, applies the rules and writes their findings to a file.

The campaign starts it, reads the file and acts; the monitor itself never touches the run. It ends at a signal, after
a last sample of logs and ledger, or when the campaign is gone.
"""

import argparse
import os
import signal
import time
from pathlib import Path
from types import FrameType

import msgspec

from arbshard.campaign.file import CampaignFile, config_of
from arbshard.campaign.observe import RunWatch
from arbshard.campaign.rules import Anomalies, RunSample, SampleHistory, findings, keep_s
from arbshard.clock import SystemClock
from arbshard.model.money import use_money_context
from arbshard.model.verdict import Anomaly
from arbshard.process import Parent, add_parent_option, leave_ending_to_the_supervisor

_POLL_S = 0.05
_TREND_SAMPLES = 5
"""Number of samples that become one point of the trend."""
_GAP = 5.0
"""When samples are farther apart than so many times their usual distance, the time between was not watched."""


class WatchFile(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the findings of the monitor so far: it is the whole content of its file."""

    at_ms: int = 0
    samples: int = 0
    watched_s: float = 0.0
    state: str = "starting"
    entries: int = 0
    exits: int = 0
    open: int = 0
    wins: int = 0
    losses: int = 0
    pnl: str = "0"
    anomalies: tuple[Anomaly, ...] = ()
    left_out: int = 0
    """Number of anomalies that are not kept, because there are too many."""
    stop: Anomaly | None = None
    """Why the attempt should be ended."""


def read_watch(path: Path) -> WatchFile:
    """Return what the monitor has written; an empty value before it has written anything."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=WatchFile)
    except FileNotFoundError:
        return WatchFile()


class Monitor:
    """Samples a run and keeps what the rules find."""

    def __init__(self, campaign: CampaignFile, watch: RunWatch, out: Path, end_ms: int) -> None:
        self._campaign = campaign
        self._watch = watch
        self._out = out
        self._end_ms = end_ms
        self._history = SampleHistory(keep_s(campaign.rules), _TREND_SAMPLES * campaign.sample_s)
        self._anomalies = Anomalies()
        self._written = read_watch(out)
        """The file of an earlier monitor, if this one is a restart."""
        for one in self._written.anomalies:
            self._anomalies.add(one)

    def step(self, *, is_last: bool = False) -> None:
        """Take one sample, apply the rules, and write the findings. Raises ``OSError``."""
        sample = self._watch.last_sample() if is_last else self._watch.sample(self._end_ms)
        if sample is None:
            return
        before = self._history.recent[-1] if self._history.recent and sample.is_whole else None
        self._history.add(sample)
        for found in findings(self._history, self._campaign.rules):
            self._anomalies.add(found)
        self._write(sample, before)

    def _write(self, sample: RunSample, before: RunSample | None) -> None:
        gap_s = sample.at_s - before.at_s if before is not None else 0.0
        watched_s = gap_s if gap_s <= _GAP * max(self._campaign.sample_s, 0.5) else 0.0
        watch = self._written
        if sample.is_whole:
            watch = msgspec.structs.replace(
                watch,
                entries=sample.entries,
                exits=sample.exits,
                open=sample.open,
                wins=sample.wins,
                losses=sample.losses,
                pnl=sample.pnl,
            )
        self._written = msgspec.structs.replace(
            watch,
            at_ms=sample.at_ms,
            state=sample.state,
            samples=watch.samples + 1,
            watched_s=round(watch.watched_s + watched_s, 3),
            anomalies=tuple(self._anomalies.all),
            left_out=self._anomalies.left_out,
            stop=self._anomalies.stop,
        )
        unfinished = self._out.with_name(f".{self._out.name}.{os.getpid()}")
        unfinished.write_bytes(msgspec.json.encode(self._written))
        unfinished.replace(self._out)


def main() -> None:
    """Watch until SIGTERM or until the campaign is gone; the exit code is then 0."""
    parser = argparse.ArgumentParser(prog="arbshard.campaign")
    parser.add_argument("--campaign", type=Path, required=True, help="JSON of the campaign as it is run")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--end-ms", type=int, required=True, help="wall time at which the campaign ends")
    add_parent_option(parser)
    given = parser.parse_args()
    leave_ending_to_the_supervisor()
    ends: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        ends.append(number)

    signal.signal(signal.SIGTERM, end)
    use_money_context()
    os.nice(5)
    campaign = msgspec.json.decode(given.campaign.read_bytes(), type=CampaignFile)
    max_hold_s = config_of(campaign, str(given.campaign)).strategy.max_hold_s
    watch = RunWatch(given.run_dir, given.state_dir, SystemClock(), max_hold_s)
    monitor = Monitor(campaign, watch, given.out, given.end_ms)
    parent = Parent(given.parent_pid)
    next_s = time.monotonic()
    while not ends and not parent.is_gone():
        if time.monotonic() >= next_s:
            next_s = max(next_s + campaign.sample_s, time.monotonic())
            monitor.step()
        time.sleep(_POLL_S)
    monitor.step(is_last=True)
