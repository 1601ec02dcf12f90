"""Simulates the regime ``band``: gaps as published work describes them. It is pure; ``prices`` steps these
processes.

The gap of a coin is its price at Upbit over its price at Binance, at the rate at which Upbit's coins are priced:

    gap = level + the coin's share of the stress + wandering

*Wandering* is a threshold autoregression. Inside a band around zero it is a random walk, because a trade that
would bring it back does not pay there. Outside, it is drawn to the edge of the band with the pair's own half-life. So
a gap returns neither to zero nor to its level, but into a band around its level; most of the return that an entry
waits for does not come.

The figures of ``BandRules`` are based on:

- The form. M. H. Seo, B. Koo, Y. F. Yang, "Nonlinear dynamics of Kimchi premium", Economic Modelling 135 (2024)
  106726: a random walk inside thresholds, a return from outside of them only, a steady state that is not zero
  (1.24 % for Bitcoin, against the bank rate), and thresholds that grow with the trading fee. So ``half_width_bps``
  begins at what one way costs here: fees of 5 and 10 bps and half of both spreads come to about 20.
- One factor. K. J. Choi, A. Lehar, R. Stauffer, "Bitcoin Microstructure and the Kimchi Premium" (SSRN 3189051): the
  premium was 2.27 % on average from 2016 to 2020, and those of other coins are as large and highly correlated with
  it. KRW-USDT carries such a premium too, so against it only small levels of a coin's own are left. No figure was
  found for these: ``level_bps`` is an assumption.
- Stress. I. Makarov, A. Schoar, "Trading and arbitrage in cryptocurrency markets", Journal of Financial Economics
  135 (2020) 293: gaps between countries move together, open when prices move much, and last for hours, days or
  weeks. On 11 October 2025 the premium in Korea was 7.6 % (CCN, 14 October 2025). ``stress_bps`` is far below that,
  because KRW-USDT rose with the coins. That it comes and goes within an hour, and more often than in reality, so
  that a run of some hours sees it, is an assumption.
- KRW-USDT. It was 2.6 % above the bank rate on 23 September 2025 (Blockmedia), 3 to 5 % above it at the end of
  December 2024 (Bloomberg, 27 December 2024), and rose to 1,655 KRW on 10 October 2025 when the bank rate was 1,426.
  How far it departs from what the coins imply was not found: ``fx_*`` are assumptions.
- Half-lives. No figure below a day was found. Makarov and Schoar speak of hours and more, and arbitrage between
  inventories on both sides needs no transfer, so they begin at tens of seconds here: an assumption.
- Large orders. Makarov and Schoar find that what is traded on one exchange alone explains much of the gap; size and
  rate (``flow_*``) are assumptions.
- Standing gaps. Upbit warns of price differences to other exchanges while a coin's deposits are suspended (its
  notice on APT of 24 September 2023, and the caution ``GLOBAL_PRICE_DIFFERENCES``). How often, how long and how far
  are assumptions.
"""

import math
import random
from typing import NamedTuple

from arbshard.exchanges.seeds import seeded

FloatRange = tuple[float, float]
"""Bounds between which a value is drawn evenly."""
_SUSPENDED_RATE = 0.2
"""Speed, 1/s, at which the gap of a suspended coin opens and closes its extra height."""


