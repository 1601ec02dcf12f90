"""Defines worlds: every market of both venues, and when each of them moves.

``MarketWorld`` is what the exchanges need of a world; ``loop`` drives it by time. ``SimWorld`` generates its
markets: a seed, a regime and a number of coins give the same stream of books, step by step, whatever subscribes to
it, and tests drive it as fast as they like. ``recorded.RecordedWorld`` plays a recording.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from arbshard.config import SimConfig
from arbshard.exchanges.bands import Stress
from arbshard.exchanges.book import Shape
from arbshard.exchanges.coins import Coin, coin_table
from arbshard.exchanges.grid import Grid
from arbshard.exchanges.ladder import UPBIT_KRW_BANDS, Ladder
from arbshard.exchanges.market import GeneratedMarket, SimListing, SimMarket
from arbshard.exchanges.prices import FX_START, CoinPrices, CoinProcess, Fx, Tide
from arbshard.exchanges.regimes import RULES, RegimeRules
from arbshard.exchanges.seeds import seeded
from arbshard.exchanges.units import UNIT, fixed8, plain

FX_SYMBOL = "KRW-USDT"
UPBIT_LOT = 1
"""Step of quantities at Upbit, which accepts eight decimals, in units of 1e-8."""


class Place(NamedTuple):
    """Describes a market's place in the order of stepping."""

    venue: str
    market: SimMarket


class Schedule(Protocol):
    """Decides when the markets of a world make their steps."""

    @property
    def due_ns(self) -> int:
        """Return when the next step is due, in monotonic nanoseconds."""
        ...

    def next_due(self, now_ns: int) -> tuple[int, bool] | None:
        """Return the place of the next step that is due and whether its update may still be sent; None if none is."""
        ...

    def jumped(self, now_ns: int) -> bool:
        """Continue from ``now_ns`` if the process was suspended; return whether it was."""
        ...


class MarketWorld(Protocol):
    """Holds and steps the markets of both venues."""

    @property
    def upbit(self) -> Mapping[str, SimMarket]:
        """Return the markets of Upbit by symbol."""
        ...

    @property
    def binance(self) -> Mapping[str, SimMarket]:
        """Return the markets of Binance by symbol."""
        ...

    @property
    def places(self) -> Sequence[Place]:
        """Return all markets; ``Schedule`` counts by their index."""
        ...

    @property
    def is_over(self) -> bool:
        """Return whether no market will move any more."""
        ...

    def open(self, now_ms: int) -> None:
        """Open all markets, before the first step."""
        ...

    def markets(self, venue: str) -> Mapping[str, SimMarket]:
        """Return the markets of a venue by symbol."""
        ...

    def schedule(self, now_ns: int) -> Schedule:
        """Return a schedule that begins at ``now_ns`` and says which step is next."""
        ...

    def step(self, place: int) -> Place:
        """Make the step that the schedule has named; return its place."""
        ...

    def shift_fx(self, bps: float) -> None:
        """Move the FX market alone by so many basis points; 0 moves it back."""
        ...

    def hold_gap(self, venue: str, base: str, bps: float | None) -> None:
        """Keep the premium of a coin at a venue at ``bps``; None lets it move again."""
        ...


