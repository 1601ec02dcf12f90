"""``arbshard run`` and ``arbshard stop``."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from arbshard.cli.options import ConfigOption, NameOption, StateOption, running_files
from arbshard.config import load_config
from arbshard.errors import UsageError


def run(
    shards: Annotated[int | None, typer.Option("--shards", help="Worker processes.")] = None,
    config: ConfigOption = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="Pairs, by base or market: KRW-BTC,ETH,SOLUSDT.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", help="Stop in order after so many seconds.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", help="Write the summary here, as JSON.")
    ] = None,
    state_dir: StateOption = None,
    name: NameOption = None,
    regime: Annotated[
        str | None, typer.Option("--regime", help="calm, mixed, high-win, low-win, trending or crash.")
    ] = None,
    keep_positions: Annotated[
        bool, typer.Option("--keep-positions", help="Leave positions open at the end.")
    ] = False,
) -> None:
    """Run the whole system until it is stopped."""
    if duration is not None and not 0 < duration < 1e9:
        raise UsageError(f"--duration {duration:g}: must be above 0 seconds")
    overrides: dict[str, Any] = {}
    if shards is not None:
        overrides.setdefault("run", {})["shards"] = shards
    if symbols is not None:
        names = [one.strip() for one in symbols.split(",") if one.strip()]
        if not names:
            raise UsageError("--symbols: names no pair")
        overrides.setdefault("run", {})["symbols"] = names
    if regime is not None:
        overrides["sim"] = {"regime": regime}
    if name is not None:
        overrides["name"] = name
    if state_dir is not None:
        overrides["state_dir"] = state_dir
    from supervisor.main import Options
    from supervisor.main import run as supervise

    code = supervise(load_config(config, overrides), Options(duration, summary, keep_positions))
    raise typer.Exit(code)


def stop(
    name: NameOption = None,
    config: ConfigOption = None,
    keep_positions: Annotated[bool, typer.Option("--keep-positions", help="Leave positions open.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", help="Seconds to wait for the end; 0 does not wait.")
    ] = 30.0,
) -> None:
    """Stop a running instance in order: no new entries, positions closed, ledger closed."""
    from arbshard.wire import control
    from arbshard.wire.serve import ask
    from supervisor.rundir import running_pid

    instance, files = running_files(name, config)
    answer = control.decode_answer(
        ask(files.control_endpoint, control.encode(control.Stop(keep_positions)), 3000)
    )
    if isinstance(answer, control.Denied):
        raise UsageError(answer.why)
    typer.echo(f"{instance}: {answer.text}")
    end_s = time.monotonic() + wait
    while wait and running_pid(instance) is not None:
        if time.monotonic() > end_s:
            typer.echo(f"{instance}: still running after {wait:g} s", err=True)
            raise typer.Exit(1)
        time.sleep(0.05)
    if wait:
        typer.echo(f"{instance}: stopped")
