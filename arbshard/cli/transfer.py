"""Defines ``arbshard transfer …``, which announces what you move between venues and the outside, and records its
end.
"""

from decimal import Decimal
from typing import Annotated

import msgspec
import typer

from arbshard.cli.ledger_state import newest_state
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
from arbshard.errors import UsageError
from arbshard.model.money import plain
from arbshard.model.transfer import OUTSIDE, Transfer
from arbshard.wire.inventory import (
    AnnounceTransfer,
    ArriveTransfer,
    EndTransfer,
    OpenTransfers,
    ShowTransfers,
)
from arbshard.wire.messages import Command, Done

app = typer.Typer(
    no_args_is_help=True,
    help="Announce what you move between venues, so that it is neither a difference nor a result. "
    "arbshard itself moves nothing.",
)

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for later readers of the ledger.")]
PriceOption = Annotated[
    str | None,
    typer.Option("--price", help="Value of one unit in KRW, for a currency of which no book is known."),
]
_encoder = msgspec.json.Encoder(decimal_format="string")


@app.command("out")
def transfer_out(
    venue: Annotated[str, typer.Argument(help="Where it leaves.")],
    currency: Annotated[str, typer.Argument(help="Such as USDT.")],
    amount: Annotated[str, typer.Argument(help="What leaves in all, the fee included.")],
    to: Annotated[str, typer.Option("--to", help=f"The venue where it arrives, or '{OUTSIDE}'.")],
    fee: Annotated[str, typer.Option("--fee", help="What of the amount does not arrive.")] = "0",
    price: PriceOption = None,
    reason: ReasonOption = "",
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Announce that you withdraw something, before or after you have ordered it at the venue."""
    command = AnnounceTransfer(
        venue.lower(),
        to.lower(),
        currency.upper(),
        amount_of("AMOUNT", amount),
        amount_of("--fee", fee),
        reason,
        amount_of("--price", price) if price is not None else None,
    )
    _order(name, config, command)


@app.command("in")
def transfer_in(
    what: Annotated[
        str, typer.Argument(metavar="ID | VENUE", help="A transfer, as 'list' shows it, or a venue.")
    ],
    currency: Annotated[str | None, typer.Argument(help="After a venue: such as KRW.")] = None,
    amount: Annotated[str | None, typer.Argument(help="After a venue: what arrives.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", help=f"After a venue: '{OUTSIDE}', or the venue where it left.")
    ] = None,
    arrived: Annotated[
        str | None, typer.Option("--amount", help="After an ID: what has arrived, if it is not all.")
    ] = None,
    price: PriceOption = None,
    reason: ReasonOption = "",
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Report that a transfer has arrived: 'transfer in t3'. Or announce a deposit: 'transfer in VENUE KRW 1000000
    --from outside'.
    """
    if currency is None or amount is None:
        if currency is not None or source is not None:
            raise UsageError("transfer in: either an ID alone, or VENUE CURRENCY AMOUNT --from outside")
        part = amount_of("--amount", arrived) if arrived is not None else None
        _order(name, config, ArriveTransfer(what, part))
        return
    if source is None or arrived is not None:
        raise UsageError("transfer in VENUE CURRENCY AMOUNT needs --from (and no --amount)")
    command = AnnounceTransfer(
        source.lower(),
        what.lower(),
        currency.upper(),
        amount_of("AMOUNT", amount),
        Decimal(0),
        reason,
        amount_of("--price", price) if price is not None else None,
    )
    _order(name, config, command)


@app.command("cancel")
def transfer_cancel(
    transfer_id: Annotated[str, typer.Argument(metavar="ID")],
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Cancel a transfer that will not take place: what has left its source is back there."""
    _order(name, config, EndTransfer(transfer_id, "cancelled"))


@app.command("lost")
def transfer_lost(
    transfer_id: Annotated[str, typer.Argument(metavar="ID")],
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Record a loss: what is still under way of a transfer will never arrive, and counts in this trading day."""
    _order(name, config, EndTransfer(transfer_id, "lost"))


@app.command("list")
def transfer_list(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the transfers that have not ended. Ended ones: 'arbshard ledger export --what deposits'."""
    from supervisor.places import running_pid

    if running_pid(config_of(name, config).name) is not None:
        _, files = running_files(name, config)
        shown = send_to_risk(files, ShowTransfers())
        assert isinstance(shown, OpenTransfers), shown
        transfers = shown.transfers
    else:
        state = newest_state(state_dir_of(name, config, state_dir) / "ledger.sqlite")
        transfers = tuple(state.transfers.open.values())
    if as_json:
        typer.echo(msgspec.json.format(_encoder.encode(transfers)).decode())
        return
    for one in transfers:
        typer.echo(describe(one))
    if not transfers:
        typer.echo("no transfer is open")


def describe(one: Transfer) -> str:
    """Return the transfer in one line."""
    fee = f", fee {plain(one.fee)}" if one.fee else ""
    if one.is_waiting:
        where = f"has not left {one.source}"
    elif one.source == OUTSIDE:
        where = f"{plain(one.expected)} is expected"
    else:
        where = f"{plain(one.left)} is under way"
    return f"{one.text}: {plain(one.amount)}{fee}; {where}; {one.reason}"


def _order(name: str | None, config: ConfigOption, command: Command) -> None:
    instance, files = running_files(name, config)
    done = send_to_risk(files, command)
    assert isinstance(done, Done), done
    typer.echo(f"{instance}: {done.text}")
