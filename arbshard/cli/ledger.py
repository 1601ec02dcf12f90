"""Defines ``arbshard ledger …``, which inspects the ledger, checks it, copies it and exports it. None of these
writes to it.
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import msgspec
import typer

from arbshard.cli.options import (
    ConfigOption,
    NameOption,
    SinceOption,
    StateOption,
    state_dir_of,
    wall_ms_of,
)
from arbshard.errors import LedgerError, UsageError
from arbshard.optional import require_libraries

if TYPE_CHECKING:
    from arbshard.ledger.export import ExportValue, Format, TextFormat
    from arbshard.ledger.verify import VerifyReport

app = typer.Typer(no_args_is_help=True, help="Inspect the ledger.")


@app.command("verify")
def ledger_verify(
    archives: Annotated[bool, typer.Option("--archive", help="The archived periods too.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Recompute all balances and positions from the fills, and compare. Exit code 1 on any difference."""
    from arbshard.ledger.history import LedgerHistory
    from arbshard.ledger.verify import verify, verify_archive
    from arbshard.model.money import use_money_context
    from arbshard.risk.portfolio.snapshot import PortfolioCodec

    use_money_context()
    path = ledger_of(name, config, state_dir)
    gc.disable()  # nothing here makes cycles, and searching all positions for them again and again doubles the time
    with LedgerHistory(path) as history:
        archived = [archive.path for archive in history.archives()]
    found = sum(_tell_of(one, verify_archive(one)) for one in (archived if archives else ()))
    found += _tell_of(path, verify(path, PortfolioCodec()))
    if archived and not archives:
        typer.echo(f"{len(archived):,} archived periods were not looked at: --archive verifies them too")
    typer.echo("everything agrees with the fills" if not found else f"{found:,} differences")
    raise typer.Exit(1 if found else 0)


def _tell_of(path: Path, report: "VerifyReport") -> int:
    """Print what was found in one file. Returns the number of differences."""
    typer.echo(
        f"{path}: {report.events:,} events, {report.intents:,} intents, {report.fills:,} fills, "
        f"{report.positions:,} positions ({report.closed:,} closed, PnL {report.pnl:,.2f})"
        f"{f', {report.beside:,.2f} beside trading' if report.beside else ''}"
    )
    for difference in report.differences:
        typer.echo(f"  {difference}")
    if report.suppressed:
        typer.echo(f"  and {report.suppressed:,} more")
    return len(report.differences) + report.suppressed


