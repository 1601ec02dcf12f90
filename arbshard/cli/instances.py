"""Defines ``arbshard instances``, which lists what runs on this computer for this user."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from arbshard.cli.options import names_of_instances


class FoundInstance(msgspec.Struct, frozen=True):
    """Describes an instance that runs, or that left its run directory when it was cut off."""

    name: str
    state: str
    """State as in ``arbshard status``; ``cut off`` where only the run directory is left."""
    pid: int | None
    """Process id of the supervisor; None when it does not run."""
    orders: str
    """``paper``, ``dry run``, ``live`` or ``recording``; empty where that is not known."""
    up_s: float
    state_dir: str
    run_dir: str


def instances(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """List instances of this user that run, and those that were cut off and left their run directory."""
    from arbshard.status.render import terminal
    from arbshard.status.tables import WholeTable
    from supervisor.places import find_run_dir

    found = [_look_at(find_run_dir(name)) for name in names_of_instances()]
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    if not found:
        typer.echo("no instance is running")
        return
    table = WholeTable("Instances")
    for heading in ("name", "state", "orders"):
        table.add_column(heading)
    for heading in ("pid", "up"):
        table.add_column(heading, justify="right")
    table.add_column("state directory")
    for one in found:
        pid, up = (str(one.pid), f"{one.up_s:,.0f} s") if one.pid else ("-", "-")
        table.add_row(one.name, one.state, one.orders, pid, up, one.state_dir)
    terminal().print(table)


def _look_at(path: Path) -> FoundInstance:
    from arbshard.clock import SystemClock
    from arbshard.status.collect import Collector
    from supervisor.places import running_pid

    pid = running_pid(path.name)
    status = Collector(path, SystemClock()).collect()
    runs = pid is not None
    state = "cut off" if not runs else "starting" if status is None else status.state
    return FoundInstance(
        name=path.name,
        state=state,
        pid=pid or None,
        orders=status.order_mode if status is not None else "",
        up_s=status.uptime_s if status is not None and runs else 0.0,
        state_dir=status.state_dir if status is not None else "",
        run_dir=str(path),
    )
