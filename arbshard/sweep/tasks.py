"""Executes one task of a sweep, in any process: a part of the tape, a configuration, and the backtest of both.

A task that fails affects no other: ``run_task`` returns the reason as a value.
"""

import os
import platform
import traceback
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp
from time import monotonic
from typing import NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from arbshard.backtest.rows import TapePart
from arbshard.backtest.run import BacktestSummary
from arbshard.config import Config, without_secrets
from arbshard.errors import ArbshardError
from arbshard.model.money import ZERO, use_money_context
from arbshard.sweep.parts import SweepPart, digest_of
from arbshard.version import __version__

_REASON_MAX = 500


class BacktestFunction(Protocol):
    """Describes ``arbshard.backtest.run.backtest``, or a test's replacement; other processes import it by
    its name.
    """

    def __call__(
        self, part: TapePart, config: Config, out: Path, *, screening: bool = True, delay_frames: int = 0
    ) -> BacktestSummary:
        """Trade the part and write into ``out``."""


class SweepTask(NamedTuple):
    """Describes what is to be computed."""

    folder: str
    """Folder of the tape."""
    part: SweepPart
    config: Config
    config_hash: str
    values: str
    """The values that were varied, as JSON, for people; ``config_hash`` covers the whole configuration."""
    delay_frames: int
    version: str

    @property
    def key(self) -> str:
        """Return the task's key. Equal tasks have equal results, so a result with this key is not computed again."""
        part = self.part
        named = (part.digest, part.start_ns, part.end_ns, self.config_hash, self.delay_frames, self.version)
        return blake2b(msgspec.json.encode(named), digest_size=16).hexdigest()


class TaskResult(NamedTuple):
    """Holds the outcome of a task."""

    key: str
    config_hash: str
    values: str
    part: SweepPart
    delay_frames: int
    version: str
    failure: str
    """Why there is no result; empty when there is one."""
    place: str
    """Machine and process."""
    took_s: float
    cpu_s: float = 0.0
    decisions_hash: str = ""
    decisions: int = 0
    frames: int = 0
    entries: int = 0
    exits: int = 0
    wins: int = 0
    pnl: Decimal = ZERO
    fees: Decimal = ZERO
    equity_ns: "array[int]" = array("q")
    equity: "array[float]" = array("d")
    """Equity once per minute, as floats, because only plots and ratios are made of it."""


def task_of(
    folder: Path, part: SweepPart, config: Config, values: dict[str, str], delay_frames: int
) -> SweepTask:
    """Return the task for this part and configuration."""
    clean = replace(without_secrets(config), name="sim", state_dir="")
    text = msgspec.json.encode(clean, order="deterministic")
    config_hash = blake2b(text, digest_size=16).hexdigest()
    written = msgspec.json.encode(values).decode()
    return SweepTask(str(folder), part, config, config_hash, written, delay_frames, __version__)


@cache
def source_digest() -> str:
    """Return a digest of the source of this arbshard: two checkouts with the same code have the same digest."""
    found = blake2b(digest_size=8)
    root = Path(__file__).parents[2]
    for package in ("arbshard", "supervisor"):
        for path in sorted((root / package).rglob("*.py")):
            text = path.read_bytes()
            found.update(f"{path.relative_to(root)} {len(text)}\n".encode())
            found.update(text)
    return found.hexdigest()


def run_sent_task(sent: bytes, source: str, function: BacktestFunction) -> TaskResult | str:
    """Carry out a task that another machine has sent, whose ``source_digest`` is ``source``.

    ``sent`` is the task as JSON. It is not decoded by other code, which may have other keys of the configuration, or
    other defaults: then the answer is a sentence that says so.
    """
    if source != source_digest():
        return (
            f"{platform.node()} has other code of arbshard (version {__version__}, source {source_digest()}) than "
            f"the machine that began the sweep (source {source}): install the same version or commit on both"
        )
    return run_task(msgspec.json.decode(sent, type=SweepTask), function)


def run_task(task: SweepTask, function: BacktestFunction, work_dir: str | None = None) -> TaskResult:
    """Carry out a task. The files of the backtest go into a folder below ``work_dir`` and are removed."""
    use_money_context()
    began_s = monotonic()
    try:
        found = _carry_out(task, function, work_dir)
    except ArbshardError as error:
        return failed(task, str(error), monotonic() - began_s)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a task is its result
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return failed(task, reason, monotonic() - began_s)
    return TaskResult(
        *_head(task),
        failure="",
        place=_place(),
        took_s=monotonic() - began_s,
        cpu_s=found.cpu_s,
        decisions_hash=found.decisions_hash,
        decisions=found.decisions,
        frames=found.frames,
        entries=found.entries,
        exits=found.exits,
        wins=found.wins,
        pnl=found.pnl_krw,
        fees=found.fees_krw,
        equity_ns=array("q", [at for at, _ in found.equity]),
        equity=array("d", [float(value) for _, value in found.equity]),
    )


def failed(task: SweepTask, reason: str, took_s: float, place: str | None = None) -> TaskResult:
    """Return the outcome of a task without a result."""
    return TaskResult(
        *_head(task), failure=reason[:_REASON_MAX] or "no reason", place=place or _place(), took_s=took_s
    )


def _head(task: SweepTask) -> tuple[str, str, str, SweepPart, int, str]:
    return task.key, task.config_hash, task.values, task.part, task.delay_frames, task.version


def _place() -> str:
    return f"{platform.node()}:{os.getpid()}"


def _carry_out(task: SweepTask, function: BacktestFunction, work_dir: str | None) -> BacktestSummary:
    """Run the backtest. Raises ``ArbshardError`` and whatever the backtest raises."""
    if task.version != __version__:
        raise ArbshardError(f"{platform.node()} has arbshard {__version__}, the sweep needs {task.version}")
    part = task.part
    if digest_of(Path(task.folder), part.first_segment, part.last_segment) != part.digest:
        raise ArbshardError(
            f"{task.folder} on {platform.node()} is not the tape that the sweep began with: a segment was removed or "
            "changed, or another tape is there"
        )
    tape_part = TapePart(task.folder, part.start_ns, part.end_ns)
    with _folder(work_dir) as out:
        return function(tape_part, task.config, out, delay_frames=task.delay_frames)


@contextmanager
def _folder(work_dir: str | None) -> Iterator[Path]:
    """Yield a folder for the files of one backtest; the owner of ``work_dir`` removes what cannot be removed here."""
    if work_dir is None:
        with TemporaryDirectory(prefix="arbshard-sweep-") as name:
            yield Path(name) / "out"
        return
    made = mkdtemp(dir=work_dir)
    try:
        yield Path(made) / "out"
    finally:
        rmtree(made, ignore_errors=True)
