"""Defines ``arbshard positions`` and ``arbshard trades``, which show open and closed positions."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from arbshard.cli.completion import complete_symbols
from arbshard.cli.ledger_state import find_remains
from arbshard.cli.options import (
    ConfigOption,
    NameOption,
    SinceOption,
    StateOption,
    config_of,
    running_files,
    state_dir_of,
    wall_ms_of,
)
from arbshard.cli.risk_client import send_to_risk
from arbshard.cli.trades import closed_positions, trade_row, write_csv
from arbshard.errors import SharedMemoryError, UsageError
from arbshard.model.money import BPS, plain
from arbshard.model.notes import SupervisorNote
from arbshard.model.position import Position
from arbshard.model.rundir import RunFiles
from arbshard.shm.pages import PageReader
from arbshard.status.tables import WholeTable, local_time
from arbshard.wire.messages import Positions, ShowPositions, ValuedPosition

JsonListOption = Annotated[bool, typer.Option("--json", help="A JSON list.")]


class OpenPosition(msgspec.Struct, frozen=True):
    """Describes one open position, with amounts in reporting currency unless stated otherwise."""

    position_id: str
    symbol: str
    direction: str
    opened_ms: int
    age_s: float
    quantity: str
    entry_home_price: str
    entry_away_price: str
    notional: str
    fees: str
    """Fees paid so far."""
    home_flow: str
    """Amount received less the amount paid so far, in home quote; fees included."""
    away_flow: str
    """Amount received less the amount paid so far, in away quote; fees included."""
    unrealised: float | None
    """Result after all fees, those of the exit included; None while risk has seen no book."""
    unrealised_bps: float | None
    books_age_s: float | None
    """Age in seconds of the books on which ``unrealised`` is based."""
    is_whole: bool
    """Whether these books are deep enough to close all of it."""
    closing: str
    """Reason why it is being closed; empty when it is not."""
    is_taken_over: bool = False
    """Whether an earlier run has opened it; false for all where nothing runs."""


def open_rows(answer: Positions, now_ms: int, began_ms: int = 0) -> list[OpenPosition]:
    """Return a row for each position, oldest first, as risk values them. ``began_ms``: when the run began."""
    closing = dict(answer.closing)
    values = {one.position_id: one for one in answer.values if one.books_ms}
    ordered = sorted(answer.positions, key=lambda one: one.opened_ms)
    rows = (_row(one, values.get(one.position_id), closing.get(one.pair, ""), now_ms) for one in ordered)
    return [msgspec.structs.replace(row, is_taken_over=row.opened_ms < began_ms) for row in rows]


def total_of(rows: Sequence[OpenPosition], currency: str) -> str:
    """Return a sentence with the sums of all positions."""
    valued = [row.unrealised for row in rows if row.unrealised is not None]
    missing = len(rows) - len(valued)
    without = f" without {missing} that {'has' if missing == 1 else 'have'} no value yet" if missing else ""
    unrealised = f"{sum(valued):+,.0f}{without}" if valued else "not valued"
    notional = sum(Decimal(row.notional) for row in rows)
    fees = sum(Decimal(row.fees) for row in rows)
    what = "1 position" if len(rows) == 1 else f"{len(rows)} positions"
    return (
        f"total of {what} in {currency}: notional {notional:,.0f}, fees {fees:,.0f}, unrealised {unrealised}"
    )


def positions(
    as_json: JsonListOption = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show open positions, and what closing each of them now would bring, as risk values them.

    Of an instance that does not run, the open positions in its ledger are shown, without a value.
    """
    from arbshard.clock import SystemClock
    from arbshard.model.money import use_money_context

    use_money_context()
    from supervisor.places import running_pid

    began_ms = 0
    if running_pid(config_of(name, config).name) is not None:
        _, files = running_files(name, config)
        answer = send_to_risk(files, ShowPositions())
        assert isinstance(answer, Positions), answer
        began_ms = _began_ms(files)
    else:
        answer = _from_ledger(name, config, state_dir)
    rows = open_rows(answer, SystemClock().wall_ms(), began_ms)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    if not rows:
        typer.echo("no open positions")
        return
    table = _table("Open positions", ("symbol", "direction", "age", "quantity", "entry home", "entry away"))
    for heading in ("notional", "fees", "flow home", "flow away", "unrealised", "bps", "books", ""):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*_cells(row))
    table.caption = total_of(rows, config_of(name, config).reporting)
    _print(table)


def _began_ms(files: RunFiles) -> int:
    """Return when the run began, in ms; 0 while its supervisor has not made its page yet."""
    with suppress(SharedMemoryError), PageReader.attach(files.supervisor_page) as page:
        if note := page.note():
            return msgspec.json.decode(note, type=SupervisorNote).started_ms
    return 0


