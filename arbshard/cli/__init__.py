"""Defines the ``arbshard`` command: one thin function per command.

Bad input is one line on stderr and exit code 2.
"""

import errno
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
import typer.main

from arbshard.cli import (
    alerts,
    analyze,
    archive,
    backtest,
    balances,
    campaign,
    cluster,
    doctor,
    exchanges,
    instances,
    inventory,
    ledger,
    limits,
    logs,
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
from arbshard.cli.help import add_help
from arbshard.cli.options import require_own_supervisor
from arbshard.errors import ArbshardError, LedgerError, UsageError
from arbshard.last_words import write_stderr_line
from arbshard.version import __version__

if TYPE_CHECKING:
    from typer._click import Command

_OUTPUT_FAILS = (errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF, errno.EDQUOT)
"""Errors of an output whose reader has gone, or whose disk is full."""

app = typer.Typer(
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
    """Trade the price gaps of coins between exchanges: many pairs, many processes, one ledger."""


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
app.command()(logs.logs)
app.command()(simulate.simulate)
app.command()(exchanges.exchanges)
app.command()(replay.replay)
app.command()(analyze.analyze)
app.command()(sweep.sweep)
app.command()(campaign.campaign)
app.command()(backtest.backtest)
app.add_typer(alerts.app, name="alerts")
app.add_typer(cluster.app, name="cluster")
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
    """Show the version."""
    typer.echo(__version__)


add_help(app)


def main() -> None:
    """Run the command line. Ends with its exit code, and with one line for what a person can correct."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # terminals in Korea and elsewhere lack some characters
    try:
        require_own_supervisor()
        try:
            command()()
        finally:
            sys.stdout.flush()
    except UsageError as error:
        _end(2, str(error), error)
    except LedgerError as error:
        _end(1, f"ledger: {error}", error)
    except ArbshardError as error:
        _end(1, str(error), error)
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_FAILS:
            raise  # it is a defect, and its traceback shows where
        _end(1, f"the output cannot be written: {error.strerror}", error)


def command(of: typer.Typer = app) -> "Command":
    """Return the command line of ``of``, whose help shows flags without a value, and texts as they are written."""
    made = typer.main.get_command(of)
    waiting = [made]
    while waiting:
        one = waiting.pop()
        one.help, one.epilog = _without_markup(one.help), _without_markup(one.epilog)
        for parameter in one.params:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
            if hasattr(parameter, "help"):
                parameter.help = _without_markup(parameter.help)
        waiting.extend(getattr(one, "commands", {}).values())
    return made


def _without_markup(text: str | None) -> str | None:
    """Return ``text`` so that Rich shows ``[limits]`` and does not read it as markup."""
    return None if text is None else text.replace("[", "\\[")


def _end(code: int, line: str, error: Exception) -> NoReturn:
    write_stderr_line(f"arbshard: {line}")
    raise SystemExit(code) from error
