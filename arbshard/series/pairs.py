"""Computes the gap and the edges of each pair from shared memory, and counts how far edges come.

It computes what the engine computes, with the functions of the engine. The time is an argument.
"""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Protocol

from arbshard.config import Config
from arbshard.engine.closing import gap_bps
from arbshard.engine.edge import Terms, edge_at, find_edge, least_edge_bps, terms_of, top_edge_bps
from arbshard.engine.quality import UNSEEN, View, data_refusal, quality_of
from arbshard.engine.quality import is_late as came_late
from arbshard.errors import FrameError
from arbshard.model.book import Levels, OrderBookSnapshot
from arbshard.model.market import Direction, Leg, Pair
from arbshard.model.universe import Universe
from arbshard.series import SeriesRow, Value
from arbshard.venues.registry import get_venue

MARKET_STAGES = ("gross", "net", "deep", "sound")
_AGAIN_NS = 60_000_000_000
"""A pair without any change has a row this often."""
_DIRECTIONS: tuple[Direction, Direction] = ("buy_home", "buy_away")


class SequencedSlots(Protocol):
    """Gives access to frames: ``shm.books.BooksReader`` implements it."""

    def sequence(self, slot: int) -> int:
        """Return a number that is larger after every change of the slot."""
        ...

    def read(self, slot: int) -> tuple[int, int, bool, bytes] | None:
        """Return (sequence, received_ns, live, frame); None when there is none."""
        ...

    def late_after_ns(self, slot: int) -> int:
        """Return the difference of receipt and sending above which a frame is late, in nanoseconds."""
        ...


