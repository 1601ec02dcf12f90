"""Keeps what is known of each pair's gap over restarts: one small file per pair, beside the ledger.

A file that is missing or damaged costs the time to learn the pair's baseline again, and nothing else.
"""

import re
from array import array
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from arbshard.clock import Clock
from arbshard.engine.series import SpreadSeries
from arbshard.log import get_logger

_SAVE_EVERY_NS = 60_000_000_000
"""How often each pair is saved: what a killed process loses at most."""
_NAME = re.compile(r"\w{1,40}")
"""Names of coins that are names of files too; venues may list others, which are not kept."""


class _KeptGap(msgspec.Struct, frozen=True):
    version: Literal[1]
    sample_ms: float
    at_ms: int
    """Wall time of the newest interval."""
    values: bytes
    """Doubles of this machine, oldest first, one for each interval; NaN where there was no sample."""


class GapFiles:
    """Loads each pair's series once, and saves one pair at a time."""

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        """Keep files in ``folder``, which is made when something is saved; None keeps nothing."""
        self._folder = folder
        self._clock = clock
        self._saved_ns: dict[str, int] = {}
        self.failures = 0
        """Files that could not be read or written."""

    def load(self, base: str, series: SpreadSeries) -> None:
        """Fill the empty ``series`` with the stored samples of the pair that are still within its window."""
        self._saved_ns[base] = self._clock.monotonic_ns()
        path = self._path(base)
        if path is None:
            return
        try:
            kept = msgspec.msgpack.decode(path.read_bytes(), type=_KeptGap)
            values = array("d", kept.values)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:  # what msgspec raises is a ValueError
            self._fail("read", path, error)
            return
        if kept.sample_ms != series.sample_ms:
            return  # samples of another pace are not comparable
        age = round((self._clock.wall_ms() - kept.at_ms) / series.sample_ms)
        if age < 0:
            return  # the wall clock was set back, so their age is unknown
        sample_ns = round(series.sample_ms * 1e6)
        newest = self._clock.monotonic_ns() // sample_ns - age
        for number, value in enumerate(values, newest - len(values) + 1):
            if number >= 0 and value == value:  # noqa: PLR0124 - not NaN
                series.add(number * sample_ns, value)

    def save_next(self, series: Iterable[tuple[str, SpreadSeries]]) -> None:
        """Save the first pair that is due, so that a call takes a fraction of a millisecond."""
        now_ns = self._clock.monotonic_ns()
        due = (one for one in series if now_ns - self._saved_ns.get(one[0], 0) >= _SAVE_EVERY_NS)
        for base, one in islice(due, 1):
            self._save(base, one)

    def save_all(self, series: Iterable[tuple[str, SpreadSeries]]) -> None:
        """Save every pair."""
        for base, one in series:
            self._save(base, one)

    def _save(self, base: str, series: SpreadSeries) -> None:
        self._saved_ns[base] = self._clock.monotonic_ns()
        path = self._path(base)
        if path is None or not series.count:
            return
        oldest, values = series.intervals()
        now_interval = self._clock.monotonic_ns() // round(series.sample_ms * 1e6)
        age_ms = (now_interval - (oldest + len(values) - 1)) * series.sample_ms
        kept = _KeptGap(
            1, series.sample_ms, int(self._clock.wall_ms() - age_ms), array("d", values).tobytes()
        )
        unfinished = path.with_suffix(".new")
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            unfinished.write_bytes(msgspec.msgpack.encode(kept))
            unfinished.replace(path)
        except OSError as error:
            self._fail("written", path, error)

    def _path(self, base: str) -> Path | None:
        if self._folder is None or not _NAME.fullmatch(base):
            return None
        return self._folder / f"{base}.gap"

    def _fail(self, what: str, path: Path, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:  # the others have the same reason in all likelihood
            get_logger().warning(f"a pair's gaps cannot be {what}", path=str(path), error=str(error))
