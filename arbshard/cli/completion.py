"""Finds what a shell offers when a person presses the tabulator key: instances, pairs, keys of limits, processes.

A shell shows what a completion prints, so one that finds nothing, or an unusable file, offers nothing.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import typer

from arbshard.errors import ArbshardError
from arbshard.model.rundir import RunFiles

Completion = Callable[[typer.Context, str], list[str]]


def _offering(find: Callable[[typer.Context], Iterable[str]]) -> Completion:
    """Return a completion that offers those results of ``find`` that begin with the typed text."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            found = sorted(find(ctx))
        except (ArbshardError, OSError, msgspec.MsgspecError):
            return []  # there is nothing to offer; the command itself will report the error
        return [one for one in found if one.startswith(incomplete)]

    complete.__doc__ = find.__doc__  # typer inspects the signature to decide which arguments to pass
    return complete


@_offering
def complete_names(ctx: typer.Context) -> Iterable[str]:
    """Return the names of the instances that run or have left their run directory."""
    from arbshard.cli.options import names_of_instances

    del ctx
    return names_of_instances()


@_offering
def complete_configs(ctx: typer.Context) -> Iterable[str]:
    """Return the names of the configurations that come with arbshard, and the files here."""
    from arbshard.config import packaged_configs

    del ctx
    return [*packaged_configs(), *(str(path) for path in Path().glob("*.toml"))]


@_offering
def complete_symbols(ctx: typer.Context) -> Iterable[str]:
    """Return the pairs of the running instance."""
    from arbshard.model.universe import Universe

    universe = msgspec.json.decode(RunFiles(_run_dir(ctx)).universe.read_bytes(), type=Universe)
    return [pair.base for pair in universe.pairs]


@_offering
def complete_limits(ctx: typer.Context) -> Iterable[str]:
    """Return the keys of limits, ready for a value."""
    from arbshard.config import LimitsConfig

    del ctx
    return [f"{key}=" for key in LimitsConfig.__struct_fields__]


@_offering
def complete_processes(ctx: typer.Context) -> Iterable[str]:
    """Return the processes of which there are logs."""
    from arbshard.cli.options import state_dir_of

    folder = (
        state_dir_of(ctx.params.get("name"), ctx.params.get("config"), ctx.params.get("state_dir")) / "logs"
    )
    return [path.stem for path in folder.glob("*.jsonl")]


def _run_dir(ctx: typer.Context) -> Path:
    from arbshard.cli.options import config_of
    from supervisor.places import find_run_dir

    return find_run_dir(config_of(ctx.params.get("name"), ctx.params.get("config")).name)