class BandRules(NamedTuple):
    """Holds the parameters of the regime. Gaps are in basis points, times in seconds; the module states
    the sources.
    """

    level_bps: FloatRange = (8.0, 70.0)
    """Distance of a pair's level from zero, on either side."""
    half_width_bps: FloatRange = (20.0, 55.0)
    """Distance from the level to each edge of the band."""
    half_life_s: FloatRange = (20.0, 7200.0)
    """Half-life of what is outside of the band, drawn evenly on a logarithmic scale."""
    outside_bps: FloatRange = (3.0, 8.0)
    """Standard deviation of what the random walk alone brings outside of the band; its speed follows from this and
    the half-life.
    """
    flow_every_s: float = 600.0
    """Shortest mean time between two large orders at one of the venues, which move the gap at once."""
    flow_every_half_lives: float = 8.0
    """The mean time is at least so many half-lives, so that gaps that return slowly do not grow without end."""
    flow_bps: FloatRange = (15.0, 35.0)
    """Smallest such move, and the mean of what is added to it (exponential)."""
    stress_every_s: float = 10_800.0
    """Mean time from the end of one stress to the next."""
    stress_bps: FloatRange = (40.0, 160.0)
    stress_rise_s: FloatRange = (20.0, 120.0)
    stress_half_life_s: FloatRange = (300.0, 1200.0)
    stress_positive_share: float = 0.7
    """Share of stresses in which the coins become dearer in Korea than KRW-USDT says, and not cheaper."""
    stress_beta: FloatRange = (0.6, 1.4)
    """A coin's share of the stress."""
    stress_volatility: float = 3.0
    """Factor by which gaps wander faster at the height of a stress."""
    suspended_share: float = 0.07
    """Share of all coins that are suspended at a time."""
    suspended_s: float = 10_800.0
    """Mean length of a suspension."""
    suspended_bps: FloatRange = (80.0, 400.0)
    """Extra height of the gap during a suspension, on either side."""
    fx_bps: float = 12.0
    """Standard deviation of KRW-USDT around the rate that the coins imply."""
    fx_half_life_s: float = 1800.0
    fx_jump_every_s: float = 3600.0
    fx_jump_bps: FloatRange = (25.0, 150.0)
    fx_jump_half_life_s: FloatRange = (60.0, 600.0)


def _draw(rng: random.Random, bounds: FloatRange) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * rng.random()


def _signed(rng: random.Random, bounds: FloatRange, positive_share: float = 0.5) -> float:
    height = _draw(rng, bounds)
    return height if rng.random() < positive_share else -height


def _decay(half_life_s: float, dt_s: float) -> float:
    """Return the share that is left after ``dt_s``."""
    return math.exp(-math.log(2.0) / half_life_s * dt_s)


