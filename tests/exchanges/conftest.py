"""Worlds and markets for the tests of the simulated exchanges."""

import random
from collections.abc import Callable

import pytest

from arbshard.config import SimConfig
from arbshard.exchanges.book import Shape
from arbshard.exchanges.ladder import Ladder
from arbshard.exchanges.market import GeneratedMarket, SimListing
from arbshard.exchanges.units import UNIT, fixed8
from arbshard.exchanges.world import SimWorld


@pytest.fixture
def world() -> SimWorld:
    """Three coins (BTC, ETH, XRP), a few steps old."""
    world = SimWorld(SimConfig(seed=3, coins=3))
    step_all(world, 5)
    return world


def step_all(world: SimWorld, steps: int) -> None:
    for _ in range(steps):
        for place in range(len(world.places)):
            world.step(place)


@pytest.fixture
def advance() -> Callable[[SimWorld, int], None]:
    return step_all


@pytest.fixture
def make_market() -> Callable[..., GeneratedMarket]:
    """A market of one's own: ``make_market(price=100.0, depth=10, seed=1)``."""

    def make(price: float = 100.0, depth: int = 10, seed: int = 1) -> GeneratedMarket:
        listing = SimListing("ABCUSDT", "ABC", "USDT", "Abc", "", UNIT // 100, UNIT // 1000)
        shape = Shape(depth, UNIT // 1000, 3.0, 1.0, 1000.0)
        return GeneratedMarket(listing, Ladder([(0, UNIT // 100)]), shape, fixed8, price, random.Random(seed))

    return make
