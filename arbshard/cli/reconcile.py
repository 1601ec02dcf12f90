"""Defines ``arbshard reconcile``, which shows where venues and ledger differ, and accepts what a venue states."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from arbshard.cli.options import (
    ConfigOption,
    NameOption,
    StateOption,
    amount_of,
    config_of,
    running_files,
    state_dir_of,
)
from arbshard.cli.risk_client import send_to_risk
from arbshard.config import Config
from arbshard.errors import UsageError
from arbshard.model.money import plain
from arbshard.model.transfer import AdjustmentKind
from arbshard.status.tables import WholeTable, local_time
from arbshard.wire.messages import Done
from arbshard.wire.reconciliation import AcceptDifference, EndIntent, Reconciliation, ShowReconciliation

_PAIRS_SHOWN = 6


def reconcile(
    accept: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--accept", metavar="VENUE CURRENCY", help="Book what the venue states of this currency."
        ),
    ] = None,
    end_intent: Annotated[
        str | None,
        typer.Option(
            "--end-intent",
            metavar="PAIR",
            help="End the open intent of a pair set apart with what is booked.",
        ),
    ] = None,
    kind: Annotated[
        AdjustmentKind,
        typer.Option(
            "--as", help="With --accept: what the difference is. Fees and unexplained ones are results."
        ),
    ] = "unexplained",
    price: Annotated[
        str | None,
        typer.Option("--price", help="With --accept: value of one unit in KRW, where no book is known."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for later readers of the ledger.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show where venues and ledger differ, and which pairs that blocks. Exit code 1 while anything is blocked.

    Of an instance that does not run, the last blocks in its ledger are shown.
    """
    from arbshard.model.money import use_money_context
    from supervisor.places import running_pid

    use_money_context()
    runs = running_pid(config_of(name, config).name) is not None
    if accept is not None and end_intent is not None:
        raise UsageError("reconcile: --accept and --end-intent are two commands; give one of them")
    if accept is not None:
        if not runs:
            raise UsageError(
                "reconcile: --accept needs the instance running: only then does the venue say anything"
            )
        venue, currency = accept
        worth = amount_of("--price", price) if price is not None else None
        _require_venue(venue.lower(), name, config)
        _order(name, config, AcceptDifference(venue.lower(), currency.upper(), reason, kind, worth))
        return
    if end_intent is not None:
        _order(name, config, EndIntent(end_intent, reason))
        return
    if runs:
        _, files = running_files(name, config)
        shown = send_to_risk(files, ShowReconciliation())
        assert isinstance(shown, Reconciliation), shown
    else:
        shown = _from_ledger(state_dir_of(name, config, state_dir) / "ledger.sqlite")
    if as_json:
        typer.echo(msgspec.json.format(_encoder.encode(shown)).decode())
    else:
        _print(shown, is_running=runs)
    raise typer.Exit(1 if shown.differences or shown.strays else 0)


def _require_venue(venue: str, name: NameOption, config: ConfigOption) -> None:
    """Raise ``UsageError`` unless the running instance trades on ``venue``."""
    instance, files = running_files(name, config)
    traded = msgspec.json.decode(files.config.read_bytes(), type=Config, strict=False).venues.traded
    if venue not in traded:
        raise UsageError(
            f"reconcile: --accept {venue}: '{instance}' does not trade on such a venue; its venues are "
            f"{' and '.join(traded)}"
        )


def _order(name: NameOption, config: ConfigOption, command: AcceptDifference | EndIntent) -> None:
    instance, files = running_files(name, config)
    done = send_to_risk(files, command)
    assert isinstance(done, Done), done
    typer.echo(f"{instance}: {done.text}")


_encoder = msgspec.json.Encoder(decimal_format="string")


def _from_ledger(path: Path) -> Reconciliation:
    """Return what the last session left blocked. Raises ``UsageError`` (no ledger) and ``LedgerError``."""
    from arbshard.ledger.blocks import blocks_of
    from arbshard.ledger.history import LedgerHistory

    with LedgerHistory(path) as history:
        return blocks_of(history)


