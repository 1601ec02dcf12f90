"""Sends the requests of commands to a running risk process, and waits until pairs are flat."""

import getpass
import os
import time
from collections.abc import Iterable

import typer

from arbshard.errors import RequestTimeout, UsageError
from arbshard.model.rundir import RunFiles
from arbshard.status.risk_note import read_risk_note
from arbshard.wire.messages import Command, CommandReply, Positions, ShowPositions
from arbshard.wire.operator_client import send_command

_LOOK_EVERY_S = 0.1


def send_to_risk(files: RunFiles, command: Command) -> CommandReply:
    """Return risk's answer to ``command``.

    Raises ``UsageError`` when risk refuses it, and ``TransportError`` when risk does not answer.
    """
    return send_command(files, command, commanding_user())


def commanding_user() -> str:
    """Return who runs this command, and that it is the command line."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"user {os.getuid()}"  # a container's user often has no name
    return f"{user}, command line"


def wait_until_flat(instance: str, files: RunFiles, pairs: tuple[str, ...], wait_s: float) -> None:
    """Wait until risk no longer has any of ``pairs`` closed. Ends the program with code 1 when it takes too long."""
    if not pairs or not wait_s:
        return
    end_s = time.monotonic() + wait_s
    while True:
        left = [pair for pair in pairs if pair in _closing(files, pairs)]
        if not left:
            typer.echo(f"{instance}: closed {', '.join(pairs)}")
            return
        if time.monotonic() > end_s:
            typer.echo(f"{instance}: not closed within {wait_s:g} s: {_reasons(files, left)}", err=True)
            raise typer.Exit(1)
        time.sleep(_LOOK_EVERY_S)


def _reasons(files: RunFiles, pairs: Iterable[str]) -> str:
    """Return ``pairs`` as text, each with the reason why it cannot be closed now if that is known."""
    unclosable = read_risk_note(files).unclosable
    return "; ".join(f"{pair} ({unclosable[pair]})" if pair in unclosable else pair for pair in pairs)


def _closing(files: RunFiles, unknown: tuple[str, ...]) -> Iterable[str]:
    """Return the pairs that are being closed; ``unknown`` while risk cannot be asked."""
    try:
        answer = send_to_risk(files, ShowPositions())
    except (RequestTimeout, UsageError):
        return unknown  # it is being restarted, or the hosts elect another leader
    assert isinstance(answer, Positions), answer
    return [pair for pair, _ in answer.closing]
