"""Defines ``arbshard inventory``, which shows what is owned where, how long it lasts, and what to move."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from arbshard.cli.ledger_state import newest_state
from arbshard.cli.options import ConfigOption, NameOption, StateOption, config_of, running_files, state_dir_of
from arbshard.cli.risk_client import send_to_risk
from arbshard.cli.transfer import describe
from arbshard.model.money import ONE
from arbshard.status.tables import WholeTable
from arbshard.wire.inventory import Ends, Inventory, InventoryLine, ShowInventory

_encoder = msgspec.json.Encoder(decimal_format="string")
_SMALL = Decimal(1000)
"""Amount above which amounts are shown without decimals."""


def inventory(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what is owned on each venue, how much of it is free, when it runs out, and what to move.

    It runs out at the present rate. An instance that does not run is shown by its ledger, at the prices of its last
    trades.
    """
    from arbshard.clock import SystemClock
    from arbshard.model.money import use_money_context
    from arbshard.status.collect import Collector
    from arbshard.status.inventory import propose, with_refusals
    from supervisor.places import find_run_dir, running_pid

    use_money_context()
    settings = config_of(name, config, state_dir)
    is_running = running_pid(settings.name) is not None
    if is_running:
        _, files = running_files(name, config)
        shown = send_to_risk(files, ShowInventory())
        assert isinstance(shown, Inventory), shown
        status = Collector(find_run_dir(settings.name), SystemClock()).collect()
        shown = with_refusals(shown, status.missing if status is not None else {})
    else:
        shown = _from_ledger(name, config, state_dir)
    proposals = propose(shown)
    if as_json:
        told = {**msgspec.to_builtins(shown, builtin_types=(Decimal,)), "proposals": proposals}
        typer.echo(msgspec.json.format(_encoder.encode(told)).decode())
    else:
        _print(shown, proposals, is_running=is_running)


def _from_ledger(name: NameOption, config: ConfigOption, state_dir: StateOption) -> Inventory:
    """Return the inventory by the ledger alone. Raises ``UsageError`` (no ledger) and ``LedgerError``."""
    import time

    from arbshard.risk.inventory import inventory_of, last_prices, needs_at_entry
    from arbshard.venues.listing import FX_BASE

    settings = config_of(name, config, state_dir)
    home, away = settings.venues.traded
    ends = Ends(home, away, FX_BASE, settings.reporting)
    state = newest_state(state_dir_of(name, config, state_dir) / "ledger.sqlite")
    prices = {**last_prices(state, ends), settings.reporting: ONE}
    return inventory_of(
        state,
        ends,
        settings.inventory,
        needs_at_entry(state, ends),
        state.balances.available,
        prices.get,
        time.time_ns() // 1_000_000,
    )


def _print(shown: Inventory, proposals: tuple[str, ...], *, is_running: bool) -> None:
    from arbshard.status.render import terminal

    console = terminal()
    if not is_running:
        console.print(Text("not running: by its ledger, at the prices of its last trades", style="yellow"))
    console.print(_table(shown))
    _print_window(console, shown)
    for one in shown.under_way:
        console.print(f"transfer {describe(one)}")
    for sentence in proposals:
        console.print(Text(sentence, style="bold"))
    if not proposals:
        console.print("nothing needs to be moved")


def _print_window(console: Console, shown: Inventory) -> None:
    if shown.window_h:
        console.print(
            f"per day: by round trips closed within the last {shown.window_h:.1f} h; what open positions have "
            "bought and sold is not in it"
        )
    else:
        console.print("per day: no round trip was closed yet, so nothing is known")


def _table(shown: Inventory) -> WholeTable:
    table = WholeTable("Inventory", keys=2)
    for heading in ("venue", "currency"):
        table.add_column(heading)
    for heading in ("have", "free", "for orders", "for ways out", "per day", "runs out (UTC)"):
        table.add_column(heading, justify="right")
    table.add_column(f"worth in {shown.ends.home_quote}", justify="right")
    table.add_column("entries refused", justify="right")
    for line in shown.lines:
        table.add_row(
            line.venue,
            line.currency,
            *map(_amount, (line.have, line.free, line.for_orders, line.for_ways_out)),
            _signed(line.per_day),
            _date(line),
            _amount(line.worth) if line.worth is not None else "no price",
            Text(str(line.refused), style="bold red") if line.refused else "0",
        )
    return table


def _date(line: InventoryLine) -> Text:
    if not line.runs_out_ms:
        return Text("-")
    at = datetime.fromtimestamp(line.runs_out_ms / 1000, UTC)
    return Text(f"{at:%Y-%m-%d %H:%M} UTC", style="yellow")


def _amount(amount: Decimal) -> str:
    if not amount:
        return "0"
    return f"{amount:,.0f}" if abs(amount) >= _SMALL else f"{amount:,.6g}"


def _signed(amount: Decimal) -> str:
    return f"{'+' if amount > 0 else ''}{_amount(amount)}" if amount else "0"
