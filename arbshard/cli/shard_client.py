"""Sends orders of commands to a running supervisor that change which shard trades which pair, and waits for their
end.
"""

import time
from typing import Annotated

import typer

from arbshard.cli.options import WAIT_S_MAX
from arbshard.cli.risk_client import commanding_user
from arbshard.errors import RequestTimeout, UsageError
from arbshard.model.rundir import RunFiles
from arbshard.wire import control
from arbshard.wire.operator_client import send_order

ChangeWaitOption = Annotated[
    float,
    typer.Option(
        "--wait", min=0.0, max=WAIT_S_MAX, help="Seconds to wait until it is done; 0 does not wait."
    ),
]

_LOOK_EVERY_S = 0.05


def fetch_shards(files: RunFiles) -> control.Shards:
    """Return all shards and pairs. Raises ``TransportError``."""
    shown = send_order(files, control.ShowShards(), "")
    assert isinstance(shown, control.Shards), shown
    return shown


def carry_out(instance: str, files: RunFiles, order: control.ControlOrder, wait_s: float) -> None:
    """Have ``order`` carried out and print the result. Ends the program with code 1 when it failed or takes too
    long.

    Raises ``UsageError`` when something else must be requested.
    """
    answer = send_order(files, order, commanding_user())
    if isinstance(answer, control.ControlDone):
        typer.echo(f"{instance}: {answer.text}")
        return
    assert isinstance(answer, control.Accepted), answer
    if not wait_s:
        typer.echo(f"{instance}: to be done: {answer.text}")
        return
    end_s = time.monotonic() + wait_s
    while True:
        line = _look(files, answer)
        if line.state == "done":
            typer.echo(f"{instance}: {line.text}")
            return
        if line.state == "refused":
            raise UsageError(line.text)
        if line.state == "failed":
            typer.echo(f"{instance}: {line.what}: {line.text}", err=True)
            raise typer.Exit(1)
        if time.monotonic() > end_s:
            typer.echo(f"{instance}: not done within {wait_s:g} s, and goes on: {line.what}", err=True)
            raise typer.Exit(1)
        time.sleep(_LOOK_EVERY_S)


def _look(files: RunFiles, accepted: control.Accepted) -> control.ChangeLine:
    try:
        changes = fetch_shards(files).changes
    except RequestTimeout:
        # The supervisor is busy: the request is repeated.
        return control.ChangeLine(accepted.number, accepted.text, "running")
    lost = control.ChangeLine(accepted.number, accepted.text, "done", f"over: {accepted.text}")
    return next((line for line in changes if line.number == accepted.number), lost)
