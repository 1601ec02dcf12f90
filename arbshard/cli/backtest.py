"""Defines ``arbshard backtest``: strategy, execution, risk and ledger of a run trade a recorded tape on paper."""

import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
import typer

from arbshard.cli.options import ConfigOption, config_of, wall_ms_of
from arbshard.config import Config, load_config
from arbshard.errors import UsageError
from arbshard.optional import require_libraries

if TYPE_CHECKING:
    from arbshard.backtest.run import BacktestSummary

_SHOWN = 10
"""Number of differences that are printed; backtest.json has the first one of every pair."""


def backtest(
    tape: Annotated[Path, typer.Argument(help="Folder of the tape.", show_default=False)],
    config: ConfigOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, as strategy.entry_bps=25."),
    ] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="ISO time of the first frame, UTC unless it names a zone.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="ISO time before which the last frame came.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="A folder for the results; default: a new one in the working directory."),
    ] = None,
    no_screening: Annotated[
        bool, typer.Option("--no-screening", help="Feed every frame, also where nothing can happen.")
    ] = False,
    delay_frames: Annotated[
        int,
        typer.Option("--delay-frames", min=0, help="Receive each frame so many frames of its market later."),
    ] = 0,
    latency: Annotated[
        str,
        typer.Option(
            "--latency",
            help="paper: as the section paper draws. recorded: decisions and orders at their recorded times. model: "
            "orders as measured on the tape. With the last two, decisions are compared with those on the tape.",
        ),
    ] = "paper",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Trade a recorded tape on paper, in the tape's own time and as fast as one core can.

    Pairs, rules and fees are those of the tape. All other settings are those of the recorded run, or of --config if
    it is given, and of --set.
    """
    require_libraries("arbshard backtest", "pyarrow", "numpy")
    from arbshard.backtest.rows import TapePart
    from arbshard.backtest.run import LatencyKind, tape_config
    from arbshard.backtest.run import backtest as run_backtest

    kind: LatencyKind | None = next((one for one in get_args(LatencyKind) if one == latency), None)
    if kind is None:
        raise UsageError(f"--latency {latency}: must be one of {', '.join(get_args(LatencyKind))}")
    chosen = config_of(None, config) if config is not None else tape_config(tape)
    part = TapePart(
        str(tape),
        wall_ms_of("from", begin) * 1_000_000 if begin is not None else None,
        wall_ms_of("to", end) * 1_000_000 if end is not None else None,
    )
    folder = out if out is not None else Path(f"backtest-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    summary = run_backtest(
        part,
        with_settings(chosen, settings or ()),
        folder,
        screening=not no_screening,
        delay_frames=delay_frames,
        latency=kind,
    )
    if as_json:
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
        return
    for line in _lines_of(summary, folder):
        typer.echo(line)


def with_settings(config: Config, settings: "list[str] | tuple[str, ...]") -> Config:
    """Return ``config`` with each ``KEY=VALUE`` of ``settings``, checked like the file. Raises ``UsageError``."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    for setting in settings:
        key, equals, text = setting.partition("=")
        *path, name = key.strip().split(".")
        place: Any = tree
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or name not in place:
            raise UsageError(
                f"--set {setting}: name a key of the configuration and a value, as strategy.entry_bps=25"
            )
        place[name] = _value_of(text.strip())
    return load_config(None, tree)


def _value_of(text: str) -> object:
    """Return the value that ``text`` has in TOML; ``text`` itself if it is not TOML."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _lines_of(summary: "BacktestSummary", folder: Path) -> list[str]:
    tape_s = (summary.last_ns - summary.first_ns) / 1e9
    share = f", {summary.screened:,} of them screened out" if summary.screened else ""
    return [
        f"{summary.frames:,} frames of {tape_s:,.0f} s in {summary.wall_s:,.1f} s{share}",
        f"{summary.entries:,} positions opened, {summary.exits:,} closed, {summary.wins:,} of them with a gain",
        f"result {summary.pnl_krw:,.0f} KRW after {summary.fees_krw:,.0f} KRW of fees",
        f"{summary.decisions:,} decisions, hash {summary.decisions_hash}",
        *_comparison_lines(summary),
        f"written to {folder}; arbshard analyze {folder} makes a report of it",
    ]


def _comparison_lines(summary: "BacktestSummary") -> list[str]:
    found = summary.recorded
    if found is None:
        return []
    lines = [
        f"{found.same:,} of the {found.decisions:,} decisions on the tape are the same",
    ]
    if found.unrecorded:
        lines.append(f"on {found.unrecorded:,} turns something would have been decided at another instant")
    refused = [("of the recorded run", found.refused)]
    if found.refused_here is not None:
        refused.append(("here", found.refused_here))
    for whose, counts in refused:
        if counts.reasons or counts.edges:
            listed = ", ".join(
                f"{name} {count:,}" for name, count in {**counts.reasons, **counts.edges}.items()
            )
            lines.append(f"judgements of workers {whose}: {listed}")
    for one in found.differences[:_SHOWN]:
        lines.append(f"{one.pair or 'all'}, decision {one.number}: {one.why}")
        lines += [f"  here:     {one.ours or 'none'}", f"  recorded: {one.theirs or 'none'}"]
    return lines
