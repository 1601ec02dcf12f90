"""Executes the same campaign in the simulation: hours in minutes, with the same verdict, from a real ledger.

Every event that the simulated ledger stores is also appended to a file by the real ``LedgerStore``, so facts,
``verify``, the verdict and the report come from the same code as those of a real campaign.
"""

import sys
import time
from collections.abc import Sequence
from decimal import localcontext
from pathlib import Path

import msgspec
from msgspec.structs import replace

from arbshard.campaign.attempt import Paths, Stopping, prepare
from arbshard.campaign.campaign import (
    AttemptLine,
    CampaignResult,
    check_disk,
    new_folder,
    obeying_signals,
    remove_old,
    report_on,
    write_result,
)
from arbshard.campaign.facts import read_facts
from arbshard.campaign.file import CampaignFile, config_of
from arbshard.campaign.verdict import CampaignFacts, could_not_run, judge
from arbshard.config import Config
from arbshard.errors import UsageError
from arbshard.exchanges.coins import coin_table
from arbshard.ledger.events import Event
from arbshard.ledger.store import LedgerStore
from arbshard.model.money import MONEY_CONTEXT
from arbshard.report.sources import RunSummary
from arbshard.status.model import RuleWorth
from arbshard.virtual.clock import WALL_START_MS
from arbshard.virtual.machine import BrokenOff, Simulation
from arbshard.virtual.report import lines_of
from arbshard.virtual.settings import Settings

NOT_WATCHED = (
    "no monitor runs, because its rules look at pages, logs and the machine of real processes",
    "logs, restarts, memory, descriptors, disk and latencies: the simulation's judges look for broken invariants",
    "decoding, shared memory, sockets and processes are virtual, so their time and their faults are models",
    "paper and the limits of risk are drawn from the seed; strategy, baseline, sizes are those of the campaign",
)
"""What this form does not watch or does differently, for the report."""
_TOGETHER = 500
"""Number of events that are written in one transaction."""


class LedgerFile:
    """Writes what the virtual ledger stores into a real one."""

    def __init__(self, path: Path, mode: str) -> None:
        self._store = LedgerStore.open(path, name="virtual", mode=mode, now_ms=WALL_START_MS)
        self._waiting: list[Event] = []

    def add(self, events: Sequence[Event]) -> None:
        """Add stored events. Raises ``LedgerError``."""
        self._waiting += events
        if len(self._waiting) >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. Raises ``LedgerError``."""
        with localcontext(MONEY_CONTEXT):
            self._store.append(self._waiting)
            self._store.checkpoint_if_due(is_idle=True)
        self._waiting = []

    def close(self) -> None:
        """Write the rest and close the file. Raises ``LedgerError``."""
        self.flush()
        self._store.close()


class _Ending(Stopping):
    """Breaks the simulation off when a person wants to end the campaign."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__()
        self._simulation = simulation

    def request(self, number: int, frame: object) -> None:
        super().request(number, frame)
        self._simulation.break_off()


def settings_of(campaign: CampaignFile, config: Config) -> Settings:
    """Return the settings of the simulation. Raises ``UsageError`` for a campaign that cannot be simulated."""
    if config.data != "sim":
        raise UsageError("--virtual: the campaign trades real markets, of which there is no simulation")
    return Settings(
        seed=campaign.virtual.seed if campaign.virtual.seed is not None else config.sim.seed,
        hours=campaign.duration_s / 3600,
        pairs=len(campaign.symbols),
        shards=min(campaign.shards, len(campaign.symbols)),
        updates=campaign.virtual.updates_per_s,
        faults=campaign.virtual.faults,
        only=campaign.virtual.only,
        regime=config.sim.regime,
        mode=config.mode,
    )


