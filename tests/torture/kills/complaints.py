"""What the processes' logs complain of: a kill explains silence, never an error of one's own."""

import json
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

ORPHANED = ("the supervisor is dead", "the supervisor is gone")
"""What children say, rightly, after the supervisor was killed."""
OF_FAULTS = (
    "redirect",
    "orders are refused: no entries, exits are tried with pauses",
    "the venue refuses our calls",
    "the venue refused a request",
)
"""What is said, rightly, of redirects and refusals, which the exchange's faults bring about."""
_APART = "pair set apart: it enters nothing until a person releases it"
_BOTH_REFUSE = "the venue refuses orders"
"""Why a pair is rightly set apart as ``stuck``: both of its venues have refused orders for good with a leg open."""
_WORDS_MAX = 300
_FENCED = 5
_LEDGER = 3
_NO_ROOM = "No space left on device"
"""The reason with which a child ends that was started on a full disk; it is started again until there is room."""


def complaints(lines: Iterable[str], *, fenced: bool = False, harmed: bool = False) -> Iterator[str]:
    """Errors, and children that ended otherwise than by being killed. ``lines``: of the logs, JSON each.

    ``fenced``: workers were made to stand still, so one that wakes too late and ends itself does right.
    ``harmed``: files were taken away, so errors that name a cause are right; an exception with a traceback is not.
    """
    expected = {-signal.SIGKILL}
    if fenced:
        expected.add(_FENCED)
    if harmed:
        expected.add(_LEDGER)
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue  # the last line of a process that was killed while it wrote
        event = said.get("event", "")
        if event == "child ended" and harmed and _NO_ROOM in said["words"]:
            continue
        if event == "child ended" and said["code"] not in expected:
            yield f"{said['child']} ended by itself with code {said['code']}: {said['words'][:_WORDS_MAX]}"
        elif harmed and not said.get("exception"):
            continue
        elif said.get("level") in ("error", "critical") and not _is_right(said):
            why = str(said.get("exception") or said.get("error") or said.get("why") or said.get("detail"))
            yield f"{said['process']} logged an error: {event}: {why[-_WORDS_MAX:]}"


def _is_right(said: dict) -> bool:
    """Return whether what is said follows from a kill of the supervisor or from a fault of the exchange."""
    if said.get("event") == _APART:
        return said["cause"] == "stuck" and said["reason"].endswith(_BOTH_REFUSE)
    return said.get("event") in (*ORPHANED, *OF_FAULTS)


def log_lines(folder: Path) -> Iterator[str]:
    """All lines of all logs in ``folder``."""
    for path in sorted(folder.glob("*.jsonl*")):
        with path.open(errors="replace") as file:
            yield from file
