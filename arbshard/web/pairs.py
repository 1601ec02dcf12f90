"""Makes the rows of the table of pairs, and the detail of one pair: books, gap, reasons against a trade. Pure.

A row costs about 60 µs, most of it for decoding two books, so not every row is made anew twice per second: those that
somebody looks at are, and all others in turn (``PairQueue``). Each row carries the time it was made.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from arbshard.engine.quality import View
from arbshard.model.funnel import EdgeFunnel
from arbshard.model.market import Direction, Pair
from arbshard.model.risk_note import BarNote, PositionNote, RiskNote
from arbshard.status.why import DirectionReasons, PairReasons, lines_of
from arbshard.web.view import Tone

LEVELS_SHOWN = 12
_TEXT_MAX = 160


class PairRow(msgspec.Struct, frozen=True):
    """One pair in the table. Edges and gaps in basis points; None where they are not known."""

    base: str
    home: str
    away: str
    shard: int
    gap: float | None
    edge: float | None
    """Net edge at the touch, of the direction that is nearest to an entry."""
    direction: Direction | None
    least: float | None
    """What that edge must be."""
    level: float | None
    band: float | None
    half_life_s: float | None
    home_age_ms: float | None
    away_age_ms: float | None
    position: str
    """Direction of the open position; empty without one."""
    unrealised: str
    why: str
    """Why it is not entered now."""
    tone: Tone
    at_ms: int
    """When the row was made (wall time)."""


class DeskTrade(msgspec.Struct, frozen=True):
    """Says when a pair was entered or left, for the plot of its gap."""

    at_ms: int
    kind: str
    direction: str


class RefusedTrade(msgspec.Struct, frozen=True):
    """Says why risk refused a trade of the pair lately."""

    at_ms: int
    reason: str
    detail: str


class PairDetail(msgspec.Struct, frozen=True):
    """Holds all that is shown of one pair."""

    base: str
    home_venue: str
    away_venue: str
    home_quote: str
    away_quote: str
    lines: tuple[str, ...]
    """What ``arbshard why`` says."""
    home_bids: tuple[tuple[float, float], ...]
    home_asks: tuple[tuple[float, float], ...]
    away_bids: tuple[tuple[float, float], ...]
    away_asks: tuple[tuple[float, float], ...]
    fx: float | None
    level: float | None
    band: float | None
    funnel: EdgeFunnel | None
    positions: tuple[PositionNote, ...]
    marks: tuple[DeskTrade, ...]
    refused: tuple[RefusedTrade, ...]
    at_ms: int


class PairQueue:
    """Decides which rows are made anew next: the watched ones each time, and some of the others in turn."""

    def __init__(self, at_once: int) -> None:
        """Make an empty queue. ``at_once``: how many of the others are chosen each time."""
        self._at_once = at_once
        self._bases: tuple[str, ...] = ()
        self._next = 0

    def choose(self, bases: tuple[str, ...], watched: frozenset[str]) -> list[str]:
        """Return the bases whose turn it is. All of them are chosen while there are few."""
        if bases != self._bases:
            self._bases, self._next = bases, 0
        if len(bases) <= self._at_once:
            return list(bases)
        start, self._next = self._next, (self._next + self._at_once) % len(bases)
        turn = (*bases[start : start + self._at_once], *bases[: max(0, start + self._at_once - len(bases))])
        return [*(base for base in bases if base in watched), *(base for base in turn if base not in watched)]


def row_of(found: PairReasons, pair: Pair, note: RiskNote, now_ms: int) -> PairRow:
    """Return the row of a pair by what stands between it and a trade."""
    best = _nearest(found.directions)
    held = next((one for one in note.positions if one.pair == found.pair), None)
    why, tone = why_not(found)
    return PairRow(
        base=found.pair,
        home=found.home,
        away=found.away,
        shard=found.shard,
        gap=found.gap_bps,
        edge=best.edge_bps,
        direction=best.direction if best.edge_bps is not None else None,
        least=best.least_bps,
        level=found.known.level_bps,
        band=found.known.band_bps,
        half_life_s=found.known.half_life_s,
        home_age_ms=_age(found, pair.home.market.venue),
        away_age_ms=_age(found, pair.away.market.venue),
        position=held.direction if held is not None else "",
        unrealised=(held.unrealised or "") if held is not None else "",
        why=why[:_TEXT_MAX],
        tone=tone,
        at_ms=now_ms,
    )


def _age(found: PairReasons, venue: str) -> float | None:
    """Return the age of a book. One that came while the pair was looked at is as new as can be."""
    age_ms = found.ages_ms.get(venue)
    return max(0.0, age_ms) if age_ms is not None else None


def _nearest(directions: Sequence[DirectionReasons]) -> DirectionReasons:
    """Return the direction whose edge is nearest to what it must be, or above it by most."""

    def surplus(one: DirectionReasons) -> float:
        return one.edge_bps - (one.least_bps or 0.0) if one.edge_bps is not None else float("-inf")

    return max(directions, key=surplus)


def why_not(found: PairReasons) -> tuple[str, Tone]:
    """Return the first thing that keeps a pair from being entered now, and how grave it is."""
    if found.halted:
        return "entries are halted", "bad"
    if found.is_under_way:
        return "a trade is under way", "good"
    if found.holds:
        return "it has a position, which is left first", "good"
    if found.elsewhere:
        return found.elsewhere, ""
    if found.problem:
        return f"its data are not fit to trade on ({found.problem})", "warn"
    general = next((bar for bar in found.known.bars if not bar.direction), None)
    if general is not None:
        return _barred(general, found.pair)
    return _missing(_nearest(found.directions), found.known.samples, found.pair)


def _barred(bar: BarNote, pair: str) -> tuple[str, Tone]:
    """Return what a rule says, without the name of the pair that the row has anyway."""
    return f"{bar.detail.removeprefix(f'{pair}: ')} ({bar.reason})", "warn"


def _missing(best: DirectionReasons, samples: int, pair: str) -> tuple[str, Tone]:
    """Return what one direction lacks."""
    if best.edge_bps is None:
        return "there are no books to compare", "warn"
    if best.least_bps is None:
        return f"its level is being learned ({samples} samples)", ""
    if best.edge_bps < best.least_bps:
        return f"{best.least_bps - best.edge_bps:.1f} bps are missing", ""
    if best.depth_bps is None:
        return "the books are too thin for an order", ""
    if best.bars:
        return _barred(best.bars[0], pair)
    return "nothing: an entry is due", "good"


def waiting_row(pair: Pair, shard: int, now_ms: int) -> PairRow:
    """Return the row of a pair that was not looked at yet."""
    return PairRow(
        base=pair.base, home=pair.home.market.symbol, away=pair.away.market.symbol, shard=shard, gap=None, edge=None,
        direction=None, least=None, level=None, band=None, half_life_s=None, home_age_ms=None, away_age_ms=None,
        position="", unrealised="", why="not looked at yet", tone="", at_ms=now_ms,
    )  # fmt: skip


def detail_of(
    found: PairReasons,
    pair: Pair,
    views: tuple[View, View, View],
    note: RiskNote,
    funnel: Mapping[str, EdgeFunnel],
    refused: Iterable[RefusedTrade],
    now_ms: int,
) -> PairDetail:
    """Return a pair in full. ``views``: its two books and the FX book."""
    home, away, fx = (view.book for view in views)
    mine = tuple(one for one in (*note.positions, *note.closed) if one.pair == pair.base)
    return PairDetail(
        base=pair.base,
        home_venue=pair.home.market.venue,
        away_venue=pair.away.market.venue,
        home_quote=pair.home.market.quote,
        away_quote=pair.away.market.quote,
        lines=tuple(lines_of(found)),
        home_bids=home.bids[:LEVELS_SHOWN] if home is not None else (),
        home_asks=home.asks[:LEVELS_SHOWN] if home is not None else (),
        away_bids=away.bids[:LEVELS_SHOWN] if away is not None else (),
        away_asks=away.asks[:LEVELS_SHOWN] if away is not None else (),
        fx=fx.mid if fx is not None else None,
        level=found.known.level_bps,
        band=found.known.band_bps,
        funnel=funnel.get(pair.base),
        positions=mine,
        marks=tuple(_marks(mine)),
        refused=tuple(refused),
        at_ms=now_ms,
    )


def _marks(positions: Iterable[PositionNote]) -> Iterator[DeskTrade]:
    for one in positions:
        yield DeskTrade(one.opened_ms, "entry", one.direction)
        if one.closed_ms:
            yield DeskTrade(one.closed_ms, "exit", one.direction)
