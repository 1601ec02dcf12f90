"""The runner on recordings: the whole engine, deterministic, without a socket."""

import asyncio
from decimal import Decimal, getcontext

import pytest
from msgspec.structs import replace

from arbshard.data.recorded import RecordedMarketDataProvider
from arbshard.engine.engine import ArbitrageEngine, Entry
from arbshard.engine.quality import View
from arbshard.errors import LedgerError, RunDirError, UsageError
from arbshard.execution.plan import plan_entry, plan_exit
from arbshard.ledger.events import IntentApproved, decode_event
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.store import LedgerStore
from arbshard.ledger.verify import verify
from arbshard.model.refusal import Refusal
from arbshard.runner import ArbitrageLiveRunner
from arbshard.runner.session import WATCH_NS
from support.funds import Funds, give


def runner_of(config, universe, records, **options):
    return ArbitrageLiveRunner(config, universe, RecordedMarketDataProvider(records), **options)


async def play(config, universe, records, **options):
    runner = runner_of(config, universe, records, **options)
    async with runner:
        reports = await runner.arun_multisymbol_loop()
    return runner, reports


def brief(reports):
    return [(report.kind, report.result, report.reason) for report in reports]


# --- what it does --------------------------------------------------------------------------------------------------


async def test_a_gap_that_opens_and_closes_is_entered_and_left(quick, universe, gap_recording):
    runner, reports = await play(quick, universe, gap_recording)
    assert brief(reports)[0] == ("entry", "opened", "net_edge")
    assert ("exit", "closed", "take_profit") in brief(reports)
    totals = runner.portfolio.results.run[""]
    closed = [report for report in runner.reports if report.result == "closed"]
    assert (totals.entries, totals.exits) == (len(closed), len(closed))
    assert totals.pnl == sum(report.position.pnl for report in closed)
    assert closed[0].closed_for == "take_profit"
    assert runner.portfolio.positions == {}
    assert runner.counters["opportunities"] == totals.entries
    assert runner.counters["books"] == len(gap_recording)
    assert runner.counters["orders"] >= 2 * totals.entries
    assert runner.counters["approved"] == totals.entries + totals.exits
    assert "beat" not in runner.counters
    assert runner.decision_latency.count > 0


async def test_orders_arrive_after_their_latency_in_the_recordings_time(quick, universe, gap_recording):
    slow = replace(quick, paper=replace(quick.paper, latency_ms=400.0, latency_sigma=0.0))
    _, reports = await play(slow, universe, gap_recording)
    first = reports[0]
    decided_ms = gap_recording[2].received_ns // 1_000_000
    assert first.at_ms == decided_ms + 400
    assert first.position.opened_ms == first.at_ms


async def test_an_order_meets_the_book_of_its_arrival(make, quick, universe, gap_recording):
    """The gap is gone before the orders arrive: nothing is left to buy at the limit."""
    slow = replace(quick, paper=replace(quick.paper, latency_ms=250.0, latency_sigma=0.0))
    head = gap_recording[:3]
    tail = [
        book
        for step in range(1, 12)
        for book in (
            make.fx_book(received_ns=head[0].received_ns + step * 100_000_000),
            make.away_book(received_ns=head[1].received_ns + step * 100_000_000),
            make.home_book(60.0, received_ns=head[2].received_ns + step * 100_000_000),
        )
    ]
    _, reports = await play(slow, universe, [*head, *tail])
    assert reports[0].kind == "entry"
    assert reports[0].result in ("missed", "unwound")


async def test_the_same_recording_gives_the_same_result(recording, quick):
    first, _ = await play(quick, recording.universe, recording.records)
    again, _ = await play(quick, recording.universe, recording.records)
    assert first.reports == again.reports
    assert first.portfolio.state_hash() == again.portfolio.state_hash()
    results = {report.result for report in first.reports}
    assert {"opened", "closed"} <= results
    assert len(first.reports) >= 8
    assert first.portfolio.positions == {}


