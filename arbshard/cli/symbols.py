"""Defines ``arbshard symbols …``, which shows which pairs are traded, and changes that while it runs."""

from typing import Annotated

import msgspec
import typer

from arbshard.cli.completion import complete_symbols
from arbshard.cli.options import ConfigOption, NameOption, running_files
from arbshard.cli.risk_client import send_to_risk
from arbshard.cli.shard_client import ChangeWaitOption, carry_out, fetch_shards
from arbshard.errors import UsageError
from arbshard.model.risk_note import EntryNote
from arbshard.status.risk_note import read_risk_note
from arbshard.wire import control
from arbshard.wire.messages import ConfirmCoin, Done

app = typer.Typer(
    help="See the pairs that are traded; add and remove some while it runs. For this run: no file is changed."
)

SymbolsArgument = Annotated[
    list[str], typer.Argument(help="Pairs, by base or market: BTC, KRW-ETH, SOLUSDT.")
]


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the pairs that are traded, one a line, with what keeps each from being entered.

    A line has base, both markets, shard, the level to which the gap returns, how fast it does, and the rules that
    bar entries. Gaps are in basis points; positive where home is more expensive.
    """
    if context.invoked_subcommand is not None:
        return
    _, files = running_files(name, config)
    pairs = sorted(fetch_shards(files).pairs, key=lambda pair: pair.base)
    entries = read_risk_note(files).entries
    if as_json:
        known = [
            {**msgspec.to_builtins(pair), "entries": entries.get(pair.base, EntryNote())} for pair in pairs
        ]
        typer.echo(msgspec.json.format(msgspec.json.encode(known)).decode())
        return
    width = max(len(pair.base) for pair in pairs)
    for pair in pairs:
        where = f"shard {pair.shard}" if pair.shard >= 0 else "on its way"
        leaving = ", leaving" if pair.is_leaving else ""
        markets = f"{pair.home:<12} {pair.away:<12}"
        known_of = entries.get(pair.base, EntryNote())
        typer.echo(f"{pair.base:<{width}}  {markets} {where + leaving:<10}  {_gap_of(known_of)}")
        for bar in known_of.bars:
            side = f" ({bar.direction})" if bar.direction else ""
            typer.echo(f"{'':<{width}}  no entry{side}: {bar.reason}: {bar.detail}")


@app.command()
def confirm(
    symbol: Annotated[
        str,
        typer.Argument(
            help="A pair, by base or market: BTC, KRW-ETH, SOLUSDT.", autocompletion=complete_symbols
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", help="How you know, for later readers of the ledger.")],
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Confirm that both markets of a pair trade the same coin, at the ratio of their current prices."""
    if not reason.strip():
        raise UsageError("symbols confirm: say with --reason how you know that it is the same coin")
    instance, files = running_files(name, config)
    answer = send_to_risk(files, ConfirmCoin(symbol, reason))
    assert isinstance(answer, Done), answer
    typer.echo(f"{instance}: {answer.text}")


def _gap_of(known: EntryNote) -> str:
    """Return what is known of a pair's gap, in one clause."""
    if known.level_bps is None:
        return "its gap is being learned"
    half_life = (
        f"half back in {known.half_life_s:g} s" if known.half_life_s is not None else "half-life unknown"
    )
    return f"gap returns to {known.level_bps:+.1f} (band {known.band_bps:.1f}), {half_life}"


@app.command()
def add(
    symbols: SymbolsArgument,
    wait: ChangeWaitOption = 60.0,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Trade more pairs, at once and for this run: the configuration file does not change."""
    instance, files = running_files(name, config)
    carry_out(instance, files, control.AddSymbols(tuple(symbols)), wait)


@app.command()
def remove(
    symbols: SymbolsArgument,
    keep_positions: Annotated[
        bool,
        typer.Option("--keep-positions", help="Leave open positions as they are: nothing closes them then."),
    ] = False,
    wait: ChangeWaitOption = 90.0,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Stop trading pairs, for this run: no entries, positions closed, then out. The others are not affected."""
    instance, files = running_files(name, config)
    carry_out(instance, files, control.RemoveSymbols(tuple(symbols), keep_positions), wait)
