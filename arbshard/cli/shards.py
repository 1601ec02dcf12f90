"""Defines ``arbshard shards …``, which shows which worker has which pairs and their load, and moves them at run
time.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from arbshard.cli.completion import complete_symbols
from arbshard.cli.options import ConfigOption, NameOption, running_files
from arbshard.cli.shard_client import ChangeWaitOption, carry_out, fetch_shards
from arbshard.model.rundir import RunFiles
from arbshard.status.model import ShardStatus, Status
from arbshard.status.tables import WholeTable
from arbshard.wire import control

app = typer.Typer(help="See shards and move pairs between them while it runs.")

_NAMES_SHOWN = 8
_CHANGES_SHOWN = 5


class ShardView(msgspec.Struct, frozen=True):
    """Describes one shard, as shown."""

    shard: int
    state: str
    pid: int | None
    """Process id; None while there is no such process."""
    epoch: int
    pairs: tuple[str, ...]
    frames_s: float
    cpu_percent: float
    """CPU use in percent of one core."""
    p50_us: float
    p99_us: float
    """Percentiles of the time from receipt to decision, since the worker began."""
    loop_gap_us: float
    positions: int
    serial: int
    """Serial number of the universe that it has carried out; -1 while it has not started."""


class ShardsView(msgspec.Struct, frozen=True):
    """Contains all that ``--json`` shows."""

    serial: int
    imbalance: float
    shards: tuple[ShardView, ...]
    pairs: tuple[control.PairLine, ...]
    changes: tuple[control.ChangeLine, ...]


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    pairs: Annotated[bool, typer.Option("--pairs", help="One line per pair, with its load.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the shards with their pairs and loads, and the changes that are under way."""
    if context.invoked_subcommand is not None:
        return
    from arbshard.status.render import terminal

    _, files = running_files(name, config)
    view = _view(fetch_shards(files), _status(files))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(view)).decode())
        return
    console = terminal()
    console.print(_pair_table(view) if pairs else _shard_table(view))
    for line in view.changes[-_CHANGES_SHOWN:]:
        text = f"{line.what}: {line.state}{f': {line.text}' if line.text else ''}"
        console.print(Text(text, style="yellow" if line.state in ("failed", "refused") else "dim"))


@app.command()
def move(
    symbols: Annotated[
        list[str],
        typer.Argument(
            help="Pairs, by base or market: BTC, KRW-ETH, SOLUSDT.", autocompletion=complete_symbols
        ),
    ],
    to: Annotated[int, typer.Option("--to", help="The shard's number.")],
    wait: ChangeWaitOption = 60.0,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Move pairs to another shard. Positions go with them, and the other pairs are not affected."""
    instance, files = running_files(name, config)
    carry_out(instance, files, control.MovePairs(tuple(symbols), to), wait)


@app.command()
def balance(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be moved.")] = False,
    wait: ChangeWaitOption = 60.0,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Move the fewest pairs that balance the measured load. `run.rebalance_s` does it automatically."""
    instance, files = running_files(name, config)
    carry_out(instance, files, control.BalanceShards(dry_run), wait)


@app.command()
def restart(
    shard: Annotated[int, typer.Argument(help="Its number.")],
    wait: ChangeWaitOption = 60.0,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Replace a shard's worker, or start it again when it was given up; then it gets its share of the pairs."""
    instance, files = running_files(name, config)
    carry_out(instance, files, control.RestartShard(shard), wait)


def _status(files: RunFiles) -> Status | None:
    from arbshard.clock import SystemClock
    from arbshard.status.collect import Collector

    return Collector(files.dir, SystemClock()).collect()


def _view(shown: control.Shards, status: Status | None) -> ShardsView:
    of_status = {one.id: one for one in status.shards} if status is not None else {}
    owners = {pair.base: pair.shard for pair in shown.pairs}
    positions = status.positions if status is not None else ()
    held = Counter(owners.get(position.pair, -1) for position in positions)
    return ShardsView(
        serial=shown.serial,
        imbalance=shown.imbalance,
        shards=tuple(_shard(line, of_status.get(line.shard), held[line.shard]) for line in shown.shards),
        pairs=shown.pairs,
        changes=shown.changes,
    )


def _shard(line: control.ShardLine, status: ShardStatus | None, positions: int) -> ShardView:
    return ShardView(
        shard=line.shard,
        state=status.state if status is not None else "unknown",
        pid=status.pid if status is not None else None,
        epoch=status.epoch if status is not None else 0,
        pairs=line.bases,
        frames_s=line.frames_s,
        cpu_percent=round(100 * line.cpu, 1),
        p50_us=status.latency_us.p50 if status is not None else 0.0,
        p99_us=status.latency_us.p99 if status is not None else 0.0,
        loop_gap_us=line.loop_gap_us,
        positions=positions,
        serial=line.serial,
    )


def _shard_table(view: ShardsView) -> WholeTable:
    table = WholeTable("Shards")
    headings = ("shard", "state", "pid", "epoch", "pairs", "frames/s", "CPU %", "p50 µs", "p99 µs", "open")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "state" else "right")
    table.add_column("", no_wrap=False)
    for one in view.shards:
        table.add_row(
            str(one.shard),
            Text(one.state, style="green" if one.state == "running" else "yellow"),
            str(one.pid or "-"),
            str(one.epoch),
            str(len(one.pairs)),
            f"{one.frames_s:,.0f}",
            f"{one.cpu_percent:.0f}",
            f"{one.p50_us:,.0f}",
            f"{one.p99_us:,.0f}",
            str(one.positions),
            _shortened(one.pairs),
        )
    moving = [pair.base for pair in view.pairs if pair.shard < 0]
    if moving:
        table.caption = f"on their way: {_shortened(moving)}"
    return table


def _shortened(bases: Sequence[str]) -> str:
    more = len(bases) - _NAMES_SHOWN
    return " ".join(bases[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _pair_table(view: ShardsView) -> WholeTable:
    table = WholeTable("Pairs")
    for heading in ("pair", "home", "away", "shard", "frames/s", ""):
        table.add_column(heading, justify="right" if heading in ("shard", "frames/s") else "left")
    for pair in sorted(view.pairs, key=lambda pair: (pair.shard, pair.base)):
        shard = str(pair.shard) if pair.shard >= 0 else "on its way"
        state = "leaving" if pair.is_leaving else ""
        table.add_row(pair.base, pair.home, pair.away, shard, f"{pair.frames_s:,.1f}", state)
    return table
