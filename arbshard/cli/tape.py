"""Defines ``arbshard tape …``, which inspects a recording, checks it, and queries it. None of these changes a
segment.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from arbshard.cli.options import ConfigOption, NameOption, StateOption, state_dir_of
from arbshard.errors import UsageError
from arbshard.optional import require_libraries

if TYPE_CHECKING:
    from arbshard.tape.format import SegmentInfo
    from arbshard.tape.reading import Tape

app = typer.Typer(no_args_is_help=True, help="Inspect recordings of `arbshard record`.")

DirOption = Annotated[
    Path | None, typer.Option("--dir", help="The tape's folder; default: tape in the state directory.")
]
JsonObjectOption = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@app.command("ls")
def tape_ls(
    folder: DirOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """List the segments: when each was begun, its size, its first row, and whether it was closed in order."""
    from arbshard.tape import TapeError
    from arbshard.tape.reading import TapeSegment

    bad = 0
    tape = _tape_of("ls", folder, state_dir, name, config)
    if not as_json:
        typer.echo(f"{'segment':<30}  {'recording began':<20}  {'MB':>9}  {'first row':>13}  state")
    for path in tape.paths:
        try:
            segment = TapeSegment(path)
        except TapeError as error:
            bad += 1
            typer.echo(f"arbshard: {error}", err=True)
            continue
        info = segment.info
        state = "closed" if segment.is_closed else "open"
        if as_json:
            shown = {
                "path": str(path), "recording": info.recording, "segment": info.segment, "bytes": segment.size,
                "first_row": info.first_row, "is_closed": segment.is_closed, "instance": info.instance,
                "version": info.version,
            }  # fmt: skip
            typer.echo(msgspec.json.encode(shown))
        else:
            typer.echo(
                f"{path.name:<30}  {_time(info.recording * 1_000_000):<20}  {segment.size / 1e6:>9,.2f}  "
                f"{info.first_row:>13,}  {state}"
            )
    if bad:
        raise typer.Exit(1)


@app.command("info")
def tape_info(
    folder: DirOption = None,
    as_json: JsonObjectOption = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what is in the recording: extent, size, and rows by venue and kind."""
    _report(_tape_of("info", folder, state_dir, name, config), as_json=as_json)


