"""The risk process: ``python -m arbshard.risk --run-dir DIR --state-dir DIR``. Started by the supervisor.

Reads ``config.json`` and ``universe.json`` of the run directory, replays ``ledger.sqlite`` of the state directory,
and answers workers until it is told to end. Exit codes: ``server.ExitCode``.
"""

import argparse
import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import uvloop

from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.errors import ArbshardError, LedgerError, RunDirError, SharedMemoryError, UsageError
from arbshard.last_words import end_with, say
from arbshard.ledger.file import Opening
from arbshard.ledger.record import LedgerRecord, not_the_same, read_record, require_same
from arbshard.ledger.replay import recover
from arbshard.ledger.snapshots import SNAPSHOT_OVERDUE
from arbshard.ledger.store import LedgerStore
from arbshard.log import get_logger, setup
from arbshard.model.money import use_money_context
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.process import Parent, add_parent_option, keep_what_is_there, leave_ending_to_the_supervisor
from arbshard.risk.archivist import Archivist
from arbshard.risk.core import RiskCore, mode_of
from arbshard.risk.counters import COUNTERS, HISTOGRAMS, NOTE_BYTES
from arbshard.risk.disk import DiskWatch
from arbshard.risk.feeds import FeedWatch
from arbshard.risk.gaps import GapWatch
from arbshard.risk.note import NoteWriter
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.risk.server import ExitCode, RiskServer
from arbshard.risk.service import RiskService
from arbshard.risk.shards.workers import WorkerWatch
from arbshard.shm.books import BooksReader
from arbshard.shm.pages import PageReader, PageWriter
from arbshard.shm.universe import UniverseFile
from arbshard.version import __version__
from arbshard.wire.serve import ReplyServer

# Replies are also known by what they are about; these only spare the work for requests that just timed out.
_STORED_REPLIES = 8192

SAME = "same"
LEDGERS = ("any", "existing", "new", SAME)
"""What ``--ledger`` demands of the ledger: see ``ledger.file.Opening``; ``same``: the one this run began with."""

Shape = TypeVar("Shape", Config, Universe)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to end; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.risk")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--ledger", choices=LEDGERS, default="any")
    add_parent_option(parser)
    given = parser.parse_args(arguments)
    leave_ending_to_the_supervisor()
    use_money_context()
    try:
        files = RunFiles(given.run_dir)
        config = _read(files.config, Config)
        setup("risk", given.state_dir / "logs", config.run.log_level)
        return _run(files, given.state_dir, config, given.ledger, Parent(given.parent_pid))
    except (ArbshardError, OSError) as error:
        get_logger().error("risk ends", error=str(error))
        return end_with(_code_of(error), f"risk: {error}")
    except Exception:
        get_logger().exception("risk ends: a mistake in the program")
        raise


def _run(files: RunFiles, state_dir: Path, config: Config, which: str, parent: Parent) -> ExitCode:
    universe = _read(files.universe, Universe)
    clock = SystemClock()
    with contextlib.ExitStack() as cleanup:
        books = cleanup.enter_context(BooksReader.attach(files.books))
        last_note = _note_of_predecessor(files.risk_page)
        page = cleanup.enter_context(PageWriter.create(files.risk_page, COUNTERS, HISTOGRAMS, NOTE_BYTES))
        if last_note:
            page.write_note(last_note)  # the last that is known, until there is something newer
        page.set(page.counter("pid"), os.getpid())
        store = _open_ledger(files, state_dir / "ledger.sqlite", config, clock, which)
        cleanup.callback(store.abandon)
        is_new = store.last_seq == 0
        began_ns = clock.monotonic_ns()
        codec = PortfolioCodec()

        def beat() -> None:
            page.add(page.counter("beat"))
            page.set(page.counter("beat_ns"), clock.monotonic_ns())

        found = recover(store, codec, beat)
        state = found.state
        took_ms = (clock.monotonic_ns() - began_ns) // 1_000_000
        for why in found.ignored:
            get_logger().warning("snapshot ignored", why=why)
        core = RiskCore(config, universe, state, store.tag)
        service = RiskService(core, store, page, books, clock, UniverseFile(books, files.universe))
        was_stopped = state.is_stopped
        # Written once per run, so its time tells a restart of risk within a run from a new run.
        service.start(run=str(files.config.stat().st_mtime_ns), version=__version__)
        record = (
            LedgerRecord.begin(files.ledger_page, store, is_new=is_new)
            if read_record(files.ledger_page) is None
            else LedgerRecord.go_on(files.ledger_page)
        )
        cleanup.callback(record.close)
        record.note(store.last_seq)
        service.on_stored = record.note
        overdue = min(SNAPSHOT_OVERDUE, config.ledger.archive_events or SNAPSHOT_OVERDUE)
        store.keep_snapshots(codec.version, lambda: codec.dump(state), overdue)
        get_logger().info(
            "risk started",
            session=state.session,
            events=store.last_seq,
            replayed=found.replayed,
            snapshot=found.snapshot_seq,
            took_ms=took_ms,
            after_crash=not was_stopped,
        )
        _tell_of_strays(state, universe)
        age_ns_max = int(config.data_quality.max_book_age_ms * 1e6)
        gaps = GapWatch(books, universe, config.series, age_ns_max)
        service.on_universe = gaps.set_universe
        code = uvloop.run(_serve(files, config, service, core, store, page, parent, gaps, clock))
        if code is ExitCode.LEDGER:
            # The supervisor shows the last line of stderr.
            say(f"risk: {store.failure or 'the ledger failed; the log says why'}")
        else:
            store.close()
            page.set(page.counter("closed"), 1)
        get_logger().info("risk ended", code=int(code))
    return code


