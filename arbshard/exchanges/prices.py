"""Simulates the prices: one reference price per coin, each venue's premium over it, the market's tide, and FX.

It is pure: every step gets the time that passed, and draws from the process's own seeded generator. ``world`` steps
these processes; they know nothing of books or of the venues' rules.
"""

import math
import random
from typing import NamedTuple

from arbshard.exchanges.bands import BandGap, BandRules, FloatRange, FxPremium, Stress
from arbshard.exchanges.regimes import RegimeRules
from arbshard.exchanges.seeds import seeded

BPS = 10_000.0
FX_START = 1_450.4
"""KRW per USDT."""
_YEAR_S = 365.25 * 86_400
_TREND_BPS_MAX = 260.0
_REFERENCE_FLOOR = 0.2
_HELD_RATE = 0.2
"""Speed, 1/s, at which a gap opens that is then held open."""


class CoinPrices(NamedTuple):
    """Holds the price of a coin on each venue in USDT, around which the books are laid."""

    upbit: float
    binance: float


class _Premium:
    """Simulates an Ornstein-Uhlenbeck process whose mean and speed a plan may change, in basis points."""

    def __init__(self, mean_bps: float) -> None:
        self.value = self.target = self.mean = mean_bps
        self.rate = 0.4
        self.held_bps: float | None = None
        """Where the premium is held whatever the plan says, because no transfer to or from the venue can close it."""

    def step(self, dt_s: float, shock: float) -> None:
        # The share that is covered in ``dt_s`` at a constant rate, exactly: 1 - exp(-rate * dt).
        if self.held_bps is not None:
            self.value += (self.held_bps - self.value) * -math.expm1(-_HELD_RATE * dt_s) + shock
            return
        self.value += (self.target - self.value) * -math.expm1(-self.rate * dt_s) + shock


class _Leg(NamedTuple):
    """Describes one stretch of a gap's course: where the premium is drawn to, how fast, and for how long."""

    target_bps: float
    rate: float
    seconds: float


class Gaps:
    """Opens and closes gaps of a coin: from time to time one venue's premium jumps, and reverts in some way."""

    def __init__(self, rng: random.Random, rules: RegimeRules, spread_bps: float) -> None:
        """Plan the first gap; ``spread_bps`` is what both venues' spreads cost together, which is added
        to each gap.
        """
        self._rng = rng
        self._rules = rules
        self._spread_bps = spread_bps
        self._legs: list[_Leg] = []
        self._left_s = self._draw((0.3, 0.8)) * rules.quiet_s[1]
        """Seconds until the next leg begins. The first gap comes early, so that a short run sees one."""
        self._premium: _Premium | None = None

    def step(self, dt_s: float, venues: tuple[_Premium, _Premium]) -> None:
        """Let ``dt_s`` pass, and set where the premiums are drawn to."""
        self._left_s -= dt_s
        while self._left_s <= 0:
            if not self._legs:
                self._premium = venues[self._rng.random() < 0.5]
                self._legs = self._plan()
            leg = self._legs.pop(0)
            assert self._premium is not None
            self._premium.target = self._premium.mean + leg.target_bps
            self._premium.rate = leg.rate
            self._left_s += leg.seconds

    def _plan(self) -> list[_Leg]:
        rules, draw = self._rules, self._draw
        sign = 1.0 if self._rng.random() < 0.5 else -1.0
        height = draw(rules.amplitude_bps) + self._spread_bps
        legs = [_Leg(sign * height, rules.open_rate, draw(rules.open_s))]
        if self._rng.random() < rules.widen_share:
            height += draw(rules.widen_bps)
            seconds = draw(rules.widen_s)
            # 1 - exp(-3): the premium comes 95 % of the way in this time.
            legs.append(_Leg(sign * height, 3.0 / seconds, seconds))
        close_rate = draw(rules.close_rate)
        if self._rng.random() < rules.linger_share:
            left = height * draw(rules.linger_left)
            legs.append(_Leg(sign * left, close_rate, draw(rules.linger_s)))
        past = draw(rules.overshoot_bps)
        legs.append(_Leg(-sign * past, close_rate, draw(rules.close_s)))
        legs.append(_Leg(0.0, 0.4, draw(rules.quiet_s)))
        return legs

    def _draw(self, bounds: FloatRange) -> float:
        return bounds[0] + (bounds[1] - bounds[0]) * self._rng.random()


