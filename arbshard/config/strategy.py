"""Defines by which settings trades are decided: ``[data_quality]``, ``[strategy]``, ``[series]``, ``[sizing]``."""

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from arbshard.config.section import NotNegative, Positive, Section


class DataConfig(Section, frozen=True):
    """Sets when a book may be traded on. Older, skewed or silent books are refused, and the refusal counted."""

    max_book_age_ms: Positive = 1500.0
    max_leg_skew_ms: Positive = 1000.0
    """Largest difference of receive times between the two books of a pair."""
    max_fx_age_ms: Positive = 5000.0
    max_lag_ms: NotNegative = 1500.0
    """A frame that comes by so much later than usual after the venue sent it, by the venue's own clock, is not
    entered on, and no profit is taken on it (``docs/feeds.md``); 0 switches the rule off. The default is that of
    ``max_book_age_ms``: a book should be no older by the venue's clock than it may be by ours.
    """
    jump_bps: Annotated[float, Meta(ge=1, le=10_000)] = 100.0
    """A best price further than this from the one before is not acted on before a second frame, the other side of the
    pair, or the supervisor (as for quiet books) confirms it; the FX rate is confirmed by ``max_fx_age_ms`` alone."""
    jump_settle_ms: NotNegative = 20.0
    """A second frame confirms such a price when it comes at least so long after the first."""
    quiet_confirm_s: NotNegative = 10.0
    """For so many seconds exits, hedges and unwinds trust a book that does not change while its connection shows
    signs of life. Beyond that REST must have confirmed the book. Entries need frames that are young.
    """


class StrategyConfig(Section, frozen=True):
    """Decides when to enter and when to leave, in basis points of the notional bought, net of fees and FX."""

    entry_bps: Annotated[float, Meta(ge=-100, le=10_000)] = 30.0
    """Enter with the largest quantity whose average nets at least this. A round trip pays fees and FX twice: an entry
    that nets less than an exit costs (22 to 25 here) cannot win when the gap merely closes."""
    min_edge_bps: Annotated[float, Meta(ge=-100, le=10_000)] = 20.0
    """Take depth while the next unit still nets this and the average stays at ``entry_bps`` or above."""
    max_edge_bps: Positive = 500.0
    """Refuse an edge above this: too good to be true. So is a profit on the way out."""
    round_trip_bps: Annotated[float, Meta(ge=-1000, le=10_000)] = 5.0
    """Enter only if entry and exit together would net this once the gap has closed, at the present spreads: a coin
    whose tick is wide costs more to leave than its gap brings.
    """
    entry_z: NotNegative = 0.0
    """Enter only if the gap is at least this many deviations off its own mean, on the side of the entry; 0 switches
    the rule off.
    """
    take_profit_bps: Annotated[float, Meta(ge=-1000, le=10_000)] = 5.0
    """Leave when the whole round trip, closed now, nets at least this."""
    close_on_spread_reversal: bool = True
    reversal_bps: NotNegative = 3.0
    """How far the gap (mid to mid, no fees) must be on the other side to count as reversed."""
    stop_loss_bps: Positive = 100.0
    """Leave when the whole round trip, closed now, loses at least this. Leaving right after entering costs about
    45 here (fees and FX twice, spreads), which is part of it."""
    stop_room_bps: NotNegative = 40.0
    """Enter only if the books may still move this far against the position before the stop loss is reached."""
    max_hold_s: Positive = 20.0
    cooldown_ms: NotNegative = 500.0
    """Pause of a pair after each trade or refusal."""
    rearm_bps: NotNegative = 10.0
    """After a ``max_hold`` or ``stop_loss`` exit no entry of the same direction until the gap, as risk samples it,
    has been back this close to its level, or beyond."""
    rearm_pause_s: NotNegative = 60.0
    """No such entry before so many seconds after that exit; doubled after each further one in a row, forgotten after
    an exit with the gap back.
    """
    rearm_pause_max_s: NotNegative = 3600.0
    """The longest such pause; 0 switches the rule off."""
    no_reversion_exits: Annotated[int, Meta(ge=0, le=20)] = 5
    """A pair is set apart when so many of its last ``no_reversion_window`` exits were ``max_hold`` or ``stop_loss``;
    0 for never."""
    no_reversion_window: Annotated[int, Meta(ge=1, le=20)] = 10


class SeriesConfig(Section, frozen=True):
    """Describes the time series that are kept of each pair's gap (mid to mid)."""

    window: Annotated[int, Meta(ge=30, le=100_000)] = 900
    """Number of samples that are kept."""
    sample_ms: Annotated[float, Meta(ge=10, le=3_600_000)] = 1000.0


class BaselineConfig(Section, frozen=True):
    """Sets what must be known of a pair's gap before it is entered: see ``engine.baseline``."""

    is_required: bool = True
    """Whether a pair is entered only when its gap is known to return soon enough. Without this rule the gap is
    measured against its level where that is known, and against 0 where it is not.
    """
    samples_min: Annotated[int, Meta(ge=30, le=100_000)] = 60
    """Number of samples needed for the level; at most ``series.window``."""
    excursion_bps: Positive = 20.0
    """A gap counts as an excursion from this distance to its level on, and from two of its usual deviations on."""
    returns_min: Annotated[int, Meta(ge=1, le=1000)] = 3
    """Number of excursions in the window that must have lost half of their height."""
    half_life_share_max: Annotated[float, Meta(gt=0, le=10)] = 0.5
    """The half-life of excursions may be this share of ``strategy.max_hold_s``."""


class FxConfig(Section, frozen=True):
    """Sets when the FX book is not trusted: see ``risk.limits.fx_guard``. No pair is entered then."""

    departure_bps_max: Positive = 50.0
    """How far the premium of the coins over the FX book may be from its own level."""
    premium_bps_max: Positive = 500.0
    """How large it may be, whatever is usual."""
    jump_bps_max: Positive = 50.0
    """How far the FX book may move within a second."""
    quiet_s: NotNegative = 30.0
    """For how many seconds all three must have been back within half of that before pairs are entered again."""
    pairs_min: Annotated[int, Meta(ge=1, le=1000)] = 3
    """Number of pairs with fresh books that a comparison needs. With fewer only jumps are noticed."""
    level_window_s: Annotated[float, Meta(ge=60, le=86_400)] = 900.0
    """The level is the median over so many seconds: a premium that lasts for half of it is the usual one."""


class SizingConfig(Section, frozen=True):
    """Decides how much to trade at once, in the reporting currency (KRW)."""

    entry_notional_max: Decimal = Decimal(1_000_000)
    """Entries are as large as their edge allows, up to this. Where a limit in force (``limits.order_notional_max``
    and those of exposure) has less room, they are sized down to it."""
    entry_notional_min: Decimal = Decimal(20_000)
    """Below this an entry is not worth two orders; must leave room for both venues' minimum."""
