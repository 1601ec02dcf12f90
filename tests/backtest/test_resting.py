"""A span that is passed over leaves everything as it would be: decisions, the ledger, and what each part has
learned.
"""

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.backtest import feeding, resting, rows
from arbshard.backtest.decisions import DecisionLog
from arbshard.backtest.replaying import TapeSystem
from arbshard.backtest.rows import TapePart
from arbshard.backtest.run import LOG, backtest, tape_config
from arbshard.config import Config
from arbshard.tape.reading import Tape
from arbshard.tape.writing import TapeBounds, TapeWriter
from arbshard.venues.registry import get_venue
from perf.tapes import make_tape
from support.effort import effort
from tests.backtest.test_screening import rewritten

pytestmark = pytest.mark.needs("analysis", "tape")

NS = 1_000_000_000
BASE = Config()


def thinned(tape, folder, seed):
    """The tape with one market of which nothing comes, another one that is quiet, and a venue that is silent for some
    seconds now and then.
    """
    info = next(Tape(tape).segments()).info
    folder.mkdir()
    writer = TapeWriter(folder, info.recording, lambda *_: info, TapeBounds(free_bytes_min=0))
    random, rows_of_tape = Random(seed), [row for _, row in Tape(tape).rows()]
    routes = {row.venue: get_venue(row.venue).route for row in rows_of_tape}
    markets = sorted({market for row in rows_of_tape if (market := routes[row.venue](row.data)) is not None})
    dead, quiet = random.sample(
        [market for market in markets if "USDT" not in market or "-" not in market], 2
    )
    silent_until_ns = 0
    for row in rows_of_tape:
        market = routes[row.venue](row.data) if row.kind == "frame" else None
        if row.venue == "binance" and row.kind == "frame":
            if row.at_ns >= silent_until_ns and random.random() < 0.001:
                silent_until_ns = row.at_ns + random.randint(1, 7) * NS
            if row.at_ns < silent_until_ns:
                continue
        if market is None or (market != dead and (market != quiet or random.random() < 0.05)):
            writer.add(row)
    writer.close(0, 0)
    return folder


def state_of(system):
    """What the parts of a system know at the end of the tape, except for what only counts turns."""
    risk, rest = system._risk, system.feeder.rest
    core, gaps, fx = risk.core, risk._gaps, risk.core.guard.fx
    known = {
        "series": {
            base: {name: repr(getattr(one, name)) for name in one.__slots__} for base, one in gaps.series.items()
        },
        "baselines": gaps.baselines.known,
        "queue": (gaps.baselines._queue, gaps.baselines._due_ns),
        "views": gaps.views,
        "fx": (
            fx._implied, fx._rate, fx._rate_ns, list(fx._recent), fx._level, fx._level_due_ns, fx.figures, fx.doubt,
        ),
        "premiums": (list(fx._premiums._newest), fx._premiums._sorted),
        "terms": {base: terms for base, (_, terms) in core.terms._pairs.items()},
        "due": (
            core.terms._due_ns, core.guard.correlations._typical_due_ns, risk._positions._due_ns,
            risk._feeds._next_ns, risk._service._audited_ns, risk._kept_ns,
        ),
        "ratios": (core.identity._ratios, core.identity._within, core.identity._outside_ns),
        "prices": core.valuation._prices,
    }  # fmt: skip
    for name, feed in system._feeds.items():
        lag = feed.lag
        known[name] = {
            "state": feed._counted,
            "streams": {
                one: (stream._frames, stream._counted_ns, stream._alive_ns, stream.intake.frames)
                for one, stream in feed._connections.items()
            },
            "fused": {
                (one, symbol): [getattr(market, name) for name in market.__slots__]
                for one, fuser in feed._fusers.items()
                for symbol, market in fuser._markets.items()
            },
            "lag": (lag._measured, lag._late, lag._limit._usual, lag._limit.median_ms, lag._new),
            "usual": [
                (one._quartiles, one._minute, one._values)
                for one in (lag._limit._by_monotonic, lag._limit._by_wall)
            ],
        }
    books = rest._screen.books if rest is not None else feed._books
    slots = range(books.slot_count)
    known["books"] = [
        (
            books.newest(slot),
            *books.times(slot)[:1],
            books.live(slot),
            books.late_after_ns(slot),
            books.sequence(slot),
        )
        for slot in slots
    ]
    return known


def traded(part, config, out, monkeypatch, **options):
    """The summary of a backtest, and the state at its end."""
    found = {"events": []}

    def add(log, events, keep=DecisionLog.add):
        found["events"] += events
        keep(log, events)

    async def end(system, *args, finish=TapeSystem._end):
        if system.feeder.block is None:
            found.update(state_of(system))
            found["tag"] = system._risk.core._tag
            found["passed"] = system.feeder.rest.passed if system.feeder.rest is not None else 0
        await finish(system, *args)

    with monkeypatch.context() as patched:
        patched.setattr(TapeSystem, "_end", end)
        patched.setattr(DecisionLog, "add", add)
        summary = backtest(part, config, out, **options)
    found["events"] = [repr(event).replace(found["tag"], "tag") for event in found["events"]]
    return summary, found


