"""Defines the ``arbshard`` command: one thin function per command.

Bad input is one line on stderr and exit code 2. A call imports the module of its own command and no other one.
"""

import errno
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
import typer.main

from arbshard.cli.help import add_help
from arbshard.cli.options import require_own_supervisor
from arbshard.errors import ArbshardError, LedgerError, UsageError
from arbshard.last_words import write_stderr_line
from arbshard.version import __version__

if TYPE_CHECKING:
    from typer._click import Command

    app: typer.Typer
    """All commands. It is made when it is used first, which imports the modules of all of them."""

_COMMANDS = {
    "run": "run",
    "status": "status",
    "instances": "instances",
    "why": "why",
    "web": "web",
    "stop": "run",
    "tap": "tap",
    "record": "record",
    "halt": "halt",
    "resume": "halt",
    "close": "halt",
    "reconcile": "reconcile",
    "balances": "balances",
    "inventory": "inventory",
    "doctor": "doctor",
    "positions": "positions",
    "trades": "positions",
    "logs": "logs",
    "simulate": "simulate",
    "exchanges": "exchanges",
    "replay": "replay",
    "analyze": "analyze",
    "sweep": "sweep",
    "campaign": "campaign",
    "backtest": "backtest",
}
"""The module of each command, which is a function of the same name there, in the order of ``--help``."""
_GROUPS = {
    "alerts": "alerts",
    "cluster": "cluster",
    "config": "config",
    "limits": "limits",
    "ledger": "archive",  # it adds two commands to those of the module ``ledger``
    "shards": "shards",
    "symbols": "symbols",
    "tape": "tape",
    "transfer": "transfer",
}
"""The module of each group of commands, which is ``app`` there."""
_OUTPUT_FAILS = (errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF, errno.EDQUOT)
"""Errors of an output whose reader has gone, or whose disk is full."""


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Trade the price gaps of coins between exchanges: many pairs, many processes, one ledger."""


def version() -> None:
    """Show the version."""
    typer.echo(__version__)


def make_app(names: Collection[str] = (*_COMMANDS, *_GROUPS)) -> typer.Typer:
    """Return the commands of these names, and ``version``. Only their modules are imported."""
    made = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Cross-exchange crypto arbitrage: many pairs, many processes, one ledger.",
    )
    made.callback()(options)
    for name, module in _COMMANDS.items():
        if name in names:
            made.command(name)(getattr(import_module(f"arbshard.cli.{module}"), name))
    for name, module in _GROUPS.items():
        if name in names:
            made.add_typer(import_module(f"arbshard.cli.{module}").app, name=name)
    made.command()(version)
    add_help(made)
    return made


def __getattr__(name: str) -> typer.Typer:
    """Make ``app`` when it is used first."""
    if name != "app":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    made = globals()["app"] = make_app()
    return made


def main() -> None:
    """Run the command line. Ends with its exit code, and with one line for what a person can correct."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # terminals in Korea and elsewhere lack some characters
    try:
        require_own_supervisor()
        try:
            command(_app_for(sys.argv[1:]))()
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


def _app_for(arguments: Sequence[str]) -> typer.Typer:
    """Return the command that ``arguments`` begin with. Return all where another one may be needed: for the help, for
    a name that does not exist, and for a shell that asks for completions.
    """
    name = arguments[0] if arguments else ""
    return make_app((name,)) if name in _COMMANDS or name in _GROUPS else make_app()


def command(of: typer.Typer | None = None) -> "Command":
    """Return the command line of ``of``, of all commands by default. Its help shows flags without a value, and texts
    as they are written.
    """
    made = typer.main.get_command(make_app() if of is None else of)
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
