"""Defines ``arbshard run`` and ``arbshard stop``."""

import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from msgspec.structs import replace

from arbshard.cli.options import (
    REGIME_HELP,
    WAIT_S_MAX,
    ConfigOption,
    NameOption,
    StateOption,
    config_of,
    running_files,
    symbols_of,
)
from arbshard.config import Config, find_remarks
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
    regime: Annotated[str | None, typer.Option("--regime", help=REGIME_HELP)] = None,
    keep_positions: Annotated[
        bool, typer.Option("--keep-positions", help="Leave positions open at the end.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help='Send orders. Needs mode = "live"; without it, live runs dry.')
    ] = False,
    web: Annotated[
        bool,
        typer.Option("--web", help="Serve the desk in the browser; `arbshard status` shows the address."),
    ] = False,
    new_ledger: Annotated[
        bool,
        typer.Option(
            "--new-ledger", help="Begin a ledger where there is none; real exchanges require this option."
        ),
    ] = False,
    cluster: Annotated[
        Path | None,
        typer.Option("--cluster", help="Cluster file: this is one of several hosts (docs/cluster.md)."),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Name of this host in the cluster file.")] = None,
    service: Annotated[
        bool,
        typer.Option(
            "--service",
            help="For service managers, which start again what fails: the exit code is 0 whenever the run ended "
            "on request, and the start waits for venues that do not answer.",
        ),
    ] = False,
) -> None:
    """Run the whole system until it is stopped."""
    if duration is not None and not 0 < duration < 1e9:
        raise UsageError(f"--duration {duration:g}: must be above 0 seconds")
    overrides: dict[str, Any] = {}
    if shards is not None:
        overrides.setdefault("run", {})["shards"] = shards
    if symbols is not None:
        overrides.setdefault("run", {})["symbols"] = symbols_of(symbols)
    if regime is not None:
        overrides["sim"] = {"regime": regime}
    if web:
        overrides["web"] = {"enabled": True}
    from supervisor.main import Options
    from supervisor.main import run as supervise

    if cluster is not None and shards is not None:
        raise UsageError("--shards: the cluster file states the number of shards of all hosts")
    checked = _checked(config_of(name, config, state_dir, overrides), sends=live)
    checked = _with_cluster(checked, cluster, host)
    for remark in find_remarks(checked):
        typer.echo(f"note: {remark}", err=True)
    code = supervise(checked, Options(duration, summary, keep_positions, new_ledger, service=service))
    raise typer.Exit(code)


def _with_cluster(config: Config, path: Path | None, host: str | None) -> Config:
    """Return ``config`` for ``host`` of the cluster whose file is ``path``. Raises ``UsageError``."""
    if config.cluster is not None:
        raise UsageError("cluster: is a file of its own, the same on all hosts; name it by --cluster")
    if path is None and host is None:
        return config
    if path is None or host is None:
        raise UsageError("--cluster and --host: name both, the cluster file and this host's name in it")
    from arbshard.config.cluster_file import load_cluster, read_host_keys
    from arbshard.optional import require_libraries

    cluster = load_cluster(path, host)
    read_host_keys(cluster)  # this only checks them: the processes that need them read them
    require_libraries("--cluster", "nats")
    if config.run.transport == "zmq":
        raise UsageError(
            'run.transport: must be "local" in a cluster, because its agent takes requests at the Unix socket of risk'
        )
    if config.data == "sim" and len(cluster.hosts) > 1:
        raise UsageError(
            "--cluster: each host would embed exchanges of its own, with other prices; start 'arbshard exchanges' on "
            'one of them, and set data = "public" and the addresses of the venues in the configuration'
        )
    return replace(config, cluster=cluster, run=replace(config.run, shards=cluster.shards))


def _checked(config: Config, *, sends: bool) -> Config:
    """Return ``config``, with orders sent only if ``sends``: a person requested it now. Raises ``UsageError``."""
    if config.mode == "paper":
        if sends:
            raise UsageError(
                '--live: the configuration says mode = "paper"; orders are sent with mode = "live", '
                "as in configs/sim-live.toml and configs/live.example.toml"
            )
        return config
    from arbshard.execution.live.keys import load_keys

    load_keys(config)  # this only checks that they exist: each process reads them for itself
    if not sends:
        typer.echo("DRY RUN: no order is sent (--live sends)", err=True)
    return replace(config, live=replace(config.live, dry_run=not sends))


def stop(
    name: NameOption = None,
    config: ConfigOption = None,
    keep_positions: Annotated[bool, typer.Option("--keep-positions", help="Leave positions open.")] = False,
    host_only: Annotated[
        bool,
        typer.Option(
            "--host-only",
            help="Of a cluster, stop this host alone: positions are kept, and other hosts take its shards.",
        ),
    ] = False,
    wait: Annotated[
        float,
        typer.Option("--wait", min=0.0, max=WAIT_S_MAX, help="Seconds to wait for the end; 0 does not wait."),
    ] = 30.0,
) -> None:
    """Stop a running instance in order: no new entries, positions closed, ledger closed.

    Of a cluster, all hosts stop, unless --host-only is given.
    """
    from arbshard.cli.ledger_state import find_remains, last_state_dir
    from arbshard.cli.risk_client import commanding_user
    from arbshard.model.money import use_money_context
    from arbshard.wire import control
    from arbshard.wire.operator_client import send_order
    from supervisor.places import find_run_dir, running_pid

    use_money_context()
    if running_pid(config_of(name, config).name) is None:
        _refuse_to_stop(name, config)
    instance, files = running_files(name, config)
    answer = send_order(files, control.Stop(keep_positions, host_only), commanding_user())
    assert isinstance(answer, control.ControlDone), answer
    typer.echo(f"{instance}: {answer.text}")
    state_dir = last_state_dir(find_run_dir(instance))
    end_s = time.monotonic() + wait
    while wait and running_pid(instance) is not None:
        if time.monotonic() > end_s:
            typer.echo(f"{instance}: still running after {wait:g} s", err=True)
            raise typer.Exit(1)
        time.sleep(0.05)
    if wait:
        found = find_remains(name, config, state_dir)
        typer.echo(f"{instance}: {found[0].sentence() if found is not None else 'stopped'}")


def _refuse_to_stop(name: NameOption, config: ConfigOption) -> NoReturn:
    """Report what the ledger knows of an instance that does not run. Raises ``UsageError`` and ``LedgerError``."""
    from arbshard.cli.ledger_state import find_remains

    instance = config_of(name, config).name
    found = find_remains(name, config, None)
    known = f": {found[0].sentence()}" if found is not None else ""
    raise UsageError(f"no instance named '{instance}' is running{known}")
