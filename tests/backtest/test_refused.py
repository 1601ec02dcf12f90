"""What workers refused is summed over their lives, and what they had counted before the recording is left out."""

import msgspec
import pytest

from arbshard.backtest.refused import RefusedCounts, RefusedTally
from arbshard.backtest.rows import TapePart, TapeRows
from arbshard.model.funnel import EdgeFunnel
from arbshard.tape.format import Row
from arbshard.tape.reading import Tape
from arbshard.tape.recorder import WorkerRefusals
from arbshard.tape.writing import TapeBounds, TapeWriter
from perf.tapes import make_tape

pytestmark = pytest.mark.needs("analysis", "tape")


def counts(pid, reasons, **edges):
    return WorkerRefusals(pid, reasons, {base: EdgeFunnel(*values) for base, values in edges.items()})


def test_counts_before_the_first_row_are_left_out_and_those_of_a_successor_count_whole():
    found = RefusedTally(
        [
            ("worker-0", counts(7, {"BOOK_STALE": 100, "LEG_SKEW": 3}, BTC=(10, 1.0, 4))),
            ("worker-1", counts(8, {"BOOK_STALE": 50})),
            ("worker-0", counts(7, {"BOOK_STALE": 105}, BTC=(12, 1.5, 4), ETH=(1, 0.1))),
            ("worker-0", counts(9, {"BOOK_STALE": 2, "LEG_SKEW": 1})),
            ("worker-0", counts(9, {"BOOK_STALE": 4})),
        ]
    )
    assert found.counts == RefusedCounts(reasons={"BOOK_STALE": 9, "LEG_SKEW": 1}, edges={"wanted": 3})


def test_a_worker_of_a_backtest_is_counted_from_its_start():
    found = RefusedTally()
    found.add("worker-0", counts(1, {"FX_STALE": 5}, BTC=(2, 0.5, 1, 0.2, 1, 0.3)), from_start=True)
    assert found.counts == RefusedCounts(
        reasons={"FX_STALE": 5}, edges={"wanted": 2, "barred": 1, "sized": 1}
    )


def test_rows_of_a_tape_are_read(tmp_path):
    make_tape(tmp_path / "made", seconds=1, pairs=1, updates_per_s=2)
    info = next(Tape(tmp_path / "made").segments()).info
    tape = tmp_path / "tape"
    writer = TapeWriter(tape, info.recording, lambda *_: info, TapeBounds(free_bytes_min=0))
    rows = [row for _, row in Tape(tmp_path / "made").rows()]
    said = [counts(7, {"BOOK_STALE": 1}), counts(7, {"BOOK_STALE": 6})]
    for row, one in zip(rows, said, strict=False):
        writer.add(row)
        data = msgspec.json.encode(one)
        writer.add(Row("refused", "", "worker-0", "", row.at_ns, row.wall_ns, 0, 1, "", data))
    writer.close(0, 0)
    part = TapePart(str(tape))
    assert list(TapeRows(part).refusals()) == [("worker-0", one) for one in said]
    assert sum(block.frames for block in TapeRows(part).blocks()) <= 2
