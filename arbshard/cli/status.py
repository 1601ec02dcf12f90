"""Defines ``arbshard status``, which shows how an instance runs, or how it ended."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from arbshard.cli.options import ConfigOption, NameOption, StateOption, config_of
from arbshard.errors import LedgerError, UsageError

if TYPE_CHECKING:
    from arbshard.cli.ledger_state import Remains

_RATE_WINDOW_S = 0.3


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Draw again and again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what is running, and how. Exit code: 0 healthy, 1 degraded, 2 not running.

    Of an instance that does not run: when and how it ended, what is open, and whether it is halted, by its ledger.
    """
    from arbshard.clock import SystemClock
    from arbshard.model.money import use_money_context
    from arbshard.status.collect import Collector
    from supervisor.places import find_run_dir, running_pid

    if watch and as_json:
        raise UsageError(
            "status: --watch draws a table; leave out --json, or call it again and again without --watch"
        )
    use_money_context()
    instance = config_of(name, config).name
    run_dir = find_run_dir(instance)
    if watch:
        from arbshard.status.watch import watch as watch_status

        code = watch_status(run_dir)
        if code == 2:
            _show_remains(instance, (name, config, state_dir), as_json=False)
        raise typer.Exit(code)
    collector = Collector(run_dir, SystemClock())
    found = collector.collect()
    if found is not None and found.state not in ("ended", "dead"):
        time.sleep(_RATE_WINDOW_S)  # rates need two readings
        found = collector.collect() or found
    if found is None or running_pid(instance) is None:
        _show_remains(instance, (name, config, state_dir), as_json=as_json)
        raise typer.Exit(2)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    else:
        from arbshard.status.render import render_status, terminal

        terminal().print(render_status(found))
    raise typer.Exit(found.exit_code)


def _show_remains(
    instance: str, options: tuple[NameOption, ConfigOption, StateOption], *, as_json: bool
) -> None:
    """Report that nothing runs, and what is left of it as far as its ledger can be read."""
    from arbshard.cli.ledger_state import find_remains

    found, trouble = None, ""
    try:
        found = find_remains(*options)
    except LedgerError as error:
        trouble = f"its ledger cannot be read: {error}"
    if as_json:
        shown: Remains | dict[str, str]
        if found is not None:
            shown = found[0]
        else:
            shown = {"name": instance, "state": "not running"} | ({"problem": trouble} if trouble else {})
        sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
        return
    typer.echo(f"no instance named '{instance}' is running", err=True)
    if trouble:
        typer.echo(f"{instance}: {trouble}", err=True)
    if found is not None:
        typer.echo(f"{instance}: {found[0].sentence()}")
