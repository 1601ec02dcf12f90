"""Defines ``arbshard sweep``, which tries many settings on a tape and determines what the best of them is worth."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, get_args

import msgspec
import typer

from arbshard.cli.options import ConfigOption, config_of
from arbshard.errors import UsageError
from arbshard.optional import require_libraries

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from arbshard.sweep.store import SweepRequest
    from arbshard.sweep.sweep import ProgressView

_LINE_EVERY_S = 30.0
_TRIALS = 200
_PARTS = 4
_MARKS = {"good": "+", "warn": "!", "bad": "-", "plain": " "}


def sweep(
    tape: Annotated[
        Path | None,
        typer.Argument(help="The tape's folder; with --resume --out it is known.", show_default=False),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            help="A key and its values: entry_bps=20,30,40 or entry_bps=20:40:5; one --grid per key.",
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option("--search", help="grid (all points, the default), random, or optuna (learns)."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", min=1, max=20_000, help="Points of random and optuna; default: 200."),
    ] = None,
    parts: Annotated[
        int | None,
        typer.Option("--parts", min=1, max=1000, help="Parts of the tape; default: 4, the last is kept out."),
    ] = None,
    on: Annotated[
        str, typer.Option("--on", help="local, ray (the cluster of this machine), or ray://HOST:10001.")
    ] = "local",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, max=1024, help="Tasks side by side; default: one for each core."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for results and page; default: sweep in the tape's folder."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of random and optuna; default: 0.")
    ] = None,
    task_minutes: Annotated[
        float, typer.Option("--task-minutes", min=0.01, help="A task that takes longer has failed.")
    ] = 60.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last sweep of the folder, as it was asked for.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Try settings on parts of a tape, side by side, and write a page on what the best of them is worth.

    Results that are in the folder already are not computed again. Without --config the recorded configuration is
    varied.
    """
    require_libraries("arbshard sweep", "pyarrow", "numpy", "plotly")
    from arbshard.backtest.run import backtest
    from arbshard.config import Config
    from arbshard.model.money import use_money_context
    from arbshard.sweep.page import sweep_document
    from arbshard.sweep.pools import pool_of
    from arbshard.sweep.space import SearchSpace, parse_axes
    from arbshard.sweep.store import opened, stored_request
    from arbshard.sweep.sweep import Sweep, SweepStopped, write_page

    use_money_context()
    if out is None and tape is None:
        raise UsageError("name the tape, or with --resume the folder of its sweep with --out")
    folder = (out or (tape or Path()) / "sweep").expanduser().absolute()
    if resume and not grid:
        given = {"--search": search, "--trials": trials, "--parts": parts, "--seed": seed, "--config": config}
        if changed := [name for name, value in given.items() if value is not None]:
            raise UsageError(
                f"--resume: goes on as it was asked for, so {changed[0]} cannot be given without --grid"
            )
        request = stored_request(folder)
    else:
        request = _request(tape, grid or (), search, trials, parts, seed or 0, config)
    if request.search == "optuna":
        require_libraries("--search optuna", "optuna")
    base = msgspec.json.decode(request.base, type=Config)
    space = SearchSpace(base, parse_axes(request.grid, base))
    with opened(folder) as store:
        pool = pool_of(on, jobs, backtest, str(store.work_dir), task_minutes * 60)
        try:
            with _progress() as progress:
                one = Sweep(request, space, store, pool, progress)
                store.keep_request(request)
                report = one.run()
        except SweepStopped as error:
            typer.echo(
                f"stopped; what was done is kept: `arbshard sweep --resume --out {folder}` goes on", err=True
            )
            raise typer.Exit(128 + error.number) from None
        finally:
            pool.close()
        pages = write_page(report, folder)
    for found in sweep_document(report).findings:
        typer.echo(f"{_MARKS[found.kind]} {found.text}")
    typer.echo(
        f"{pages.html}: {one.computed:,} of {report.tasks:,} tasks were computed, the others were there"
    )
    if report.best is None:
        raise typer.Exit(1)


def _request(
    tape: Path | None,
    grid: Sequence[str],
    search: str | None,
    trials: int | None,
    parts: int | None,
    seed: int,
    config: Path | None,
) -> "SweepRequest":
    """Return the request of the options. Raises ``UsageError``."""
    from arbshard.backtest.run import tape_config
    from arbshard.config import without_secrets
    from arbshard.sweep.parts import cut
    from arbshard.sweep.searching import SearchKind
    from arbshard.sweep.store import SweepRequest
    from arbshard.tape import TapeError

    kind: SearchKind | None = next((one for one in get_args(SearchKind) if one == (search or "grid")), None)
    if kind is None:
        raise UsageError(f"--search {search}: must be one of {', '.join(get_args(SearchKind))}")
    if kind == "grid" and trials is not None:
        raise UsageError(
            "--trials: a grid is tried as a whole; --search random or optuna tries so many points"
        )
    if tape is None:
        raise UsageError("name the tape's folder, in which `arbshard record` has written segments")
    folder = tape.expanduser().absolute()
    try:
        base = tape_config(folder) if config is None else config_of(None, config)
    except TapeError as error:
        raise UsageError(str(error)) from error
    return SweepRequest(
        tape=str(folder),
        grid=tuple(grid),
        search=kind,
        trials=trials or _TRIALS,
        parts=cut(folder, parts or _PARTS),
        seed=seed,
        base=msgspec.Raw(msgspec.json.encode(without_secrets(base))),
    )


class _Bar:
    """Shows progress on a terminal: a bar that has what is left, in tasks and in time."""

    def __init__(self, bars: "Progress", task: "TaskID") -> None:
        self._bars = bars
        self._task = task

    def show(self, done: int, total: int, failed: int, running: int) -> None:
        self._bars.update(
            self._task,
            completed=done,
            total=total,
            description=f"{running} under way, {failed} failed",
        )


class _Lines:
    """Writes progress into a log: a line twice per minute."""

    def __init__(self) -> None:
        self._began_s = self._shown_s = monotonic()
        self._began_with: int | None = None

    def show(self, done: int, total: int, failed: int, running: int) -> None:
        now_s = monotonic()
        if self._began_with is None:
            self._began_with = done
        if now_s - self._shown_s < _LINE_EVERY_S:
            return
        self._shown_s = now_s
        fresh = done - self._began_with
        left_s = (now_s - self._began_s) / fresh * (total - done) if fresh else None
        left = f", {timedelta(seconds=round(left_s))} left" if left_s is not None else ""
        typer.echo(
            f"sweep: {done:,} of {total:,} tasks, {failed:,} failed, {running} under way{left}", err=True
        )


@contextmanager
def _progress() -> "Iterator[ProgressView]":
    """Yield a bar on a terminal, lines otherwise."""
    import sys

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        *(TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")),
        *(TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield _Bar(bars, bars.add_task("", total=None))
