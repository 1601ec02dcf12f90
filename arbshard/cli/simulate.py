"""Defines ``arbshard simulate``, which executes the whole system on virtual time, with faults, from a seed."""

import signal
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from arbshard.cli.options import REGIME_HELP
from arbshard.config.sim import Regime
from arbshard.errors import UsageError

if TYPE_CHECKING:
    from arbshard.virtual.machine import Simulation
    from arbshard.virtual.outcome import SimulationReport
    from arbshard.virtual.settings import Settings

_HOURS_MAX = 10_000


def simulate(
    seed: Annotated[
        int | None, typer.Option("--seed", help="Default: a fresh one, which is printed.")
    ] = None,
    hours: Annotated[float, typer.Option("--hours", help="Virtual hours in which things go wrong.")] = 12.0,
    pairs: Annotated[int, typer.Option("--pairs", min=1, max=100)] = 4,
    shards: Annotated[int, typer.Option("--shards", min=1, max=16)] = 2,
    updates: Annotated[
        float, typer.Option("--updates", min=0.1, max=20.0, help="Frames per market and second.")
    ] = 0.8,
    faults: Annotated[str, typer.Option("--faults", help="none, usual or heavy.")] = "usual",
    only: Annotated[str | None, typer.Option("--only", help="Kinds of faults: cut,kill_worker,...")] = None,
    regime: Annotated[str, typer.Option("--regime", help=REGIME_HELP)] = "mixed",
    mode: Annotated[
        str,
        typer.Option("--mode", help="paper, live (orders at virtual venues), or mixed: as the seed has it."),
    ] = "mixed",
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Write all that happens here, as lines.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds, from --seed on.")] = 1,
    until_stopped: Annotated[
        bool, typer.Option("--until-stopped", help="Fresh seeds on all cores until Ctrl-C.")
    ] = False,
) -> None:
    """Run the whole system on virtual time with faults; the same seed gives the same trace hash."""
    from arbshard.virtual import fuzz
    from arbshard.virtual.machine import Simulation
    from arbshard.virtual.report import lines_of

    settings = _settings(seed, hours, pairs, shards, updates, faults, only, regime, mode)
    if until_stopped:
        raise typer.Exit(1 if fuzz.run_many(settings, None, fuzz.cores()) else 0)
    failed = 0
    with ExitStack() as opened:
        try:
            write = opened.enter_context(trace.open("w")).write if trace is not None else None
        except OSError as error:
            raise UsageError(f"--trace {trace}: cannot be written: {error.strerror}") from error
        for number in range(seeds):
            given = fuzz.fresh_seed() if seed is None else settings.seed + number
            report = _run(Simulation(settings._replace(seed=given), write))
            for line in lines_of(report):
                typer.echo(line)
            failed += bool(report.violations)
    if failed:
        raise typer.Exit(1)


def _run(one: "Simulation") -> "SimulationReport":
    """Run the simulation. A signal to end breaks it off in order; ``typer.Exit`` is raised then."""
    from arbshard.virtual.machine import BrokenOff

    told: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        told.append(number)
        one.break_off()

    before = {
        number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        return one.run()
    except BrokenOff:
        typer.echo("stopped before the end", err=True)
        raise typer.Exit(128 + told[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _settings(
    seed: int | None,
    hours: float,
    pairs: int,
    shards: int,
    updates: float,
    faults: str,
    only: str | None,
    regime: str,
    mode: str,
) -> "Settings":
    """Return the settings that the options request. Raises ``UsageError``."""
    from arbshard.virtual.rates import FaultLevel, kinds_of
    from arbshard.virtual.settings import SEED_MAX, Mode, Settings

    level: FaultLevel | None = next((one for one in get_args(FaultLevel) if one == faults), None)
    kind: Regime | None = next((one for one in get_args(Regime) if one == regime), None)
    kinds = tuple(one.strip() for one in only.split(",")) if only else ()
    where: Mode | None = next((one for one in get_args(Mode) if one == mode), None)
    on_paper, live = kinds_of(is_live=False), kinds_of(is_live=True)
    unknown = [one for one in kinds if one not in {**on_paper, **live}]
    only_live = [one for one in kinds if one in live and one not in on_paper and mode != "live"]
    only_paper = [one for one in kinds if one in on_paper and one not in live and mode != "paper"]
    for is_wrong, why in (
        (level is None, f"--faults {faults}: {', '.join(get_args(FaultLevel))}"),
        (kind is None, f"--regime {regime}: {', '.join(get_args(Regime))}"),
        (where is None, f"--mode {mode}: {', '.join(get_args(Mode))}"),
        (bool(unknown), f"--only {', '.join(unknown)}: must be some of {', '.join({**on_paper, **live})}"),
        (bool(only_live), f"--only {', '.join(only_live)}: exists where orders are live: add --mode live"),
        (bool(only_paper), f"--only {', '.join(only_paper)}: exists on paper: add --mode paper"),
        (not 0 < hours <= _HOURS_MAX, f"--hours {hours:g}: must be above 0 and at most {_HOURS_MAX}"),
        (seed is not None and not 0 <= seed <= SEED_MAX, f"--seed {seed}: must be from 0 to {SEED_MAX}"),
        (shards > pairs, f"--shards {shards}: there are {pairs} pairs only"),
    ):
        if is_wrong:
            raise UsageError(why)
    assert level is not None, faults
    assert kind is not None, regime
    assert where is not None, mode
    return Settings(seed or 0, hours, pairs, shards, updates, level, kinds, kind, where)
