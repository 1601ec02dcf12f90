"""Backtests over a tape that is made in virtual time: the code of a run, and the same result each time."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from arbshard.backtest.decisions import DecisionLine, differences
from arbshard.backtest.rows import TapePart
from arbshard.backtest.run import backtest, tape_config
from arbshard.config import Config
from arbshard.errors import UsageError
from arbshard.ledger.verify import verify
from arbshard.risk.portfolio.snapshot import PortfolioCodec
from arbshard.tape import TapeError
from arbshard.tape.reading import Tape, TapeSegment
from arbshard.tape.writing import TapeBounds, TapeWriter
from perf.tapes import make_tape

pytestmark = pytest.mark.needs("analysis", "tape")

NS = 1_000_000_000
BASE = Config()
CONFIG = replace(BASE, baseline=replace(BASE.baseline, is_required=False))


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """Forty seconds of four pairs whose gaps open and close within seconds."""
    folder = tmp_path_factory.mktemp("tape")
    make_tape(folder, seconds=40, pairs=4, updates_per_s=3, regime="mixed", seed=3, base=CONFIG)
    return folder


@pytest.fixture(scope="module")
def summary(tape, tmp_path_factory):
    """The backtest of all of it by its own configuration."""
    return backtest(TapePart(str(tape)), tape_config(tape), tmp_path_factory.mktemp("out") / "one")


def lines_of(summary):
    lines = (Path(summary.ledger).parent / "decisions.txt").read_text().splitlines()
    return [
        DecisionLine(int(at_ms), pair, what) for at_ms, pair, what in (line.split(" ", 2) for line in lines)
    ]


def rewritten(tape, folder, change):
    """A tape with the rows that ``change`` makes of each row."""
    info = next(Tape(tape).segments()).info
    writer = TapeWriter(folder, info.recording, lambda *_: info, TapeBounds(free_bytes_min=0))
    folder.mkdir()
    for _, row in Tape(tape).rows():
        for one in change(row):
            writer.add(one)
    writer.close(0, 0)
    return folder


def first_wall_ns(tape):
    return next(row.wall_ns for _, row in Tape(tape).rows() if row.kind == "frame")


def test_trades_and_writes_a_ledger_that_verifies(tape, summary):
    frames = sum(row.kind == "frame" for _, row in Tape(tape).rows())
    assert summary.frames == frames
    assert summary.entries > 5
    assert summary.exits > 5
    assert summary.fees_krw > 0
    assert summary.equity[0][1] == 0
    assert summary.equity[-1][1] == summary.pnl_krw
    report = verify(Path(summary.ledger), PortfolioCodec())
    assert not report.differences
    assert report.positions == summary.entries


def test_the_same_tape_leads_to_the_same_decisions(tape, summary, tmp_path):
    again = backtest(TapePart(str(tape)), tape_config(tape), tmp_path / "again")
    assert again.decisions_hash == summary.decisions_hash
    assert again.decisions == summary.decisions
    assert not differences(lines_of(again), lines_of(summary), within_ms=0)


def test_another_strategy_decides_otherwise(tape, summary, tmp_path):
    config = tape_config(tape)
    strict = replace(config, strategy=replace(config.strategy, entry_bps=90.0))
    other = backtest(TapePart(str(tape)), strict, tmp_path / "strict")
    assert 0 < other.entries < summary.entries
    assert other.decisions_hash != summary.decisions_hash


def test_a_part_of_a_tape_begins_without_a_mark_of_its_streams(tape, tmp_path):
    first_ns = first_wall_ns(tape)
    part = TapePart(str(tape), first_ns + 10 * NS, first_ns + 30 * NS)
    found = backtest(part, tape_config(tape), tmp_path / "part")
    assert part.start_ns <= found.first_ns <= part.start_ns + NS
    assert found.entries > 0
    inside = [row for _, row in Tape(tape).rows() if part.start_ns <= row.wall_ns < part.end_ns]
    assert found.frames == sum(row.kind == "frame" for row in inside)


def test_a_stream_that_is_over_ends_all_trading_of_its_markets(tape, tmp_path):
    over_ns = first_wall_ns(tape) + 15 * NS

    def cut(row):
        if row.venue != "binance" or row.wall_ns < over_ns:
            return [row]
        return [row._replace(kind="disconnect", detail="cut", data=b"")] if row.kind == "frame" else []

    found = backtest(
        TapePart(str(rewritten(tape, tmp_path / "cut", cut))), tape_config(tape), tmp_path / "out"
    )
    entries = [line for line in lines_of(found) if line.what.startswith("approved entry")]
    assert entries
    assert all(line.at_ms <= over_ns // 1_000_000 for line in entries)


def test_after_a_loss_nothing_is_traded_before_the_next_frames(tape, tmp_path):
    lost_ns = first_wall_ns(tape) + 15 * NS

    def lose(row):
        if row.wall_ns < lost_ns:
            return [row]
        return (
            [row._replace(kind="dropped", number=1, detail="slow", data=b"")] if row.kind == "frame" else []
        )

    found = backtest(
        TapePart(str(rewritten(tape, tmp_path / "lost", lose))), tape_config(tape), tmp_path / "out"
    )
    assert all(
        line.at_ms <= lost_ns // 1_000_000
        for line in lines_of(found)
        if line.what.startswith("approved entry")
    )


def test_delayed_frames_change_what_is_decided(tape, summary, tmp_path):
    late = backtest(TapePart(str(tape)), tape_config(tape), tmp_path / "late", delay_frames=1)
    assert late.decisions_hash != summary.decisions_hash
    assert late.frames < summary.frames


def test_a_folder_with_a_ledger_is_not_written_again(tape, summary):
    with pytest.raises(UsageError, match="there is a ledger already"):
        backtest(TapePart(str(tape)), tape_config(tape), Path(summary.ledger).parent)


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "why"), [(5, 5, "before it begins"), (1, 2, "no frame in this part")]
)
def test_an_empty_part_is_refused(tape, tmp_path, start_ns, end_ns, why):
    with pytest.raises(UsageError, match=why):
        backtest(TapePart(str(tape), start_ns, end_ns), CONFIG, tmp_path)


def test_a_tape_without_the_pairs_of_its_run_is_refused(tape, tmp_path):
    info = TapeSegment(next(Tape(tape).segments()).path).info
    folder = tmp_path / "bare"
    folder.mkdir()
    bare = replace(info, universe=type(info.universe)(b"null"))
    writer = TapeWriter(folder, info.recording, lambda *_: bare, TapeBounds(free_bytes_min=0))
    writer.add(next(row for _, row in Tape(tape).rows() if row.kind == "frame"))
    writer.close(0, 0)
    with pytest.raises(TapeError, match="the pairs of the run were not recorded"):
        backtest(TapePart(str(folder)), CONFIG, tmp_path)
