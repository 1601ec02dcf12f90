"""``arbshard status``."""

import sys
import time
from typing import Annotated

import msgspec
import typer

from arbshard.cli.options import ConfigOption, NameOption, config_of

_RATE_WINDOW_S = 0.3


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Draw again and again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """What is running, and how. Exit code: 0 healthy, 1 degraded, 2 not running."""
    from arbshard.clock import SystemClock
    from arbshard.status.collect import Collector
    from arbshard.status.watch import watch as watch_status
    from supervisor.places import find_run_dir, running_pid

    instance = config_of(name, config).name
    run_dir = find_run_dir(instance)
    if watch:
        code = watch_status(run_dir)
        if code == 2:
            _say_not_running(instance, as_json=False)
        raise typer.Exit(code)
    collector = Collector(run_dir, SystemClock())
    found = collector.collect()
    if found is not None and found.state not in ("ended", "dead"):
        time.sleep(_RATE_WINDOW_S)  # rates need two looks
        found = collector.collect() or found
    if found is None or running_pid(instance) is None:
        _say_not_running(instance, as_json=as_json)
        raise typer.Exit(2)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    else:
        from arbshard.status.render import render_status, terminal

        terminal().print(render_status(found))
    raise typer.Exit(found.exit_code)


def _say_not_running(instance: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode({"name": instance, "state": "not running"}).decode() + "\n")
    else:
        typer.echo(f"no instance named '{instance}' is running", err=True)
