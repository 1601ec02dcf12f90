"""The ``arbshard`` command: one thin function per command. Bad input is one line on stderr and exit code 2."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from arbshard import __version__
from arbshard.config import Config, load_config
from arbshard.errors import ArbshardError, LedgerError, UsageError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Cross-exchange crypto arbitrage: many pairs, many processes, one ledger.",
)
ledger_app = typer.Typer(no_args_is_help=True, help="Look into the ledger.")
app.add_typer(ledger_app, name="ledger")

NameOption = Annotated[
    str | None, typer.Option("--name", help="Which instance; default: the configuration's name.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file; default: embedded exchanges, paper.")
]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state-dir", help="Where ledger and logs are kept; default: ~/.local/state/arbshard/NAME."
    ),
]
_RATE_WINDOW_S = 0.3


@app.command()
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


@app.command()
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
    from supervisor.rundir import find_run_dir, running_pid

    instance = _instance(name, config)
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


@app.command()
def stop(
    name: NameOption = None,
    config: ConfigOption = None,
    keep_positions: Annotated[bool, typer.Option("--keep-positions", help="Leave positions open.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", help="Seconds to wait for the end; 0 does not wait.")
    ] = 30.0,
) -> None:
    """Stop a running instance in order: no new entries, positions closed, ledger closed."""
    from arbshard.model.rundir import RunFiles
    from arbshard.wire import control
    from arbshard.wire.serve import ask
    from supervisor.rundir import find_run_dir, running_pid

    instance = _instance(name, config)
    if running_pid(instance) is None:
        raise UsageError(f"no instance named '{instance}' is running")
    files = RunFiles(find_run_dir(instance))
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


@ledger_app.command("verify")
def ledger_verify(
    state_dir: StateOption = None, name: NameOption = None, config: ConfigOption = None
) -> None:
    """Recompute all balances and positions from the fills, and compare. Exit code 1 on any difference."""
    from arbshard.ledger.verify import verify
    from arbshard.model.money import use_money_context

    use_money_context()
    path = _state_dir(state_dir, name, config) / "ledger.sqlite"
    if not path.exists():
        raise UsageError(f"there is no ledger at {path}")
    report = verify(path)
    found = len(report.differences) + report.suppressed
    typer.echo(
        f"{path}: {report.events:,} events, {report.intents:,} intents, {report.fills:,} fills, "
        f"{report.positions:,} positions ({report.closed:,} closed, PnL {report.pnl:,.2f})"
    )
    for difference in report.differences:
        typer.echo(f"  {difference}")
    if report.suppressed:
        typer.echo(f"  and {report.suppressed:,} more")
    typer.echo("everything agrees with the fills" if not found else f"{found:,} differences")
    raise typer.Exit(1 if found else 0)


@app.command()
def version() -> None:
    """The version."""
    typer.echo(__version__)


def _instance(name: str | None, config: Path | None) -> str:
    return _config(name, config).name


def _state_dir(state_dir: str | None, name: str | None, config: Path | None) -> Path:
    from supervisor.commands import state_dir_of

    return state_dir_of(_config(name, config, state_dir))


def _config(name: str | None, config: Path | None, state_dir: str | None = None) -> Config:
    overrides: dict[str, Any] = {}
    if name is not None:
        overrides["name"] = name
    if state_dir is not None:
        overrides["state_dir"] = state_dir
    return load_config(config, overrides)


def _say_not_running(instance: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode({"name": instance, "state": "not running"}).decode() + "\n")
    else:
        typer.echo(f"no instance named '{instance}' is running", err=True)


def main() -> None:
    """Entry point."""
    try:
        app()
    except UsageError as error:
        typer.echo(f"arbshard: {error}", err=True)
        raise SystemExit(2) from error
    except LedgerError as error:
        typer.echo(f"arbshard: ledger: {error}", err=True)
        raise SystemExit(1) from error
    except ArbshardError as error:
        typer.echo(f"arbshard: {error}", err=True)
        raise SystemExit(1) from error