async def test_each_pair_has_its_series(recording, quick):
    runner, _ = await play(quick, recording.universe, recording.records)
    bases = {pair.base for pair in runner.pairs}
    assert set(runner.series) == bases
    for series in runner.series.values():
        assert 50 <= series.count <= 61  # a minute, one a second
        assert series.z_score is not None
        assert abs(series.mean) < 500
    a, b = sorted(bases)[:2]
    assert -1 <= runner.correlations.get(a, b) <= 1


async def test_one_symbol_leaves_the_others_alone(recording, quick):
    runner = runner_of(quick, recording.universe, recording.records)
    base = recording.universe.pairs[1].base
    async with runner:
        reports = await runner.arun_multisymbol_loop([f"krw-{base}"])
    assert reports
    assert {report.pair for report in runner.reports} == {base}
    with pytest.raises(UsageError, match="not traded"):
        await runner.arun_multisymbol_loop(["DOGECOIN"])


async def test_duration_is_the_recordings_own(quick, universe, gap_recording):
    runner = runner_of(quick, universe, gap_recording)
    await runner.arun_multisymbol_loop(duration_s=1.0)
    assert runner.provider.now_ns - gap_recording[0].received_ns == pytest.approx(1e9, abs=2e8)
    assert not runner.has_ended
    await runner.arun_multisymbol_loop()
    assert runner.has_ended
    await runner.astop()


async def test_run_once_is_one_step(quick, universe, gap_recording):
    runner = runner_of(quick, universe, gap_recording)
    reports = [report for _ in range(9) for report in await runner.arun_once()]
    assert brief(reports) == [("entry", "opened", "net_edge")]
    assert runner.counters["books"] == 9
    assert len(runner.portfolio.positions) == 1
    (report,) = await runner.astop()
    assert brief([report]) == [("exit", "closed", "shutdown")]
    assert runner.portfolio.positions == {}


async def test_run_once_for_symbol_goes_on_to_its_next_book(recording, quick):
    runner = runner_of(quick, recording.universe, recording.records)
    pair = recording.universe.pairs[2]
    await runner.arun_once_for_symbol(pair.base)
    assert runner.provider.latest_snapshots.keys() & {pair.home.market.symbol, pair.away.market.symbol}
    before = runner.counters["books"]
    await runner.arun_once_for_symbol(pair.away.market.symbol)
    assert runner.counters["books"] > before
    await runner.astop()


async def test_positions_can_be_left_open_and_are_taken_over(quick, universe, gap_recording, tmp_path):
    ledger = tmp_path / "ledger.sqlite"
    first = runner_of(quick, universe, gap_recording[:30], ledger=ledger)
    await first.arun_multisymbol_loop()
    assert await first.astop(close_positions=False) == []
    (held,) = first.portfolio.positions
    second = runner_of(quick, universe, gap_recording[30:], ledger=ledger)
    async with second:
        assert list(second.portfolio.positions) == [held]
        reports = await second.arun_multisymbol_loop()
    assert reports[0].position.position_id == held
    assert reports[0].result == "closed"
    report = verify(ledger)
    assert report.is_clean, report.differences
    assert report.kinds["Stopped"] == 2


async def test_the_callback_is_told_all(quick, universe, gap_recording):
    told = []
    runner = runner_of(quick, universe, gap_recording)
    reports = await runner.arun_multisymbol_loop(on_report=told.append)
    assert told == reports != []
    await runner.astop()


async def test_the_loop_ends_when_asked(quick, universe, gap_recording):
    runner = runner_of(quick, universe, gap_recording)
    await runner.arun_multisymbol_loop(on_report=lambda _: runner.request_stop())
    assert len(runner.reports) == 1
    assert not runner.has_ended
    await runner.astop()


async def test_what_risk_refuses_is_reported(quick, universe, gap_recording):
    # A file with this limit would be refused, because risk then refuses every entry.
    tight = replace(quick, limits=replace(quick.limits, edge_bps_max=1.0))
    runner, reports = await play(tight, universe, gap_recording)
    assert {report.result for report in reports} == {"refused"}
    assert reports[0].refusal is Refusal.EDGE_IMPLAUSIBLE
    assert reports[0].detail
    assert reports[0].position is None
    assert runner.counters["refused"] == len(reports)


