"""Defines the regimes: how gaps between the venues open, widen, linger and close, as numbers that ``prices`` uses.

No regime touches a result: a strategy wins or loses only by the prices.
"""

from typing import NamedTuple

from arbshard.config import Regime
from arbshard.exchanges.bands import BandRules, FloatRange


class RegimeRules(NamedTuple):
    """Holds the parameters of the price processes. Gaps are in basis points of the reference, times in seconds."""

    quiet_s: FloatRange = (6.0, 15.0)
    """Time between the end of one gap and the next."""
    amplitude_bps: FloatRange = (60.0, 115.0)
    """Height of a gap, on top of both venues' spreads."""
    open_rate: float = 80.0
    """Speed of opening, 1/s: 80 is a jump within one update."""
    open_s: FloatRange = (0.8, 3.0)
    """Time in which a gap opens and stays at its height."""
    widen_share: float = 0.3
    """Share of gaps that widen further before they close."""
    widen_bps: FloatRange = (25.0, 60.0)
    widen_s: FloatRange = (0.8, 2.5)
    linger_share: float = 0.1
    """Share of gaps that close only in part and stay there for a while."""
    linger_left: FloatRange = (0.4, 0.7)
    """What then stays open, as a share of the gap."""
    linger_s: FloatRange = (10.0, 26.0)
    close_rate: FloatRange = (1.5, 10.0)
    """Speed of closing, 1/s."""
    close_s: FloatRange = (1.5, 3.5)
    overshoot_bps: FloatRange = (3.0, 14.0)
    """How far beyond zero the target of a closing gap is."""
    noise_bps: float = 1.6
    """Noise of each venue's premium, per square root of a second."""
    volatility: float = 1.0
    """Factor on each coin's own volatility."""
    trend_bps_per_s: float = 0.0
    """Drift of Upbit's premium, which keeps its direction for minutes."""
    trend_s: FloatRange = (60.0, 180.0)
    falling: bool = False
    """Whether the whole market crashes."""
    book_share: float = 1.0
    """Factor on the sizes in the books."""
    band: BandRules | None = None
    """How gaps move in the regime ``band``, in place of gaps that open and close. None in all others."""


RULES: dict[Regime, RegimeRules] = {
    "band": RegimeRules(noise_bps=1.0, band=BandRules()),
    "mixed": RegimeRules(),
    "calm": RegimeRules(quiet_s=(12.0, 40.0), amplitude_bps=(8.0, 52.0), widen_share=0.05, linger_share=0.05),
    "high-win": RegimeRules(
        widen_share=0.04, linger_share=0.0, close_rate=(2.0, 12.0), overshoot_bps=(10.0, 20.0)
    ),
    "low-win": RegimeRules(
        quiet_s=(4.0, 10.0),
        open_rate=4.0,
        widen_share=0.85,
        widen_bps=(60.0, 140.0),
        widen_s=(5.0, 12.0),
        linger_share=0.7,
        linger_left=(0.6, 0.9),
    ),
    "trending": RegimeRules(
        quiet_s=(25.0, 60.0), amplitude_bps=(10.0, 30.0), trend_bps_per_s=1.8, noise_bps=2.2
    ),
    "crash": RegimeRules(
        quiet_s=(3.0, 8.0),
        amplitude_bps=(70.0, 160.0),
        open_rate=8.0,
        widen_share=0.8,
        widen_bps=(60.0, 160.0),
        widen_s=(2.0, 6.0),
        linger_share=0.5,
        linger_left=(0.6, 1.1),
        linger_s=(6.0, 18.0),
        noise_bps=9.0,
        volatility=5.0,
        falling=True,
        book_share=0.2,
    ),
}
"""The rules of every regime that the configuration knows."""
