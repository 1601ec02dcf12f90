"""Defines ``arbshard analyze``, which writes the report of a run, or of two side by side. It only reads, also while
the instance runs.
"""

import sys
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from time import time_ns
from typing import Annotated

import typer

from arbshard.cli.options import ConfigOption, SinceOption, state_dir_of, wall_ms_of
from arbshard.errors import UsageError


def analyze(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STATE_DIR|NAME]...",
            help="State directories, or names of instances; default: the configuration's instance.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None, typer.Option("--compare", metavar="A B", help="Two runs side by side.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the report; default: reports/TIME in the state directory."),
    ] = None,
    since: SinceOption = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON, one line per run, and write no file.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Write what a run earned, on what, what it lost to, and whether it was healthy: HTML, Markdown and JSON."""
    from arbshard.model.money import use_money_context

    use_money_context()
    if compare is not None and runs:
        raise UsageError(
            f"--compare {' '.join(compare)}: names both runs, so {runs[0]} cannot be given as well"
        )
    since_ms = wall_ms_of("since", since)
    names: list[str | None] = [*compare] if compare is not None else [*(runs or [])] or [None]
    folders = [find_state_dir(name, config) for name in names]
    if as_json:
        _print(folders, since_ms, is_comparison=compare is not None)
        return
    pages = (
        [_compare(folders, out, since_ms)]
        if compare is not None
        else [
            _write(folder, _folder_of(folder, out, number if len(folders) > 1 else None), since_ms)
            for number, folder in enumerate(folders, 1)
        ]
    )
    for page in pages:
        typer.echo(f"{page}: {page.stat().st_size / 1e6:,.1f} MB")
        if show and not webbrowser.open(page.absolute().as_uri()):
            typer.echo(f"no browser could be started: open {page} yourself", err=True)


def find_state_dir(name: str | None, config: Path | None) -> Path:
    """Return the state directory that a person named. Raises ``UsageError`` when no ledger is there."""
    if name is not None and (given := Path(name).expanduser()).exists():
        path = given.parent if given.name == "ledger.sqlite" else given
        if not (path / "ledger.sqlite").is_file():
            raise UsageError(f"{name}: no ledger.sqlite in it: name the state directory of a run")
        return path
    path = state_dir_of(name, config, None)
    if not (path / "ledger.sqlite").is_file():
        raise UsageError(
            f"{name or path}: neither a state directory nor the name of an instance "
            f"(there is no ledger at {path / 'ledger.sqlite'})"
        )
    return path


def _folder_of(state_dir: Path, out: Path | None, number: int | None) -> Path:
    if out is None:
        return state_dir / "reports" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return out if number is None else out / f"{number:02}-{state_dir.name}"


def _write(state_dir: Path, out: Path, since_ms: int) -> Path:
    from arbshard.report.write import write_report

    return write_report(state_dir, out, since_ms=since_ms).html


def _compare(folders: list[Path], out: Path | None, since_ms: int) -> Path:
    from arbshard.report.compare import write_comparison

    one, other = folders
    return write_comparison(one, other, _folder_of(other, out, None), since_ms=since_ms).html


def _print(folders: list[Path], since_ms: int, *, is_comparison: bool) -> None:
    from arbshard.report.build import build
    from arbshard.report.compare import compare
    from arbshard.report.sources import read_sources
    from arbshard.report.write import to_json

    now_ms = time_ns() // 1_000_000
    reports = [build(read_sources(folder, since_ms), now_ms) for folder in folders]
    for figures in [compare(*reports)] if is_comparison else reports:
        sys.stdout.write(to_json(figures))
