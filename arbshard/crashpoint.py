"""Kills a process at a chosen point, as if the machine had failed, in order to test recovery.

``ARBSHARD_CRASH_AT="before_send:3"`` kills a process with SIGKILL the third time it comes to that point; several are
separated by commas. ``@path`` reads the plan from a file when the process starts, and the point is written to
``path.died`` before the process dies. The variable is read once, here, at import; without it ``reach`` does nothing.
``tests/torture`` sets it; nothing else should.

    =================  ========================================================================
    before_send       worker: risk has approved, the order is about to be sent
    after_send        worker: the order is in the socket, without an answer yet
    after_reply       worker: the venue has answered, the answer is not processed yet
    before_report     worker: it knows the state of an order, risk does not
    after_report      worker: risk has booked it
    after_extend      worker: a hedge is in the ledger and about to be sent
    after_ask         worker: a question about an order was answered
    before_conclude   worker: all orders are final, the intent is not
    after_conclude    worker: the intent is concluded, the desk does not know it yet
    before_commit     risk: decided, not stored
    after_commit      risk: stored, not answered
    after_answer      risk: the answers of a batch are in the sockets
    before_publish    accounts: an order event was received, not passed on
    before_state      accounts: balances are read, risk does not know them yet
    after_state       accounts: risk has stored them
    archive_written   archiver: an archive is on the disk, under a temporary name
    archive_in_place  archiver: it has its name, nothing refers to it
    successor_written archiver: the next period's file is on the disk, beside the ledger
    before_switch     risk: it is up to date, and the old log is empty
    during_switch     risk: the old log is removed
    after_switch      risk: the ledger is the next period's file
    =================  ========================================================================
"""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from arbshard.errors import UsageError

VARIABLE = "ARBSHARD_CRASH_AT"

POINTS = (
    "before_send",
    "after_send",
    "after_reply",
    "before_report",
    "after_report",
    "after_extend",
    "after_ask",
    "before_conclude",
    "after_conclude",
    "before_commit",
    "after_commit",
    "after_answer",
    "before_publish",
    "before_state",
    "after_state",
    "archive_written",
    "archive_in_place",
    "successor_written",
    "before_switch",
    "during_switch",
    "after_switch",
)

Reach = Callable[[str], None]

_listener: Reach | None = None


def listen(listener: Reach | None) -> None:
    """Call ``listener`` at every point that this process comes to; None ends it. For simulations of many
    processes.
    """
    global _listener  # noqa: PLW0603 - there is one for the process, as there is one environment
    _listener = listener


def make_reach(environ: Mapping[str, str], die: Callable[[str], None]) -> Reach:
    """Return the function to call at every point; it calls ``die`` at the planned point. Raises ``UsageError``."""
    plan = environ.get(VARIABLE, "")
    if plan.startswith("@"):
        try:
            plan = Path(plan[1:]).read_text().strip()
        except OSError as error:
            raise UsageError(f"{VARIABLE}: {plan[1:]} cannot be read: {error.strerror}") from error
    if not plan:
        return _pass_by
    left = dict(_planned(entry) for entry in plan.split(","))

    def reach(point: str) -> None:
        if point in left:
            left[point] -= 1
            if left[point] == 0:
                die(point)

    return reach


def _pass_by(point: str) -> None:
    if _listener is not None:
        _listener(point)


def _planned(entry: str) -> tuple[str, int]:
    name, _, number = entry.partition(":")
    if name not in POINTS or not number.isdecimal() or int(number) < 1:
        raise UsageError(f"{VARIABLE}: {entry!r} is not point:number, with one of {', '.join(POINTS)}")
    return name, int(number)


def _die(point: str) -> NoReturn:
    plan = os.environ[VARIABLE]
    if plan.startswith("@"):
        note = os.open(f"{plan[1:]}.died", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(note, f"{point}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a SIGKILL was survived")


reach: Reach = make_reach(os.environ, _die)
"""Is called at each crash point, with its name."""
