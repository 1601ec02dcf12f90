"""``arbshard halt``, ``resume`` and ``close``: the desk by hand. Each is in the ledger before it is answered."""

from typing import Annotated

import typer

from arbshard.cli.options import ConfigOption, NameOption, running_files
from arbshard.cli.risk_client import send_to_risk, wait_until_flat
from arbshard.errors import UsageError
from arbshard.wire.messages import Close, Command, Done, Halt, Resume

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for whoever reads the ledger later.")]
WaitOption = Annotated[
    float, typer.Option("--wait", help="Seconds to wait until all is closed; 0 does not wait.")
]


def halt(
    flatten: Annotated[bool, typer.Option("--flatten", help="Close all positions as well.")] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop exits too: only what you order to be closed is closed.")
    ] = False,
    reason: ReasonOption = "",
    wait: WaitOption = 15.0,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Kill switch: no new entries until somebody resumes, whatever is restarted in between.

    Exits go on, unless --stop is given. What is under way comes to its end.
    """
    _order(name, config, Halt(reason, flatten, "stopped" if stop else "reduce_only"), wait)


def resume(
    symbols: Annotated[
        list[str] | None,
        typer.Argument(help="Pairs that were set apart, by base or market; none: end the halt."),
    ] = None,
    reason: ReasonOption = "",
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Allow entries again after a halt, or those of pairs that were set apart."""
    _order(name, config, Resume(reason, tuple(symbols or ())), 0.0)


def close(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Pairs, by base or market: BTC, KRW-ETH, SOLUSDT.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every position.")] = False,
    even_one_leg: Annotated[
        bool,
        typer.Option(
            "--even-one-leg",
            help="Where one venue of a pair cannot be used, close the leg on the other one alone: the rest is naked.",
        ),
    ] = False,
    wait: WaitOption = 15.0,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Close positions now, whatever the exit rules say. New entries follow when a pair is flat."""
    if bool(symbols) == everything:
        raise UsageError("close: name the pairs to close, or --all")
    if even_one_leg and everything:
        raise UsageError("close: --even-one-leg leaves coins naked; name the pairs")
    _order(name, config, Close(tuple(symbols or ()), even_one_leg), wait)


def _order(name: NameOption, config: ConfigOption, command: Command, wait_s: float) -> None:
    instance, files = running_files(name, config)
    answer = send_to_risk(files, command)
    assert isinstance(answer, Done), answer
    typer.echo(f"{instance}: {answer.text}")
    wait_until_flat(instance, files, answer.pairs, wait_s)