class SimWorld:
    """Generates all markets. Call ``step(i)`` for i in ``range(len(places))``, over and over, in this order."""

    is_over = False

    def __init__(self, config: SimConfig) -> None:
        self.dt_s = 1.0 / config.updates_per_s
        rules = RULES[config.regime]
        self._tide = Tide(config.seed, rules)
        self._fx = Fx(config.seed, rules.band)
        self._stress = Stress(config.seed, rules.band) if rules.band is not None else None
        coins = coin_table(config.coins)
        fx_market = _fx_market(config, rules)
        krw = Ladder(UPBIT_KRW_BANDS)
        upbit: list[GeneratedMarket] = []
        binance: list[GeneratedMarket] = []
        self.processes: list[CoinProcess] = []
        for coin in coins:
            usdt = Ladder([(0, coin.tick)])
            up_shape, bin_shape = _shapes(config, coin, rules)
            spread_bps = max(up_shape.spread_bps, krw.tick_bps(coin.price_usdt * FX_START))
            spread_bps += max(bin_shape.spread_bps, usdt.tick_bps(coin.price_usdt))
            self.processes.append(
                CoinProcess(config.seed, coin.base, coin.price_usdt, spread_bps, rules, self._stress)
            )
            rng = seeded(config.seed, coin.base, "upbit")
            upbit.append(
                GeneratedMarket(_upbit_listing(coin), krw, up_shape, plain, coin.price_usdt * FX_START, rng)
            )
            rng = seeded(config.seed, coin.base, "binance")
            binance.append(
                GeneratedMarket(_binance_listing(coin, config), usdt, bin_shape, fixed8, coin.price_usdt, rng)
            )
        self._suspended: set[int] = set()
        """Coins whose transfers Upbit reports as suspended, because of their price process and not of a fault."""
        self._now = [CoinPrices(coin.price_usdt, coin.price_usdt) for coin in coins]
        self.upbit = {market.symbol: market for market in (fx_market, *upbit)}
        self.binance = {market.symbol: market for market in binance}
        self.places = (
            Place("upbit", fx_market),
            *(Place("upbit", market) for market in upbit),
            *(Place("binance", market) for market in binance),
        )
        coin_numbers = range(len(coins))
        self._steps = (
            (fx_market, -1),
            *zip(upbit, coin_numbers, strict=True),
            *zip(binance, coin_numbers, strict=True),
        )
        """Market and index of its coin, by place; the index is -1 for the FX market."""

    def open(self, now_ms: int) -> None:
        """Open all markets, before the first step."""
        for place in self.places:
            place.market.open(now_ms)

    def markets(self, venue: str) -> dict[str, GeneratedMarket]:
        """Return the markets of a venue by symbol."""
        return self.upbit if venue == "upbit" else self.binance

    def schedule(self, now_ns: int) -> Grid:
        """Return the grid of time, on which every market makes a step in each ``dt_s``."""
        return Grid(now_ns, self.dt_s, len(self.places))

    def shift_fx(self, bps: float) -> None:
        """Move the FX market alone by so many basis points, and leave the prices of coins as they are; 0 moves it
        back.
        """
        self._fx.blip_bps = bps

    def hold_gap(self, venue: str, base: str, bps: float | None) -> None:
        """Keep the premium of a coin at a venue (``CoinProcess.hold_gap``); None lets it move again."""
        for process in self.processes:
            if process.base == base:
                process.hold_gap(venue, bps)

    @property
    def fx_rate(self) -> float:
        """Return KRW per USDT, before it is rounded to the FX book's ticks."""
        return self._fx.rate

    def step(self, place: int) -> Place:
        """Advance one market by one step; return its place.

        The first market of a coin moves the coin's prices, and the FX market moves the rate, the tide and the
        stress.
        """
        taken = self.places[place]
        market, coin = self._steps[place]
        if coin < 0:
            self._tide.step(self.dt_s)
            self._fx.step(self.dt_s)
            if self._stress is not None:
                self._stress.step(self.dt_s)
            market.advance(self._fx.shown, self.dt_s)
        elif taken.venue == "upbit":
            self._now[coin] = self.processes[coin].step(self.dt_s, self._tide.move)
            self._show_suspension(coin, market)
            market.advance(self._now[coin].upbit * self._fx.rate, self.dt_s)
        else:
            market.advance(self._now[coin].binance, self.dt_s)
        return taken

    def _show_suspension(self, coin: int, market: GeneratedMarket) -> None:
        """Let Upbit report when a coin's process suspends or resumes its transfers, as the real exchange does."""
        is_suspended = self.processes[coin].is_suspended
        if is_suspended != (coin in self._suspended):
            self._suspended ^= {coin}
            market.wallet = "paused" if is_suspended else "working"
            market.caution = "GLOBAL_PRICE_DIFFERENCES" if is_suspended else ""


def _shapes(config: SimConfig, coin: Coin, rules: RegimeRules) -> tuple[Shape, Shape]:
    """Return the shapes of the two books of ``coin``."""
    rng = seeded(config.seed, coin.base, "shape")
    value_krw = rng.uniform(1_000_000, 2_400_000) * rules.book_share
    upbit = Shape(config.depth, UPBIT_LOT, rng.uniform(2.0, 4.5), rng.uniform(0.7, 1.6), value_krw)
    binance = Shape(
        config.depth,
        coin.lot,
        rng.uniform(2.0, 3.5),
        rng.uniform(0.5, 1.2),
        value_krw * rng.uniform(1.0, 1.8) / FX_START,
    )
    return upbit, binance


def _fx_market(config: SimConfig, rules: RegimeRules) -> GeneratedMarket:
    listing = SimListing(FX_SYMBOL, "USDT", "KRW", "Tether (simulated)", "테더 (모의)", UNIT, UPBIT_LOT)
    shape = Shape(config.depth, UPBIT_LOT, 0.0, 0.1, 40_000_000.0 * rules.book_share)
    return GeneratedMarket(
        listing, Ladder(UPBIT_KRW_BANDS), shape, plain, FX_START, seeded(config.seed, "USDT", "upbit")
    )


def _upbit_listing(coin: Coin) -> SimListing:
    return SimListing(
        f"KRW-{coin.base}",
        coin.base,
        "KRW",
        f"{coin.english_name} (simulated)",
        f"{coin.korean_name} (모의)",
        0,
        UPBIT_LOT,
    )


def _binance_listing(coin: Coin, config: SimConfig) -> SimListing:
    ticker = config.binance_ticker(coin.base)
    return SimListing(
        f"{ticker}USDT", ticker, "USDT", coin.english_name, "", coin.tick, coin.lot, ticker_at_home=coin.base
    )
