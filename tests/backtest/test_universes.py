"""Pairs that come and go within a tape, other rules and fees, and markets that stop: a backtest follows them."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.backtest import feeding, resting, rows
from arbshard.backtest.rows import TapePart, TapeRows
from arbshard.backtest.run import backtest, tape_config
from arbshard.backtest.universes import TapeUniverses
from arbshard.config import Config
from arbshard.errors import UsageError
from arbshard.model.universe import NOT_LISTED
from arbshard.tape.format import UNIVERSE, Row
from arbshard.tape.reading import Tape
from arbshard.tape.writing import TapeBounds, TapeWriter
from perf.tapes import make_tape
from support.effort import effort
from tests.backtest.test_recorded import with_decisions
from tests.backtest.test_resting import same, traded

pytestmark = pytest.mark.needs("analysis", "tape")

NS = 1_000_000_000
SECONDS = 40
BASE = Config()
CONFIG = replace(
    BASE,
    series=replace(BASE.series, sample_ms=200.0, window=100),
    baseline=replace(BASE.baseline, is_required=False, samples_min=30, returns_min=1),
    paper=replace(BASE.paper, record_times=True),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Forty seconds of four pairs, all of them traded."""
    folder = tmp_path_factory.mktemp("made")
    make_tape(folder, seconds=SECONDS, pairs=4, updates_per_s=3, seed=3, base=CONFIG)
    return folder


@pytest.fixture(scope="module")
def all_four(made):
    return TapeRows(TapePart(str(made))).start.universe


def without(universe, *bases):
    """The universe without some of its pairs."""
    return universe.without_shard(bases).without_pairs(bases)


def begun_ns(tape):
    return next(row.wall_ns for _, row in Tape(tape).rows() if row.kind == "frame")


def with_universes(tape, folder, first, later):
    """The tape as one that begins with the universe ``first``, and has each of ``later`` as (seconds, universe)."""
    info = replace(next(Tape(tape).segments()).info, universe=msgspec.Raw(msgspec.json.encode(first)))
    start_ns = begun_ns(tape)
    waiting = [(start_ns + int(seconds * NS), universe) for seconds, universe in later]
    writer = TapeWriter(folder, info.recording, lambda *_: info, TapeBounds(free_bytes_min=0))
    folder.mkdir()
    for _, row in Tape(tape).rows():
        while waiting and waiting[0][0] <= row.wall_ns:
            wall_ns, universe = waiting.pop(0)
            at_ns = wall_ns - row.wall_ns + row.at_ns
            data = msgspec.json.encode(universe)
            writer.add(Row(UNIVERSE, "", "", "", at_ns, wall_ns, 0, universe.serial, "", data))
        writer.add(row)
    writer.close(0, 0)
    return folder


def run(tape, out, **options):
    return backtest(TapePart(str(tape)), tape_config(tape), out, **options)


def approvals_of(out, base, what="approved"):
    """Seconds of wall time of the lines of a pair that begin with ``what``."""
    lines = (line.split(" ", 2) for line in (out / "decisions.txt").read_text().splitlines())
    return [int(at_ms) / 1000 for at_ms, pair, text in lines if pair == base and text.startswith(what)]


def test_a_pair_that_comes_is_traded_from_then_on(made, all_four, tmp_path):
    base = all_four.pairs[-1].base
    tape = with_universes(made, tmp_path / "tape", without(all_four, base), [(15, all_four)])
    run(tape, tmp_path / "out")
    entries = approvals_of(tmp_path / "out", base, "approved entry")
    assert entries
    assert min(entries) > begun_ns(made) / NS + 15
    others = approvals_of(tmp_path / "out", all_four.pairs[0].base, "approved entry")
    assert min(others) < begun_ns(made) / NS + 15


def test_a_pair_that_goes_is_closed_and_not_entered_again(made, all_four, tmp_path):
    base = all_four.pairs[0].base
    leaving = replace(all_four, leaving=(base,), serial=1)
    out = replace(leaving.without_shard((base,)), serial=2)
    gone = replace(out.without_pairs((base,)), serial=3)
    tape = with_universes(made, tmp_path / "tape", all_four, [(20, leaving), (30, out), (30.3, gone)])
    found = run(tape, tmp_path / "out")
    over_s = begun_ns(made) / NS + 20
    entries = approvals_of(tmp_path / "out", base, "approved entry")
    assert entries
    assert max(entries) < over_s
    exits = approvals_of(tmp_path / "out", base, "approved exit")
    assert len(exits) == len(entries)
    assert max(exits) < over_s + 5
    assert found.entries > len(entries)


def test_a_market_that_its_venue_lists_no_more_is_entered_no_more(made, all_four, tmp_path):
    pair = all_four.pairs[0]
    stopped = all_four.with_listing(
        (),
        all_four.fx,
        [("binance", pair.away.market.symbol, NOT_LISTED)],
        begun_ns(made) // 1_000_000 + 20_000,
    )
    tape = with_universes(made, tmp_path / "tape", all_four, [(20, stopped)])
    run(tape, tmp_path / "out")
    entries = approvals_of(tmp_path / "out", pair.base, "approved entry")
    assert entries
    assert max(entries) < begun_ns(made) / NS + 21


