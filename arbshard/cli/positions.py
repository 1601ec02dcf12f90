"""``arbshard positions`` and ``arbshard trades``: what is open, and what was closed."""

import time
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.table import Table
from rich.text import Text

from arbshard.cli.options import (
    ConfigOption,
    NameOption,
    SinceOption,
    StateOption,
    running_files,
    state_dir_of,
    wall_ms_of,
)
from arbshard.cli.risk_client import send_to_risk
from arbshard.cli.trades import closed_positions, trade_row
from arbshard.cli.unrealised import OpenPosition, open_rows
from arbshard.errors import UsageError
from arbshard.wire.messages import Positions, ShowPositions

JsonOption = Annotated[bool, typer.Option("--json", help="A JSON list.")]


def positions(as_json: JsonOption = False, name: NameOption = None, config: ConfigOption = None) -> None:
    """Open positions of a running instance, and what closing each of them now would bring."""
    from arbshard.clock import SystemClock
    from arbshard.model.money import use_money_context

    use_money_context()
    _, files = running_files(name, config)
    answer = send_to_risk(files, ShowPositions())
    assert isinstance(answer, Positions), answer
    rows = open_rows(answer, files, SystemClock())
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    if not rows:
        typer.echo("no open positions")
        return
    table = _table("Open positions", ("symbol", "direction", "age", "quantity", "entry home", "entry away"))
    for heading in ("notional", "unrealised", "bps", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    _print(table)


def trades(
    last: Annotated[int, typer.Option("--last", min=1, max=100_000, help="So many of the newest.")] = 20,
    symbol: Annotated[str, typer.Option("--symbol", help="Of one pair, by base or market.")] = "",
    since: SinceOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Closed positions from the ledger and its archives, newest first; whether it runs or not."""
    from arbshard.model.money import use_money_context

    use_money_context()
    path = state_dir_of(name, config, state_dir) / "ledger.sqlite"
    if not path.exists():
        raise UsageError(f"there is no ledger at {path}")
    since_ms = wall_ms_of("since", since)
    rows = [trade_row(position) for position in closed_positions(path, symbol, last, since_ms)]
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    if not rows:
        typer.echo("no closed positions")
        return
    table = _table("Closed positions", ("closed", "symbol", "direction", "reason"))
    for heading in ("held", "quantity", "notional", "fees", "PnL", "bps"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            time.strftime("%m-%d %H:%M:%S", time.localtime(row.closed_ms / 1000)),
            row.symbol,
            row.direction,
            row.reason,
            _span(row.held_s),
            row.quantity,
            _amount(row.notional),
            _amount(row.fees),
            _signed(row.pnl),
            f"{row.pnl_bps:+.1f}" if row.pnl_bps is not None else "-",
        )
    _print(table)


def _cells(row: OpenPosition) -> tuple[str | Text, ...]:
    return (
        row.symbol,
        row.direction,
        _span(row.age_s),
        row.quantity,
        row.entry_home_price,
        row.entry_away_price,
        _amount(row.notional),
        _signed(f"{row.unrealised:.0f}") if row.unrealised is not None else "-",
        f"{row.unrealised_bps:+.1f}" if row.unrealised_bps is not None else "-",
        f"closing ({row.closing})" if row.closing else "",
    )


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _print(table: Table) -> None:
    from arbshard.status.render import terminal

    terminal().print(table)


def _amount(amount: str) -> str:
    return f"{float(amount):,.0f}"


def _signed(amount: str) -> Text:
    value = float(amount)
    return Text(f"{value:+,.0f}", style="green" if value > 0 else "red" if value < 0 else "")


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
