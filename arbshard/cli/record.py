"""Defines ``arbshard record``, which writes the tape of a running instance, or of feeds opened for the recording
alone.
"""

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from msgspec.structs import replace

from arbshard.cli.options import REGIME_HELP, ConfigOption, NameOption, StateOption, config_of, symbols_of
from arbshard.errors import UsageError

if TYPE_CHECKING:
    from arbshard.config import Config
    from arbshard.model.rundir import RunFiles
    from arbshard.tape.writing import TapeBounds

_CHECK_S = 1.0
"""Interval in seconds at which it is checked that the instance still runs."""
_FOLLOW_S = 0.5

DirOption = Annotated[
    Path | None, typer.Option("--dir", help="The tape's folder; default: tape in the state directory.")
]


def record(
    folder: DirOption = None,
    duration: Annotated[
        float | None, typer.Option("--duration", min=0.0, help="End after so many seconds.")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Wait for the instance's next start when it ends or does not run."),
    ] = False,
    segment_minutes: Annotated[
        float, typer.Option("--segment-minutes", min=0.01, help="Begin a new segment after so long.")
    ] = 10.0,
    segment_mb: Annotated[
        float, typer.Option("--segment-mb", min=0.01, help="Begin a new segment at this size.")
    ] = 64.0,
    keep_hours: Annotated[
        float, typer.Option("--keep-hours", min=0.01, help="Remove segments that are older.")
    ] = 168.0,
    keep_mb: Annotated[
        float, typer.Option("--keep-mb", min=0.01, help="Remove the oldest segments beyond this size in all.")
    ] = 10_000.0,
    free_mb: Annotated[
        float, typer.Option("--free-mb", min=0.0, help="Write nothing while less is free on the disk.")
    ] = 500.0,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Record without a run, with connections of its own; nothing is traded."),
    ] = False,
    symbols: Annotated[
        str | None,
        typer.Option("--symbols", help="Record these pairs alone, by base or market: KRW-BTC,ETH,SOLUSDT."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Record alone, of sim (embedded) or public (real) exchanges.")
    ] = None,
    regime: Annotated[str | None, typer.Option("--regime", help=f"Record alone. {REGIME_HELP}")] = None,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Record what a running instance receives and decides, until Ctrl-C or the instance's end.

    With --alone, --symbols, --data or --regime no instance is needed: the feeds are opened for the recording.
    """
    from arbshard.optional import require_libraries

    require_libraries("arbshard record", "pyarrow")
    from arbshard.log import flush
    from arbshard.tape.main import INSTANCE_ENDED
    from arbshard.tape.writing import TapeBounds

    bounds = TapeBounds(
        segment_ns=int(segment_minutes * 60e9),
        segment_bytes=int(segment_mb * 1e6),
        keep_ms=int(keep_hours * 3_600_000),
        keep_bytes=int(keep_mb * 1e6),
        free_bytes_min=int(free_mb * 1e6),
    )
    if alone or symbols is not None or data is not None or regime is not None:
        if follow:
            raise UsageError("--follow: records an instance that trades; a recording of its own needs none")
        overrides = {
            "run": {} if symbols is None else {"symbols": symbols_of(symbols)},
            "sim": {} if regime is None else {"regime": regime},
        } | ({} if data is None else {"data": data})
        _record_alone(config_of(name, config, state_dir, overrides), folder, duration, bounds)
        return
    if state_dir is not None:
        raise UsageError(
            "--state-dir: the instance that is recorded has its own; --dir says where the tape goes"
        )
    watched = _Watched(config_of(name, config).name, duration, follows=follow)
    why = INSTANCE_ENDED
    while why == INSTANCE_ENDED and watched.wait_for_start():
        try:
            why = _record_run(watched, folder, bounds)
        finally:
            flush()
        if not follow:
            return


class _Watched:
    """Follows the instance that is recorded, and knows what ends the recording."""

    def __init__(self, name: str, duration_s: float | None, *, follows: bool) -> None:
        self.name = name
        self._follows = follows
        self._end_s = time.monotonic() + duration_s if duration_s is not None else None
        self._signals = _signals()
        self._pid: int | None = None
        self._checked_s = 0.0

    def wait_for_start(self) -> bool:
        """Return whether the instance runs; wait for that if it is to be followed. Raises ``UsageError``
        otherwise.
        """
        from supervisor.places import running_pid

        is_said = False
        while not self._why_stopped():
            self._pid = running_pid(self.name)
            if self._pid is not None and self.files().raw_socket.exists():
                return True
            if self._pid is not None and not is_said:
                # It waits for the listings of the venues, or is of a version that has no such socket.
                typer.echo(f"waiting for {self.name}, which does not publish its messages yet", err=True)
                is_said = True
            if self._pid is None and not self._follows:
                raise UsageError(
                    f"no instance named '{self.name}' is running: start `arbshard run`, wait for it with --follow, "
                    "or record without one with --alone"
                )
            time.sleep(_FOLLOW_S)
        return False

    def why_over(self) -> str:
        """Return why the recording of this run is over; empty while it is not."""
        from arbshard.tape.main import INSTANCE_ENDED
        from supervisor.places import running_pid

        now_s = time.monotonic()
        if now_s - self._checked_s >= _CHECK_S:
            self._checked_s = now_s
            if running_pid(self.name) != self._pid:
                return INSTANCE_ENDED
        return self._why_stopped()

    def files(self) -> "RunFiles":
        """Return the files of the run."""
        from arbshard.model.rundir import RunFiles
        from supervisor.places import find_run_dir

        return RunFiles(find_run_dir(self.name))

    def _why_stopped(self) -> str:
        if self._signals:
            return "stopped"
        return "the time is over" if self._end_s is not None and time.monotonic() >= self._end_s else ""


def _record_run(watched: _Watched, folder: Path | None, bounds: "TapeBounds") -> str:
    """Record one run of the instance. Returns why that ended."""
    from arbshard.config import Config
    from arbshard.log import setup
    from arbshard.tape.main import hold, record_run
    from supervisor.statedir import state_dir_of

    files = watched.files()
    state_dir = state_dir_of(msgspec.json.decode(files.config.read_bytes(), type=Config))
    setup("record", state_dir / "logs", "info", console=True)
    target = folder or state_dir / "tape"
    try:
        lock = hold(target)
    except OSError as error:
        raise UsageError(f"--dir {target}: cannot be written: {error.strerror}") from error
    typer.echo(f"recording {watched.name} into {target}", err=True)
    try:
        found = record_run(watched.name, files, state_dir / "ledger.sqlite", target, bounds, watched.why_over)
    finally:
        lock.release()
    typer.echo(found.line(), err=True)
    return found.why


def _record_alone(
    config: "Config", folder: Path | None, duration: float | None, bounds: "TapeBounds"
) -> None:
    """Record with feeds of its own: a supervisor whose children are neither risk nor workers but the recorder."""
    from supervisor.main import Options
    from supervisor.main import run as supervise
    from supervisor.statedir import state_dir_of

    target = (folder or state_dir_of(config) / "tape").absolute()
    typer.echo(f"recording {config.name} alone into {target}", err=True)
    config = replace(config, mode="paper", run=replace(config.run, shards=1, spare_workers=0))
    recorder = ("--dir", str(target), "--bounds", msgspec.json.encode(bounds).decode())
    raise typer.Exit(supervise(config, Options(duration, recorder=recorder)))


def _signals() -> list[int]:
    """Return a list to which the signals that request the end are added when they arrive."""
    found: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda received, _: found.append(received))
    return found
