"""Screening decides nothing: with it and without it a backtest makes the same decisions, whatever is on the tape."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.backtest import rows, screening, skipping, tops
from arbshard.backtest.rows import TapePart, TapeRows
from arbshard.backtest.run import backtest, tape_config
from arbshard.config import Config
from arbshard.tape.reading import Tape
from arbshard.tape.writing import TapeBounds, TapeWriter
from perf.tapes import make_tape
from support.effort import effort

pytestmark = pytest.mark.needs("analysis", "tape")

NS = 1_000_000_000
BASE = Config()
SECONDS = 24


def rewritten(tape, folder, seed, share):
    """The tape with a few frames lost, doubled, cut, of a wrong price or replaced by marks."""
    info = next(Tape(tape).segments()).info
    writer = TapeWriter(folder, info.recording, lambda *_: info, TapeBounds(free_bytes_min=0))
    folder.mkdir()
    random = Random(seed)
    rows = [row for _, row in Tape(tape).rows()]
    connects = {row.venue: row for row in rows if row.kind == "connect"}
    for row in rows:
        if row.kind != "frame" or random.random() >= share:
            writer.add(row)
            continue
        fault = random.choice(("lost", "doubled", "cut", "wrong", "over", "dropped"))
        if fault == "doubled":
            writer.add(row)
            writer.add(row)
        elif fault == "cut":
            writer.add(row._replace(data=row.data[: len(row.data) // 2]))
        elif fault == "wrong":  # another leading digit: the price has jumped, or the book is crossed
            at = next(place for place in range(60, len(row.data)) if row.data[place : place + 1].isdigit())
            writer.add(row._replace(data=row.data[:at] + b"%d" % random.randint(1, 9) + row.data[at + 1 :]))
        elif fault == "over" and random.random() < 0.2:
            writer.add(row._replace(kind="disconnect", detail="cut", data=b""))
            again = connects[row.venue]
            writer.add(again._replace(at_ns=row.at_ns, wall_ns=row.wall_ns))
        elif fault == "dropped" and random.random() < 0.2:
            writer.add(row._replace(kind="dropped", number=1, detail="slow", data=b""))
    writer.close(0, 0)
    return folder


def decided(summary):
    return (Path(summary.ledger).parent / "decisions.txt").read_text()


@settings(
    max_examples=effort(3, 12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10_000),
    entry_bps=st.sampled_from([5.0, 20.0, 35.0, 60.0]),
    is_required=st.booleans(),
    regime=st.sampled_from(["mixed", "calm", "band", "low-win"]),
    share=st.sampled_from([0.0, 0.01, 0.1]),
    block_rows=st.sampled_from([1, 60, 8192]),
    is_fused=st.booleans(),
)
def test_decisions_are_the_same_with_and_without_screening(
    tmp_path_factory, monkeypatch, seed, entry_bps, is_required, regime, share, block_rows, is_fused
):
    monkeypatch.setattr(rows, "_BLOCK_ROWS", block_rows)
    folder = tmp_path_factory.mktemp("screening")
    base = replace(
        BASE,
        strategy=replace(BASE.strategy, entry_bps=entry_bps, min_edge_bps=min(entry_bps, 20.0)),
        series=replace(BASE.series, sample_ms=200.0),
        baseline=replace(BASE.baseline, is_required=is_required, samples_min=30, returns_min=1),
    )
    make_tape(
        folder, seconds=SECONDS, pairs=3, updates_per_s=4, regime=regime, seed=seed, base=base,
        is_fused=is_fused,
    )  # fmt: skip
    tape = rewritten(folder, folder / "rewritten", seed, share)
    part, config = TapePart(str(tape)), tape_config(tape)
    with_it = backtest(part, config, folder / "with")
    again = backtest(part, config, folder / "again")  # by the prices that the first one has kept
    without = backtest(part, config, folder / "without", screening=False)
    assert decided(with_it) == decided(without)
    assert decided(again) == decided(without)
    assert (again.screened, again.equity) == (with_it.screened, with_it.equity)
    assert with_it.decisions_hash == without.decisions_hash
    assert with_it.equity == without.equity
    assert with_it.frames == without.frames
    assert without.screened == 0
    assert with_it.screened > 0


def test_frames_are_screened_by_kept_prices_as_by_their_own(tmp_path, monkeypatch):
    """Rows without a glance are parsed one by one, and both ways skip the same frames, also in a part of a tape."""
    base = replace(BASE, baseline=replace(BASE.baseline, is_required=False))
    make_tape(tmp_path, seconds=SECONDS, pairs=3, updates_per_s=4, seed=5, base=base)
    tape = rewritten(tmp_path, tmp_path / "rewritten", 5, 0.05)
    first_ns = next(row.wall_ns for _, row in Tape(tape).rows())
    for name, part in (
        ("all", TapePart(str(tape))),
        ("part", TapePart(str(tape), first_ns + 5 * NS, first_ns + 20 * NS)),
    ):
        config = tape_config(tape)
        by_kept = backtest(part, config, tmp_path / name / "kept")
        with monkeypatch.context() as patched:
            patched.setattr(TapeRows, "blocks", lambda rows, _, read=TapeRows.blocks: read(rows))
            by_own = backtest(part, config, tmp_path / name / "own")
        with monkeypatch.context() as patched:  # as for a venue that ccxt brings
            patched.setattr(tops, "codecs", dict)
            patched.setattr(tops, "FOLDER", "none")
            by_none = backtest(part, config, tmp_path / name / "none")
        for other in (by_own, by_none):
            assert by_kept.screened == other.screened > 0
            assert decided(by_kept) == decided(other)
            assert by_kept.equity == other.equity


def test_most_frames_are_screened_out_where_nothing_can_happen(tmp_path):
    make_tape(tmp_path, seconds=SECONDS, pairs=3, updates_per_s=4, regime="calm", seed=5)
    config = tape_config(tmp_path)
    strict = replace(config, strategy=replace(config.strategy, entry_bps=450.0))
    found = backtest(TapePart(str(tmp_path)), strict, tmp_path / "out")
    assert found.entries == 0
    assert found.screened > 0.8 * found.frames


def test_hardly_a_frame_is_screened_by_itself(tmp_path, monkeypatch):
    """Where nothing can happen, frames are skipped as a whole, and few of their messages are unpacked."""
    make_tape(tmp_path, seconds=SECONDS, pairs=3, updates_per_s=20, regime="calm", seed=5)
    config = tape_config(tmp_path)
    strict = replace(config, strategy=replace(config.strategy, entry_bps=450.0))
    handed_in = []
    monkeypatch.setattr(
        screening.ScreenedLane,
        "__call__",
        lambda lane, *frame, take=screening.ScreenedLane.__call__: (
            handed_in.append(frame) or take(lane, *frame)
        ),
    )
    found = backtest(TapePart(str(tmp_path)), strict, tmp_path / "out")
    fx = found.frames / 7  # frames of the FX market are always fed
    assert found.screened > 0.8 * found.frames
    assert len(handed_in) < fx + 0.05 * found.frames


def test_limits_that_change_within_a_block_are_found(tmp_path, monkeypatch):
    """The comparison can fail: rows that are judged once, by what risk said first, lose entries."""
    base = replace(
        BASE,
        series=replace(BASE.series, sample_ms=200.0),
        baseline=replace(BASE.baseline, is_required=False, samples_min=30, returns_min=1),
        strategy=replace(BASE.strategy, entry_bps=35.0, min_edge_bps=20.0),
    )
    make_tape(tmp_path, seconds=40, pairs=5, updates_per_s=4, regime="low-win", seed=5, base=base)
    part, config = TapePart(str(tmp_path)), tape_config(tmp_path)
    right = backtest(part, config, tmp_path / "right", screening=False)
    same = backtest(part, config, tmp_path / "same")
    monkeypatch.setattr(skipping.BlockScreen, "recheck", lambda _: None)
    wrong = backtest(part, config, tmp_path / "wrong")
    assert right.decisions_hash == same.decisions_hash
    assert right.decisions_hash != wrong.decisions_hash


def test_a_bound_that_is_too_high_is_found(tmp_path, monkeypatch):
    """The comparison can fail: screening by a wrong bound loses entries."""
    base = replace(BASE, baseline=replace(BASE.baseline, is_required=False))
    make_tape(tmp_path, seconds=SECONDS, pairs=3, updates_per_s=4, seed=5, base=base)
    part, config = TapePart(str(tmp_path)), tape_config(tmp_path)
    right = backtest(part, config, tmp_path / "right", screening=False)
    monkeypatch.setattr(screening, "_MARGIN_BPS", -60.0)
    wrong = backtest(part, config, tmp_path / "wrong")
    assert right.entries > wrong.entries
    assert right.decisions_hash != wrong.decisions_hash
