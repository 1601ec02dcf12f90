"""Decisions on a tape: a backtest at their times makes the same ones, and one that redraws them says what differs."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from arbshard.backtest.recorded import RecordedTimes
from arbshard.backtest.rows import TapePart, TapeRows
from arbshard.backtest.run import backtest, tape_config
from arbshard.backtest.universes import all_pairs
from arbshard.config import Config
from arbshard.errors import UsageError
from arbshard.ledger.events import decode_event
from arbshard.ledger.reader import LedgerReader
from arbshard.tape.format import Row
from arbshard.tape.reading import Tape
from arbshard.tape.writing import TapeBounds, TapeWriter
from perf.tapes import make_tape

pytestmark = pytest.mark.needs("analysis", "tape")

BASE = Config()
CONFIG = replace(
    BASE,
    baseline=replace(BASE.baseline, is_required=False),
    paper=replace(BASE.paper, reject_share=0.05, partial_share=0.3, late_fill_share=0.1, record_times=True),
)


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tape")
    make_tape(folder, seconds=60, pairs=4, updates_per_s=3, seed=3, base=CONFIG)
    return folder


def with_decisions(tape, ledger, folder, change=lambda body: body):
    """The tape with the events of a ledger, as a recorder would have written them."""
    info = next(Tape(tape).segments()).info
    writer = TapeWriter(folder, info.recording, lambda *_: info, TapeBounds(free_bytes_min=0))
    folder.mkdir()
    rows = [row for _, row in Tape(tape).rows()]
    offset_ns = rows[0].wall_ns - rows[0].at_ns
    for row in rows:
        writer.add(row)
    with LedgerReader(Path(ledger)) as reader:
        for seq, at_ms, kind, pair, intent_id, body in reader.rows():
            at_ns = at_ms * 1_000_000
            data = change(body).encode()
            writer.add(Row("decision", "", intent_id, pair, at_ns - offset_ns, at_ns, 0, seq, kind, data))
    writer.close(0, 0)
    return folder


@pytest.fixture(scope="module")
def recorded(tape, tmp_path_factory):
    """A tape with the decisions of a run whose orders took their time."""
    folder = tmp_path_factory.mktemp("recorded")
    config = tape_config(tape)
    slow = replace(config, paper=replace(config.paper, seed=9, latency_ms=70.0))
    first = backtest(TapePart(str(tape)), slow, folder / "first")
    assert first.entries > 10
    return with_decisions(tape, first.ledger, folder / "tape"), first


def test_at_recorded_times_the_same_is_decided(recorded, tmp_path):
    tape, first = recorded
    config = tape_config(tape)
    same_seed = replace(config, paper=replace(config.paper, seed=9))
    found = backtest(TapePart(str(tape)), same_seed, tmp_path / "out", latency="recorded")
    assert found.recorded.differences == ()
    assert found.recorded.same == found.recorded.decisions == first.decisions
    assert found.decisions == first.decisions
    assert found.pnl_krw == first.pnl_krw
    assert found.screened == 0


def test_other_settings_decide_otherwise_at_the_same_times(recorded, tmp_path):
    tape, _ = recorded
    config = tape_config(tape)
    smaller = replace(
        config,
        paper=replace(config.paper, seed=9),
        sizing=replace(config.sizing, entry_notional_max=config.sizing.entry_notional_max / 2),
    )
    found = backtest(TapePart(str(tape)), smaller, tmp_path / "out", latency="recorded")
    assert found.recorded.same < found.recorded.decisions
    assert all(one.why for one in found.recorded.differences)
    assert found.recorded.differences[0].ours.what.startswith("approved")


def test_latencies_that_are_redrawn_are_those_of_the_tape(recorded, tmp_path):
    tape, first = recorded
    found = backtest(TapePart(str(tape)), tape_config(tape), tmp_path / "out", latency="model")
    assert found.entries > 10
    assert found.recorded.decisions == first.decisions
    assert 0 < len(found.recorded.differences) <= 4
    with LedgerReader(Path(found.ledger)) as reader:
        again = _times(reader, tape)
    with LedgerReader(Path(first.ledger)) as reader:
        before = _times(reader, tape)
    assert _median_wait_ms(again) == pytest.approx(_median_wait_ms(before), rel=0.3)
    assert _median_wait_ms(before) > 55


def _times(reader, tape):
    rows = TapeRows(TapePart(str(tape)))
    events = [decode_event(row[5]) for row in reader.rows()]
    return RecordedTimes(events, all_pairs(rows.universes()), rows.start.universe.fx)


def _median_wait_ms(times):
    """From the newest decision on the pair to the arrival of each order of a leg."""
    waits = []
    for (base, _, name), at_ns in times.arrivals.items():
        if name in ("h0", "a0"):
            waits.append(
                at_ns - max(when for when, pair, _ in times.decisions if pair == base and when <= at_ns)
            )
    return sorted(waits)[len(waits) // 2] / 1e6


@pytest.mark.parametrize("latency", ["recorded", "model"])
def test_a_tape_without_decisions_is_refused(tape, tmp_path, latency):
    with pytest.raises(UsageError, match="no decisions and their times"):
        backtest(TapePart(str(tape)), CONFIG, tmp_path / "out", latency=latency)


def test_frames_that_were_not_seen_are_known_by_the_books_of_decisions_and_orders(recorded):
    tape, first = recorded
    with LedgerReader(Path(first.ledger)) as reader:
        times = _times(reader, tape)
    symbol, spans = next(iter(times.unseen.items()))
    seen_ns, at_ns = next(one for one in spans if one[1] > one[0] + 1)
    assert times.seen_ns(symbol, seen_ns) == seen_ns or any(a < seen_ns <= b for a, b in spans)
    assert times.seen_ns(symbol, seen_ns + 1) > at_ns
    assert times.seen_ns("no such market", 5) == 5