class Tide:
    """Simulates what moves all coins together: nothing, except in a crash, which comes in waves with false
    recoveries.
    """

    def __init__(self, seed: int, rules: RegimeRules) -> None:
        self._rng = seeded(seed, "tide")
        self._falling = rules.falling
        self._slope = 0.0
        self._left_s = 2.0
        self._level = 0.0
        self.move = 0.0
        """Logarithm of the last step's change."""

    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` pass."""
        if not self._falling:
            return
        self._left_s -= dt_s
        if self._left_s <= 0:
            falls = self._rng.random() < (0.7 if self._level > -0.9 else 0.2)
            self._slope = self._rng.uniform(-0.02, -0.006) if falls else self._rng.uniform(0.002, 0.012)
            self._left_s = self._rng.uniform(2.0, 7.0)
        self.move = self._slope * dt_s
        self._level += self.move


class Fx:
    """Simulates KRW per USDT, which moves slowly and is drawn back to where it started."""

    def __init__(self, seed: int, band: BandRules | None = None) -> None:
        """Begin at ``FX_START``; with ``band`` the FX market has a premium over the rate at which coins
        are priced.
        """
        self._rng = seeded(seed, "fx")
        self._premium = FxPremium(seed, band) if band is not None else None
        self.rate = FX_START
        self.blip_bps = 0.0
        """How far the FX market alone is off the rate at which coins are priced, in basis points."""

    @property
    def shown(self) -> float:
        """Return the price of the FX market."""
        premium_bps = self._premium.bps if self._premium is not None else 0.0
        return self.rate * (1 + (self.blip_bps + premium_bps) / BPS)

    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` pass."""
        shock = 0.35 / BPS * math.sqrt(dt_s) * self._rng.gauss(0.0, 1.0)
        self.rate += (FX_START - self.rate) * 0.002 * dt_s + self.rate * shock
        if self._premium is not None:
            self._premium.step(dt_s)


class CoinProcess:
    """Simulates a coin's reference price and its premium on each venue."""

    def __init__(
        self,
        seed: int,
        base: str,
        price_usdt: float,
        spread_bps: float,
        rules: RegimeRules,
        stress: Stress | None = None,
    ) -> None:
        """Begin at ``price_usdt``; ``stress`` widens the gaps of all coins together in the regime ``band``.

        The caller steps ``stress``.
        """
        self.base = base
        self._rng = seeded(seed, base, "prices")
        self._rules = rules
        self._start = self._reference = price_usdt
        self._beta = self._rng.uniform(0.8, 1.3)
        self._sigma = self._rng.uniform(0.4, 1.1) / math.sqrt(_YEAR_S) * rules.volatility
        self._upbit = _Premium(self._rng.uniform(-1.5, 1.5))
        self._binance = _Premium(self._rng.uniform(-1.5, 1.5))
        self._gaps = Gaps(self._rng, rules, spread_bps)
        self._stress = stress
        self.band: BandGap | None = None
        """The gap in the regime ``band``, in which the venues' premiums are only noise around it."""
        if rules.band is not None:
            assert stress is not None, "one stress for all coins"
            self.band = BandGap(seeded(seed, base, "band"), rules.band)
        self._trend_bps = 0.0
        self._trend_sign = 1.0 if self._rng.random() < 0.5 else -1.0
        self._trend_left_s = self._rng.uniform(*rules.trend_s)

    def hold_gap(self, venue: str, bps: float | None) -> None:
        """Keep the premium of a venue at ``bps``; None lets it move again.

        It is held while deposits and withdrawals are closed, because arbitrage cannot move it then.
        """
        held, other = (self._upbit, self._binance) if venue == "upbit" else (self._binance, self._upbit)
        held.held_bps = bps
        if bps is not None:
            other.target = other.mean

    @property
    def gap_bps(self) -> float:
        """Return by how many basis points the coin is dearer on Upbit than on Binance."""
        return self._upbit.value + self._extra_bps - self._binance.value

    @property
    def is_suspended(self) -> bool:
        """Return whether the coin's process, and not a fault, has suspended its transfers at Upbit."""
        return self.band is not None and self.band.is_suspended

    @property
    def _extra_bps(self) -> float:
        """Return by how many basis points Upbit is dearer besides its premium."""
        return self._trend_bps if self.band is None else self.band.bps

    def step(self, dt_s: float, tide: float) -> CoinPrices:
        """Let ``dt_s`` pass while the whole market moves by ``tide`` (logarithm); return the new prices."""
        rng, root = self._rng, math.sqrt(dt_s)
        move = self._beta * tide + self._sigma * root * rng.gauss(0.0, 1.0)
        self._reference = max(self._reference * math.exp(move), self._start * _REFERENCE_FLOOR)
        is_open = self._upbit.held_bps is None and self._binance.held_bps is None
        if self.band is not None and self._stress is not None:
            self.band.step(dt_s, self._stress, is_bounded=is_open)
        elif is_open:
            self._gaps.step(dt_s, (self._upbit, self._binance))
        noise = self._rules.noise_bps * root
        self._upbit.step(dt_s, noise * rng.gauss(0.0, 1.0))
        self._binance.step(dt_s, noise * rng.gauss(0.0, 1.0))
        if self._rules.trend_bps_per_s:
            self._drift(dt_s)
        return CoinPrices(
            self._reference * (1 + (self._upbit.value + self._extra_bps) / BPS),
            self._reference * (1 + self._binance.value / BPS),
        )

    def _drift(self, dt_s: float) -> None:
        self._trend_left_s -= dt_s
        if self._trend_left_s <= 0 or self._trend_sign * self._trend_bps > _TREND_BPS_MAX:
            self._trend_sign = -self._trend_sign
            self._trend_left_s = self._rng.uniform(*self._rules.trend_s)
        self._trend_bps += self._trend_sign * self._rules.trend_bps_per_s * dt_s