class Stress:
    """Simulates the common factor of all gaps: zero most of the time, then rising within a minute or two and slowly
    falling.
    """

    def __init__(self, seed: int, rules: BandRules) -> None:
        self._rng = seeded(seed, "stress")
        self._rules = rules
        self.bps = 0.0
        """By how much all gaps are widened, in basis points, for a coin whose share is 1."""
        self._peak_bps = 0.0
        self._rise_left_s = 0.0
        self._half_life_s = 1.0
        self._calm_left_s = self._rng.expovariate(1 / rules.stress_every_s)

    @property
    def volatility(self) -> float:
        """Return the factor by which gaps wander faster than usual."""
        if not self._peak_bps:
            return 1.0
        return 1.0 + (self._rules.stress_volatility - 1.0) * min(1.0, abs(self.bps / self._peak_bps))

    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` pass."""
        rng, rules = self._rng, self._rules
        if self._rise_left_s > 0:
            self.bps += (self._peak_bps - self.bps) * min(1.0, dt_s / self._rise_left_s)
            self._rise_left_s -= dt_s
            return
        self.bps *= _decay(self._half_life_s, dt_s)
        self._calm_left_s -= dt_s
        if self._calm_left_s <= 0:
            self._peak_bps = _signed(rng, rules.stress_bps, rules.stress_positive_share)
            self._rise_left_s = _draw(rng, rules.stress_rise_s)
            self._half_life_s = _draw(rng, rules.stress_half_life_s)
            self._calm_left_s = rng.expovariate(1 / rules.stress_every_s)


class BandGap:
    """Simulates the gap of one pair; ``bps`` is its present size."""

    def __init__(self, rng: random.Random, rules: BandRules) -> None:
        """Draw the pair's parameters; ``rng`` is used by this pair alone."""
        self._rng = rng
        self._rules = rules
        self.level_bps = _signed(rng, rules.level_bps)
        self.half_width_bps = _draw(rng, rules.half_width_bps)
        shortest, longest = map(math.log, rules.half_life_s)
        self.half_life_s = math.exp(shortest + (longest - shortest) * rng.random())
        # A process with this speed has the standard deviation sigma / sqrt(2 * speed) (Ornstein and Uhlenbeck).
        speed = math.log(2.0) / self.half_life_s
        self._sigma = _draw(rng, rules.outside_bps) * math.sqrt(2.0 * speed)
        self._beta = _draw(rng, rules.stress_beta)
        self._wandered_bps = self.half_width_bps * rng.uniform(-1.0, 1.0)
        self._flow_every_s = max(rules.flow_every_s, rules.flow_every_half_lives * self.half_life_s)
        self._flow_left_s = rng.expovariate(1 / self._flow_every_s)
        self.is_suspended = rng.random() < rules.suspended_share
        """Whether the coin can be neither deposited nor withdrawn at Upbit, so that nothing bounds its gap."""
        self._suspended_bps = self._suspended_target_bps = 0.0
        if self.is_suspended:
            self._suspended_bps = self._suspended_target_bps = _signed(rng, rules.suspended_bps)
        self._change_left_s = self._draw_change()
        self.bps = self.level_bps + self._wandered_bps + self._suspended_bps

    def step(self, dt_s: float, stress: Stress, *, is_bounded: bool = True) -> None:
        """Let ``dt_s`` pass; unless ``is_bounded``, no arbitrage brings the gap back into its band."""
        rng = self._rng
        self._suspend(dt_s)
        edge = math.copysign(self.half_width_bps, self._wandered_bps)
        if is_bounded and not self.is_suspended and abs(self._wandered_bps) > self.half_width_bps:
            self._wandered_bps = edge + (self._wandered_bps - edge) * _decay(self.half_life_s, dt_s)
        self._wandered_bps += self._sigma * stress.volatility * math.sqrt(dt_s) * rng.gauss(0.0, 1.0)
        self._flow_left_s -= dt_s * stress.volatility
        if self._flow_left_s <= 0:
            least, more = self._rules.flow_bps
            move = least + rng.expovariate(1 / more)
            self._wandered_bps += move if rng.random() < 0.5 else -move
            self._flow_left_s = rng.expovariate(1 / self._flow_every_s)
        self.bps = self.level_bps + self._beta * stress.bps + self._wandered_bps + self._suspended_bps

    def _suspend(self, dt_s: float) -> None:
        """Suspend or resume the coin's transfers when that is due."""
        self._change_left_s -= dt_s
        if self._change_left_s <= 0:
            self.is_suspended = not self.is_suspended
            height = _signed(self._rng, self._rules.suspended_bps)
            self._suspended_target_bps = height if self.is_suspended else 0.0
            self._change_left_s = self._draw_change()
        left = math.exp(-_SUSPENDED_RATE * dt_s)
        self._suspended_bps = (
            self._suspended_target_bps + (self._suspended_bps - self._suspended_target_bps) * left
        )

    def _draw_change(self) -> float:
        """Draw the time until transfers are suspended, or resumed."""
        # The mean time between suspensions is such that ``share`` of the time is suspended.
        mean_s, share = self._rules.suspended_s, self._rules.suspended_share
        return self._rng.expovariate(1 / (mean_s if self.is_suspended else mean_s * (1 - share) / share))


class FxPremium:
    """Simulates how far KRW-USDT is off the rate that the coins imply: it wanders and jumps. In basis points."""

    def __init__(self, seed: int, rules: BandRules) -> None:
        self._rng = seeded(seed, "fx premium")
        self._rules = rules
        self._sigma = rules.fx_bps * math.sqrt(2.0 * math.log(2.0) / rules.fx_half_life_s)
        self._wandered_bps = self._rng.gauss(0.0, rules.fx_bps)
        self._jump_bps = 0.0
        self._jump_half_life_s = 1.0
        self._jump_left_s = self._rng.expovariate(1 / rules.fx_jump_every_s)

    @property
    def bps(self) -> float:
        """Return the present premium in basis points."""
        return self._wandered_bps + self._jump_bps

    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` pass."""
        rng, rules = self._rng, self._rules
        self._wandered_bps *= _decay(rules.fx_half_life_s, dt_s)
        self._wandered_bps += self._sigma * math.sqrt(dt_s) * rng.gauss(0.0, 1.0)
        self._jump_bps *= _decay(self._jump_half_life_s, dt_s)
        self._jump_left_s -= dt_s
        if self._jump_left_s <= 0:
            self._jump_bps += _signed(rng, rules.fx_jump_bps)
            self._jump_half_life_s = _draw(rng, rules.fx_jump_half_life_s)
            self._jump_left_s = rng.expovariate(1 / rules.fx_jump_every_s)
