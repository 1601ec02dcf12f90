"""The runner without an event loop, and the ways to make one."""

import asyncio

import pytest

from arbshard.data.recorded import RecordedMarketDataProvider
from arbshard.errors import UsageError
from arbshard.ledger.verify import verify
from arbshard.runner import ArbitrageLiveRunner
from arbshard.runner.live import make_provider


def runner_of(config, universe, records, **options):
    return ArbitrageLiveRunner(config, universe, RecordedMarketDataProvider(records), **options)


def brief(reports):
    return [(report.kind, report.result, report.reason) for report in reports]


def test_pairs_need_their_fx_market(make, quick, gap_recording):
    provider = RecordedMarketDataProvider(gap_recording)
    with pytest.raises(UsageError, match="fx"):
        ArbitrageLiveRunner(quick, [make.pair], provider)
    with ArbitrageLiveRunner(quick, [make.pair], provider, fx=make.fx_leg) as runner:
        assert runner.run_multisymbol_loop()


def test_synchronous_calls_do_the_same(quick, universe, gap_recording):
    async def play():
        async with runner_of(quick, universe, gap_recording) as runner:
            return await runner.arun_multisymbol_loop()

    async_reports = asyncio.run(play())
    runner = runner_of(quick, universe, gap_recording)
    reports = []
    while not runner.has_ended:
        reports += runner.run_once()
    reports += runner.run_once_for_symbol("BTC")
    reports += runner.stop()
    assert tuple(reports) == runner.reports
    assert brief(reports)[:2] == brief(async_reports)[:2]
    assert runner.portfolio.positions == {}


def test_run_forever_ends_with_the_recording_and_in_order(quick, universe, gap_recording, tmp_path):
    told = []
    runner = runner_of(quick, universe, gap_recording, ledger=tmp_path / "l.sqlite")
    runner.run_forever(told.append)
    assert told
    assert verify(tmp_path / "l.sqlite").kinds["Stopped"] == 1


def test_ctrl_c_ends_run_forever_in_order(quick, universe, gap_recording, tmp_path, monkeypatch):
    runner = runner_of(quick, universe, gap_recording[:30], ledger=tmp_path / "l.sqlite")
    runner.start()
    call = runner._background.call

    def interrupted(make):
        call(make)
        monkeypatch.setattr(runner._background, "call", call)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner._background, "call", interrupted)
    runner.run_forever()
    assert runner.portfolio.positions == {}
    assert runner.reports[-1].reason == "shutdown"
    assert verify(tmp_path / "l.sqlite").is_clean


async def test_synchronous_calls_inside_a_loop_say_what_to_use(quick, universe, gap_recording):
    runner = runner_of(quick, universe, gap_recording)
    for call, name in (
        (runner.run_once, "arun_once"),
        (runner.start, "astart"),
        (lambda: runner.run_once_for_symbol("BTC"), "arun_once_for_symbol"),
        (lambda: ArbitrageLiveRunner.create(quick), "acreate"),
    ):
        with pytest.raises(UsageError, match=f"await {name}\\(\\)"):
            call()


def test_a_runner_keeps_to_one_event_loop(quick, universe, gap_recording):
    runner = runner_of(quick, universe, gap_recording)
    runner.run_once()
    with pytest.raises(UsageError, match="another event loop"):
        asyncio.run(runner.arun_once())
    runner.stop()
    other = runner_of(quick, universe, gap_recording)
    asyncio.run(other.arun_once())
    with pytest.raises(UsageError, match="another event loop"):
        other.run_once()


# --- making one ----------------------------------------------------------------------------------------------------


def test_create_from_a_recording_asks_nobody(recording, quick):
    base = recording.universe.pairs[0].base
    with ArbitrageLiveRunner.create(
        quick, [base.lower()], recording.records, universe=recording.universe
    ) as runner:
        runner.run_multisymbol_loop(duration_s=5)
    assert [pair.base for pair in runner.pairs] == [base]


@pytest.mark.parametrize("source", ["ws", "rest"])
def test_live_data_needs_addresses(quick, universe, source, clock):
    with pytest.raises(UsageError, match=r"venues\.upbit\.(ws|rest)_url is empty"):
        make_provider(quick, universe, source, clock)
    with pytest.raises(UsageError, match=r"venues\.upbit\.rest_url is empty"):
        ArbitrageLiveRunner.create(quick, ["BTC"], source)


def test_unknown_data_source(quick, universe, clock):
    with pytest.raises(UsageError, match="'tape'"):
        make_provider(quick, universe, "tape", clock)