def _from_ledger(name: NameOption, config: ConfigOption, state_dir: StateOption) -> Positions:
    """Return the open positions by the ledger alone. Raises ``UsageError`` (no ledger) and ``LedgerError``."""
    found = find_remains(name, config, state_dir)
    if found is None:
        raise UsageError(
            f"no instance named '{config_of(name, config).name}' is running, and it has no ledger"
        )
    remains, state = found
    typer.echo(f"not running: {remains.sentence()}", err=True)
    return Positions(tuple(state.positions.values()), tuple(state.standing.closing.items()))


def trades(
    last: Annotated[
        int, typer.Option("--last", min=1, max=100_000, help="Number of positions, the newest first.")
    ] = 20,
    symbol: Annotated[
        str,
        typer.Option("--symbol", help="Only one pair, by base or market.", autocompletion=complete_symbols),
    ] = "",
    since: SinceOption = None,
    as_json: JsonListOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Rows for a spreadsheet, with a header.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show closed positions from the ledger and its archives, newest first; whether it runs or not."""
    from arbshard.model.money import use_money_context

    use_money_context()
    if as_json and as_csv:
        raise UsageError("trades: --json or --csv, not both")
    path = state_dir_of(name, config, state_dir) / "ledger.sqlite"
    if not path.exists():
        raise UsageError(f"there is no ledger at {path}")
    since_ms = wall_ms_of("since", since)
    rows = [trade_row(position) for position in closed_positions(path, symbol, last, since_ms)]
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    if as_csv:
        write_csv(sys.stdout, rows)
        return
    if not rows:
        typer.echo("no closed positions")
        return
    table = _table("Closed positions", ("closed", "symbol", "direction", "reason"))
    for heading in ("held", "quantity", "notional", "trade", "fees", "FX", "PnL", "bps"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            local_time(row.closed_ms),
            row.symbol,
            row.direction,
            row.reason,
            _span(row.held_s),
            row.quantity,
            _amount(row.notional),
            _signed(row.trade) if row.trade is not None else "-",
            _amount(row.fees),
            _signed(row.fx) if row.fx is not None else "-",
            _signed(row.pnl),
            f"{row.pnl_bps:+.1f}" if row.pnl_bps is not None else "-",
        )
    _print(table)


def _row(position: Position, value: ValuedPosition | None, closing: str, now_ms: int) -> OpenPosition:
    bps = value.pnl * BPS / position.entry_notional if value is not None and position.entry_notional else None
    return OpenPosition(
        position_id=position.position_id,
        symbol=position.pair,
        direction=position.direction,
        opened_ms=position.opened_ms,
        age_s=round((now_ms - position.opened_ms) / 1000, 1),
        quantity=plain(position.quantity),
        entry_home_price=plain(round(position.entry_home_price, 8).normalize()),
        entry_away_price=plain(round(position.entry_away_price, 8).normalize()),
        notional=plain(position.entry_notional),
        fees=plain(position.fees),
        home_flow=plain(position.flows.home_quote),
        away_flow=plain(position.flows.away_quote),
        unrealised=float(value.pnl) if value is not None else None,
        unrealised_bps=round(float(bps), 2) if bps is not None else None,
        books_age_s=round((now_ms - value.books_ms) / 1000, 1) if value is not None else None,
        is_whole=value.is_whole if value is not None else True,
        closing=closing,
    )


def _cells(row: OpenPosition) -> tuple[str | Text, ...]:
    return (
        row.symbol,
        row.direction,
        _span(row.age_s),
        row.quantity,
        row.entry_home_price,
        row.entry_away_price,
        _amount(row.notional),
        _amount(row.fees),
        f"{float(row.home_flow):+,.0f}",
        f"{float(row.away_flow):+,.2f}",
        _signed(f"{row.unrealised:.0f}") if row.unrealised is not None else "-",
        f"{row.unrealised_bps:+.1f}" if row.unrealised_bps is not None else "-",
        (_span(row.books_age_s) + ("" if row.is_whole else ", thin")) if row.books_age_s is not None else "-",
        _state(row),
    )


def _state(row: OpenPosition) -> str:
    states = ("taken over" if row.is_taken_over else "", f"closing ({row.closing})" if row.closing else "")
    return ", ".join(filter(None, states))


def _table(title: str, headings: tuple[str, ...]) -> WholeTable:
    table = WholeTable(title)
    for heading in headings:
        table.add_column(heading)
    return table


def _print(table: WholeTable) -> None:
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
