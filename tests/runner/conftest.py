"""A recording of the simulated world, and one made by hand with a gap that opens and closes."""

import pytest

from arbshard.config import Config, Regime, SimConfig, load_config
from arbshard.exchanges.binance import frames as binance_frames
from arbshard.exchanges.binance.marketdata import MarketData
from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.session import Query
from arbshard.exchanges.upbit import frames as upbit_frames
from arbshard.exchanges.upbit.rest import UpbitRest
from arbshard.exchanges.world import SimWorld
from arbshard.model.universe import Universe
from arbshard.venues.base.rest import BookRequest
from arbshard.venues.binance.rest import BinanceBooks
from arbshard.venues.listing import fx_leg, pairs_of
from arbshard.venues.registry import get_venue
from arbshard.venues.upbit.rest import UpbitBooks
from support.paper import KIND_PAPER

START_NS = 10_000_000_000
START_MS = 1_795_000_000_000


class Recording:
    """Books of a few coins, as they were received, and what may be traded of them."""

    def __init__(self, coins: int, seconds: float, seed: int = 11, regime: Regime = "mixed") -> None:
        world = SimWorld(SimConfig(seed=seed, coins=coins, regime=regime))
        self.universe = self._universe(world)
        self.records = list(self._play(world, seconds))

    def _universe(self, world: SimWorld) -> Universe:
        query = Query("GET", "/v1/market/all", (("is_details", "true"),), "test", START_NS, START_MS)
        home = get_venue("upbit").listing([UpbitRest(world.upbit).answer(query).body])
        away = get_venue("binance").listing(
            [MarketData(world.binance).exchange_info(BinanceParams({}), START_MS)]
        )
        config = Config().venues
        fees = [
            get_venue(name).fee_schedule(config.get(name).buy_fee_bps, config.get(name).sell_fee_bps)
            for name in ("upbit", "binance")
        ]
        pairs = pairs_of(home, away, *fees)
        return Universe(fx_leg(home, fees[0]), tuple(pairs), (tuple(pair.base for pair in pairs),))

    def _play(self, world: SimWorld, seconds: float):
        step_ns = int(world.dt_s * 1e9) // len(world.places)
        now_ns = START_NS
        for _ in range(int(seconds / world.dt_s)):
            for place in range(len(world.places)):
                venue, market = world.step(place)
                now_ns += step_ns
                now_ms = START_MS + (now_ns - START_NS) // 1_000_000
                call = BookRequest("", (market.symbol,))
                if venue == "upbit":
                    body = f"[{upbit_frames.rest_orderbook(market, 15, now_ms)}]".encode()
                    found = UpbitBooks().decode(call, body, now_ns)
                else:
                    body = binance_frames.depth(market.book, 20).encode()
                    found = BinanceBooks().decode(call, body, now_ns)
                yield from (book for _, book in found)


@pytest.fixture(scope="session")
def recording() -> Recording:
    return Recording(coins=4, seconds=60)


@pytest.fixture(scope="session")
def record() -> type[Recording]:
    """To make others of."""
    return Recording


@pytest.fixture(scope="session")
def universe(make) -> Universe:
    return Universe(make.fx_leg, (make.pair,), (("BTC",),))


@pytest.fixture(scope="session")
def quick() -> Config:
    """Trades end soon, nothing is refused by chance."""
    return load_config(
        None,
        {
            "baseline": {"is_required": False},
            "strategy": {
                "max_hold_s": 5.0,
                "entry_bps": 30.0,
                "rearm_pause_max_s": 0.0,
                "no_reversion_exits": 0,
            },
            "paper": KIND_PAPER | {"latency_ms": 40.0},
            "run": {"stop_timeout_s": 5.0},
        },
    )


@pytest.fixture(scope="session")
def gap_recording(make):
    """3 s at a gap of -100 bp, 3 s at 0: an entry at home, a profit to take."""

    def at(step):
        gap_bps = -100.0 if step < 30 else 0.0
        now_ns = START_NS + step * 100_000_000
        yield make.fx_book(received_ns=now_ns)
        yield make.away_book(received_ns=now_ns + 1_000_000)
        yield make.home_book(gap_bps, received_ns=now_ns + 2_000_000)

    return [book for step in range(60) for book in at(step)]
