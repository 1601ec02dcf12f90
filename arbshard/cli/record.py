"""``arbshard record``: the tape of a running instance, written by this process beside it."""

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from arbshard.cli.options import ConfigOption, NameOption, config_of
from arbshard.errors import UsageError

if TYPE_CHECKING:
    from arbshard.model.rundir import RunFiles
    from arbshard.tape.writing import TapeBounds

_CHECK_S = 1.0
"""How often it is checked that the instance still runs."""
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
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Record what a running instance receives and decides, until Ctrl-C or the instance's end."""
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
    """The instance that is recorded, and what ends the recording."""

    def __init__(self, name: str, duration_s: float | None, *, follows: bool) -> None:
        self.name = name
        self._follows = follows
        self._end_s = time.monotonic() + duration_s if duration_s is not None else None
        self._signals = _signals()
        self._pid: int | None = None
        self._checked_s = 0.0

    def wait_for_start(self) -> bool:
        """Whether the instance runs; waits for that if it is to be followed. Raises ``UsageError`` otherwise."""
        from supervisor.places import running_pid

        while not self._why_stopped():
            self._pid = running_pid(self.name)
            if self._pid is not None and self.files().config.is_file():
                return True
            if not self._follows:
                raise UsageError(
                    f"no instance named '{self.name}' is running, and recording with feeds of its own is not built: "
                    "start `arbshard run`, or wait for it with --follow"
                )
            time.sleep(_FOLLOW_S)
        return False

    def why_over(self) -> str:
        """Why the recording of this run is over; empty while it is not."""
        from arbshard.tape.main import INSTANCE_ENDED
        from supervisor.places import running_pid

        now_s = time.monotonic()
        if now_s - self._checked_s >= _CHECK_S:
            self._checked_s = now_s
            if running_pid(self.name) != self._pid:
                return INSTANCE_ENDED
        return self._why_stopped()

    def files(self) -> "RunFiles":
        """The files of the run."""
        from arbshard.model.rundir import RunFiles
        from supervisor.places import find_run_dir

        return RunFiles(find_run_dir(self.name))

    def _why_stopped(self) -> str:
        if self._signals:
            return "stopped"
        return "the time is over" if self._end_s is not None and time.monotonic() >= self._end_s else ""


def _record_run(watched: _Watched, folder: Path | None, bounds: "TapeBounds") -> str:
    """Record one run of the instance; why that ended."""
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
    typer.echo(
        f"record: {found.frames:,} frames, {found.decisions:,} decisions, {found.rows:,} rows written, "
        f"{found.missed:,} missed, {found.lost:,} lost, {found.unreadable:,} unreadable: {found.why}",
        err=True,
    )
    return found.why


def _signals() -> list[int]:
    """Filled with the signals that ask for the end."""
    found: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda received, _: found.append(received))
    return found
