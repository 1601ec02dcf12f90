"""Defines ``arbshard logs``, which shows what the processes of an instance have logged, one line for each record."""

import json
import time
from collections import deque
from collections.abc import Iterator
from heapq import merge
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import typer

from arbshard.cli.completion import complete_processes
from arbshard.cli.ledger_state import last_state_dir
from arbshard.cli.options import (
    ConfigOption,
    NameOption,
    SinceOption,
    StateOption,
    config_of,
    state_dir_of,
    wall_ms_of,
)
from arbshard.closable import Closable
from arbshard.errors import UsageError

LEVELS = ("debug", "info", "warning", "error", "critical")
_FIELDS = ("timestamp", "level", "event", "process")
_LOOK_EVERY_S = 0.2
_NUMBERED_MAX = 5
"""Number of rotated files of a process: ``risk.jsonl.1`` is the one before ``risk.jsonl``."""


class ShownRecord(NamedTuple):
    """Represents one log record."""

    timestamp: str
    process: str
    level: str
    raw: str

    def is_wanted(self, least: int, since: str) -> bool:
        """Return whether the record is serious and new enough."""
        severity = LEVELS.index(self.level) if self.level in LEVELS else len(LEVELS)
        return severity >= least and self.timestamp >= since

    def text(self) -> str:
        """Return the record as one line for people."""
        try:
            record: dict[str, Any] = json.loads(self.raw)
        except ValueError:
            return self.raw
        more = " ".join(f"{key}={value}" for key, value in record.items() if key not in _FIELDS)
        head = f"{self.timestamp[:23]:23} {self.process:11} {self.level:8} {record.get('event', '')}"
        return f"{head}  {more}".rstrip()


def logs(
    process: Annotated[
        list[str] | None,
        typer.Option(
            "--process",
            help="Only this process, such as supervisor, risk or worker-1; may be given again.",
            autocompletion=complete_processes,
        ),
    ] = None,
    level: Annotated[str, typer.Option("--level", help=f"The least: {', '.join(LEVELS)}.")] = "info",
    last: Annotated[
        int, typer.Option("--last", min=0, max=1_000_000, help="How many of the newest lines.")
    ] = 50,
    since: SinceOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The records as they are stored.")] = False,
    state_dir: StateOption = None,
    name: NameOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what the processes of an instance have logged, whether it runs or not. Times are in UTC."""
    if level not in LEVELS:
        raise UsageError(f"--level {level}: not one of {', '.join(LEVELS)}")
    folder = _folder(name, config, state_dir)
    least, moment = LEVELS.index(level), _timestamp(since)
    with LogTails(folder, tuple(process or ())) as tails:
        stored = (line for line in merge(*tails.stored(moment)) if line.is_wanted(least, moment))
        for line in deque(stored, maxlen=last):
            typer.echo(line.raw if as_json else line.text())
        try:
            while follow:
                for line in sorted(tails.new()):
                    if line.is_wanted(least, moment):
                        typer.echo(line.raw if as_json else line.text())
                time.sleep(_LOOK_EVERY_S)
        except KeyboardInterrupt:
            return  # this is the way to end it


def _folder(name: str | None, config: Path | None, state_dir: str | None) -> Path:
    """Return the folder of the logs. Raises ``UsageError`` when there is none."""
    from supervisor.places import find_run_dir

    instance = config_of(name, config).name
    running = "" if state_dir else last_state_dir(find_run_dir(instance))
    folder = (Path(running) if running else state_dir_of(name, config, state_dir)) / "logs"
    if not folder.is_dir():
        raise UsageError(f"logs: there are none of an instance named '{instance}': {folder} is not a folder")
    return folder


def _timestamp(since: str | None) -> str:
    """Return the timestamp from which records are wanted; empty for all."""
    from datetime import UTC, datetime

    if since is None:
        return ""
    return datetime.fromtimestamp(wall_ms_of("since", since) / 1000, UTC).isoformat()


class LogTails(Closable):
    """Reads the files of the wanted processes, each up to its end, and continues with what is added."""

    def __init__(self, folder: Path, processes: tuple[str, ...]) -> None:
        self._folder = folder
        self._processes = processes
        self._open: dict[Path, IO[str]] = {}
        self._rests: dict[Path, str] = {}
        missing = [one for one in processes if not (folder / f"{one}.jsonl").is_file()]
        if missing:
            known = ", ".join(sorted(path.stem for path in folder.glob("*.jsonl"))) or "none"
            raise UsageError(f"--process {missing[0]}: it has no log; those that have: {known}")

    def close(self) -> None:
        """Close all files."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def stored(self, since: str) -> list[Iterator[ShownRecord]]:
        """Return what each process has logged until now, the oldest first."""
        return [self._history(path, since) for path in self._paths()]

    def new(self) -> Iterator[ShownRecord]:
        """Yield what was logged since the last call."""
        for path in self._paths():
            yield from self._read_on(path)

    def _paths(self) -> list[Path]:
        names = self._processes or tuple(path.stem for path in self._folder.glob("*.jsonl"))
        return [self._folder / f"{name}.jsonl" for name in names]

    def _history(self, path: Path, since: str) -> Iterator[ShownRecord]:
        for number in range(_NUMBERED_MAX, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.is_file() and not (since and _last_changed(older) < since):
                with older.open(encoding="utf-8", errors="replace") as file:
                    yield from (_line_of(path.stem, raw) for raw in file)
        yield from self._read_on(path)

    def _read_on(self, path: Path) -> Iterator[ShownRecord]:
        file = self._open.get(path)
        if file is None or not _is_same(file, path):
            if file is not None:  # it was rotated: the rest of it comes first
                yield from self._lines(path, file)
                file.close()
                self._rests.pop(path, None)
            try:
                file = self._open[path] = path.open(encoding="utf-8", errors="replace")
            except FileNotFoundError:
                self._open.pop(path, None)
                return  # it is just being rotated
        yield from self._lines(path, file)

    def _lines(self, path: Path, file: IO[str]) -> Iterator[ShownRecord]:
        *whole, rest = (self._rests.pop(path, "") + file.read()).split("\n")
        if rest:
            self._rests[path] = rest  # the rest of the line is still to be written
        yield from (_line_of(path.stem, raw) for raw in whole if raw)


def _is_same(file: IO[str], path: Path) -> bool:
    import os

    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _last_changed(path: Path) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()


def _line_of(process: str, raw: str) -> ShownRecord:
    text = raw.rstrip("\n")
    try:
        record = json.loads(text)
    except ValueError:
        return ShownRecord("", process, "", text)
    return ShownRecord(str(record.get("timestamp", "")), process, str(record.get("level", "")), text)
