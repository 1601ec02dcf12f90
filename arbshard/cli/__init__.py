"""The ``arbshard`` command: one thin function per command.

Bad input is one line on stderr and exit code 2.
"""

from typing import Annotated

import typer

from arbshard.cli import (
    alerts,
    analyze,
    archive,
    backtest,
    balances,
    campaign,
    doctor,
    exchanges,
    instances,
    inventory,
    ledger,
    limits,
    positions,
    reconcile,
    record,
    replay,
    run,
    shards,
    simulate,
    status,
    sweep,
    symbols,
    tap,
    tape,
    transfer,
    web,
    why,
)
from arbshard.cli import config as configuration
from arbshard.cli import halt as desk
from arbshard.errors import ArbshardError, LedgerError, UsageError
from arbshard.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Cross-exchange crypto arbitrage: many pairs, many processes, one ledger.",
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Cross-exchange crypto arbitrage: many pairs, many processes, one ledger."""


app.command()(run.run)
app.command()(status.status)
app.command()(instances.instances)
app.command()(why.why)
app.command()(web.web)
app.command()(run.stop)
app.command()(tap.tap)
app.command()(record.record)
app.command()(desk.halt)
app.command()(desk.resume)
app.command()(desk.close)
app.command()(reconcile.reconcile)
app.command()(balances.balances)
app.command()(inventory.inventory)
app.command()(doctor.doctor)
app.command()(positions.positions)
app.command()(positions.trades)
app.command()(simulate.simulate)
app.command()(exchanges.exchanges)
app.command()(replay.replay)
app.command()(analyze.analyze)
app.command()(sweep.sweep)
app.command()(campaign.campaign)
app.command()(backtest.backtest)
app.add_typer(alerts.app, name="alerts")
app.add_typer(configuration.app, name="config")
app.add_typer(limits.app, name="limits")
ledger.app.command("archive")(archive.ledger_archive)
ledger.app.command("prove")(archive.ledger_prove)
app.add_typer(ledger.app, name="ledger")
app.add_typer(shards.app, name="shards")
app.add_typer(symbols.app, name="symbols")
app.add_typer(tape.app, name="tape")
app.add_typer(transfer.app, name="transfer")


@app.command()
def version() -> None:
    """The version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point."""
    try:
        app()
    except UsageError as error:
        typer.echo(f"arbshard: {error}", err=True)
        raise SystemExit(2) from error
    except LedgerError as error:
        typer.echo(f"arbshard: ledger: {error}", err=True)
        raise SystemExit(1) from error
    except ArbshardError as error:
        typer.echo(f"arbshard: {error}", err=True)
        raise SystemExit(1) from error
