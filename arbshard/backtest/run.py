"""Defines ``backtest``: the engine, execution, risk and ledger of a run over a part of a tape, in one process.

It writes into one folder only, and may be called many times in one process.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from decimal import Decimal
from pathlib import Path
from typing import Literal

import msgspec
import structlog
from msgspec.structs import replace
from structlog.typing import EventDict, WrappedLogger

from arbshard.backtest.decisions import BY_PERSONS, DecisionDifference, DecisionLog, differences
from arbshard.backtest.measured import MeasuredVenues
from arbshard.backtest.recorded import RecordedTimes, as_seen
from arbshard.backtest.refused import RefusedCounts, RefusedTally
from arbshard.backtest.replaying import TapeSystem
from arbshard.backtest.rows import TapePart, TapeRows, delayed
from arbshard.backtest.tops import TapeTops
from arbshard.backtest.universes import all_pairs
from arbshard.config import Config
from arbshard.errors import UsageError
from arbshard.ledger.events import decode_event
from arbshard.model.money import use_money_context
from arbshard.process import peak_memory_mb
from arbshard.tape.recorder import RefusalTail
from arbshard.venues.registry import get_adapter
from arbshard.virtual.confines import patient_collector, place

LatencyKind = Literal["paper", "recorded", "model"]
"""Times at which decisions are made and orders arrive. ``paper``: decisions at once, and orders after a latency
drawn by ``[paper]``; ``recorded``: both as in the recorded run; ``model``: decisions at once, and latencies,
refusals and fills drawn from those measured on the tape.
"""
_SAME_MS = 1_000
"""Largest difference in ms of the times of two equal decisions: requests and replies took this long in the recorded
run.
"""
LEDGER = "ledger.sqlite"
SUMMARY = "backtest.json"
DECISIONS = "decisions.txt"
LOG = "backtest.log"


class RecordedComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Compares what the recorded run decided with what was decided here at the same instants."""

    decisions: int
    """Number of decisions on the tape, without those that persons ordered."""
    same: int
    """Number of equal lines, up to the first difference of each pair."""
    differences: tuple[DecisionDifference, ...]
    """The first difference of each pair."""
    unrecorded: int
    """Number of turns on which a decision would have been made at another instant than a recorded one."""
    refused: RefusedCounts
    """What the workers of the recorded run refused by themselves in the same time. They judged only the newest book
    of each market whenever they processed it, and nothing before the first of these rows is counted.
    """
    refused_here: RefusedCounts | None
    """The same counts of the worker here, which judges each frame; None where frames were screened, as those are not
    judged.
    """


class BacktestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the results of a backtest."""

    decisions_hash: str
    """Hash over all decisions."""
    decisions: int
    frames: int
    """Frames that were fed to the system or left out by screening."""
    screened: int
    """Frames that screening left out."""
    wall_s: float
    cpu_s: float
    peak_mb: float
    """The most memory that the process has had resident; 0 where the system does not say it."""
    entries: int
    exits: int
    wins: int
    pnl_krw: Decimal
    """Realised and unrealised at the end."""
    fees_krw: Decimal
    equity: tuple[tuple[int, Decimal], ...]
    """(wall time in ns, equity in KRW), once per minute of the tape's time and at the end."""
    first_ns: int
    last_ns: int
    """Wall time of the first row and of the end."""
    ledger: str
    """Path of the ledger that was written."""
    recorded: RecordedComparison | None = None
    """The comparison with the tape's own decisions; None with ``latency`` = "paper"."""


