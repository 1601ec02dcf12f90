"""Defines ``arbshard balances``, which shows what is owned on each venue."""

from decimal import Decimal
from typing import Annotated

import msgspec
import typer

from arbshard.cli.ledger_state import find_remains
from arbshard.cli.options import ConfigOption, NameOption, StateOption, config_of
from arbshard.errors import UsageError
from arbshard.model.money import plain


class BalanceRow(msgspec.Struct, frozen=True):
    """Represents one currency on one venue, in its own units, as the ledger has it."""

    venue: str
    currency: str
    total: str
    held: str
    """Part of ``total`` that orders under way may spend."""


def balances(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what is owned on each venue by the ledger, in full digits; whether it runs or not.

    `arbshard inventory` shows how long it lasts and what to move.
    """
    from arbshard.model.money import use_money_context
    from arbshard.status.render import terminal
    from arbshard.status.tables import WholeTable

    use_money_context()
    rows = [one for one in _rows(name, config, state_dir) if Decimal(one.total) or Decimal(one.held)]
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    if not rows:
        typer.echo("no balances")
        return
    table = WholeTable("Balances", keys=2)
    for heading in ("venue", "currency"):
        table.add_column(heading)
    for heading in ("total", "held", "free"):
        table.add_column(heading, justify="right")
    for one in rows:
        total, held = Decimal(one.total), Decimal(one.held)
        table.add_row(one.venue, one.currency, *(f"{amount:,f}" for amount in (total, held, total - held)))
    terminal().print(table)


def _rows(name: NameOption, config: ConfigOption, state_dir: StateOption) -> list[BalanceRow]:
    from arbshard.clock import SystemClock
    from arbshard.status.collect import Collector
    from supervisor.places import find_run_dir, running_pid

    instance = config_of(name, config).name
    if running_pid(instance) is not None:
        status = Collector(find_run_dir(instance), SystemClock()).collect()
        if status is not None and status.as_of:
            typer.echo(f"as of {status.as_of}: risk says nothing newer", err=True)
        shown = status.balances if status is not None else {}
        return [
            BalanceRow(venue, currency, one.total, one.held)
            for venue, currencies in sorted(shown.items())
            for currency, one in sorted(currencies.items())
        ]
    found = find_remains(name, config, state_dir)
    if found is None:
        raise UsageError(f"no instance named '{instance}' is running, and it has no ledger")
    remains, state = found
    typer.echo(f"not running: {remains.sentence()}", err=True)
    return [
        BalanceRow(venue, currency, plain(one.total), plain(one.held))
        for (venue, currency), one in sorted(state.balances.items())
    ]
