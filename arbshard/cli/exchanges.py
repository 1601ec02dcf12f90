"""Defines ``arbshard exchanges``, which runs the embedded exchanges alone, for any client of the venues'
protocols.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from arbshard.cli.options import REGIME_HELP, config_of
from arbshard.errors import UsageError
from arbshard.venues.registry import ADAPTERS

PortsOption = Annotated[
    list[str] | None,
    typer.Option("--port", help="VENUE=PORT, once for each; default: free ones, which are shown."),
]
TlsOption = Annotated[
    bool | None,
    typer.Option("--tls/--no-tls", help="Listen with TLS too, under a certificate made at each start."),
]
DurationOption = Annotated[
    float | None, typer.Option("--duration", min=0.1, help="Stop after so many seconds.")
]
AccountsFileOption = Annotated[
    Path | None, typer.Option("--accounts-file", help="Keep the accounts here for the next start.")
]
ReadyFileOption = Annotated[
    Path | None,
    typer.Option("--ready-file", help="Write addresses, token and certificate here once all ports are open."),
]
"""Options of all commands that start the embedded exchanges."""


def exchanges(
    config: Annotated[
        Path | None, typer.Option("--config", help="Its section sim sets what the options do not.")
    ] = None,
    ports: PortsOption = None,
    tls: TlsOption = None,
    regime: Annotated[str | None, typer.Option("--regime", help=REGIME_HELP)] = None,
    coins: Annotated[int | None, typer.Option("--coins", help="How many coins both venues list.")] = None,
    updates: Annotated[
        float | None, typer.Option("--updates", help="Book updates of each market per second.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same books.")] = None,
    duration: DurationOption = None,
    ready_file: ReadyFileOption = None,
    accounts_file: AccountsFileOption = None,
) -> None:
    """Run the embedded exchanges alone, until Ctrl-C. Nothing of it is a real market."""
    from arbshard.exchanges.main import serve

    asked: dict[str, Any] = {
        **ports_of(ports or ()),
        "tls": tls,
        "regime": regime,
        "coins": coins,
        "updates_per_s": updates,
        "seed": seed,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    serve(config_of(None, config, others={"sim": given}).sim, ready_file, accounts_file, duration_s=duration)


def ports_of(wanted: Sequence[str]) -> dict[str, int]:
    """Return the values of the keys of ``[sim]`` that ``--port`` sets. Raises ``UsageError``."""
    known = tuple(ADAPTERS)
    found = {}
    for one in wanted:
        venue, _, port = one.partition("=")
        if venue not in known or not port.isdecimal():
            example = " ".join(f"--port {name}={9001 + number}" for number, name in enumerate(known))
            raise UsageError(f"--port {one}: must be VENUE=PORT, as in {example}")
        found[f"{venue}_port"] = int(port)
    return found
