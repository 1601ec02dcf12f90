"""``arbshard exchanges``: the embedded exchanges alone, for any client that speaks the venues' protocols."""

from pathlib import Path
from typing import Annotated, Any

import typer

from arbshard.cli.options import REGIME_HELP
from arbshard.config import load_config


def exchanges(
    config: Annotated[
        Path | None, typer.Option("--config", help="Its table [sim] says what the options do not.")
    ] = None,
    upbit_port: Annotated[
        int | None, typer.Option("--upbit-port", help="Default: a free one, which is shown.")
    ] = None,
    binance_port: Annotated[
        int | None, typer.Option("--binance-port", help="Default: a free one, which is shown.")
    ] = None,
    tls: Annotated[
        bool | None,
        typer.Option("--tls/--no-tls", help="Listen with TLS too, under a certificate made at each start."),
    ] = None,
    regime: Annotated[str | None, typer.Option("--regime", help=REGIME_HELP)] = None,
    coins: Annotated[int | None, typer.Option("--coins", help="How many coins both venues list.")] = None,
    updates: Annotated[
        float | None, typer.Option("--updates", help="Book updates of each market per second.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same books.")] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", min=0.1, help="Stop after so many seconds.")
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(
            "--ready-file", help="Write addresses, token and certificate here once all ports are open."
        ),
    ] = None,
    accounts_file: Annotated[
        Path | None, typer.Option("--accounts-file", help="Keep the accounts here for the next start.")
    ] = None,
) -> None:
    """Run the embedded Upbit and Binance alone, until Ctrl-C. Nothing of it is a real market."""
    from arbshard.exchanges.main import serve

    asked: dict[str, Any] = {
        "upbit_port": upbit_port,
        "binance_port": binance_port,
        "tls": tls,
        "regime": regime,
        "coins": coins,
        "updates_per_s": updates,
        "seed": seed,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    serve(load_config(config, {"sim": given}).sim, ready_file, accounts_file, duration_s=duration)
