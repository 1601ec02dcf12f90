"""What the processes' logs complain of: a kill explains silence, never an error of one's own."""

import json
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

ORPHANED = ("the supervisor is dead", "the supervisor is gone")
"""What children say, rightly, after the supervisor was killed."""
_WORDS_MAX = 300


def complaints(lines: Iterable[str]) -> Iterator[str]:
    """Errors, and children that ended otherwise than by being killed. ``lines``: of the logs, JSON each."""
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue  # the last line of a process that was killed while it wrote
        event = said.get("event", "")
        if event == "child ended" and said["code"] != -signal.SIGKILL:
            yield f"{said['child']} ended by itself with code {said['code']}: {said['words'][:_WORDS_MAX]}"
        elif said.get("level") in ("error", "critical") and event not in ORPHANED:
            why = str(said.get("exception") or said.get("error") or said.get("why") or said.get("detail"))
            yield f"{said['process']} logged an error: {event}: {why[-_WORDS_MAX:]}"


def log_lines(folder: Path) -> Iterator[str]:
    """All lines of all logs in ``folder``."""
    for path in sorted(folder.glob("*.jsonl*")):
        with path.open(errors="replace") as file:
            yield from file