async def test_old_books_are_not_traded_on(make, quick, universe):
    records = [
        make.fx_book(received_ns=10_000_000_000),
        make.away_book(received_ns=10_000_000_000),
        make.home_book(-100.0, received_ns=14_000_000_000),
    ]
    runner, reports = await play(quick, universe, records)
    assert reports == []
    assert runner.counters["refusal_BOOK_STALE"] == 1


async def test_a_bad_book_is_not_traded_on(quick, universe, gap_recording):
    home = gap_recording[2]
    crossed = replace(home, bids=home.asks[:1])
    runner, reports = await play(quick, universe, [*gap_recording[:2], crossed])
    assert reports == []
    assert runner.counters["refusal_BOOK_BAD"] == 1
    assert runner.counters["bad_upbit_crossed"] == 1


# --- the same as the shards ----------------------------------------------------------------------------------------


async def test_decisions_are_those_of_the_engine(recording, quick, tmp_path):
    """The engine alone, told when each trade ended and what it left, wants the same orders at the same times."""
    ledger = tmp_path / "ledger.sqlite"
    runner = runner_of(quick, recording.universe, recording.records, ledger=ledger)
    await runner.arun_multisymbol_loop()
    reports = {report.intent_id: report for report in runner.reports}
    await runner.astop(close_positions=False)
    with LedgerReader(ledger) as reader:
        events = [decode_event(row[-1]) for row in reader.rows()]
    wanted = {event.intent.intent_id: event.intent for event in events if isinstance(event, IntentApproved)}
    assert len(wanted) >= 8

    engine = ArbitrageEngine(recording.universe.pairs, recording.universe.fx, quick)
    slots = {leg.market.symbol: leg.slot for leg in recording.universe.legs()}
    plenty = Funds(1e8, 1e9, 7e4, 1e9)
    offset_ms = recording.records[0].exchange_ms - recording.records[0].received_ns // 1_000_000
    ends: dict[str, object] = {}
    held: dict[str, dict] = {base: {} for base in engine.pairs}
    residue = dict.fromkeys(engine.pairs, Decimal(0))
    decided = []
    watched_ns = 0
    names = iter(sorted(wanted, key=lambda name: int(name.rpartition("-")[2])))
    for book in recording.records:
        now_ns = book.received_ns
        now_ms = now_ns // 1_000_000 + offset_ms
        for base, (name, end_ms) in list(ends.items()):
            if end_ms > now_ms or (end_ms == now_ms and reports[name].at_ms > now_ms):
                continue
            state, position = engine.pairs[base], reports[name].position
            if position is not None and position.state == "OPEN":
                held[base][position.position_id] = position
            elif position is not None:
                held[base].pop(position.position_id, None)
                residue[base] += position.imbalance
            engine.set_positions(state, held[base].values(), now_ns, now_ms)
            state.busy = False
            state.rest_until_ns = (end_ms - offset_ms) * 1_000_000 + int(quick.strategy.cooldown_ms * 1e6)
            del ends[base]
        touched = engine.observe(slots[book.symbol], View(book, live=True, bad=False))
        others = []
        if now_ns - watched_ns >= WATCH_NS:
            watched_ns = now_ns
            others = [state for state in engine.pairs.values() if state is not touched and state.held]
        for state in ([touched] if touched is not None else []) + others:
            give(engine, state, plenty)
            trade = engine.evaluate(state, now_ns)
            if trade is None:
                continue
            name = next(names)
            if isinstance(trade, Entry):
                intent = plan_entry(trade, name, now_ms)
            else:
                position = held[state.pair.base][trade.position_id]
                intent = plan_exit(trade, position, name, now_ms, quick.execution, residue[state.pair.base])
            decided.append(intent)
            state.busy = True
            ends[state.pair.base] = (name, reports[name].at_ms) if name in reports else (name, 1 << 62)
    assert [(one.intent_id, one.pair, one.reason, one.decided_ms) for one in decided] == [
        (one.intent_id, one.pair, one.reason, one.decided_ms) for one in wanted.values()
    ]
    assert decided == list(wanted.values())


