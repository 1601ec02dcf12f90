"""Explains why a pair is not entered now: its books, its gap, what an entry must net, and every rule that bars it.
Pure.

The same functions decide as in the worker and in risk. The result is one moment seen from outside: the worker also
knows which prices were in doubt a moment ago.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from math import inf

import msgspec

from arbshard.config import Config
from arbshard.config.contradictions import SIZED_DOWN
from arbshard.engine.closing import gap_bps
from arbshard.engine.edge import find_edge, least_edge_bps, terms_of, top_edge_bps
from arbshard.engine.quality import View, data_refusal, quality_of
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import Direction, Pair
from arbshard.model.risk_note import BarNote, EntryNote, RiskNote

_DIRECTIONS: tuple[Direction, Direction] = ("buy_home", "buy_away")


class DirectionReasons(msgspec.Struct, frozen=True):
    """Describes one direction of a pair. All figures are in basis points."""

    direction: Direction
    edge_bps: float | None = None
    """Net edge at the touch, after the fees of the entry; None without books."""
    least_bps: float | None = None
    """Least net edge of an entry; None while the pair's level is not known."""
    depth_bps: float | None = None
    """Net edge of the order that would be sent; None where the books hold none that nets enough."""
    bars: tuple[BarNote, ...] = ()
    """Rules of risk that bar this direction."""

    @property
    def is_worth_it(self) -> bool:
        """Return whether only rules keep the pair from being entered in this direction."""
        return self.depth_bps is not None


class PairReasons(msgspec.Struct, frozen=True):
    """Describes what keeps a pair from a trade, at one moment."""

    pair: str
    home: str
    away: str
    shard: int
    halted: str
    problem: str
    """Reason why its books or the FX rate are not fit to trade on: the name of a refusal; empty when they are."""
    ages_ms: Mapping[str, float]
    """Age of each book by venue, and of the FX book, in milliseconds."""
    gap_bps: float | None
    """Gap from mid to mid in basis points; above 0 home is more expensive."""
    known: EntryNote
    directions: tuple[DirectionReasons, ...]
    holds: tuple[str, ...]
    """Open positions of the pair."""
    is_under_way: bool
    """Whether an intent of the pair has no outcome yet."""
    elsewhere: str = ""
    """Where it is run, when that is not this host of a cluster: this one has no books of it."""


def reasons_of(
    pair: Pair,
    shard: int,
    views: tuple[View, View, View],
    now_ns: int,
    config: Config,
    note: RiskNote,
    halted: str,
    elsewhere: str = "",
) -> PairReasons:
    """Examine a pair. Returns the reasons.

    ``views`` are those of home, away and FX, as they are now. ``halted`` is the text of the status. ``elsewhere``:
    where another host runs the pair.
    """
    home, away, fx = views
    known = note.entries.get(pair.base, EntryNote())
    refusal = data_refusal(home, away, fx, now_ns, quality_of(config.data_quality))
    names = (pair.home.market.venue, pair.away.market.venue, "FX")
    ages = {
        name: round((now_ns - view.top.received_ns) / 1e6, 1)
        for name, view in zip(names, views, strict=True)
        if view.top is not None
    }
    gap = None
    directions = tuple(DirectionReasons(one, bars=_bars_of(known, one)) for one in _DIRECTIONS)
    home_book, away_book, rate = home.book, away.book, fx.top
    if home_book is not None and away_book is not None and rate is not None:
        gap = gap_bps(home_book, away_book, (rate.best_bid, rate.best_ask))
        books = home_book, away_book
        rates = {"buy_home": rate.best_bid, "buy_away": rate.best_ask}
        directions = tuple(
            _direction(pair, one.direction, books, rates[one.direction], config, note, known)
            for one in directions
        )
    return PairReasons(
        pair=pair.base,
        home=pair.home.market.symbol,
        away=pair.away.market.symbol,
        shard=shard,
        halted=halted,
        problem=refusal.name if refusal is not None and not elsewhere else "",
        ages_ms=ages,
        gap_bps=round(gap, 2) if gap is not None else None,
        known=known,
        directions=directions,
        holds=tuple(one.position_id for one in note.positions if one.pair == pair.base),
        is_under_way=pair.base in note.under_way,
        elsewhere=elsewhere,
    )


