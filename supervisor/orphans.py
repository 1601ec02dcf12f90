"""Notes the children of a supervisor while it lives, so that its successor can wait for them after it was killed.

They end by themselves within a second. The note is a file of a process that died at any moment, so nothing in it is
trusted: one that cannot be read is reported and ignored.
"""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic, sleep
from typing import Annotated

import msgspec
import psutil

from arbshard.errors import RunDirError

CHILDREN = "children.json"
_NOTE_BYTES_MAX = 1_000_000
_PID_MAX = 4_194_304
_POLL_S = 0.05
_WAIT_S = 3.0
"""How long a new supervisor waits for the children of a dead one, in seconds, and again after it has killed them."""


class _Orphan(msgspec.Struct, frozen=True):
    name: str
    pid: Annotated[int, msgspec.Meta(gt=0, le=_PID_MAX)]
    started: float
    """Time at which it was started: another process may have its pid by now."""


def encode_note(children: Mapping[str, int]) -> bytes:
    """Return the note of these children (name to pid)."""
    known = []
    for name, pid in children.items():
        try:
            known.append(_Orphan(name, pid, psutil.Process(pid).create_time()))
        except psutil.NoSuchProcess:
            continue  # it has ended already, so nothing has to wait for it
    return msgspec.json.encode(known)


def end_orphans(directory: int) -> str:
    """Wait for those that the note in the run directory names; kill those that do not end, by pid and start time.

    Return a warning if the note cannot be read, "" otherwise. Raises ``RunDirError`` if one cannot be ended.
    """
    try:
        noted = msgspec.json.decode(_read(directory), type=list[_Orphan])
    except FileNotFoundError:
        return ""  # no predecessor, or it ended before it had children
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        return f"{CHILDREN} of the last run cannot be read and is ignored: {error}"
    stubborn = _until_gone([process for process in map(_find, noted) if process is not None], _WAIT_S)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.kill()
    if left := _until_gone(stubborn, _WAIT_S):
        raise RunDirError(f"process {left[0].pid} of the last run cannot be ended")
    return ""


def _read(directory: int) -> bytes:
    """Return the note. Raises ``OSError``, or ``ValueError`` if it is not a plain file or too long."""
    note = os.open(CHILDREN, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(note).st_mode):
            raise ValueError("it is not a plain file")
        content = os.read(note, _NOTE_BYTES_MAX + 1)
    finally:
        os.close(note)
    if len(content) > _NOTE_BYTES_MAX:
        raise ValueError(f"it is longer than {_NOTE_BYTES_MAX} bytes")
    return content


def _find(noted: _Orphan) -> psutil.Process | None:
    """Return the process that was noted, if it still lives: of the same start, of this user, and not ourselves."""
    if noted.pid == os.getpid():
        return None
    try:
        process = psutil.Process(noted.pid)
        is_same = process.create_time() == noted.started and process.uids().real == os.getuid()
    except psutil.Error:
        return None
    return process if is_same else None


def _runs(process: psutil.Process) -> bool:
    """Return whether it still does anything: a dead process that was not reaped does not."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until_gone(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until they have ended. Return those that have not in time."""
    deadline_s = monotonic() + timeout_s
    left = [process for process in processes if _runs(process)]
    while left and monotonic() < deadline_s:
        sleep(_POLL_S)
        left = [process for process in left if _runs(process)]
    return left