async def test_the_ledger_adds_up(recording, quick, tmp_path):
    ledger = tmp_path / "deep" / "ledger.sqlite"
    runner, _ = await play(quick, recording.universe, recording.records, ledger=ledger)
    report = verify(ledger)
    assert report.is_clean, report.differences
    assert report.closed == runner.portfolio.results.run[""].exits
    assert report.pnl == runner.portfolio.results.run[""].pnl


# --- what can go wrong ---------------------------------------------------------------------------------------------


async def test_a_ledger_that_cannot_be_written_ends_the_trading(
    quick, universe, gap_recording, tmp_path, monkeypatch
):
    runner = runner_of(quick, universe, gap_recording, ledger=tmp_path / "ledger.sqlite")
    await runner.arun_once()

    def full(self, events):
        if events:
            raise LedgerError("disk full")

    monkeypatch.setattr(LedgerStore, "append", full)
    with pytest.raises(LedgerError, match="disk full"):
        await runner.arun_multisymbol_loop()
    assert runner.portfolio.trades == {}  # taken back
    with pytest.raises(LedgerError):
        await runner.arun_once()
    await runner.astop()
    monkeypatch.undo()
    assert verify(tmp_path / "ledger.sqlite").is_clean


async def test_two_runners_cannot_share_a_ledger(quick, universe, gap_recording, tmp_path):
    async with runner_of(quick, universe, gap_recording, ledger=tmp_path / "l.sqlite"):
        with pytest.raises(RunDirError, match="already writes"):
            await runner_of(quick, universe, gap_recording, ledger=tmp_path / "l.sqlite").astart()
    async with runner_of(quick, universe, gap_recording, ledger=tmp_path / "l.sqlite"):
        pass  # it was let go


async def test_a_replay_does_not_get_into_the_ledger_of_a_run(quick, universe, gap_recording, tmp_path):
    path = tmp_path / "l.sqlite"
    LedgerStore.open(path, name="sim", mode="sim-paper", now_ms=1).close()
    with pytest.raises(UsageError, match="mode"):
        await runner_of(quick, universe, gap_recording, ledger=path).astart()


async def test_a_start_that_fails_lets_go(quick, universe, gap_recording, tmp_path):
    class Unable(RecordedMarketDataProvider):
        async def start(self):
            raise OSError("no way out")

    path = tmp_path / "l.sqlite"
    runner = ArbitrageLiveRunner(quick, universe, Unable(gap_recording), ledger=path)
    with pytest.raises(OSError, match="no way out"):
        await runner.astart()
    async with runner_of(quick, universe, gap_recording, ledger=path):
        pass


async def test_a_stopped_runner_stays_stopped(quick, universe, gap_recording):
    runner = runner_of(quick, universe, gap_recording)
    await runner.arun_once()
    await runner.astop()
    assert await runner.astop() == []
    with pytest.raises(UsageError, match="stopped"):
        await runner.arun_once()


async def test_one_call_at_a_time(quick, universe, gap_recording):
    async with runner_of(quick, universe, gap_recording) as runner:
        first = asyncio.ensure_future(runner.arun_multisymbol_loop())
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="one call at a time"):
            await runner.arun_once()
        await first


async def test_before_the_start_there_is_nothing_to_see(quick, universe, gap_recording):
    runner = runner_of(quick, universe, gap_recording)
    with pytest.raises(UsageError, match="not been started"):
        _ = runner.portfolio
    assert await runner.astop() == []


async def test_the_callers_decimals_are_left_alone(quick, universe, gap_recording):
    before = getcontext().copy()
    getcontext().prec = 9
    try:
        await play(quick, universe, gap_recording)
        assert getcontext().prec == 9
        assert Decimal(1) / 3 == Decimal("0.333333333")
    finally:
        getcontext().prec = before.prec