def _direction(
    pair: Pair,
    direction: Direction,
    books: tuple[OrderBookSnapshot, OrderBookSnapshot],
    rate: float,
    config: Config,
    note: RiskNote,
    known: EntryNote,
) -> DirectionReasons:
    buy, sell = books if direction == "buy_home" else books[::-1]
    terms = terms_of(pair, direction)
    edge_bps = top_edge_bps(buy.best_ask, sell.best_bid, terms, rate)
    found = DirectionReasons(direction, round(edge_bps, 2), bars=_bars_of(known, direction))
    if known.level_bps is None and config.baseline.is_required:
        return found
    level_bps = known.level_bps or 0.0
    against_bps = -level_bps if direction == "buy_home" else level_bps
    floor_bps = float(Decimal(note.limits_changed.get("edge_bps_min") or config.limits.edge_bps_min))
    least_bps = least_edge_bps(config.strategy.entry_bps, against_bps, floor_bps)
    order = find_edge(
        buy.asks,
        sell.bids,
        terms,
        rate,
        entry_bps=least_bps,
        min_edge_bps=least_edge_bps(config.strategy.min_edge_bps, against_bps, floor_bps),
        cost_max=float(
            min(config.sizing.entry_notional_max, SIZED_DOWN * _order_limit(pair.base, config, note))
        ),
        sell_max=inf,
    )
    is_large = order is not None and order.cost >= float(config.sizing.entry_notional_min)
    depth_bps = round(order.net_bps, 2) if order is not None and is_large else None
    return msgspec.structs.replace(found, least_bps=round(least_bps, 2), depth_bps=depth_bps)


def _order_limit(base: str, config: Config, note: RiskNote) -> Decimal:
    """Return the limit of one entry as it is in force for a pair, in reporting currency."""
    changed = note.limits_changed
    key = "order_notional_max"
    return Decimal(changed.get(f"{base} {key}") or changed.get(key) or config.limits.order_notional_max)


def _bars_of(known: EntryNote, direction: Direction) -> tuple[BarNote, ...]:
    return tuple(bar for bar in known.bars if bar.direction in ("", direction))


def lines_of(found: PairReasons) -> Iterator[str]:
    """Yield the reasons in sentences, the most general one first."""
    yield f"{found.pair}  {found.home} and {found.away}, shard {found.shard}"
    if found.halted:
        yield f"no entry: {found.halted}"
    if found.problem:
        ages = ", ".join(f"{name} {age:,.0f} ms" for name, age in found.ages_ms.items())
        yield f"no entry now: {found.problem} (age of the books: {ages or 'there are none'})"
    if found.is_under_way:
        yield "no entry now: an intent of the pair is under way"
    for position in found.holds:
        yield f"position {position} is open"
    yield _gap_line(found)
    for bar in (bar for bar in found.known.bars if not bar.direction):
        yield f"no entry: {bar.reason}: {bar.detail}"
    if found.elsewhere:
        yield f"{found.elsewhere}: 'arbshard why' says more there, and 'arbshard cluster show' where all shards are"
        return
    for one in found.directions:
        yield _direction_line(one)
        for bar in (bar for bar in one.bars if bar.direction):
            yield f"  no entry in this direction: {bar.reason}: {bar.detail}"


def _gap_line(found: PairReasons) -> str:
    known = found.known
    now = f"gap {found.gap_bps:+.1f} bps" if found.gap_bps is not None else "gap unknown"
    if known.level_bps is None:
        return f"{now}; the level that it returns to is being learned ({known.samples:,} samples)"
    back = f"half back in {known.half_life_s:g} s" if known.half_life_s is not None else "half-life unknown"
    return f"{now}; it returns to {known.level_bps:+.1f} (band {known.band_bps or 0:.1f}), {back}"


def _direction_line(one: DirectionReasons) -> str:
    where = "buying at home" if one.direction == "buy_home" else "buying away"
    if one.edge_bps is None:
        return f"{where}: no books to compare"
    edge = f"{where}: net edge {one.edge_bps:+.1f} bps at the touch"
    if one.least_bps is None:
        return edge
    if one.edge_bps < one.least_bps:
        return f"{edge}, {one.least_bps:.1f} are needed: {one.least_bps - one.edge_bps:.1f} are missing"
    if one.depth_bps is None:
        return f"{edge}, {one.least_bps:.1f} are needed; the books are not deep enough for an order that nets them"
    barred = "" if one.bars else "; no rule bars it"
    return f"{edge}, {one.least_bps:.1f} are needed; the order would net {one.depth_bps:+.1f}{barred}"