def same(one, other):
    """Require that nothing but the ids differs between two backtests."""
    (summary, state), (expected, expected_state) = one, other
    folder, expected_folder = Path(summary.ledger).parent, Path(expected.ledger).parent
    assert (folder / "decisions.txt").read_text() == (expected_folder / "decisions.txt").read_text()
    assert summary.decisions_hash == expected.decisions_hash
    assert summary.equity == expected.equity
    assert summary.frames == expected.frames
    assert (folder / LOG).read_text() == (expected_folder / LOG).read_text()
    for name, value in expected_state.items():
        if name not in ("passed", "tag"):
            assert state[name] == value, name


@settings(
    max_examples=effort(3, 12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10_000),
    entry_bps=st.sampled_from([35.0, 60.0, 450.0]),
    regime=st.sampled_from(["mixed", "calm", "band"]),
    share=st.sampled_from([0.0, 0.001, 0.02]),
    rest_rows=st.sampled_from([200, 800, 65_536]),
    short_rows=st.sampled_from([20, 100]),
    sample_ms=st.sampled_from([200.0, 1000.0]),
    is_fused=st.booleans(),
    is_thin=st.booleans(),
    day_starts=st.sampled_from(["00:00", "20:07"]),  # the second one is within the tape
)
def test_all_is_as_without_a_span_that_is_passed_over(
    tmp_path_factory,
    monkeypatch,
    seed,
    entry_bps,
    regime,
    share,
    rest_rows,
    short_rows,
    sample_ms,
    is_fused,
    is_thin,
    day_starts,
):
    monkeypatch.setattr(feeding, "REST_ROWS", rest_rows)
    monkeypatch.setattr(feeding, "_SHORT_ROWS", short_rows)
    monkeypatch.setattr(rows, "_BLOCK_ROWS", 100)
    monkeypatch.setattr(resting, "_TICKS_MIN", 3)
    folder = tmp_path_factory.mktemp("resting")
    base = replace(
        BASE,
        strategy=replace(BASE.strategy, entry_bps=entry_bps, min_edge_bps=min(entry_bps, 20.0)),
        series=replace(BASE.series, sample_ms=sample_ms, window=100),
        limits=replace(BASE.limits, day_starts=day_starts),
        baseline=replace(BASE.baseline, is_required=False, samples_min=30, returns_min=1),
    )
    make_tape(
        folder, seconds=75, pairs=3, updates_per_s=4, regime=regime, seed=seed, base=base, is_fused=is_fused
    )
    tape = rewritten(folder, folder / "rewritten", seed, share)
    tape = thinned(tape, folder / "thin", seed) if is_thin else tape
    part, config = TapePart(str(tape)), tape_config(tape)
    with_it = traded(part, config, folder / "with", monkeypatch)
    same(with_it, traded(part, config, folder / "without", monkeypatch, screening=False))


@pytest.mark.parametrize("is_fused", [False, True])
def test_most_of_a_quiet_tape_is_passed_over(tmp_path, monkeypatch, is_fused):
    make_tape(tmp_path, seconds=90, pairs=3, updates_per_s=6, regime="calm", seed=5, is_fused=is_fused)
    config = tape_config(tmp_path)
    strict = replace(config, strategy=replace(config.strategy, entry_bps=450.0))
    found = traded(TapePart(str(tmp_path)), strict, tmp_path / "with", monkeypatch)
    assert found[1]["passed"] > 0.5 * found[0].frames
    same(found, traded(TapePart(str(tmp_path)), strict, tmp_path / "without", monkeypatch, screening=False))


def test_a_pair_with_a_market_that_never_comes_does_not_keep_the_others_from_rest(tmp_path, monkeypatch):
    made = tmp_path / "made"
    make_tape(made, seconds=60, pairs=4, updates_per_s=6, regime="calm", seed=5)
    tape = thinned(made, tmp_path / "thin", 3)
    config = tape_config(tape)
    strict = replace(config, strategy=replace(config.strategy, entry_bps=450.0))
    found = traded(TapePart(str(tape)), strict, tmp_path / "with", monkeypatch)
    assert found[1]["passed"] > 0.2 * found[0].frames
    same(found, traded(TapePart(str(tape)), strict, tmp_path / "without", monkeypatch, screening=False))


def test_a_bound_that_is_too_high_is_found(tmp_path, monkeypatch):
    """The comparison can fail: spans that are passed over although entries are possible lose entries."""
    base = replace(BASE, baseline=replace(BASE.baseline, is_required=False))
    make_tape(tmp_path, seconds=40, pairs=3, updates_per_s=6, regime="mixed", seed=5, base=base)
    monkeypatch.setattr(resting, "_TICKS_MIN", 3)
    part, config = TapePart(str(tmp_path)), tape_config(tmp_path)
    right = backtest(part, config, tmp_path / "right", screening=False)
    same_as_right = backtest(part, config, tmp_path / "same")
    monkeypatch.setattr(resting.QuietSpans, "_reached_ns", lambda *given: given[-1])
    wrong = backtest(part, config, tmp_path / "wrong")
    assert right.decisions_hash == same_as_right.decisions_hash
    assert right.decisions_hash != wrong.decisions_hash
    assert right.entries > wrong.entries
