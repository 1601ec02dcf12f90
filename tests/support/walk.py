"""Counts the calls of arbshard's own functions, and how many files they are in."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import arbshard

OURS = str(Path(arbshard.__file__).parent)


class Walk(NamedTuple):
    """What one request enters."""

    files: frozenset[str]
    calls: int
    moves: int
    """Calls that enter another file than the one they come from."""

    def __str__(self) -> str:
        return f"{len(self.files)} files, {self.calls} calls, {self.moves} moves: {sorted(self.files)}"


def walk(work: Callable[[], object]) -> Walk:
    """Do ``work`` and count the calls of arbshard's own functions."""
    files: set[str] = set()
    calls = moves = 0

    def caller_of(frame: FrameType) -> str:
        found = frame.f_back
        while found is not None and not found.f_code.co_filename.startswith(OURS):
            found = found.f_back
        return found.f_code.co_filename if found is not None else ""

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls, moves
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(OURS):
            calls += 1
            moves += caller_of(frame) != name
            files.add(name[len(OURS) + 1 :])

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return Walk(frozenset(files), calls, moves)
