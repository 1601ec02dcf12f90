"""Defines ``arbshard halt``, ``resume`` and ``close``, by which a person intervenes. Each is in the ledger before it
is answered.
"""

from typing import Annotated

import typer

from arbshard.cli.completion import complete_symbols
from arbshard.cli.ledger_state import find_remains
from arbshard.cli.options import WAIT_S_MAX, ConfigOption, NameOption, config_of, running_files
from arbshard.cli.risk_client import send_to_risk, wait_until_flat
from arbshard.errors import RequestTimeout, UsageError
from arbshard.status.hints import name_instance
from arbshard.wire.messages import Close, Command, Done, Halt, Resume

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for later readers of the ledger.")]
CloseWaitOption = Annotated[
    float,
    typer.Option(
        "--wait", min=0.0, max=WAIT_S_MAX, help="Seconds to wait until all is closed; 0 does not wait."
    ),
]


def halt(
    flatten: Annotated[bool, typer.Option("--flatten", help="Close all positions as well.")] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop exits too: only what you order to be closed is closed.")
    ] = False,
    reason: ReasonOption = "",
    wait: CloseWaitOption = 15.0,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Halt trading: no new entries until a person resumes, whatever is restarted in between.

    Exits continue, unless --stop is given. What is under way comes to its end.
    """
    _order(name, config, Halt(reason, flatten, "stopped" if stop else "reduce_only"), wait)


def resume(
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pairs that were set apart, by base or market; none: end the halt.",
            autocompletion=complete_symbols,
        ),
    ] = None,
    reason: ReasonOption = "",
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Allow entries again after a halt, or those of pairs that were set apart."""
    _refuse_without_instance(name, config)
    _order(name, config, Resume(reason, tuple(symbols or ())), 0.0)


def close(
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pairs, by base or market: BTC, KRW-ETH, SOLUSDT.", autocompletion=complete_symbols
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every position.")] = False,
    even_one_leg: Annotated[
        bool,
        typer.Option(
            "--even-one-leg",
            help="Where one venue of a pair cannot be used, close the leg on the other one alone: the rest is naked.",
        ),
    ] = False,
    wait: CloseWaitOption = 15.0,
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
    try:
        answer = send_to_risk(files, command)
    except RequestTimeout as error:
        raise RequestTimeout(_not_answered(instance, command)) from error
    assert isinstance(answer, Done), answer
    typer.echo(f"{instance}: {name_instance(answer.text, instance)}")
    wait_until_flat(instance, files, answer.pairs, wait_s)


def _not_answered(instance: str, command: Command) -> str:
    """Return what it means that risk does not answer ``command``."""
    status = f"'arbshard status --name {instance}'"
    if isinstance(command, Halt):
        return (
            f"NOT halted, as far as is known: risk of '{instance}' does not answer. While it does not, no entry is "
            f"approved; {status} says why, and 'arbshard stop --name {instance}' ends the run"
        )
    return (
        f"it is not known whether this was carried out, because risk of '{instance}' does not answer; look at "
        f"{status}, then type it again"
    )


def _refuse_without_instance(name: NameOption, config: ConfigOption) -> None:
    """Report what to do about a halted instance that does not run. Raises ``UsageError`` for it."""
    from supervisor.places import running_pid

    instance = config_of(name, config).name
    if running_pid(instance) is not None:
        return
    found = find_remains(name, config, None)
    if found is None:
        return  # there is nothing to resume, and the order itself reports it
    remains, _ = found
    if not (remains.halted or remains.apart):
        raise UsageError(
            f"resume: '{instance}' does not run, and by its ledger nothing is halted or set apart"
        )
    what = f"halted {remains.halted}" if remains.halted else f"with {', '.join(remains.apart)} set apart"
    raise UsageError(
        f"resume: '{instance}' does not run, and by its ledger it is {what}. Start it (it enters nothing while it is "
        f"halted), then type 'arbshard resume --name {instance}'"
    )
