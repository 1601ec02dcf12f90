"""Defines the section ``[limits]``, and the clock that determines its days."""

from datetime import UTC, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from arbshard.config.section import Count, NotNegative, Positive, Section, Share, matching

_FIXED_ZONES: dict[str, tzinfo] = {"UTC": UTC, "Asia/Seoul": timezone(timedelta(hours=9), "KST")}
"""Zones without summer time: the default must not depend on whether the machine has a zone database."""


class LimitsConfig(Section, frozen=True):
    """Sets what risk refuses to exceed, in the reporting currency (KRW).

    Limits are for entries. A loss counts what was realised and what closing the open positions now would bring. Each
    has three levels: ``…_max`` refuses entries while it holds, ``halt_…`` until a person resumes, and ``stop_…``
    stops exits too.
    """

    symbol_notional_max: Decimal = Decimal(3_000_000)
    """Entry notional of a symbol's open positions."""
    symbol_positions_max: Count = 1
    symbol_trades_max: Count = 2
    """Number of intents of a symbol under way. A pair has one at a time in any case (PAIR_BUSY)."""
    symbol_daily_loss_max: Decimal = Decimal(5_000_000)
    """Loss of the symbol in the trading day, with the present result of its open positions."""
    position_loss_bps_max: Decimal = Decimal(300)
    """Loss of one position in basis points of its notional. Its pair is set apart until a person releases it."""
    order_notional_max: Decimal = Decimal(3_000_000)
    """Size of one entry, at its limit prices. Entries are sized by ``sizing.entry_notional_max``, and down to this
    limit where it is lower.
    """
    loss_streak_max: Count = 20
    """Losses of a symbol in a row after which it pauses, and again after as many more."""
    loss_streak_pause_s: NotNegative = 60.0
    edge_bps_max: Positive = 600.0
    """An entry that promises more is too good to be true. It is a second check beside ``strategy.max_edge_bps``: at
    the limit prices and before fees.
    """
    edge_bps_min: Annotated[float, Meta(ge=-10_000, le=10_000)] = 0.0
    """What an entry must bring at its own limit prices after fees. They are the worst prices that the strategy
    accepted, and there it nets ``strategy.min_edge_bps`` at least; an entry that loses at them is no arbitrage."""
    price_bound_bps: Positive = 300.0
    """How far an entry's limit prices may be from the books that risk itself has read last, some seconds ago at
    most.
    """
    way_out_margin_bps: NotNegative = 200.0
    """What is held for buying a position's coins back: room for the price to move before risk has seen it, on top of
    the present price and the fee. Entries cannot spend it.
    """

    portfolio_notional_max: Decimal = Decimal(100_000_000)
    """Gross exposure: entry notional of all open positions and of entries under way."""
    venue_notional_max: Decimal = Decimal(100_000_000)
    """Part of it that was bought on one venue, and part that was sold on one venue."""
    portfolio_positions_max: Count = 200
    open_intents_max: Count = 100
    daily_loss_max: Decimal = Decimal(5_000_000)
    """By how much equity may fall in a trading day; no more entries until the next one."""
    weekly_loss_max: Decimal = Decimal(15_000_000)
    """Loss in a week, Monday to Sunday, of trading days."""
    lifetime_loss_max: Decimal = Decimal(30_000_000)
    """Loss since the ledger began."""
    drawdown_max: Decimal = Decimal(5_000_000)
    """Loss from the highest equity since the ledger began, or since a person accepted a drawdown by resuming."""
    naked_notional_max: Decimal = Decimal(20_000_000)
    """What open intents have bought on one venue and not sold on the other, or the reverse."""
    orders_per_s_max: Annotated[float, Meta(ge=1, le=100_000)] = 500.0
    """Orders of all kinds per second; as many at once after a pause. Only entries wait for it."""
    concentration_max: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share of one symbol in the gross exposure, once that is above ``concentration_floor``."""
    concentration_floor: Decimal = Decimal(20_000_000)
    correlated_notional_max: Decimal = Decimal(50_000_000)
    """Exposure of a symbol and of all whose gaps move with it, where correlations are known."""
    correlation_min: Share = 0.8
    """From here on two symbols count as moving together."""
    unknown_correlated: bool = True
    """Whether two symbols count as moving together while it is not known whether they do: for some minutes after a
    symbol was added, and where a gap does not move at all."""
    stress_correlation: Share = 0.5
    """While the median of the known correlations is this high, all symbols count as one. So they do while the FX
    book is in doubt (``[fx]``)."""
    fx_exposure_max: Decimal = Decimal(50_000_000)
    """Amount of the away quote (USDT) that open positions and entries under way hold or owe, valued in reporting
    currency.
    """

    tighten_at: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share of ``drawdown_max`` from which order and exposure limits are tightened; loosened again at half of it."""
    tighten_volatility: Annotated[float, Meta(gt=1, le=100)] = 2.0
    """A symbol's limits are tightened when its results scatter this many times as widely as they used to."""
    tighten_factor: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """The factor of tightened limits; 1 turns tightening off."""
    tighten_lapse_s: Positive = 900.0
    """A tightened symbol gets its limits back after so many seconds; its next result may tighten them again."""

    halt_daily_loss: Decimal = Decimal(10_000_000)
    """Kill switch, as ``daily_loss_max``."""
    halt_weekly_loss: Decimal = Decimal(30_000_000)
    """Kill switch, as ``weekly_loss_max``."""
    halt_lifetime_loss: Decimal = Decimal(50_000_000)
    """Kill switch, as ``lifetime_loss_max``."""
    halt_drawdown: Decimal = Decimal(10_000_000)
    """Kill switch, as ``drawdown_max``."""
    halt_naked_notional: Decimal = Decimal(40_000_000)
    """Kill switch, as ``naked_notional_max``."""
    stop_daily_loss: Decimal = Decimal(20_000_000)
    """Stops exits too, as ``daily_loss_max``."""
    stop_weekly_loss: Decimal = Decimal(60_000_000)
    stop_lifetime_loss: Decimal = Decimal(100_000_000)
    stop_drawdown: Decimal = Decimal(20_000_000)
    stop_naked_notional: Decimal = Decimal(80_000_000)
    halt_rejects_per_min: Count = 300
    """Kill switch: orders that a venue rejected within a minute."""
    halt_hedges_per_min: Count = 5000
    """Kill switch: hedges and unwinds within a minute."""
    halt_unknown_per_min: Count = 30
    """Kill switch: orders whose outcome could not be learned in time, within a minute. Those that a lost worker has
    left count a minute after ``live.not_found_after_s``.
    """
    halt_stale_feeds_s: Positive = 30.0
    """Kill switch: no venue has sent anything for so long."""

    day_starts: Annotated[
        str,
        matching(r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z", "must be a time from 00:00 to 23:59, as in '09:00'"),
    ] = "09:00"
    """When a trading day begins, by the clock of ``time_zone``."""
    time_zone: str = "Asia/Seoul"


def zone_of(name: str) -> tzinfo:
    """Return the time zone called ``name``, as in ``Europe/Berlin``. Raises ``ValueError`` when it is not known
    here.
    """
    fixed = _FIXED_ZONES.get(name)
    if fixed is not None:
        return fixed
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError) as error:
        raise ValueError(f"'{name}' is not a time zone known on this machine") from error