def _coins_of(campaign: CampaignFile, config: Config) -> int:
    """Return how many of the embedded exchanges' coins are needed to include all symbols. Raises ``UsageError``.

    Prices and gaps of a coin do not depend on the other coins, and coins that are not traded only cost time.
    """
    bases = [coin.base for coin in coin_table(config.sim.coins)]
    missing = [symbol for symbol in campaign.symbols if symbol.upper() not in bases]
    if missing:
        raise UsageError(
            f"--virtual: {', '.join(missing)}: not among the {len(bases)} coins of the embedded exchanges"
        )
    return 1 + max(bases.index(symbol.upper()) for symbol in campaign.symbols)


def run_virtual(campaign: CampaignFile, root: Path) -> CampaignResult:
    """Simulate the campaign, and judge it by its ledger. Raises ``UsageError``."""
    config = config_of(campaign, campaign.name)
    settings = settings_of(campaign, config)
    coins = _coins_of(campaign, config)

    began_ms = time.time_ns() // 1_000_000
    with new_folder(root, began_ms, form="virtual") as folder:
        for line in remove_old(root, folder, campaign.keep, began_ms):
            sys.stderr.write(f"campaign {campaign.name}: {line}\n")
        check_disk(folder, campaign)
        return _simulate(campaign, config, settings, coins, folder, began_ms)


def _simulate(
    campaign: CampaignFile, config: Config, settings: Settings, coins: int, folder: Path, began_ms: int
) -> CampaignResult:
    began_s = time.monotonic()

    def adjust(simulated: Config) -> Config:
        return replace(
            simulated,
            strategy=config.strategy,
            baseline=config.baseline,
            series=config.series,
            sizing=config.sizing,
            run=replace(simulated.run, symbols=campaign.symbols),
            sim=replace(simulated.sim, coins=coins),
        )

    paths = Paths(folder / "attempt-1")
    prepare(paths, campaign)
    simulation = Simulation(settings, adjust=adjust)
    ledger = LedgerFile(paths.ledger, config.mode)
    judge_events = simulation.disk.on_stored

    def stored(first: int, events: Sequence[Event], bodies: Sequence[str]) -> None:
        judge_events(first, events, bodies)
        ledger.add(events)

    simulation.disk.on_stored = stored
    stopping = _Ending(simulation)
    report = None
    try:
        with obeying_signals(stopping):
            report = simulation.run()
    except BrokenOff:
        pass  # the report covers what was done until then
    finally:
        ledger.close()
    if report is not None:
        text = "".join(f"{line}\n" for line in lines_of(report))
        paths.output.write_text(text, encoding="utf-8")
        tally = report.tally
        worth = {reason: RuleWorth(*counts) for reason, counts in tally.worth.items()}
        summary = RunSummary(dict(tally.refused), dict(tally.barred), worth, (), report.virtual_s)
        paths.summary.write_bytes(msgspec.json.encode(summary))
    facts = read_facts(paths.ledger)
    ran_s = report.virtual_s if report is not None else 0.0
    verdict = (
        judge(
            CampaignFacts(
                ledger=facts,
                wanted_s=campaign.duration_s,
                ran_s=ran_s,
                watched_s=None,
                is_paper=config.mode == "paper",
                refused=dict(report.tally.barred) if report is not None else {},
                violations=report.violations if report is not None else (),
                interrupted=stopping.count > 0,
            ),
            campaign.verdict,
        )
        if facts.entries or report is not None
        else could_not_run("it was interrupted before anything was traded")
    )
    written, why_not = report_on(paths.folder, (), f"{campaign.name} in the simulation", verdict)
    result = CampaignResult(
        name=campaign.name,
        form="virtual",
        began_ms=began_ms,
        took_s=round(time.monotonic() - began_s, 1),
        wanted_s=campaign.duration_s,
        ran_s=round(ran_s, 1),
        folder=str(folder),
        verdict=verdict,
        attempts=(
            AttemptLine(
                str(paths.folder), "", "", round(ran_s, 1), facts.entries, facts.exits, str(facts.pnl)
            ),
        ),
        anomalies=(),
        facts=facts,
        not_watched=NOT_WATCHED,
        reports=(str(written),) if written is not None else (),
        no_report=why_not,
    )
    write_result(folder, result)
    return result
