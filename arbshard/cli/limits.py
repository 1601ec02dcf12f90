"""Defines ``arbshard limits …``, which shows and changes what risk refuses to exceed, while it runs."""

from typing import Annotated

import typer
from rich.text import Text

from arbshard.cli.completion import complete_limits, complete_symbols
from arbshard.cli.options import ConfigOption, NameOption, running_files
from arbshard.cli.risk_client import send_to_risk
from arbshard.errors import UsageError
from arbshard.status.tables import WholeTable, local_time
from arbshard.wire.messages import Done, LimitLine, Limits, SetLimits, ShowLimits

app = typer.Typer(no_args_is_help=True, help="See and change limits while it runs.")

SymbolOption = Annotated[
    str,
    typer.Option("--symbol", help="Only one pair, by base or market.", autocompletion=complete_symbols),
]
_AS_CONFIGURED = "default"


@app.command("show")
def show_limits(
    symbol: SymbolOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the limits in force, what was changed, what a rule has tightened, and how much of each is used."""
    import msgspec

    from arbshard.status.render import terminal

    _, files = running_files(name, config)
    shown = send_to_risk(files, ShowLimits(symbol))
    assert isinstance(shown, Limits), shown
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(shown)).decode())
        return
    console = terminal()
    console.print(_table(shown))
    console.print(f"trading day {shown.day}, until {local_time(shown.day_ends_ms)}")
    for whose, factor, cause in shown.tightened:
        console.print(Text(f"{whose or 'all'} tightened to {factor}: {cause}", style="yellow"))
    if shown.halted:
        console.print(Text(f"HALTED by {shown.halted}", style="bold red"))


@app.command("set")
def set_limits(
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE…",
            help="Keys of the section limits of the configuration; KEY=default takes a change back.",
            autocompletion=complete_limits,
        ),
    ],
    symbol: SymbolOption = "",
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Change limits at once and permanently: they hold over restarts, until changed again."""
    pairs: list[tuple[str, str]] = []
    for change in changes:
        key, equals, value = (part.strip() for part in change.partition("="))
        if not equals or not key or not value:
            raise UsageError(f"limits set: '{change}' is not KEY=VALUE")
        pairs.append((key, "" if value == _AS_CONFIGURED else value))
    instance, files = running_files(name, config)
    done = send_to_risk(files, SetLimits(tuple(pairs), symbol))
    assert isinstance(done, Done), done
    typer.echo(f"{instance}: {done.text}")


def _table(shown: Limits) -> WholeTable:
    title = f"Limits of {shown.symbol}" if shown.symbol else "Limits"
    table = WholeTable(title)
    for heading in ("limit", "in force", "used", "tightened", "configured"):
        table.add_column(heading, justify="left" if heading == "limit" else "right")
    for line in shown.lines:
        table.add_row(
            line.key,
            Text(_grouped(line.value), style="yellow" if line.value != line.configured else ""),
            _grouped(line.used),
            f"x {line.factor}" if line.factor != "1" else "",
            _changed(line),
        )
    return table


def _changed(line: LimitLine) -> Text:
    if line.value == line.configured:
        return Text(_grouped(line.configured), style="dim")
    return Text(f"changed from {_grouped(line.configured)}", style="yellow")


def _grouped(value: str) -> str:
    """Return an amount with its digits in groups; any other text unchanged."""
    whole, _, rest = value.partition(".")
    if not whole.lstrip("-").isdecimal():
        return value
    return f"{int(whole):,}" + (f".{rest[:2]}" if rest else "")