@app.command("info")
@app.command("show", hidden=True)
def ledger_info(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what is in the ledger: sessions, dates, counts, size, mode, and whether the last stop was clean."""
    from arbshard.ledger.info import look_into

    info = look_into(ledger_of(name, config, state_dir))
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(info)).decode() + "\n")
        return
    stops = {
        "none": "never started",
        "clean": "in order",
        "not clean": "not in order: the last session was cut off",
        "running": f"running now, written by process {info.writer}",
    }
    typer.echo(
        f"{info.path}: {info.size / 1e6:,.1f} MB ({info.disk / 1e6:,.1f} MB on the disk with its log), "
        f"{info.mode}, schema {info.schema}, {info.name}"
    )
    typer.echo(f"  tag         {info.tag or 'none yet'}")
    typer.echo(f"  begun       {info.created}")
    for period in info.periods:
        typer.echo(
            f"  archive     {period.period:>4}  events {period.first_seq:,} to {period.last_seq:,}, "
            f"until {period.until}, {period.size / 1e6:,.1f} MB"
        )
    if info.archives > len(info.periods):
        typer.echo(f"  archives    {info.archives:,} in all, {info.archives_size / 1e6:,.1f} MB")
    typer.echo(f"  events      {info.events:,} ({info.first or 'none'} to {info.last or 'none'})")
    typer.echo(f"  postings    {info.postings:,}")
    for kind, count in info.kinds.items():
        typer.echo(f"    {kind:<18}{count:>12,}")
    typer.echo(f"  last stop   {stops[info.last_stop]}")
    for snapshot in info.snapshots:
        typer.echo(f"  snapshot    after event {snapshot.seq:,} ({snapshot.taken})")
    shown = "" if info.sessions == len(info.newest) else f", the last {len(info.newest)}"
    typer.echo(f"  sessions    {info.sessions:,}{shown}")
    for session in info.newest:
        stopped = session.stopped or ("running" if session == info.newest[-1] and info.writer else "cut off")
        typer.echo(
            f"    {session.session:>5}  {session.started} to {stopped}  {session.events:,} events  {session.version}"
        )


@app.command("export")
def ledger_export(
    what: Annotated[
        str, typer.Option("--what", help="fills, positions, deposits, events, balances or postings.")
    ] = "fills",
    form: Annotated[str, typer.Option("--format", help="csv, jsonl, json or parquet.")] = "csv",
    since: SinceOption = None,
    out: Annotated[str, typer.Option("--out", help="A new file; - for the terminal.")] = "-",
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Write the rows of the ledger and its archives as text or Parquet, also while a run writes to it."""
    from arbshard.ledger.export import COLUMNS, Format, What, rows_of
    from arbshard.ledger.history import LedgerHistory
    from arbshard.ledger.output import new_file
    from arbshard.model.money import use_money_context

    use_money_context()
    # Checked against the types to which they are converted.
    for option, given, known in (("what", what, get_args(What)), ("format", form, get_args(Format))):
        if given not in known:
            raise UsageError(f"--{option} {given}: one of {', '.join(known)}")
    chosen = msgspec.convert(what, What)
    shape = msgspec.convert(form, Format)
    since_ms = wall_ms_of("since", since)
    if shape == "parquet":
        require_libraries("--format parquet", "pyarrow")
        if out == "-":
            raise UsageError("--format parquet: say with --out which file is to be written")
    with LedgerHistory(ledger_of(name, config, state_dir)) as history:

        def read_rows() -> Iterator[tuple["ExportValue", ...]]:
            return rows_of(history, chosen, since_ms)

        if out == "-" and shape != "parquet":
            _print_rows(COLUMNS[chosen], read_rows(), shape)
            return
        with new_file(Path(out)) as partial:
            try:
                count = _write_rows(partial, COLUMNS[chosen], read_rows, shape)
            except OSError as error:
                raise LedgerError(f"{out}: cannot be written: {error.strerror or error}") from error
    typer.echo(f"{out}: {count:,} {what}")


def _print_rows(
    columns: Sequence[str], rows: Iterator[tuple["ExportValue", ...]], form: "TextFormat"
) -> None:
    from arbshard.ledger.export import write_rows

    try:
        write_rows(sys.stdout, columns, rows, form)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe. The interpreter would flush again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_rows(
    path: Path,
    columns: Sequence[str],
    read_rows: Callable[[], Iterator[tuple["ExportValue", ...]]],
    form: "Format",
) -> int:
    """Write the rows to ``path``. Returns their number. Raises ``OSError``."""
    if form == "parquet":
        from arbshard.ledger.parquet import write_parquet

        return write_parquet(path, columns, read_rows)
    from arbshard.ledger.export import write_rows

    with path.open("w", encoding="utf-8", newline="") as target:
        return write_rows(target, columns, read_rows(), form)


@app.command("backup")
def ledger_backup(
    file: Annotated[Path | None, typer.Argument(help="A new file.")] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", help="In place of FILE: a folder for a series of backups by date."),
    ] = None,
    keep: Annotated[
        int, typer.Option("--keep", min=1, max=10_000, help="With --into: how many of the newest stay.")
    ] = 14,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Copy the ledger into a new file, and its archives into a folder beside it, also while a run writes to it.

    With --into the file is named by date, an archive that the backup before has already is linked and takes no room,
    and the oldest backups are removed once the new one is whole.
    """
    from arbshard.ledger.archive import folder_of
    from arbshard.ledger.backup import back_up, back_up_into

    if (file is None) == (into is None):
        raise UsageError("name either a new FILE or a folder with --into")
    ledger = ledger_of(name, config, state_dir)
    removed: tuple[str, ...] = ()
    if into is not None:
        file, made, removed = back_up_into(ledger, into, keep, datetime.now(UTC))
    else:
        assert file is not None
        made = back_up(ledger, file)
    typer.echo(f"{file}: {made.events:,} events, {made.size / 1e6:,.1f} MB")
    if made.archives:
        typer.echo(
            f"{folder_of(file)}: {made.archives:,} archived periods, {made.archives_size / 1e6:,.1f} MB"
        )
    if removed:
        typer.echo(f"removed: {', '.join(removed)}")
    for problem in made.damaged_before:
        typer.echo(f"arbshard: the backup before is damaged: {problem}", err=True)


def ledger_of(name: str | None, config: Path | None, state_dir: str | None) -> Path:
    """Return the ledger of the instance. Raises ``UsageError`` when there is none."""
    path = state_dir_of(name, config, state_dir) / "ledger.sqlite"
    if not path.exists():
        raise UsageError(f"there is no ledger at {path}")
    return path
