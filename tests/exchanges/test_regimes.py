"""The regimes order as they are named, judged by a simple desk that trades the books on a virtual clock.

The desk is a model of the engine's strategy, not the engine: top of book, fees of both venues, FX at the side that
applies, and orders that sometimes arrive a step late.
"""

import random
from dataclasses import dataclass, field

import pytest

from arbshard.config import Regime, SimConfig
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.world import FX_SYMBOL, SimWorld
from support.effort import effort

UPBIT_FEE, BINANCE_FEE = 5e-4, 10e-4
ENTRY_BPS, PROFIT_BPS, STOP_BPS, REVERSAL_BPS, HOLD_S = 30.0, 5.0, 60.0, 3.0, 20.0
LATE_SHARE = 0.4  # 40 ms of latency on a grid of 100 ms
EDGE_BPS_MAX = 500.0


@dataclass
class Quotes:
    upbit_bid: float
    upbit_ask: float
    binance_bid: float
    binance_ask: float
    fx_bid: float
    fx_ask: float

    def edge(self, direction: str) -> float:
        """Net basis points of the buy cost of buying on the named venue and selling on the other."""
        if direction == "buy_upbit":
            sold = self.binance_bid * self.fx_bid * (1 - BINANCE_FEE)
            return (sold / (self.upbit_ask * (1 + UPBIT_FEE)) - 1) * 1e4
        sold = self.upbit_bid * (1 - UPBIT_FEE)
        return (sold / (self.binance_ask * self.fx_ask * (1 + BINANCE_FEE)) - 1) * 1e4

    def gap(self) -> float:
        """Mid to mid, Upbit over Binance."""
        binance = (self.binance_bid + self.binance_ask) / 2 * (self.fx_bid + self.fx_ask) / 2
        return ((self.upbit_bid + self.upbit_ask) / 2 / binance - 1) * 1e4


@dataclass
class Trip:
    direction: str
    entry_bps: float
    opened_step: int
    result_bps: float = 0.0
    reason: str = ""


@dataclass
class Desk:
    """One coin's trading."""

    rng: random.Random
    entry_bps: float = ENTRY_BPS
    trips: list[Trip] = field(default_factory=list)
    held: Trip | None = None
    pending: str = ""
    idle_until: int = 0

    def on_quotes(self, step: int, quotes: Quotes, dt_s: float) -> None:
        if self.pending:
            self._fill(step, quotes)
            return
        if self.held is None:
            for direction in ("buy_upbit", "buy_binance"):
                if step >= self.idle_until and self.entry_bps <= quotes.edge(direction) < EDGE_BPS_MAX:
                    self.pending = direction
                    break
        else:
            self.pending = self._exit_reason(step, quotes, dt_s)
        if self.pending and self.rng.random() > LATE_SHARE:
            self._fill(step, quotes)

    def _exit_reason(self, step: int, quotes: Quotes, dt_s: float) -> str:
        held = self.held
        assert held is not None
        result = held.entry_bps + quotes.edge(_reverse(held.direction))
        gap = quotes.gap() if held.direction == "buy_upbit" else -quotes.gap()
        if result >= PROFIT_BPS:
            return "take_profit"
        if gap >= REVERSAL_BPS:
            return "spread_reversal"
        if result <= -STOP_BPS:
            return "stop_loss"
        return "max_hold" if (step - held.opened_step) * dt_s >= HOLD_S else ""

    def _fill(self, step: int, quotes: Quotes) -> None:
        if self.held is None:
            self.held = Trip(self.pending, quotes.edge(self.pending), step)
        else:
            self.held.result_bps = self.held.entry_bps + quotes.edge(_reverse(self.held.direction))
            self.held.reason = self.pending
            self.trips.append(self.held)
            self.held = None
        self.pending = ""
        self.idle_until = step + 5


def _reverse(direction: str) -> str:
    return "buy_binance" if direction == "buy_upbit" else "buy_upbit"


def _best(market: SimMarket) -> tuple[float, float]:
    return market.best_bid / 1e8, market.best_ask / 1e8


def trade(regime: Regime, *, coins: int, seconds: float, entry_bps: float = ENTRY_BPS) -> dict[str, Desk]:
    """Run a desk on each coin for ``seconds`` of virtual time."""
    world = SimWorld(SimConfig(seed=11, regime=regime, coins=coins, depth=5))
    bases = [market.listing.base for market in world.binance.values()]
    desks = {base: Desk(random.Random(index), entry_bps) for index, base in enumerate(bases)}
    for step in range(round(seconds / world.dt_s)):
        for place in range(len(world.places)):
            world.step(place)
        fx = _best(world.upbit[FX_SYMBOL])
        for base, desk in desks.items():
            upbit, binance = _best(world.upbit[f"KRW-{base}"]), _best(world.binance[f"{base}USDT"])
            desk.on_quotes(step, Quotes(*upbit, *binance, *fx), world.dt_s)
    return desks


@dataclass
class Outcome:
    trips: int
    win_rate: float
    mean_bps: float


def outcome(regime: Regime) -> Outcome:
    desks = trade(regime, coins=16, seconds=effort(60, 100))
    results = [trip.result_bps for desk in desks.values() for trip in desk.trips]
    wins = sum(result > 0 for result in results)
    count = max(1, len(results))
    return Outcome(len(results), wins / count, sum(results) / count)


@pytest.fixture(scope="module")
def outcomes() -> dict[Regime, Outcome]:
    regimes: tuple[Regime, ...] = ("calm", "mixed", "high-win", "low-win", "trending", "crash")
    return {regime: outcome(regime) for regime in regimes}


def test_win_rates_order_as_the_names_say(outcomes: dict[Regime, Outcome]) -> None:
    assert outcomes["high-win"].win_rate > outcomes["mixed"].win_rate + 0.05
    assert outcomes["mixed"].win_rate > outcomes["low-win"].win_rate + 0.2
    assert 0.6 <= outcomes["mixed"].win_rate <= 0.85
    assert outcomes["low-win"].win_rate < 0.5


def test_calm_trades_least(outcomes: dict[Regime, Outcome]) -> None:
    others = [one.trips for regime, one in outcomes.items() if regime != "calm"]
    assert outcomes["calm"].trips < min(others) / 2


@pytest.mark.parametrize("regime", ["low-win", "trending", "crash"])
def test_hard_regimes_lose_money(outcomes: dict[Regime, Outcome], regime: Regime) -> None:
    assert outcomes[regime].trips > effort(30, 50)
    assert outcomes[regime].mean_bps < -10


def test_high_win_earns_money(outcomes: dict[Regime, Outcome]) -> None:
    assert outcomes["high-win"].mean_bps > 5


def test_mixed_trades_every_coin_and_ends_trips_in_several_ways() -> None:
    desks = trade("mixed", coins=30, seconds=60)
    assert sum(bool(desk.trips) for desk in desks.values()) >= 25
    reasons = {trip.reason for desk in desks.values() for trip in desk.trips}
    assert {"take_profit", "stop_loss"} <= reasons
