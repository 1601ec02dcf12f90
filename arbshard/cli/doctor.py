"""Defines ``arbshard doctor``, which checks whether this machine, these keys and these accounts are fit for live
orders.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
import structlog
import typer
from msgspec.structs import replace
from rich.markup import escape
from rich.table import Table

from arbshard import native
from arbshard.cli.options import ConfigOption, NameOption, config_of
from arbshard.config import Config
from arbshard.doctor.checks import Check, examine, examine_machine, examine_reach
from arbshard.errors import VenueUnavailable
from arbshard.model.money import use_money_context

_STYLES = {"ok": "green", "warning": "yellow", "fail": "bold red"}
_WORDS = {"ok": "ok", "warning": "warning", "fail": "FAIL"}


class DoctorReport(msgspec.Struct, frozen=True):
    """Contains what ``--json`` prints."""

    ok: bool
    checks: tuple[Check, ...]


def doctor(
    name: NameOption = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check keys, rights, balances, fees, limits and clocks before live orders. Exit code 1: something failed."""
    use_money_context()
    # The table contains all of it, and JSON must be the only output.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    checks = *asyncio.run(_examine(config_of(name, config))), *examine_machine(native.WHY_NOT)
    report = DoctorReport(all(check.verdict != "fail" for check in checks), checks)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _show(report)
    raise typer.Exit(0 if report.ok else 1)


async def _examine(config: Config) -> tuple[Check, ...]:
    from arbshard.data.listings import find_universe
    from arbshard.doctor.probing import gather_facts, reach_only
    from arbshard.execution.live.keys import load_keys

    keys = load_keys(config)
    async with _with_exchanges(config) as reachable:
        try:
            universe = await find_universe(reachable)
        except VenueUnavailable as error:
            return examine_reach(await reach_only(reachable), str(error))
        return examine(reachable, await gather_facts(reachable, universe, keys))


@asynccontextmanager
async def _with_exchanges(config: Config) -> AsyncIterator[Config]:
    """Yield ``config`` with the addresses of the embedded exchanges: of the running instance, or of
    temporary ones.
    """
    from arbshard.model.rundir import RunFiles
    from supervisor.places import find_run_dir, running_pid

    if config.data != "sim":
        yield config
        return
    if running_pid(config.name) is not None:
        running = RunFiles(find_run_dir(config.name)).config
        yield msgspec.json.decode(running.read_bytes(), type=Config, strict=False)
        return
    from arbshard.clock import SystemClock
    from arbshard.exchanges.exchanges import Exchanges

    exchanges = Exchanges(config.sim, SystemClock())
    await exchanges.start()
    try:
        yield replace(config, venues=config.venues.at(exchanges.addresses()))
    finally:
        await exchanges.stop()


def _show(report: DoctorReport) -> None:
    from arbshard.status.render import terminal

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("venue", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found, and what would be right")
    for check in report.checks:
        word = f"[{_STYLES[check.verdict]}]{_WORDS[check.verdict]}[/]"
        advice = f"\n[bold]→[/] {escape(check.advice)}" if check.advice else ""
        table.add_row(check.venue, check.name, word, escape(check.found) + advice)
    console = terminal()
    console.print(table)
    failed = sum(check.verdict == "fail" for check in report.checks)
    warned = sum(check.verdict == "warning" for check in report.checks)
    verdict = "fit for live orders" if report.ok else f"NOT fit for live orders: {failed} failed"
    warnings = f", {warned} warning{'s' * (warned > 1)}" if warned else ""
    console.print(verdict + warnings)