def test_other_fees_count_from_then_on(made, all_four, tmp_path):
    dear = [
        replace(
            pair,
            home=replace(pair.home, fees=replace(pair.home.fees, buy_bps=Decimal(90), sell_bps=Decimal(90))),
        )
        for pair in all_four.pairs
    ]
    listed = all_four.with_listing(dear, all_four.fx, (), 1)
    tape = with_universes(made, tmp_path / "tape", all_four, [(9, listed)])
    run(tape, tmp_path / "out")
    run(made, tmp_path / "cheap")
    over_s = begun_ns(made) / NS + 9.5
    found, cheap = (
        [
            at_s
            for pair in all_four.pairs
            for at_s in approvals_of(tmp_path / name, pair.base, "approved entry")
        ]
        for name in ("out", "cheap")
    )
    assert min(found) < over_s < max(cheap)
    assert max(found) < over_s


changes = st.lists(
    st.tuples(
        st.floats(1.0, SECONDS - 1.0),
        st.sets(st.integers(0, 3), max_size=3),
        st.sets(st.integers(0, 3), max_size=1),
        st.sampled_from(["in", "in", "leaving", "unassigned"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=effort(4, 16), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    gone_first=st.sets(st.integers(0, 3), max_size=2),
    later=changes,
    entry_bps=st.sampled_from([35.0, 450.0]),
    short_rows=st.sampled_from([20, 2048]),
)
def test_decisions_are_the_same_with_and_without_screening(
    made, all_four, tmp_path_factory, monkeypatch, gone_first, later, entry_bps, short_rows
):
    """Whatever changes: also ledger, log, and what each part of the system knows at the end."""
    monkeypatch.setattr(rows, "_BLOCK_ROWS", 100)
    monkeypatch.setattr(feeding, "_SHORT_ROWS", short_rows)
    monkeypatch.setattr(resting, "_TICKS_MIN", 3)
    folder = tmp_path_factory.mktemp("changing")

    def universe(serial, gone, special, state):
        found = without(all_four, *(all_four.pairs[number].base for number in gone))
        bases = tuple(pair.base for pair in found.pairs if all_four.pairs.index(pair) in special)
        if state == "leaving":
            found = found.with_leaving(bases)
        elif state == "unassigned":
            found = found.without_shard(bases)
        return replace(found, serial=serial)

    later = [
        (seconds, universe(serial, *what))
        for serial, (seconds, *what) in enumerate(sorted(later, key=lambda one: one[0]), 1)
    ]
    tape = with_universes(made, folder / "tape", universe(0, gone_first, (), "in"), later)
    config = tape_config(tape)
    config = replace(
        config, strategy=replace(config.strategy, entry_bps=entry_bps, min_edge_bps=min(entry_bps, 20.0))
    )
    part = TapePart(str(tape))
    with_it = traded(part, config, folder / "with", monkeypatch)
    same(with_it, traded(part, config, folder / "without", monkeypatch, screening=False))


def test_spans_are_passed_over_until_a_change_and_after_it(tmp_path, monkeypatch):
    made = tmp_path / "made"
    make_tape(made, seconds=90, pairs=3, updates_per_s=6, regime="calm", seed=5)
    all_three = TapeRows(TapePart(str(made))).start.universe
    pair = all_three.pairs[1]
    stops = ("binance", pair.away.market.symbol, NOT_LISTED)
    stopped = all_three.with_listing((), all_three.fx, [stops], begun_ns(made) // 1_000_000 + 60_000)
    later = [(2, all_three), (60, stopped)]  # only risk acts on the second one, at its next tick
    tape = with_universes(made, tmp_path / "tape", without(all_three, pair.base), later)
    config = tape_config(tape)
    strict = replace(config, strategy=replace(config.strategy, entry_bps=450.0))
    found = traded(TapePart(str(tape)), strict, tmp_path / "out", monkeypatch)
    assert found[1]["passed"] > 0.4 * found[0].frames
    same(found, traded(TapePart(str(tape)), strict, tmp_path / "without", monkeypatch, screening=False))


def test_at_recorded_times_the_same_is_decided(made, all_four, tmp_path):
    """The pairs of the run come and go; what was closed because its pair left is closed when the run did it."""
    gone, new = all_four.pairs[0].base, all_four.pairs[-1].base
    first = without(all_four, new)
    leaving = replace(all_four, leaving=(gone,), serial=2)
    out = replace(without(all_four, gone), serial=3)
    later = [(10, replace(all_four, serial=1)), (20, leaving), (28, out)]
    tape = with_universes(made, tmp_path / "tape", first, later)
    config = tape_config(tape)
    slow = replace(config, paper=replace(config.paper, seed=9, latency_ms=70.0))
    live = backtest(TapePart(str(tape)), slow, tmp_path / "live")
    assert approvals_of(tmp_path / "live", new, "approved entry")
    assert approvals_of(tmp_path / "live", gone, "approved exit")
    recorded = with_decisions(tape, live.ledger, tmp_path / "recorded")
    same_seed = replace(config, paper=replace(config.paper, seed=9))
    found = backtest(TapePart(str(recorded)), same_seed, tmp_path / "again", latency="recorded")
    assert found.recorded.differences == ()
    assert found.recorded.same == found.recorded.decisions == live.decisions
    assert found.pnl_krw == live.pnl_krw


def test_the_description_of_a_later_segment_counts_where_no_row_says_it(made, all_four, tmp_path):
    """A tape of an earlier version has no such rows, and rows may be lost."""
    base = all_four.pairs[-1].base
    cut_ns = begun_ns(made) + 15 * NS
    info = next(Tape(made).segments()).info
    folder = tmp_path / "tape"
    folder.mkdir()
    universes = [msgspec.json.encode(universe) for universe in (without(all_four, base), all_four)]
    writer = TapeWriter(
        folder,
        info.recording,
        lambda segment, _: replace(info, segment=segment, universe=msgspec.Raw(universes[segment])),
        TapeBounds(free_bytes_min=0),
    )
    for _, row in Tape(made).rows():
        if row.wall_ns >= cut_ns and writer._segments == 0:
            writer.close(0, 0)
        writer.add(row)
    writer.close(0, 0)
    assert len(list(Tape(folder).segments())) == 2
    same_by_row = with_universes(made, tmp_path / "by-row", without(all_four, base), [(15, all_four)])
    found, expected = run(folder, tmp_path / "out"), run(same_by_row, tmp_path / "expected")
    assert approvals_of(tmp_path / "out", base, "approved entry")
    assert found.decisions_hash == expected.decisions_hash


def test_a_part_begins_with_what_was_traded_then(made, all_four, tmp_path):
    base = all_four.pairs[0].base
    tape = with_universes(made, tmp_path / "tape", all_four, [(10, without(all_four, base))])
    start_ns = begun_ns(made)
    before = TapeRows(TapePart(str(tape), start_ns + 5 * NS)).start
    after = TapeRows(TapePart(str(tape), start_ns + 12 * NS)).start
    assert base in {pair.base for pair in before.universe.pairs}
    assert base not in {pair.base for pair in after.universe.pairs}


def test_markets_keep_their_slots_and_serials_go_on(all_four):
    first, last = all_four.pairs[0], all_four.pairs[-1]
    universes = TapeUniverses(without(all_four, last.base))
    venues = {"upbit", "binance"}
    assert universes.advance(without(all_four, last.base), venues) is None
    # Another recording, with other slots, in which one pair is gone and another one is new.
    moved = replace(last, home=replace(last.home, slot=first.home.slot), away=replace(last.away, slot=77))
    other = replace(
        without(all_four, first.base, last.base).with_pairs((moved,)).on_shards({last.base: 0}), serial=9
    )
    found = universes.advance(other, venues)
    assert found.serial == 1
    slots = {leg.market: leg.slot for leg in found.legs()}
    assert len(set(slots.values())) == len(slots)
    assert all(
        slots[leg.market] == leg.slot for pair in all_four.pairs[1:-1] for leg in (pair.home, pair.away)
    )
    # A slot that is given up at this moment is not used at once.
    assert not {first.home.slot, first.away.slot} & {found.pairs[-1].home.slot, found.pairs[-1].away.slot}
    assert found.revised == {}


def test_changed_fees_are_known_by_the_serial_in_which_they_came(all_four):
    universes = TapeUniverses(all_four)
    pair = all_four.pairs[1]
    fees = replace(pair.away.fees, buy_bps=Decimal(3))
    cheap = replace(pair, away=replace(pair.away, fees=fees))
    found = universes.advance(all_four.with_listing((cheap,), all_four.fx, (), 5), {"upbit", "binance"})
    assert found.revised == {pair.base: 1}
    later = universes.advance(replace(found, listed_ms=9), {"upbit", "binance"})
    assert later.serial == 2
    assert later.revised == {pair.base: 1}


def test_a_pair_in_no_shard_is_in_none_here(all_four):
    base = all_four.pairs[1].base
    universes = TapeUniverses(all_four)
    found = universes.advance(all_four.without_shard((base,)), {"upbit", "binance"})
    assert found.unassigned() == (base,)
    nowhere = all_four.without_shard(pair.base for pair in all_four.pairs)
    assert TapeUniverses(nowhere).now.unassigned() == ()  # nobody traded, as with ``record --alone``


def test_what_a_backtest_cannot_follow_is_refused(all_four):
    universes = TapeUniverses(all_four)
    with pytest.raises(UsageError, match=f"{all_four.fx.market.symbol} of upbit"):
        universes.advance(all_four, {"binance"})
    other = replace(all_four.fx, market=replace(all_four.fx.market, symbol="KRW-USDC"))
    with pytest.raises(UsageError, match="changes the FX market"):
        universes.advance(replace(all_four, fx=other), {"upbit", "binance"})
