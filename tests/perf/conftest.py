"""Markets of a few coins, their frames, and measurements that are made up."""

import pytest

from arbshard.config import SimConfig
from arbshard.exchanges.session import SharedStream
from arbshard.exchanges.world import SimWorld
from arbshard.shm.pages import Histogram
from perf.figures import LoadRow, percentiles_of
from perf.frames import FrameMaker, places_of, settings_of

COINS = 3


class Prepared:
    """The markets of a few coins and their frames."""

    def __init__(self) -> None:
        self.places = places_of(SimWorld(settings_of(SimConfig(coins=COINS))), COINS)
        self.by_name = {(place.venue, place.market.symbol): place for place in self.places}
        self.maker = FrameMaker(self.by_name, 1_795_000_000_000)

    @staticmethod
    def upbit(symbol="KRW-BTC", form="SIMPLE", depth=15) -> SharedStream:
        return SharedStream(symbol, "orderbook", depth, False, form, symbol)

    @staticmethod
    def depth(symbol="BTCUSDT", form="combined") -> SharedStream:
        return SharedStream(symbol, "depth", 20, False, form, f"{symbol.lower()}@depth20@100ms")

    @staticmethod
    def diff(symbol="BTCUSDT", form="raw") -> SharedStream:
        return SharedStream(symbol, "diff", 0, False, form, f"{symbol.lower()}@depth@100ms")


@pytest.fixture
def prepared() -> Prepared:
    return Prepared()


@pytest.fixture
def row():
    """A row that holds its rate; changes by name."""

    def make(**changes) -> LoadRow:
        latency = percentiles_of(Histogram.of([100_000] * 99 + [900_000]))
        values = {
            "client": "arbshard",
            "processes": 2,
            "rate": 1000.0,
            "coins": 60,
            "seconds": 10.0,
            "offered": 10_000,
            "delivered": 10_000,
            "decided": 9_900,
            "receive_us": latency,
            "send_us": latency,
            "cpu_s": {"supervisor": 0.1, "worker-0": 0.06, "worker-1": 0.05, "generator": 0.2},
            "rss_mb": {"supervisor": 50.0, "worker-0": 40.0, "worker-1": 41.0, "generator": 60.0},
        }
        return LoadRow(**{**values, **changes})

    return make