def backtest(
    part: TapePart,
    config: Config,
    out: Path,
    *,
    screening: bool = True,
    delay_frames: int = 0,
    latency: LatencyKind = "paper",
) -> BacktestSummary:
    """Trade ``part`` on paper by ``config``, and write ledger, decisions, log and summary into the folder ``out``.

    Pairs, markets, rules, fees and the settings of the venues are those on the tape; strategy, sizes, limits,
    execution, paper and all else are those of ``config``. With ``delay_frames`` = n each frame is received when the
    n-th next frame of its market was received: a result that gets better by that has looked ahead. With ``latency``
    = "recorded" decisions are made and orders arrive when they did in the recorded run (``recorded``), and nothing
    is screened; with "model" orders draw from what was measured on the tape (``measured``). With both the decisions
    are compared with those on the tape. Raises ``UsageError`` and ``TapeError`` for bad input, ``LedgerError``, and
    ``BacktestFailed``.
    """
    if delay_frames < 0:
        raise UsageError(f"frames cannot be delayed by {delay_frames}")
    wall_s, cpu_s = time.monotonic(), time.process_time()
    ledger = out / LEDGER
    if ledger.exists():
        raise UsageError(f"{ledger}: there is a ledger already; choose another folder, or remove it")
    rows = TapeRows(part)
    adapted = adapted_config(config, rows.start.config)
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    log, live = DecisionLog(keep=True), DecisionLog(keep=True)
    times: RecordedTimes | None = None
    measured: MeasuredVenues | None = None
    if latency != "paper":
        events = [decode_event(body.decode()) for _, _, body in rows.decisions()]
        live.add(events)
        if latency == "model":
            measured = MeasuredVenues(events)
        else:
            times = RecordedTimes(events, all_pairs(rows.universes()), rows.start.universe.fx)
        if not (measured.orders if measured is not None else times and times.decisions):
            raise UsageError(f"{part.folder}: no decisions and their times are in this part of the tape")

    refused_here = RefusedTally()

    def run(run_dir: Path) -> TapeSystem:
        use_money_context()
        system = TapeSystem(adapted, rows.start, run_dir, ledger, log,
            is_screened=screening and times is None, times=times, measured=measured,
        )  # fmt: skip
        with _logged(out / LOG, system), patient_collector():
            blocks, routes = rows.blocks(TapeTops() if system.is_screened else None), _routes(adapted)
            if delay_frames:
                system.run(delayed((block.rows() for block in blocks), delay_frames, routes))
            elif times is not None:
                system.run(as_seen((block.rows() for block in blocks), times, routes))
            else:
                system.run(blocks)
        for worker, counts in RefusalTail(lambda: sorted(run_dir.glob("page-worker-*"))).poll():
            refused_here.add(worker, counts, from_start=True)
        return system

    with place() as root:
        run_dir = root / "run-1"
        run_dir.mkdir(mode=0o700)
        system = copy_context().run(run, run_dir)
    (out / DECISIONS).write_text("".join(f"{line}\n" for line in log.lines), encoding="utf-8")
    summary = BacktestSummary(
        decisions_hash=log.hash,
        decisions=log.count,
        frames=system.feeder.frames,
        screened=system.feeder.screen.screened if system.feeder.screen is not None else 0,
        wall_s=round(time.monotonic() - wall_s, 3),
        cpu_s=round(time.process_time() - cpu_s, 3),
        peak_mb=round(peak_memory_mb(), 1),
        entries=log.entries,
        exits=log.exits,
        wins=log.wins,
        pnl_krw=system.equity[-1][1],
        fees_krw=log.fees,
        equity=tuple(system.equity),
        first_ns=rows.start.first_ns + rows.start.wall_offset_ns,
        last_ns=system.clock.wall_ns(),
        ledger=str(ledger),
        recorded=None
        if latency == "paper"
        else _comparison(
            log,
            live,
            system.unrecorded,
            RefusedTally(rows.refusals()),
            None if system.is_screened else refused_here,
        ),
    )
    (out / SUMMARY).write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    return summary


def tape_config(folder: Path) -> Config:
    """Return the configuration of the run that was recorded in ``folder``. Raises ``TapeError``."""
    return TapeRows(TapePart(str(folder))).start.config


def adapted_config(config: Config, recorded: Config) -> Config:
    """Return ``config`` with what the tape determines: the venues, the source of the data, and the symbols."""
    return replace(
        config,
        mode="paper",
        data=recorded.data,
        data_source=recorded.data_source,
        venues=recorded.venues,
        sim=recorded.sim,
        run=replace(config.run, shards=1, spin_us=0, symbols=recorded.run.symbols),
        ledger=replace(config.ledger, archive_events=0),
    )


def _routes(config: Config) -> dict[str, Callable[[bytes], str | None]]:
    return {name: get_adapter(name).market_of for name in config.venues.traded}


def _comparison(
    log: DecisionLog,
    live: DecisionLog,
    unrecorded: int,
    refused: RefusedTally,
    refused_here: RefusedTally | None,
) -> RecordedComparison:
    theirs = [line for line in live.lines if not line.what.startswith(BY_PERSONS)]
    found = differences(log.lines, theirs, _SAME_MS)
    differing = {one.pair: one.number for one in found}
    counts = Counter(line.pair for line in theirs)
    same = sum(min(differing.get(pair, count), count) for pair, count in counts.items())
    return RecordedComparison(
        decisions=len(theirs),
        same=same,
        differences=tuple(found),
        unrecorded=unrecorded,
        refused=refused.counts,
        refused_here=refused_here.counts if refused_here is not None else None,
    )


@contextmanager
def _logged(path: Path, system: TapeSystem) -> Iterator[None]:
    """Write warnings and errors to the file ``path`` inside the block, with the time of the tape."""
    before = structlog.get_config()
    with path.open("w", encoding="utf-8") as file:

        def write(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
            line = {"at_ms": system.clock.wall_ms(), "level": level, **event}
            file.write(msgspec.json.encode(line, enc_hook=repr).decode() + "\n")
            raise structlog.DropEvent

        structlog.configure(
            processors=[write],
            wrapper_class=structlog.make_filtering_bound_logger("warning"),
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.configure(**before)
