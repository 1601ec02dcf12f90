"""The market regimes through the whole engine: nothing but prices makes one win and another lose."""

import pytest

from arbshard.config import BaselineConfig, Config
from arbshard.risk.portfolio.results import ALL
from arbshard.runner import ArbitrageLiveRunner
from support.effort import IS_NIGHTLY

REGIMES = ("high-win", "low-win", "crash", *(("mixed", "trending") if IS_NIGHTLY else ()))
"""The gate plays one that wins, one that loses and a crash; tests/exchanges/test_regimes.py has all of them."""


async def play(recording):
    """The session's totals after the whole recording, with the default settings but for the time of learning."""
    config = Config(baseline=BaselineConfig(is_required=False))
    async with await ArbitrageLiveRunner.acreate(
        config, data_source=recording.records, universe=recording.universe
    ) as runner:
        await runner.arun_multisymbol_loop()
    assert not runner.portfolio.positions
    return runner.portfolio.results.run[ALL]


@pytest.mark.timeout(120)
async def test_each_regime_ends_as_its_name_says(record):
    totals = {regime: await play(record(coins=4, seconds=90, regime=regime)) for regime in REGIMES}
    for regime, found in totals.items():
        assert found.entries >= 3, regime
        assert found.exits == found.entries, regime
        assert found.wins + found.losses == found.exits, regime
        assert found.fees > 0, regime
    assert totals["high-win"].win_rate > totals["low-win"].win_rate
    if IS_NIGHTLY:
        assert totals["mixed"].win_rate > totals["low-win"].win_rate
    assert totals["high-win"].pnl > totals["low-win"].pnl
    assert totals["high-win"].pnl > 0
    for regime in totals.keys() & {"low-win", "trending", "crash"}:
        assert totals[regime].pnl < 0, regime
        assert totals[regime].losses > 0, regime
