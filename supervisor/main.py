"""Implements the process of ``arbshard run``: checks what a run needs, runs, and reports how it went."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import uvloop

from arbshard import native
from arbshard.alerts.sending import check_alerts
from arbshard.clock import SystemClock
from arbshard.config import Config
from arbshard.data.http import load_library
from arbshard.data.stream import open_stream
from arbshard.errors import ArbshardError, RunDirError, RunFailed, RunStopped, SharedMemoryError, UsageError
from arbshard.execution.live.keys import is_key_variable, load_keys
from arbshard.last_words import settle_streams
from arbshard.ledger.file import Opening, check_opening
from arbshard.log import flush, get_logger, setup
from arbshard.model.money import use_money_context
from arbshard.model.notes import RECORDING, RunState
from arbshard.model.rundir import reason_of
from arbshard.model.universe import Universe
from arbshard.optional import how_to_install, require_libraries
from arbshard.process import (
    forbid_core_dumps,
    forget_variables,
    freeze_gc,
    pin,
    private_files,
)
from arbshard.repeat import repeat
from arbshard.status.collect import Collector
from arbshard.status.model import Status
from arbshard.status.summary import Summary, summarise
from arbshard.venues.keys import Keys
from arbshard.wire.bus import Publisher
from arbshard.wire.doorbell import BusRinger
from arbshard.wire.links import require_ports
from arbshard.wire.serve import ReplyServer
from supervisor.ledger import ledger_in, opening_of
from supervisor.ports import SupervisorPorts
from supervisor.preflight import finder, read_again
from supervisor.processes.posix import PosixHost
from supervisor.processes.specs import Programs
from supervisor.run import Run
from supervisor.rundir import RunDir
from supervisor.service_manager import ServiceManager, service_manager_of_this_process
from supervisor.statedir import StateDir, state_dir_of


class Options(NamedTuple):
    """Is what the command line adds to the configuration."""

    duration_s: float | None = None
    summary: Path | None = None
    keep_positions: bool = False
    new_ledger: bool = False
    recorder: tuple[str, ...] | None = None
    """Arguments of the process that writes a tape, for a run that only records; None for a run that trades."""
    service: bool = False
    """Whether a service manager has started the run, and starts it again when its exit code is not 0. The start waits
    for venues that do not answer.
    """


class _End(NamedTuple):
    """Says how a run has ended."""

    summary: Summary | None
    """None for a run that only records, and for one whose pages could not be read at its end."""
    was_asked: bool
    """Whether it was asked to end, and nothing kept it from going on."""
    has_begun: bool = True


_PROGRAMS = Programs()


def run(config: Config, options: Options, programs: Programs = _PROGRAMS) -> int:
    """Run until stopped. Return the exit code: 0 for a clean run, 1 for one with ``Summary.problems``.

    As a service, a run that was asked to end returns 0 whatever its problems, so that it stays ended. Raises
    ``UsageError`` for what the person must change; nothing is left behind then.
    """
    use_money_context()
    forbid_core_dumps()
    if options.summary is not None:
        _require_writable(options.summary)
    with private_files(), _EndSignals() as signals:
        end = _supervise(config, options, programs, signals)
    # The summary belongs to the user: it is made with the mode that the user's files have.
    if options.recorder is not None or not end.has_begun:
        return 0
    code = _report(end.summary, options) if end.summary is not None else 1
    return 0 if options.service and end.was_asked else code


class _EndSignals:
    """Are the signals by which a person ends a run: Ctrl-C, SIGTERM, and SIGHUP when the terminal is closed.

    One that comes before the run can end in order is kept until it can, so that every run that has made its
    directories removes them. What the process did at these signals before holds again afterwards.
    """

    def __init__(self) -> None:
        self._came_early = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                self._before[number] = signal.signal(number, self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _keep(self, *_: object) -> None:
        self._came_early = True

    def end(self, one: Run) -> None:
        """End ``one`` in order from now on, and at once if a signal has come already."""
        loop = asyncio.get_running_loop()
        for number in self._before:
            loop.add_signal_handler(number, one.request_stop)
        if self._came_early:
            one.request_stop()


def _supervise(config: Config, options: Options, programs: Programs, signals: _EndSignals) -> _End:
    """Run with the real ports, and return how the run ended."""
    table = sys.stdout.isatty() and options.recorder is None
    state_dir = state_dir_of(config)
    opening = opening_of(config, is_new=options.new_ledger)
    if config.cluster is None or opening == "new":  # a host without a ledger gets the copy of another one
        check_opening(ledger_in(state_dir), opening)  # before anything is made there
    keys = load_keys(config) if config.mode == "live" else {}
    forget_variables([name for name in os.environ if is_key_variable(name)])
    manager = service_manager_of_this_process()
    run_dir = RunDir.acquire(config.name, apart_from=state_dir)
    try:
        state = StateDir.hold(state_dir)
        try:
            _open_log(state_dir, config.run.log_level, console=not table)
            for warning in (*run_dir.warnings, *state.warnings):
                get_logger().warning(warning)
            if config.cluster is not None:
                require_ports(config.cluster)
            pin(config.run.pin_cores, 0)
            one = _prepared(
                config,
                run_dir,
                state_dir,
                programs,
                opening,
                keys,
                manager,
                table=table,
                recorder=options.recorder,
                is_service=options.service,
            )
            return uvloop.run(_run(one, options, manager, signals))
        except RunStopped as stopped:
            get_logger().info("stopped", why=str(stopped))
            return _End(None, was_asked=True, has_begun=False)
        finally:
            state.release()
    finally:
        run_dir.release()
        flush()  # the rest of the log belongs before the last line, which says what went wrong
        settle_streams()


def _open_log(state_dir: Path, level: str, *, console: bool) -> None:
    try:
        setup("supervisor", state_dir / "logs", level, console=console, must_write=True)
    except OSError as error:
        raise RunDirError(f"state directory {state_dir} cannot be written: {error.strerror}") from error


def _prepared(
    config: Config,
    run_dir: RunDir,
    state_dir: Path,
    programs: Programs,
    opening: Opening,
    keys: dict[str, Keys],
    manager: ServiceManager,
    *,
    table: bool,
    recorder: Sequence[str] | None,
    is_service: bool,
) -> Run:
    try:
        return Run(
            config,
            run_dir.files,
            state_dir,
            real_ports(config, run_dir, keys, manager),
            table=table,
            companions=_companions(config) if recorder is None else (),
            programs=programs,
            opening=opening,
            keys=keys,
            recorder=recorder,
            waits_for_venues=is_service,
        )
    except SharedMemoryError as error:
        raise RunDirError(f"could not start: {error}") from error


def _companions(config: Config) -> list[str]:
    """Return the processes beside a run that are wanted. Raises ``UsageError`` for a missing library that was asked
    for.
    """
    companions = []
    if _keeps_series(config):
        companions.append("series")
    if config.metrics.enabled:
        require_libraries("[metrics] enabled = true", "prometheus_client")
        companions.append("metrics")
    if config.alerts.enabled:
        check_alerts(config.alerts)
        companions.append("alerts")
    if config.web.enabled:
        companions.append("web")
    return companions


def _keeps_series(config: Config) -> bool:
    return config.sampling.enabled and find_spec("pyarrow") is not None


class _RunLog:
    """Is ``ports.RunObserver`` by the log, and by messages to the service manager."""

    def __init__(self, manager: ServiceManager, config: Config) -> None:
        self._manager = manager
        self._config = config
        self._has_begun = False

    def alerted(self, line: str) -> None:
        """Write an alert."""
        get_logger().warning("alert", what=line)

    def state_changed(self, state: RunState) -> None:
        """Write how far the run has come; when it has begun, by what it works.

        A run that finds no pairs ends with one line, and nothing is written before it.
        """
        get_logger().debug("state", state=state)
        if state == "running" and not self._has_begun:
            self._has_begun = True
            get_logger().info("compiled twin", used=native.IS_BUILT, why_not=native.WHY_NOT)
            if self._config.sampling.enabled and not _keeps_series(self._config):
                how = how_to_install("pyarrow")
                get_logger().info(f"no series are kept: pyarrow is not installed ({how})")
        self._manager.change_state(state)

    def start_delayed(self, why: str, pause_s: float) -> None:
        """Let the service manager wait as well."""
        self._manager.delay_start(why, pause_s)

    def universe_changed(self, universe: Universe) -> None:
        """Write which universe is in force."""
        get_logger().info(
            "universe", serial=universe.serial, pairs=len(universe.pairs), moving=universe.unassigned()
        )


def real_ports(
    config: Config, run_dir: RunDir, keys: dict[str, Keys], manager: ServiceManager | None = None
) -> SupervisorPorts:
    """Return the ports of the operating system, with real sockets and real venues."""
    return SupervisorPorts(
        clock=SystemClock(),
        pid=os.getpid(),
        cpu_ns=time.thread_time_ns,
        host=PosixHost(),
        open_bus=lambda endpoint, high_water: Publisher(endpoint, high_water=high_water),
        open_server=ReplyServer,
        open_ringer=lambda bus, shard: BusRinger(bus, shard) if config.run.transport == "zmq" else None,
        opener=open_stream,
        fetch=None,
        find_universe=finder(keys),
        read_listings=read_again,
        note_children=run_dir.note_children,
        before_trading=freeze_gc,
        observer=_RunLog(manager or ServiceManager(), config),
    )


def _feed_watchdog(one: Run, manager: ServiceManager) -> float | None:
    """Feed the manager's watchdog if the run is well. Return the seconds until the next time; None without a
    watchdog.
    """
    if not manager.feed_s:
        return None
    if one.is_well():
        manager.feed_watchdog()
    return manager.feed_s


async def _run(one: Run, options: Options, manager: ServiceManager, signals: _EndSignals) -> _End:
    collector = Collector(one.files.dir, SystemClock())
    seen: list[Status] = []
    summaries: list[Summary] = []

    def progress() -> None:
        status = collector.collect()
        if status is None:
            return
        seen[:] = [status]
        _log_progress(status)
        manager.show(status)

    async def last_look() -> None:
        status = _last_status(collector) if options.recorder is None else None
        if status is not None:
            failure = str(one.failure) if one.failure is not None else ""
            alive = seen[0] if seen else None
            summaries.append(
                summarise(status, alive=alive, failure=failure, keeps_positions=one.keeps_positions)
            )

    signals.end(one)
    # The venues are asked by HTTP soon. The library is imported while the exchanges start.
    loading = asyncio.create_task(asyncio.to_thread(load_library), name="http library")
    watchdog = asyncio.create_task(repeat(lambda: _feed_watchdog(one, manager)), name="service manager")
    try:
        await one.run(options.duration_s, progress, last_look, keep_positions=options.keep_positions)
    except ArbshardError as error:
        if one.has_started or isinstance(error, UsageError | RunStopped):
            raise
        raise UsageError(f"could not start: {error}") from error
    except OSError as error:
        if one.has_started:
            raise
        where = error.filename or one.files.dir
        raise RunDirError(f"could not start: {where}: {reason_of(error)}") from error
    finally:
        watchdog.cancel()
        manager.close()
        await loading
    if options.recorder is not None and one.failure is not None:
        raise one.failure
    return _End(summaries[0] if summaries else None, one.is_stopping and one.failure is None)


def _log_progress(status: Status) -> None:
    msg_s = round(sum(venue.msg_s for venue in status.venues))
    if status.order_mode == RECORDING:
        frames = sum(venue.frames for venue in status.venues)
        get_logger().info("recording", frames=frames, msg_s=msg_s, errors=status.errors)
        return
    portfolio = status.portfolio
    get_logger().info(
        "progress",
        state=status.state,
        entries=portfolio.entries,
        exits=portfolio.exits,
        open=portfolio.open,
        pnl=f"{float(portfolio.pnl):,.0f} {portfolio.currency}",
        msg_s=msg_s,
        p50_us=status.latency_us.p50,
        p99_us=status.latency_us.p99,
        errors=status.errors,
    )


def _last_status(collector: Collector) -> Status | None:
    """Return the status; None when it cannot be read, because all has ended in order and only the summary is
    missing.
    """
    try:
        return collector.collect()
    except Exception as error:  # noqa: BLE001 - only the summary is missing then
        get_logger().error("the last status cannot be read", exc_info=error)
        return None


def _report(summary: Summary, options: Options) -> int:
    # The run itself draws nothing.
    from arbshard.status.render import terminal
    from arbshard.status.render_summary import render_summary

    try:
        terminal().print(render_summary(summary))
    except OSError as error:  # the terminal was closed, which is why the run ends
        get_logger().warning("the summary cannot be shown", error=str(error))
    if options.summary is not None:
        try:
            options.summary.write_bytes(msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
        except OSError as error:
            raise RunFailed(f"--summary {options.summary} cannot be written: {error.strerror}") from error
    return 0 if summary.ok else 1


def _require_writable(path: Path) -> None:
    """Raise ``UsageError`` when the summary could not be written to ``path`` at the end of the run."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"--summary {path}: no such directory")
    if path.is_dir():
        raise UsageError(f"--summary {path}: is a directory; name a file")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"--summary {path}: cannot be written: Permission denied")
