"""Defines ``arbshard alerts``, which shows current and past alerts, and tests whether messages arrive."""

import sqlite3
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from arbshard.cli.ledger_state import last_state_dir
from arbshard.cli.options import ConfigOption, NameOption, StateOption, config_of, state_dir_of
from arbshard.errors import UsageError

app = typer.Typer(
    invoke_without_command=True,
    help="Show the alerts of an instance, whether it runs or not, and try its targets.",
)


@app.callback()
def alerts(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Each alert by itself, not grouped by cause.")] = False,
    last: Annotated[
        int, typer.Option("--last", min=1, max=1_000_000, help="Number of alerts that have ended to show.")
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show current and past alerts, grouped by cause; whether the instance runs or not.

    Example: arbshard alerts --name desk. Exit code: 0 when no alert holds, 1 when one does, 2 when none are kept.
    """
    if context.invoked_subcommand is not None:
        return
    from arbshard.alerts.store import FILE, AlertsReader
    from arbshard.alerts.texts import alert_lines
    from arbshard.clock import SystemClock
    from arbshard.config import zone_of
    from supervisor.places import find_run_dir, running_pid

    settings = config_of(name, config, state_dir)
    given = state_dir or last_state_dir(find_run_dir(settings.name))
    path = (Path(given) if given else state_dir_of(name, config, None)) / FILE
    if not path.is_file():
        raise UsageError(
            f"'{settings.name}' has no alerts: there is no {path}; a run with [alerts] enabled keeps them there"
        )
    try:
        with AlertsReader(path) as reader:
            records = reader.records(last)
    except sqlite3.Error as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(records)).decode())
    else:
        if running_pid(settings.name) is None:
            typer.echo(f"'{settings.name}' is not running: what holds is what held last", err=True)
        now_ms = SystemClock().wall_ms()
        for line in alert_lines(
            records, settings.name, zone_of(settings.limits.time_zone), now_ms, every=every
        ):
            typer.echo(line)
    raise typer.Exit(int(any(one.over_ms is None for one in records)))


@app.command("test")
def try_targets(name: NameOption = None, config: ConfigOption = None) -> None:
    """Send one message to each target and each chat of the Telegram bot, fetch the heartbeat, and report the results.

    Example: arbshard alerts test --config desk.toml. Exit code: 0 all arrived, 1 one did not, 2 none is configured.
    """
    import asyncio

    from arbshard.alerts.sending import (
        apprise_sender,
        check_alerts,
        fetch,
        keep_libraries_quiet,
        read_addresses,
        read_secret,
    )
    from arbshard.alerts.telegram import try_bot

    settings = config_of(name, config)
    chosen = settings.alerts
    if not chosen.targets and not chosen.heartbeat and not chosen.telegram.token:
        raise UsageError(
            "alerts test: no target is configured; name one in [alerts.targets] (docs/alerts.md)"
        )
    check_alerts(chosen)
    outcomes: dict[str, str] = {}
    for target, address in read_addresses(chosen.targets).items():
        send = apprise_sender(address)
        title = f"arbshard {settings.name}: test"
        body = f"This is a test of the target '{target}'. Alerts of '{settings.name}' arrive here."
        outcomes[target] = send(title, body, "info")
    if chosen.heartbeat:
        address = read_secret(chosen.heartbeat, "alerts.heartbeat")
        outcomes["heartbeat"] = "" if asyncio.run(fetch(address)) else "it was not accepted"
    if chosen.telegram.token:
        keep_libraries_quiet()
        token = read_secret(chosen.telegram.token, "alerts.telegram.token")
        text = (
            f"arbshard {settings.name}: this is a test. Commands from this chat are accepted while it runs."
        )
        outcomes |= asyncio.run(try_bot(token, chosen.telegram, text))
    for target, trouble in outcomes.items():
        typer.echo(f"{target}: {f'FAILED: {trouble}' if trouble else 'works'}")
    if any(outcomes.values()):
        raise typer.Exit(1)