async def _serve(
    files: RunFiles,
    config: Config,
    service: RiskService,
    core: RiskCore,
    store: LedgerStore,
    page: PageWriter,
    parent: Parent,
    gaps: GapWatch,
    clock: SystemClock,
) -> ExitCode:
    with (
        ReplyServer(
            files.risk_endpoint,
            service.handle,
            _STORED_REPLIES,
            also=(files.risk_zmq_endpoint,) if config.run.requests == "zmq" else (),
        ) as transport,
        contextlib.closing(FeedWatch(files.supervisor_page)) as feeds,
        contextlib.closing(
            WorkerWatch(files, config.run.shards, int(config.run.stuck_after_ms * 1e6))
        ) as workers,
    ):
        note = NoteWriter(core, config.reporting)

        def count(done: bool) -> None:
            page.add(page.counter("archived" if done else "archive_failures"))

        archivist = Archivist(store, config.ledger.archive_events, os.environ, count)
        server = RiskServer(
            service,
            core.state,
            store,
            page,
            transport,
            parent.is_gone,
            feeds,
            gaps,
            note,
            workers,
            DiskWatch(store, config.run, core.guard, page),
            config.run.stuck_after_ms,
            clock,
            archivist,
        )
        keep_what_is_there()
        return await server.run()


def _open_ledger(files: RunFiles, path: Path, config: Config, clock: SystemClock, which: str) -> LedgerStore:
    """The ledger that may be written in this run. Raises ``LedgerError``, ``UsageError``."""
    noted = read_record(files.ledger_page)
    is_successor = which == SAME
    if is_successor and noted is None:
        raise not_the_same(path, "the run directory no longer says which ledger that was")
    if is_successor and not path.exists():
        raise not_the_same(path, "there is no file")
    opening: Opening = (
        "existing" if is_successor or which == "existing" else "new" if which == "new" else "any"
    )
    store = LedgerStore.open(
        path,
        name=config.name,
        mode=mode_of(config),
        now_ms=clock.wall_ms(),
        durable=config.mode == "live",
        opening=opening,
    )
    try:
        if noted is not None:
            require_same(noted, store)
    except LedgerError:
        store.abandon()
        raise
    return store


def _note_of_predecessor(path: Path) -> bytes:
    try:
        with PageReader.attach(path) as page:
            return page.note()
    except SharedMemoryError:
        return b""  # there was none


def _tell_of_strays(state: PortfolioState, universe: Universe) -> None:
    """Positions and intents of pairs that are not traded in this run wait for one in which they are."""
    traded = {pair.base for pair in universe.pairs}
    positions = sorted(one.position_id for one in state.positions.values() if one.pair not in traded)
    intents = sorted(trade for pair, trade in state.busy.items() if pair not in traded)
    if positions or intents:
        get_logger().warning("of pairs not traded now", positions=positions, intents=intents)


def _read(path: Path, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except OSError as error:
        raise RunDirError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise RunDirError(f"{path}: {error}") from error


def _code_of(error: Exception) -> ExitCode:
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, LedgerError) or is_full:
        return ExitCode.LEDGER
    return ExitCode.USAGE if isinstance(error, UsageError) else ExitCode.FAILED