class PairSampler:
    """Takes samples of all pairs of a run at once."""

    def __init__(self, slots: SequencedSlots, universe: Universe, config: Config) -> None:
        self._slots = slots
        self._config = config
        self._quality = quality_of(config.data_quality)
        self._views: dict[int, tuple[int, View]] = {}
        """(sequence, view) by slot."""
        self._rows: dict[str, tuple[tuple[Value, ...], int]] = {}
        """(values, time) of each pair's last row."""
        self._terms: dict[str, tuple[Terms, Terms]] = {}
        self.funnel: dict[str, dict[str, float]] = {}
        """By base: how many directions were sampled and how many reached each stage, with the sums of their edges in
        basis points.
        """
        self.bad_frames = 0
        self.set_universe(universe)

    def set_universe(self, universe: Universe) -> None:
        """Sample these pairs from now on."""
        self._universe = universe
        self._terms = {
            pair.base: (terms_of(pair, "buy_home"), terms_of(pair, "buy_away")) for pair in universe.pairs
        }
        self._views.clear()  # a slot may have another market now
        self._rows = {base: row for base, row in self._rows.items() if base in self._terms}

    def sample(self, now_ns: int, levels: Mapping[str, float | None]) -> Iterator[SeriesRow]:
        """Yield a row of each pair that has changed; ``levels`` is what the gap of each pair returns to, where
        known.
        """
        fx = self._view(self._universe.fx)
        for pair in self._universe.pairs:
            home, away, level_bps = self._view(pair.home), self._view(pair.away), levels.get(pair.base)
            is_late = any(
                came_late(view.book, self._slots.late_after_ns(leg.slot))
                for view, leg in ((home, pair.home), (away, pair.away), (fx, self._universe.fx))
            )
            is_sound = not is_late and data_refusal(home, away, fx, now_ns, self._quality) is None
            edges = self._edges(pair, home, away, fx, level_bps or 0.0, is_sound=is_sound)
            # A plot shows no more than three digits, and files with all digits are half as large again.
            values = tuple(
                round(value, 3) if value is not None else None
                for value in (*(edges if is_sound else (None,) * 4), level_bps)
            )
            before, before_ns = self._rows.get(pair.base, ((), 0))
            if values == before and now_ns - before_ns < _AGAIN_NS:
                continue
            self._rows[pair.base] = values, now_ns
            received = [view.top.received_ns for view in (home, away) if view.top is not None]
            names = ("gap_bps", "home_edge_bps", "away_edge_bps", "depth_edge_bps", "level_bps")
            age_ms = round((now_ns - min(received)) / 1e6, 1) if len(received) == 2 else None
            yield {"pair": pair.base, **dict(zip(names, values, strict=True)), "age_ms": age_ms}

    def _view(self, leg: Leg) -> View:
        known = self._views.get(leg.slot)
        if known is not None and known[0] == self._slots.sequence(leg.slot):
            return known[1]
        found = self._slots.read(leg.slot)
        if found is None:
            return UNSEEN
        sequence, received_ns, live, frame = found
        try:
            view = View(get_venue(leg.market.venue).decode(frame, received_ns), live, bad=False)
        except FrameError:
            self.bad_frames += 1
            view = View(None, live, bad=True)
        self._views[leg.slot] = sequence, view
        return view

    def _edges(
        self, pair: Pair, home: View, away: View, fx: View, level_bps: float, *, is_sound: bool
    ) -> tuple[float | None, float | None, float | None, float | None]:
        """Return gap, net edge at the touch of both directions, and the better net edge in depth; None without
        books.

        It also counts how far the edges of both directions come.
        """
        home_book, away_book, rate = home.book, away.book, fx.top
        if home_book is None or away_book is None or rate is None:
            return None, None, None, None
        found = []
        for direction, terms in zip(_DIRECTIONS, self._terms[pair.base], strict=True):
            if direction == "buy_home":
                buy, sell, fx_rate, against_bps = home_book, away_book, rate.best_bid, -level_bps
            else:
                buy, sell, fx_rate, against_bps = away_book, home_book, rate.best_ask, level_bps
            net_bps = top_edge_bps(buy.best_ask, sell.best_bid, terms, fx_rate)
            self._count(pair.base, buy, sell, terms, fx_rate, net_bps, against_bps, is_sound=is_sound)
            found.append((net_bps, self._depth_bps(buy.asks, sell.bids, terms, fx_rate)))
        gap = gap_bps(home_book, away_book, (rate.best_bid, rate.best_ask))
        deepest = max((deep for _, deep in found if deep is not None), default=None)
        return gap, found[0][0], found[1][0], deepest

    def _depth_bps(self, asks: Levels, bids: Levels, terms: Terms, fx: float) -> float | None:
        """Return the net edge of the largest order that the configuration allows, or of all that the books hold."""
        ask_cost = asks[0][0] * terms.cost_factor * (1.0 if terms.buy_is_home else fx)
        quantity = float(self._config.sizing.entry_notional_max) / ask_cost
        edge = edge_at(quantity, asks, bids, terms, fx)
        return edge.net_bps if edge is not None else None

    def _count(
        self,
        base: str,
        buy: OrderBookSnapshot,
        sell: OrderBookSnapshot,
        terms: Terms,
        fx: float,
        net_bps: float,
        against_bps: float,
        *,
        is_sound: bool,
    ) -> None:
        counts = self.funnel.get(base)
        if counts is None:
            counts = self.funnel[base] = dict.fromkeys(
                ("sampled", *(name for stage in MARKET_STAGES for name in (stage, f"{stage}_bps"))), 0
            )
        counts["sampled"] += 1
        free = terms._replace(base_kept=1.0, cost_factor=1.0, proceeds_factor=1.0)
        gross_bps = top_edge_bps(buy.best_ask, sell.best_bid, free, fx)
        if gross_bps <= 0:
            return
        counts["gross"] += 1
        counts["gross_bps"] += gross_bps
        if net_bps <= 0:
            return
        counts["net"] += 1
        counts["net_bps"] += net_bps
        strategy, sizing = self._config.strategy, self._config.sizing
        floor_bps = self._config.limits.edge_bps_min
        edge = find_edge(
            buy.asks,
            sell.bids,
            terms,
            fx,
            entry_bps=least_edge_bps(strategy.entry_bps, against_bps, floor_bps),
            min_edge_bps=least_edge_bps(strategy.min_edge_bps, against_bps, floor_bps),
            cost_max=float(sizing.entry_notional_max) * 0.99,  # as in the engine
            sell_max=inf,
        )
        if edge is None or edge.cost < float(sizing.entry_notional_min):
            return
        counts["deep"] += 1
        counts["deep_bps"] += edge.net_bps
        if is_sound:
            counts["sound"] += 1
            counts["sound_bps"] += edge.net_bps
