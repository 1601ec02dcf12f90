"""Reads the rotated logs of a state directory: records of level warning and above. Memory is bounded."""

import re
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from arbshard.report.model import LogRecord

GROUPS_MAX = 300
"""Records of one process, level and event form a group; further groups are only counted."""
_LINES_KEPT = 3
"""How many of the first and of the last lines of each group are kept."""
_LINE_CHARACTERS = 2_000
_LEVELS = ("warning", "error", "critical")
_ROTATED = re.compile(r"(?P<process>.+)\.jsonl(?:\.(?P<number>\d+))?")


class _Line(msgspec.Struct):
    level: str = ""
    event: str = ""
    timestamp: str = ""
    process: str = ""


_decoder = msgspec.json.Decoder(_Line)


class LogsRead(NamedTuple):
    """Holds what the logs contain."""

    levels: dict[str, int]
    records: tuple[LogRecord, ...]
    unread: int
    """Number of lines that are not records."""
    groups_left_out: int


class _Group:
    def __init__(self, file: str, at_ms: int) -> None:
        self.file = file
        self.count = 0
        self.first_ms = self.last_ms = at_ms
        self.first: list[str] = []
        self.last: deque[str] = deque(maxlen=_LINES_KEPT)

    def add(self, at_ms: int, line: str) -> None:
        self.count += 1
        self.last_ms = at_ms
        if len(self.first) < _LINES_KEPT:
            self.first.append(line)
        else:
            self.last.append(line)


def read_logs(folder: Path, since_ms: int) -> LogsRead:
    """Read all logs below ``folder``, each process from its oldest file on. Raises ``OSError``."""
    levels: Counter[str] = Counter()
    groups: dict[tuple[str, str, str], _Group] = {}
    unread = left_out = 0
    for path, process in _files(folder):
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if '"level": "info"' in line or '"level": "debug"' in line:
                    continue
                try:
                    record = _decoder.decode(line)
                    at_ms = _wall_ms(record.timestamp)
                except (msgspec.MsgspecError, ValueError):
                    unread += bool(line.strip())
                    continue
                if record.level not in _LEVELS or at_ms < since_ms:
                    continue
                levels[record.level] += 1
                key = record.process or process, record.level, record.event
                group = groups.get(key)
                if group is None:
                    if len(groups) == GROUPS_MAX:
                        left_out += 1
                        continue
                    group = groups[key] = _Group(path.name, at_ms)
                group.add(at_ms, line.rstrip("\n")[:_LINE_CHARACTERS])
    records = [
        LogRecord(
            *(f"log-{number}", process, level, event, group.count, group.first_ms, group.last_ms),
            *((*group.first, *group.last), group.file),
        )
        for number, ((process, level, event), group) in enumerate(groups.items(), 1)
    ]
    records.sort(key=lambda one: one.first_ms)
    return LogsRead(dict(levels), tuple(records), unread, left_out)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file with its process, oldest first for each process."""
    found: list[tuple[str, int, Path]] = []
    for path in folder.iterdir() if folder.is_dir() else ():
        named = _ROTATED.fullmatch(path.name)
        if named is not None and path.is_file():
            found.append((named["process"], -int(named["number"] or 0), path))
    for process, _, path in sorted(found):
        yield path, process


def _wall_ms(timestamp: str) -> int:
    """Return a time in wall ms. Raises ``ValueError``."""
    moment = datetime.fromisoformat(timestamp)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