def _print(shown: Reconciliation, *, is_running: bool) -> None:
    from arbshard.status.render import terminal

    console = terminal()
    now_ns = time.monotonic_ns()
    if not is_running:
        console.print(
            Text("not running: this is what the ledger says was blocked at the end", style="yellow")
        )
    for line in _statements(shown, now_ns):
        console.print(line)
    if shown.differences:
        console.print(_differences(shown))
    if shown.strays:
        console.print(_strays(shown))
    for unknown in shown.unknown:
        where = f"{unknown.client_id} on {unknown.venue} {unknown.symbol}"
        console.print(
            Text(f"order {where}: its state at the venue is not known; it is being queried", style="yellow")
        )
    if shown.rounding:
        booked = ", ".join(
            f"{venue} {currency} {plain(amount)}" for venue, currency, amount in shown.rounding
        )
        console.print(f"booked as the venues' rounding of fills: {booked}")
    if not (shown.differences or shown.strays):
        agreed = "venues and ledger agree" if shown.statements else "nothing is blocked"
        console.print(f"{agreed}, as far as they were compared" if shown.unknown else agreed)
    elif is_running and shown.differences:
        first = shown.differences[0]
        console.print(
            f"if you have moved it: arbshard transfer; to book what the venue says: arbshard reconcile "
            f"--accept {first.venue} {first.currency} --as deposit|withdrawal|fee|unexplained"
        )


def _statements(shown: Reconciliation, now_ns: int) -> Iterator[Text]:
    for one in shown.statements:
        if not one.at_ms:
            yield Text(f"{one.venue} has stated nothing since the last start", style="yellow")
            continue
        settled = "" if one.settled else ", not settled"
        compared = (
            f"all compared {_ago(one.compared_ns, now_ns)}" if one.compared_ns else "not all compared yet"
        )
        yield Text(
            f"{one.venue}: stated {_ago(one.read_ns, now_ns)}{settled}, {compared}, {one.open_orders} open orders"
        )
        if one.trouble:
            yield Text(f"{one.trouble}: its pairs enter nothing", style="yellow")


def _differences(shown: Reconciliation) -> WholeTable:
    table = WholeTable("Differences", keys=2)
    for heading in ("venue", "currency"):
        table.add_column(heading)
    for heading in ("by the venue", "by the ledger", "difference", "since"):
        table.add_column(heading, justify="right")
    table.add_column("blocked", no_wrap=False)
    for one in shown.differences:
        named = ", ".join(one.pairs[:_PAIRS_SHOWN]) or "nothing"
        more = f" and {len(one.pairs) - _PAIRS_SHOWN} more" if len(one.pairs) > _PAIRS_SHOWN else ""
        difference = one.stated - one.booked
        table.add_row(
            one.venue,
            one.currency,
            plain(one.stated),
            plain(one.booked),
            Text(
                ("+" if difference > 0 else "")
                + plain(difference)
                + (f" (± {plain(one.uncertain)} under way)" if one.uncertain else ""),
                style="bold red",
            ),
            local_time(one.since_ms),
            named + more,
        )
    return table


def _strays(shown: Reconciliation) -> WholeTable:
    table = WholeTable("Open orders that no open intent owns", keys=2)
    for heading in ("venue", "order", "market"):
        table.add_column(heading)
    for heading in ("remaining", "since", "blocked"):
        table.add_column(heading, justify="left" if heading == "blocked" else "right")
    for one in shown.strays:
        table.add_row(
            one.venue,
            one.client_id,
            one.symbol,
            plain(one.remaining),
            local_time(one.since_ms),
            one.pair or "nothing",
        )
    return table


def _ago(at_ns: int, now_ns: int) -> str:
    return f"{max(0, now_ns - at_ns) / 1e9:,.0f} s ago"
