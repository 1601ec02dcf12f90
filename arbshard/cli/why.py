"""Defines ``arbshard why COIN``, which shows what keeps a pair from a trade, now and over the last hour."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from arbshard.cli.completion import complete_symbols
from arbshard.cli.options import ConfigOption, NameOption, running_files
from arbshard.errors import UsageError

_HOUR_MS = 3_600_000
_STEPS = (
    ("gross", "had a gap"),
    ("net", "netted something after fees"),
    ("deep", "were deep enough for an order"),
    ("sound", "were sound data"),
)


def why(
    coin: Annotated[
        str,
        typer.Argument(
            help="A pair, by base or market: BTC, KRW-ETH, SOLUSDT.", autocompletion=complete_symbols
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show which rule or cost keeps a pair from a trade, now and over the last hour.

    Example: arbshard why BTC. Exit code: 0, or 2 when nothing runs or the pair is not traded.
    """
    from arbshard.clock import SystemClock
    from arbshard.status.collect import Collector
    from arbshard.status.pair_view import read_reasons
    from arbshard.status.why import lines_of

    instance, files = running_files(name, config)
    clock = SystemClock()
    status = Collector(files.dir, clock).collect()
    if status is None:
        raise UsageError(f"'{instance}' is starting and has no books yet: try again in a few seconds")
    reasons = read_reasons(files, coin, clock, status.halted)
    hour = _last_hour(Path(status.state_dir), reasons.pair, clock.wall_ms() - _HOUR_MS)
    if as_json:
        shown = {"now": reasons, "last_hour": hour if isinstance(hour, dict) else None}
        typer.echo(msgspec.json.format(msgspec.json.encode(shown)).decode())
        return
    for line in (*lines_of(reasons), *_hour_lines(hour)):
        typer.echo(line)


def _last_hour(state_dir: Path, base: str, since_ms: int) -> dict[str, float | None] | str:
    """Return how often the pair had an edge since then, from the series; or why that is not known."""
    from importlib.util import find_spec

    if find_spec("pyarrow") is None or not (state_dir / "series").is_dir():
        return "no series are kept, so the last hour is not known"
    from arbshard.report.sampled import pair_since

    found = pair_since(state_dir, base, since_ms)
    return found if found is not None else "the series hold nothing of the last hour yet"


def _hour_lines(hour: dict[str, float | None] | str) -> Iterator[str]:
    if isinstance(hour, str):
        yield f"last hour: {hour}"
        return
    best = hour["best_bps"]
    sampled = hour["sampled"] or 0
    yield f"last hour: {sampled:,.0f} directions were sampled; of these"
    for step, what in _STEPS:
        yield f"  {hour[step] or 0:>8,.0f} {what}"
    wanted, barred = hour["wanted"] or 0, hour["barred"] or 0
    yield f"  {wanted:>8,.0f} evaluations netted what an entry must; a rule barred {barred:,.0f} of them"
    yield f"  {hour['approved'] or 0:>8,.0f} entries were approved"
    if best is not None:
        yield f"  {best:>+8.1f} bps was the best net edge of a full order"
