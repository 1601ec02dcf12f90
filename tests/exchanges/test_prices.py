"""Gaps open and close, soon and everywhere; the processes are seeded and independent of the step's length."""

import math

import pytest

from arbshard.config import SimConfig
from arbshard.exchanges.prices import FX_START, CoinProcess, Fx, Tide
from arbshard.exchanges.regimes import RULES
from arbshard.exchanges.world import SimWorld

OPEN_BPS, CLOSED_BPS = 50.0, 5.0


def cycles(process: CoinProcess, seconds: float, dt_s: float = 0.1) -> list[tuple[float, float]]:
    """(opened, closed) of every full gap, in seconds."""
    found: list[tuple[float, float]] = []
    opened: float | None = None
    for step in range(round(seconds / dt_s)):
        process.step(dt_s, 0.0)
        gap = abs(process.gap_bps)
        if opened is None and gap >= OPEN_BPS:
            opened = step * dt_s
        elif opened is not None and gap <= CLOSED_BPS:
            found.append((opened, step * dt_s))
            opened = None
    return found


@pytest.mark.parametrize("seed", [1, 7, 11])
def test_mixed_opens_and_closes_a_gap_on_nearly_every_coin_within_a_minute(seed: int) -> None:
    world = SimWorld(SimConfig(seed=seed, regime="mixed", coins=30))
    all_cycles = [cycles(process, 60.0) for process in world.processes]
    assert sum(1 for found in all_cycles if found) >= 25
    assert sum(1 for found in all_cycles if found and found[0][0] <= 15.0) >= 25


def test_mixed_gaps_come_every_10_to_25_s_and_most_last_2_to_8_s() -> None:
    world = SimWorld(SimConfig(seed=5, regime="mixed", coins=30))
    all_cycles = [cycles(process, 300.0) for process in world.processes]
    per_coin = sum(map(len, all_cycles)) / 30
    assert 300 / 25 < per_coin < 300 / 10
    lengths = sorted(closed - opened for found in all_cycles for opened, closed in found)
    assert lengths[len(lengths) // 4] > 1.0
    assert lengths[3 * len(lengths) // 4] < 8.0


def test_gaps_open_on_both_sides() -> None:
    process = CoinProcess(1, "BTC", 100.0, 8.0, RULES["mixed"])
    gaps = []
    for _ in range(6000):
        process.step(0.1, 0.0)
        gaps.append(process.gap_bps)
    assert min(gaps) < -OPEN_BPS
    assert max(gaps) > OPEN_BPS
    assert abs(sum(gaps) / len(gaps)) < 20


def test_calm_gaps_are_small() -> None:
    process = CoinProcess(1, "BTC", 100.0, 8.0, RULES["calm"])
    wide = 0
    for _ in range(6000):
        process.step(0.1, 0.0)
        wide += abs(process.gap_bps) > 100
    assert wide == 0


def test_same_seed_same_prices_other_seed_others() -> None:
    def path(seed: int) -> list[tuple[float, float]]:
        process = CoinProcess(seed, "ETH", 3000.0, 8.0, RULES["mixed"])
        return [process.step(0.1, 0.0) for _ in range(50)]

    assert path(4) == path(4)
    assert path(4) != path(5)


def test_crash_falls_and_the_price_has_a_floor() -> None:
    tide = Tide(1, RULES["crash"])
    lowest = 0.0
    level = 0.0
    for _ in range(1200):
        tide.step(0.1)
        level += tide.move
        lowest = min(lowest, level)
    assert lowest < math.log(0.8)
    process = CoinProcess(1, "BTC", 100.0, 8.0, RULES["crash"])
    for _ in range(100):
        prices = process.step(0.1, -0.5)
    assert prices.upbit > 10.0


def test_there_is_no_tide_outside_a_crash() -> None:
    tide = Tide(1, RULES["mixed"])
    for _ in range(100):
        tide.step(0.1)
        assert tide.move == 0.0


def test_trend_goes_one_way_for_long_and_stays_bounded() -> None:
    process = CoinProcess(2, "BTC", 100.0, 8.0, RULES["trending"])
    gaps = []
    for _ in range(9000):
        process.step(0.1, 0.0)
        gaps.append(process.gap_bps)
    assert max(map(abs, gaps)) < 450
    assert max(gaps) - min(gaps) > 150


def test_fx_is_slow_and_comes_back() -> None:
    fx = Fx(3)
    for _ in range(20_000):
        before = fx.rate
        fx.step(0.1)
        assert abs(fx.rate / before - 1) < 2e-4
        assert abs(fx.rate / FX_START - 1) < 0.01
