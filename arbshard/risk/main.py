"""Implements the risk process: ``python -m arbshard.risk --run-dir DIR --state-dir DIR``.

The supervisor starts it. It reads ``config.json`` and ``universe.json`` of the run directory, replays
``ledger.sqlite`` of the state directory, and answers workers until it is asked to end. With ``--ready``, on a host of
a cluster that does not lead, it waits with everything imported until it is given the term in which the host leads;
before that it neither opens the ledger nor writes anything. Exit codes: ``assembly.ExitCode``.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import uvloop

from arbshard.clock import SystemClock, lease_ns
from arbshard.config import Config
from arbshard.config.cluster import ClusterConfig
from arbshard.config.cluster_file import read_host_keys
from arbshard.errors import ArbshardError, RunDirError, UsageError
from arbshard.last_words import end_with, write_stderr_line
from arbshard.ledger.file import Opening
from arbshard.ledger.record import not_the_same, read_record
from arbshard.ledger.store import LedgerStore
from arbshard.log import get_logger, setup
from arbshard.model.money import use_money_context
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.process import Parent, add_parent_option, freeze_gc, leave_ending_to_the_supervisor
from arbshard.ready import wait_for_numbers
from arbshard.risk.assembly import ClusterPorts, ExitCode, Risk, RiskPorts, exit_code_of
from arbshard.risk.core import mode_of
from arbshard.shm.books import BooksReader
from arbshard.shm.pages import PageReader
from arbshard.wire.replies import Handler
from arbshard.wire.serve import HoldingReplyServer, ReplyServer

if TYPE_CHECKING:
    from arbshard.wire.links import HostLinks

SAME = "same"
LEDGERS = ("any", "existing", "new", SAME)
"""What ``--ledger`` demands of the ledger: see ``ledger.file.Opening``; ``same``: the one this run began with."""

Shape = TypeVar("Shape", Config, Universe)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until asked to stop. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m arbshard.risk")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--ledger", choices=LEDGERS, default="any")
    parser.add_argument("--term", type=int, default=0, help="lead the cluster of config.json in this term")
    parser.add_argument("--ready", action="store_true", help="wait on stdin for the term")
    add_parent_option(parser)
    given = parser.parse_args(arguments)
    leave_ending_to_the_supervisor()
    use_money_context()
    try:
        files = RunFiles(given.run_dir)
        config = _read(files.config, Config)
        if not given.ready:
            setup("risk", given.state_dir / "logs", config.run.log_level)
        asked = _Asked(given.ledger, given.term, given.ready, Parent(given.parent_pid))
        return _run(files, given.state_dir, config, asked)
    except (ArbshardError, OSError) as error:
        get_logger().error("risk ends", error=str(error))
        return end_with(exit_code_of(error), f"risk: {error}")
    except Exception:
        get_logger().exception("risk ends: a mistake in the program")
        raise


class _Asked(NamedTuple):
    ledger: str
    term: int
    is_ready: bool
    """Whether the term is awaited."""
    parent: Parent


def _run(files: RunFiles, state_dir: Path, config: Config, asked: _Asked) -> ExitCode:
    cluster = config.cluster
    if (cluster is None) != (asked.term == 0 and not asked.is_ready):
        raise UsageError(
            "--term or --ready: is for a run with a cluster, and a run with a cluster needs one of them"
        )
    universe = _read(files.universe, Universe)
    clock = SystemClock()
    with BooksReader.attach(files.books) as books:
        ports = RiskPorts(
            clock=clock,
            files=files,
            pid=os.getpid(),
            # The file is written once per run, so its time distinguishes a restart of risk within a run from a new
            # run.
            run=str(files.config.stat().st_mtime_ns),
            is_orphan=asked.parent.is_gone,
            open_ledger=partial(
                _open_ledger, files, state_dir / "ledger.sqlite", config, clock, asked.ledger
            ),
            listen=partial(_listen, files, config),
            gap_folder=state_dir / "gaps",
            environ=os.environ,
            on_ready=freeze_gc,
        )
        if cluster is None:
            return uvloop.run(_serve(ports, config, universe, books))
        if asked.is_ready:
            return uvloop.run(_lead_when_elected(ports, config, cluster, state_dir, books))
        return uvloop.run(_lead(ports, config, cluster, asked.term, universe, books))


async def _lead_when_elected(
    ports: RiskPorts, config: Config, cluster: ClusterConfig, state_dir: Path, books: BooksReader
) -> ExitCode:
    """Wait for the term in which this host leads, and serve as its leader."""
    import arbshard.wire.links  # noqa: F401 - what leading needs is imported before the wait

    freeze_gc()
    numbers = await wait_for_numbers(ports.is_orphan, "term")
    if numbers is None:
        return ExitCode.ORPHANED
    setup("risk", state_dir / "logs", config.run.log_level)
    universe = _read(ports.files.universe, Universe)  # it may be another one by now
    return await _lead(ports, config, cluster, numbers[0], universe, books)


async def _lead(
    ports: RiskPorts,
    config: Config,
    cluster: ClusterConfig,
    term: int,
    universe: Universe,
    books: BooksReader,
) -> ExitCode:
    """Serve as the leader of a cluster."""
    # ZeroMQ takes an eighth of the start of risk, and without a cluster nothing of it is used.
    from arbshard.wire.links import HostLinks, HostServer

    with (
        HostLinks(cluster, read_host_keys(cluster).curve) as links,
        PageReader.attach(ports.files.cluster_page) as agent,
    ):
        leading = ClusterPorts(
            cluster=cluster,
            term=term,
            lease_ns=lease_ns,
            lead_until_ns=partial(agent.value, "lead_until_ns"),
            serve=partial(HostServer, links, cluster.own.follow_endpoint),
            refused=lambda: links.refused,
        )
        # A change of the leader is a restart of risk within the same run: epochs and halts stay.
        ports = ports._replace(
            run=f"cluster:{cluster.name}",
            listen=partial(_listen_to_hosts, ports.files, config, links, term),
            cluster=leading,
        )
        return await _serve(ports, config, universe, books)


async def _serve(ports: RiskPorts, config: Config, universe: Universe, books: BooksReader) -> ExitCode:
    with Risk(ports, config, universe, books) as risk:
        code = await risk.run()
    if risk.failure is not None:
        write_stderr_line(f"risk: {risk.failure}")  # the supervisor shows the last line of stderr
    return code


def _listen(files: RunFiles, config: Config, handler: Handler, stored_replies: int) -> ReplyServer:
    also = (files.risk_zmq_endpoint,) if config.run.transport == "zmq" else ()
    return ReplyServer(files.risk_endpoint, handler, stored_replies, also=also)


def _listen_to_hosts(
    files: RunFiles, config: Config, links: "HostLinks", term: int, handler: Handler, stored_replies: int
) -> ReplyServer:
    from arbshard.wire.links import HostListener

    also = (files.risk_zmq_endpoint,) if config.run.transport == "zmq" else ()
    others = HostListener(links, links.own.requests_endpoint, term)
    return HoldingReplyServer(files.risk_endpoint, handler, stored_replies, also=also, listeners=(others,))


def _open_ledger(files: RunFiles, path: Path, config: Config, clock: SystemClock, which: str) -> LedgerStore:
    """Return the ledger that may be written in this run. Raises ``LedgerError``, ``UsageError``."""
    noted = read_record(files.ledger_page)
    is_successor = which == SAME
    if is_successor and noted is None and config.cluster is None:
        raise not_the_same(path, "the run directory no longer says which ledger that was")
    if is_successor and not path.exists():
        raise not_the_same(path, "there is no file")
    opening: Opening = (
        "existing" if is_successor or which == "existing" else "new" if which == "new" else "any"
    )
    return LedgerStore.open(
        path,
        name=config.name,
        mode=mode_of(config),
        now_ms=clock.wall_ms(),
        durable=config.mode == "live",
        opening=opening,
    )


def _read(path: Path, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except OSError as error:
        raise RunDirError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise RunDirError(f"{path}: {error}") from error
