"""Defines what risk states about the entries of a pair in advance: its baseline, the room, and what bars it."""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.market import Direction
from arbshard.model.refusal import Refusal


class Baseline(msgspec.Struct, frozen=True):
    """Is the level that a pair's gap returns to, and how fast it does. Gaps are computed by
    ``engine.closing.gap_bps``.
    """

    level_bps: float
    """The median of the window, in basis points."""
    band_bps: float
    """The usual distance from the level in basis points: 1.4826 times the median absolute deviation, which is the
    standard deviation if the gaps are normally distributed.
    """
    half_life_s: float | None
    """The median time in which an excursion loses half of its height; None while too few have been seen to return."""
    samples: int
    """Number of samples in the window."""
    returns: int
    """Number of excursions in the window that have lost half of their height."""
    excursion_s: float = 0.0
    """For how long the present excursion has lasted, in seconds; 0 when there is none."""


class Bar(msgspec.Struct, frozen=True):
    """Is a rule that refuses entries of a pair whatever their size."""

    direction: Direction | Literal[""]
    """The direction that is refused; empty for both."""
    reason: Refusal
    detail: str
    """A sentence for people, with the figures."""


class PairTerms(msgspec.Struct, frozen=True):
    """States what entries a pair may make, as far as its worker must know it."""

    pair: str
    level_bps: float | None
    """The level as in ``Baseline``; None while it is not known, and the gap is measured against 0 then."""
    band_bps: float | None
    cost_max: Decimal
    """The largest entry, in reporting currency, that the limits in force have room for."""
    edge_bps_min: float
    """``limits.edge_bps_min`` as it is in force."""
    positions_max: int
    """How many positions of the pair may be open."""
    barred: tuple[tuple[Direction, Refusal], ...] = ()
    """Directions that make no entry, and why."""
