"""What tests of sweeps share: a tape of a few hours, and a backtest that is a formula of the settings.

The formula stands in for ``arbshard.backtest.run.backtest``, since tests of the search, the pools and the store need
hundreds of results in a second. It is known everywhere, so tests can say what must be found.
"""

import os
import random
import signal
import time
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path

import msgspec
import pyarrow as pa

from arbshard.backtest.rows import TapePart
from arbshard.backtest.run import BacktestSummary
from arbshard.config import Config
from arbshard.errors import UsageError
from arbshard.model.market import FeeSchedule, Leg, Market, MarketRules, TickBand
from arbshard.model.universe import Universe
from arbshard.sweep.judging import SweepReport
from arbshard.sweep.parts import cut
from arbshard.sweep.space import SearchSpace, parse_axes
from arbshard.sweep.store import SweepRequest, opened
from arbshard.sweep.sweep import Sweep
from arbshard.sweep.tasks import BacktestFunction, SweepTask, TaskResult, run_task
from arbshard.tape.format import CHECKSUM, SCHEMA, Row, SegmentInfo, checksum, name_of, schema_with

BEGAN_MS = 1_795_000_000_000
MINUTE_NS = 60_000_000_000
_FX = Leg(
    Market("upbit", "KRW-USDT", "USDT", "KRW"),
    MarketRules((TickBand(Decimal(0), Decimal(1)),), Decimal(1), Decimal(1), Decimal(5000), Decimal(10**9)),
    FeeSchedule(Decimal(5), Decimal(5), buy_fee_in_base=False),
    slot=0,
)
UNIVERSE = Universe(_FX, (), ((),))
"""What a tape says of a run that trades no pair: the formula needs none."""


def write_tape(
    folder: Path, minutes: int = 120, segment_minutes: int = 30, recording: int = BEGAN_MS
) -> Path:
    """A tape with one frame per minute, all of whose segments are closed; each begins with a book of long before."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, first in enumerate(range(0, minutes, segment_minutes)):
        info = SegmentInfo(
            recording=recording, segment=number, first_row=first, instance="sim", version="0", boot="b",
            config=msgspec.Raw(msgspec.json.encode(Config())), universe=msgspec.Raw(msgspec.json.encode(UNIVERSE)),
        )  # fmt: skip
        begins_ns = recording * 1_000_000
        rows = [Row("known", "upbit", "c", "KRW-BTC", 0, begins_ns - 60 * MINUTE_NS, 0, 0, "", b"{}")]
        for at in range(first, min(first + segment_minutes, minutes)):
            at_ns = at * MINUTE_NS
            rows.append(Row("frame", "upbit", "c", "KRW-BTC", at_ns, begins_ns + at_ns, 0, at, "", b"{}"))
        columns = [range(first, first + len(rows)), *zip(*rows, strict=True)]
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
        batch = pa.record_batch(arrays, SCHEMA)
        schema = schema_with(info)
        with pa.ipc.new_stream(folder / name_of(recording, number), schema) as stream:
            stream.write_batch(batch.replace_schema_metadata(schema.metadata), {CHECKSUM: checksum(batch)})
    return folder


def formula(
    part: TapePart, config: Config, out: Path, *, screening: bool = True, delay_frames: int = 0
) -> BacktestSummary:
    """A result that is best near ``entry_bps`` 40 and ``max_hold_s`` 30, with noise that the settings determine."""
    del screening
    assert part.start_ns is not None
    assert part.end_ns is not None
    out.mkdir(parents=True)
    (out / "ledger.sqlite").write_bytes(b"")
    strategy = config.strategy
    drift = (
        60.0 - abs(strategy.entry_bps - 40.0) * 4 - abs(strategy.max_hold_s - 30.0) * 2 - 30.0 * delay_frames
    )
    decided = f"{strategy.entry_bps} {strategy.max_hold_s} {part.start_ns} {delay_frames}"
    seed = int.from_bytes(blake2b(decided.encode(), digest_size=8).digest())
    noise = random.Random(seed)
    equity, value = [], 0.0
    for at in range(part.start_ns, part.end_ns, MINUTE_NS):
        value += drift + noise.gauss(0.0, 60.0)
        equity.append((at, Decimal(round(value))))
    return BacktestSummary(
        decisions_hash=blake2b(decided.encode(), digest_size=8).hexdigest(),
        decisions=20, frames=1000, screened=0, wall_s=0.0, cpu_s=0.01, peak_mb=0.0,
        entries=10, exits=10, wins=6,
        pnl_krw=equity[-1][1], fees_krw=Decimal(100), equity=tuple(equity),
        first_ns=part.start_ns, last_ns=part.end_ns, ledger=str(out / "ledger.sqlite"),
    )  # fmt: skip


def troubled(
    part: TapePart, config: Config, out: Path, *, screening: bool = True, delay_frames: int = 0
) -> BacktestSummary:
    """The formula, but some settings cost their process, raise, or never end."""
    match config.strategy.entry_bps:
        case 31.0:
            os.kill(os.getpid(), signal.SIGKILL)
        case 32.0:
            raise UsageError("this part cannot be used")
        case 33.0:
            raise ZeroDivisionError("by nothing")
        case 34.0:
            time.sleep(600)
    return formula(part, config, out, screening=screening, delay_frames=delay_frames)


def slow(
    part: TapePart, config: Config, out: Path, *, screening: bool = True, delay_frames: int = 0
) -> BacktestSummary:
    """The formula after a moment, so that something can happen meanwhile."""
    time.sleep(0.05)
    return formula(part, config, out, screening=screening, delay_frames=delay_frames)


def helpers_in(folder: Path) -> Path:
    """A folder for the path of other processes, in which they find this module and nothing else of the tests.

    In the folder of tests itself are folders that are called like our packages.
    """
    path = folder / "helpers"
    path.mkdir()
    (path / "support").symlink_to(Path(__file__).parent)
    return path


class InlinePool:
    """Carries each task out in this process, the last one first."""

    def __init__(self, function: BacktestFunction = formula, after: int | None = None) -> None:
        """``after``: this process gets SIGTERM when so many tasks are done."""
        self.tasks: list[SweepTask] = []
        self._function = function
        self._after = after
        self._waiting: list[SweepTask] = []

    def room(self) -> int:
        return 3 - len(self._waiting)

    def submit(self, task: SweepTask) -> None:
        self._waiting.append(task)

    def wait(self, timeout_s: float) -> list[TaskResult]:
        del timeout_s
        task = self._waiting.pop()
        self.tasks.append(task)
        if self._after is not None and len(self.tasks) == self._after:
            os.kill(os.getpid(), signal.SIGTERM)
        return [run_task(task, self._function)]

    def close(self) -> None:
        self._waiting.clear()


class LastShown:
    """Keeps the last progress that was shown."""

    last = (0, 0, 0, 0)

    def show(self, done: int, total: int, failed: int, running: int) -> None:
        assert done <= total
        self.last = (done, total, failed, running)


def swept(folder: Path, grid: tuple[str, ...]) -> SweepReport:
    """The report of a sweep of the formula over a tape of two hours in four parts."""
    tape = write_tape(folder / "tape", 121)
    request = SweepRequest(tape=str(tape), grid=grid, parts=cut(tape, 4))
    space = SearchSpace(Config(), parse_axes(grid, Config()))
    with opened(folder / "out") as store:
        return Sweep(request, space, store, InlinePool(), LastShown()).run()