@app.command("verify")
def tape_verify(
    folder: DirOption = None,
    as_json: JsonObjectOption = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Read every row: whether all batches are whole, and no row is missing without a mark. Exit code 1 if not."""
    faults = _report(_tape_of("verify", folder, state_dir, name, config), as_json=as_json)
    if not as_json:
        typer.echo("every batch is whole, and all losses are marked" if not faults else f"{faults:,} faults")
    raise typer.Exit(1 if faults else 0)


@app.command("sql")
def tape_sql(
    query: Annotated[str, typer.Argument(help="SQL of DuckDB; the table is called tape.")],
    folder: DirOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Query the rows: SELECT venue, kind, count(*) FROM tape GROUP BY ALL."""
    tape = _tape_of("sql", folder, state_dir, name, config)
    require_libraries("arbshard tape sql", "duckdb")
    from arbshard.tape.query import run_query

    names, rows = run_query(tape, query)
    if as_json:
        for row in rows:
            sys.stdout.write(
                msgspec.json.encode(dict(zip(names, row, strict=True)), enc_hook=str).decode() + "\n"
            )
        return
    from rich.table import Table

    from arbshard.status.render import terminal

    table = Table(*names)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    terminal().print(table)


@app.command("compact")
def tape_compact(
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to; default: parquet in the tape's folder.")
    ] = None,
    levels: Annotated[int, typer.Option("--levels", min=1, max=100, help="Levels per side of a book.")] = 15,
    folder: DirOption = None,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Make Parquet files by venue, type, day and market, with the columns of Tardis' CSV files."""
    tape = _tape_of("compact", folder, state_dir, name, config)
    from arbshard.tape.compaction import compact

    target = out or tape.folder / "parquet"
    done = compact(tape, target, levels)
    typer.echo(f"{target}: {len(done.files):,} files, {sum(done.files.values()):,} rows")
    if done.kept:
        typer.echo(
            f"  {len(done.kept):,} files hold more of their day than the tape does, and were left as they are"
        )
    for reason, count in sorted(done.refused.items()):
        typer.echo(f"  {count:,} frames left out, {reason}")


@app.command("export")
def tape_export(
    file: Annotated[Path, typer.Argument(help="A Parquet file of `tape compact` or `tape import`.")],
    out: Annotated[
        Path, typer.Argument(help="A new file: .csv or .csv.gz as Tardis has it, .npz for hftbacktest.")
    ],
) -> None:
    """Write a Parquet file as Tardis' CSV, or as events for hftbacktest."""
    require_libraries("arbshard tape export", "pyarrow")
    from arbshard.ledger.output import new_file
    from arbshard.tape import TapeError
    from arbshard.tape.exports import write_events
    from arbshard.tape.tables import write_csv

    if not file.is_file():
        raise UsageError(f"{file}: no such file; `arbshard tape compact` makes them")
    try:
        with new_file(out) as partial:
            if out.suffix != ".npz":
                rows = write_csv(file, partial, is_gzipped=out.suffix == ".gz")
                typer.echo(f"{out}: {rows:,} rows")
                return
            done = write_events(file, partial)
    except TapeError as error:
        raise UsageError(str(error)) from error
    typer.echo(f"{out}: {done.events:,} events")
    if done.shifted_us:
        typer.echo(f"  local times were moved by {done.shifted_us:,} µs, as some were before the venue's own")


@app.command("catalog")
def tape_catalog(
    out: Annotated[Path, typer.Argument(help="The catalog's folder.")],
    parquet: Annotated[
        Path | None,
        typer.Option("--parquet", help="Files of `tape compact`; default: parquet in the tape's folder."),
    ] = None,
    folder: DirOption = None,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Write the Parquet files of `compact` as a catalog that NautilusTrader reads (ParquetDataCatalog)."""
    from arbshard.tape import TapeError
    from arbshard.tape.exports import write_catalog

    tape = _tape_of("catalog", folder, state_dir, name, config)
    try:
        universe = _newest_info(tape).described_universe()
        done = write_catalog(
            parquet or tape.folder / "parquet", out, universe.legs() if universe is not None else ()
        )
    except TapeError as error:
        raise UsageError(str(error)) from error
    typer.echo(f"{out}: {done.files:,} files, {done.rows:,} rows")
    if done.undescribed:
        typer.echo(f"  the tape does not have the rules of {', '.join(done.undescribed)}")


@app.command("import")
def tape_import(
    files: Annotated[
        list[str],
        typer.Argument(help="CSV files of Tardis, plain or gzipped; with --native VENUE:FILE of messages."),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The folder that the Parquet files go to; with --native the tape's.")
    ],
    native: Annotated[
        bool, typer.Option("--native", help="The files hold messages as the venue sent them, one a line.")
    ] = False,
    like: Annotated[
        Path | None,
        typer.Option("--like", help="With --native: take pairs, rules and configuration from this tape."),
    ] = None,
) -> None:
    """Read CSV files of Tardis (book_snapshot_N, incremental_book_L2, quotes) into Parquet, as `compact` makes it.

    With --native, files of messages become a recording in the tape --out instead.
    """
    require_libraries("arbshard tape import", "pyarrow")
    if native:
        _import_native(files, out, like)
        return
    if like is not None:
        raise UsageError("--like: only with --native")
    from arbshard.tape import TapeError
    from arbshard.tape.compaction import import_csv

    for file in map(Path, files):
        if not file.is_file():
            raise UsageError(f"{file}: no such file")
        try:
            found = import_csv(file, out)
        except TapeError as error:
            raise UsageError(str(error)) from error
        typer.echo(f"{file}: {sum(found.files.values()):,} rows, {len(found.files):,} files")
        for path in found.kept:
            typer.echo(f"  {path} holds more of its day, and was left as it is")


def _import_native(names: list[str], out: Path, like: Path | None) -> None:
    from arbshard.tape import TapeError
    from arbshard.tape.main import hold
    from arbshard.tape.native import NativeFile, import_native
    from arbshard.tape.reading import Tape

    files = []
    for given in names:
        venue, _, file = given.partition(":")
        if not file:
            raise UsageError(f"{given}: with --native name the venue too, as in VENUE:{given}")
        files.append(NativeFile(venue, Path(file)))
    try:
        described = _newest_info(Tape(like)) if like is not None else None
        lock = hold(out)
        try:
            done = import_native(files, out, described)
        finally:
            lock.release()
    except TapeError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written: {error.strerror}") from error
    typer.echo(f"{out}: {done.rows:,} rows, {_time(done.first_ns)} to {_time(done.last_ns)}")
    for venue, count in sorted(done.frames.items()):
        typer.echo(f"  {venue}: {count:,} messages, {done.books.get(venue, 0):,} of them with books")
    if described is None:
        typer.echo(
            "  without pairs and rules (--like), so it can be looked at and compacted, and not be traded on"
        )


def _newest_info(tape: "Tape") -> "SegmentInfo":
    from arbshard.tape.reading import TapeSegment

    return TapeSegment(tape.paths[-1]).info


def _tape_of(
    command: str, folder: Path | None, state_dir: str | None, name: str | None, config: Path | None
) -> "Tape":
    require_libraries(f"arbshard tape {command}", "pyarrow")
    from arbshard.tape import TapeError
    from arbshard.tape.reading import Tape

    try:
        return Tape(folder or state_dir_of(name, config, state_dir) / "tape")
    except TapeError as error:
        raise UsageError(f"{error}: `arbshard record` makes one beside a run") from error


def _report(tape: "Tape", *, as_json: bool) -> int:
    """Print what is in the tape. Returns the number of faults."""
    from arbshard.tape.reading import verify

    found = verify(tape)
    faults = len(found.faults) + found.suppressed
    if as_json:
        shown = {
            "folder": str(tape.folder), "segments": found.segments, "open_segments": found.open_segments,
            "bytes": found.bytes, "rows": found.rows, "marked_as_missing": found.marked,
            "content": [
                {"venue": venue, "kind": kind, **extent._asdict()}
                for (venue, kind), extent in sorted(found.extents.items())
            ],
            "faults": found.faults, "further_faults": found.suppressed,
        }  # fmt: skip
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown)).decode() + "\n")
        return faults
    frames = sum(extent.rows for (_, kind), extent in found.extents.items() if kind == "frame")
    per_million = f", {found.bytes / frames:,.1f} MB per million frames" if frames else ""
    typer.echo(
        f"{tape.folder}: {found.segments:,} segments ({found.open_segments:,} not closed), "
        f"{found.bytes / 1e6:,.2f} MB, {found.rows:,} rows, {found.marked:,} marked as missing{per_million}"
    )
    for (venue, kind), extent in sorted(found.extents.items()):
        typer.echo(
            f"  {venue:<10}  {kind:<11}  {extent.rows:>13,} rows  {extent.bytes / 1e6:>10,.2f} MB  "
            f"{_time(extent.first_ns)} to {_time(extent.last_ns)}"
        )
    for line in found.faults:
        typer.echo(f"  fault: {line}")
    if found.suppressed:
        typer.echo(f"  and {found.suppressed:,} more")
    return faults


def _time(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
