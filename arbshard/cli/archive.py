"""Defines ``arbshard ledger archive`` and ``prove``, which close a period, and check that closed ones have not
changed. With them, ``app`` has all commands of ``arbshard ledger``.
"""

import gc
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from arbshard.cli.ledger import app, ledger_of
from arbshard.cli.options import ConfigOption, NameOption, StateOption, wall_ms_of
from arbshard.errors import LedgerBusy, LedgerError, UsageError
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.store import LedgerStore

_TRIES = 50
_PAUSE_S = 0.1
"""Pause in seconds between attempts: readers lock the file for the duration of one query."""


@app.command("archive")
def ledger_archive(
    before: Annotated[
        str | None, typer.Option("--before", help="Only events before this ISO date or time (UTC).")
    ] = None,
    keep_days: Annotated[
        int | None, typer.Option("--keep-days", min=0, help="Only events before the last so many UTC days.")
    ] = None,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Close the period: move its events into archives. The instance must not be running."""
    from arbshard.ledger.archive import folder_of
    from arbshard.model.money import use_money_context

    use_money_context()
    if before is not None and keep_days is not None:
        raise UsageError("--before and --keep-days cannot be given together")
    path = ledger_of(name, config, state_dir)
    until_ms = None if before is None else wall_ms_of("before", before)
    if keep_days is not None:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        until_ms = int((today - timedelta(days=keep_days)).timestamp() * 1000)
    with LedgerReader(path) as reader:
        mode, meta_name, first_seq = reader.meta["mode"], reader.meta.get("name", ""), reader.first_seq
    now_ms = time.time_ns() // 1_000_000
    store = LedgerStore.open(path, name=meta_name, mode=mode, now_ms=now_ms, durable=True)
    try:
        cut = _archive(store, until_ms)
    finally:
        store.abandon()
    if cut is None:
        typer.echo(f"{path}: nothing to archive: no event of its period is so old")
        return
    typer.echo(f"{folder_of(path)}: events {first_seq:,} to {cut:,} are archived")
    typer.echo(f"{path}: goes on from event {cut + 1:,}, {path.stat().st_size / 1e6:,.1f} MB")


def _archive(store: LedgerStore, until_ms: int | None) -> int | None:
    """Archive events older than ``until_ms`` (None: all). Returns the number of the last archived event.

    Raises ``LedgerError``.
    """
    from arbshard.ledger.archiving import close_period, cut_before, take_cut
    from arbshard.risk.portfolio.snapshot import PortfolioCodec

    gc.disable()  # see ``verify``
    with LedgerReader(store.path) as reader:
        seq = cut_before(reader, until_ms)
        if seq is None:
            return None
        codec = PortfolioCodec()
        successor = close_period(reader, take_cut(reader, codec, seq))
    for attempt in range(1, _TRIES + 1):
        try:
            store.take_over(successor)
        except LedgerBusy as error:
            if attempt == _TRIES:
                raise LedgerError(f"{error}; close it, then archive again") from error
            time.sleep(_PAUSE_S)
        else:
            break
    return seq


@app.command("prove")
def ledger_prove(state_dir: StateOption = None, name: NameOption = None, config: ConfigOption = None) -> None:
    """Recompute the chain of digests over all archives and the ledger. Exit code 1 at the first broken link."""
    from arbshard.ledger.prove import prove

    path = ledger_of(name, config, state_dir)
    for link in prove(path):
        events = f"events {link.first_seq:,} to {link.last_seq:,}"
        if link.last_seq < link.first_seq:
            events = "no event yet"
        typer.echo(f"{link.name}: {events}, {'digest ' + link.digest[:16] if link.digest else 'open'}")
