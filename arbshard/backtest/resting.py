"""Passes over spans of a tape in which nothing can be decided, without the timers of the system in between.

Screening leaves the frames out on which nothing can be decided. What is left of a quiet second are the timers of risk
and worker, of the confirmation of quiet books and the watch of lags, and the frames of the FX market. ``QuietSpans``
proves of a span that none of these can decide anything either, and brings each part to the end of the span by
columns.

**When there may be rest.** Nothing is planned but the timers that are known (``Rhythm``, and those of risk and
worker): whatever waits for anything else has a timer of its own. Risk holds nothing and waits for nothing
(``RiskCore.is_at_rest``), and neither does the worker (``ShardLoop.is_at_rest``); all books are sound, or lost.

**How far it goes.** A span ends ``settling_ns`` before the first row or tick of which one of the following is not
proved. So the rounds that follow each other in this time work out as usual whatever they work out from newer samples.

- The row is a frame of a market, with a sound book, and goes into its slot and does nothing else.
- It is no jump of the FX market. A jump of any other market is no reason to act by itself, and a span does not end
  before the engine trusts the newest price; so it remembers nothing of the frames before the last (``screening``).
- No entry is possible: between two ticks, the highest bid to sell at, the lowest ask to buy at and the extremes of
  the FX book give no edge that is large enough for any level that the pair's gap may have in the span. The level is
  the median of a window, and moves by few ranks with few samples (``SpreadSeries.median_until``).
- No venue is silent for longer than ``_SILENT_NS``, so none counts as stale.
- The FX book is young enough to be sampled at each tick, and raises no doubt (``FxGuard.is_calm``).
- The prices of no pair suggest that its markets trade different coins.

**What is left to do.** Series and FX guard get the samples that risk would have taken: of each pair at the first tick
of an interval at which both books are young, by the arithmetic of ``gap_bps``. The watch of lags gets the times of
the frames that it would have measured. Timers continue at the instants at which they would have: each adds its
period to the last one, with the same rounding. Slots, counts of frames and the signs of life of connections become
what they would be.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import inf

import numpy as np
import numpy.typing as npt

from arbshard.backtest.blocks import RowBlock
from arbshard.backtest.feeds import FeedTimes, TapeVenueFeed
from arbshard.backtest.fusing import FusedBefore, FusedRows, join, known_to
from arbshard.backtest.screening import Screen, ScreenedLane, ScreenedMarket, ScreenedPair
from arbshard.backtest.spans import (
    LaterFrame,
    Numbers,
    Prices,
    SpanGrid,
    SpanPlan,
    SpanRows,
    SpanStream,
    due_of,
    grid_of,
    implied_in,
    settled_ns,
)
from arbshard.backtest.timers import Rhythm, TapeLoop, after, series_of_times
from arbshard.backtest.tops import UNSENT_MS
from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.engine.edge import BPS
from arbshard.model.book import PairView
from arbshard.model.market import Leg
from arbshard.risk.assembly import Risk
from arbshard.risk.rest import RestSpan
from arbshard.venues.base.fusion import BookFuser
from arbshard.venues.registry import get_venue
from arbshard.worker.assembly import Worker
from supervisor.feeds.venue import STALE_NS

REST_ROWS = 65_536
"""Number of rows from which on no more are read before a span is looked for."""
_TICKS_MIN = 30
"""Number of ticks below which a span is not worth the trouble."""
_SILENT_NS = STALE_NS - 1_000_000_000
"""Time in ns for which a venue may be silent in a span. It is looked for silence a few times a second."""
_LEVEL_STEP_BPS = 0.5
"""Risk rounds levels to half of this, and the whole of it is more than enough."""
_EARLIER_SAMPLES = 5
"""Number of sample intervals for which an estimate may be on its way to the worker."""
_FRESH_NS_MIN = 3_000_000_000
"""A rate counts as fresh for at least so long (ns), as in ``fx_guard``."""


class QuietSpans:
    """Passes over spans of one backtest. Call ``pass_over`` between two blocks, and ``end`` before anything else
    follows.
    """

    def __init__(
        self,
        config: Config,
        screen: Screen,
        risk: Risk,
        worker: Worker,
        feeds: Sequence[TapeVenueFeed],
        loop: TapeLoop,
        clock: Clock,
        lane_of: Callable[[str, str], tuple[ScreenedLane | None, BookFuser | None]],
        beat: Rhythm,
        on_beats: Callable[[Sequence[int]], None],
        ignored: Callable[..., object],
    ) -> None:
        """Prepare the spans. ``lane_of`` returns the lane that puts the frames of a stream and a market into slots
        unchanged, or None, and what joins levels and touches before it. ``on_beats`` is called with the times of
        ``beat`` in each span. Plans to call ``ignored`` are dropped: it feeds rows, and is planned anew after a span.
        """
        self._ignored = ignored
        self._screen = screen
        self._risk = risk
        self._worker = worker
        self._feeds = feeds
        self._loop = loop
        self._clock = clock
        self._lane_of = lane_of
        self._beat = beat
        self._on_beats = on_beats
        self._age_ns_max = int(config.data_quality.max_book_age_ms * 1e6)
        self._fx_jump = config.fx.jump_bps_max / 1e4
        self._settle_ns = int(config.data_quality.jump_settle_ms * 1e6)
        self._pairs_min = config.fx.pairs_min
        self._samples_min = config.baseline.samples_min
        self._sample_ns = round(config.series.sample_ms * 1_000_000)
        self._fresh_ns = max(_FRESH_NS_MIN, int(3e6 * config.series.sample_ms))
        self._legs: list[Leg] = []
        """The FX market, and both markets of each pair."""
        self._markets: list[ScreenedMarket] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self.renew()
        self._fx: tuple[float, float] | None = None
        """Best prices of the FX market, where the worker has yet to see them."""
        self._sent_ms: dict[int, int] = {}
        """Time of sending of the frame that was put into the slot of a market in a span, by the market's number."""
        self._parts: dict[int, FusedBefore] = {}
        """What the fuser of each market has yet to know, by the number of the market."""
        self._views: dict[str, tuple[LaterFrame, LaterFrame, int]] = {}
        """Books (home, away) of each pair when it was sampled last in a span, and when."""
        self._not_before_ns = 0
        """Time before which there is no span, as the last search has found."""
        self.passed = 0
        """Number of frames that were passed over."""

    def renew(self) -> None:
        """Use the pairs of the screen, which have changed."""
        pairs = self._screen.pairs
        self._legs = [
            self._screen.fx_leg,
            *(leg for one in pairs for leg in (one.state.pair.home, one.state.pair.away)),
        ]
        self._markets = [one for pair in pairs for one in (pair.home, pair.away)]
        self._numbers = {
            (leg.market.venue, leg.market.symbol): number for number, leg in enumerate(self._legs)
        }

    def may_begin(self) -> bool:
        """Return whether a span may begin now, as far as it does not depend on what is on the tape."""
        now_ms = self._clock.wall_ms()
        return (
            self._clock.monotonic_ns() >= self._not_before_ns
            and self._screen.has_all_pairs
            and not self._screen.is_suspended
            and self._worker.loop.is_at_rest
            and self._risk.core.is_at_rest(now_ms, now_ms)
            and self._screen.books.live(self._legs[0].slot)
            and self._screen.fx is not None
            and all(self._screen.is_idle(pair) for pair in self._screen.pairs)
            and all(feed.is_at_rest for feed in self._feeds)
            and self._timers() is not None
        )

    def pass_over(self, block: RowBlock) -> int:
        """Pass over the beginning of ``block``, as far as it is quiet; return how many of its rows that were."""
        timers = self._timers()
        assert timers is not None
        found = self._find(block, timers[self._risk_timer()])
        if found is None:
            return 0
        plan, span = found
        self._carry_out(block, plan, span, timers)
        return int(np.searchsorted(block.table["due_ns"], plan.ticks[plan.length]))

    def end(self) -> None:
        """Let worker and risk see the books that they would have seen last."""
        engine = self._worker.engine
        for before in self._parts.values():
            before.restore()
        self._parts.clear()
        self._sent_ms.clear()
        if self._fx is not None:
            self._fx = None
            view = self._worker.feed.read(self._legs[0].slot)
            assert view is not None
            engine.renew_fx(view)
        views = {}
        for pair in self._screen.pairs:
            base = pair.state.pair.base
            if base in self._views:
                home, away, seen_ns = self._views[base]
                legs = pair.state.pair.home, pair.state.pair.away
                tops = [
                    get_venue(leg.market.venue).top_of_book(one.message(), one.received_ns)
                    for leg, one in zip(legs, (home, away), strict=True)
                ]
                views[base] = PairView(tops[0], tops[1], seen_ns)
        self._views.clear()
        self._risk.gaps.set_views(views)

    # What is found.

    def _find(self, block: RowBlock, tick_ns: int) -> tuple[SpanPlan, RestSpan] | None:
        """Return the quiet span at the beginning of ``block``, and what risk would have seen in it; None where there
        is none that is long enough.

        ``tick_ns`` is the time of risk's next tick.
        """
        now_ns, risk = self._clock.monotonic_ns(), self._risk
        due_ns = np.ascontiguousarray(block.table["due_ns"])
        markets, streams = self._markets_of(block)
        count = int(np.argmin(markets)) if markets.min() < 0 else len(markets)
        until_ns = int(due_ns[count]) if count < len(due_ns) else int(due_ns[-1])
        settling_ns = risk.settling_ns()
        ticks = risk.keeps_house(series_of_times(tick_ns, risk.tick_s, until_ns + 1))
        self._not_before_ns = until_ns
        if len(ticks) < _TICKS_MIN or ticks[-1] - settling_ns < ticks[_TICKS_MIN - 1]:
            return None
        rows = self._rows(block, due_ns, markets[:count], streams)
        refused = [one.refused for one in rows.parts.values() if one.refused is not None]
        until_ns = min(
            until_ns, *(int(due_ns[row]) for row in refused), self._silent_from_ns(rows, streams, now_ns)
        )
        jumped = self._jumped(rows)
        is_unsound = jumped & ((rows.markets == 0) | ~(rows.bids > 0) | ~(rows.asks > 0))
        if is_unsound.any():
            until_ns = min(until_ns, int(rows.due_ns[is_unsound].min()))
        ticks = ticks[: int(np.searchsorted(ticks, until_ns, side="right"))]
        if not ticks:
            self._not_before_ns = until_ns
            return None
        grid = grid_of(
            rows, due_ns[:count], np.array(ticks), self._prices_before(),
            np.array([self._screen.books.times(leg.slot)[0] for leg in self._legs]),
        )  # fmt: skip
        known = len(ticks)
        is_stale = np.array(ticks) - grid.received_ns[0, :known] > self._age_ns_max
        if is_stale.any():
            known = int(is_stale.argmax())
            until_ns = min(until_ns, ticks[known])
        if not known:
            self._not_before_ns = until_ns
            return None
        samples, implied = self._samples(grid, np.array(ticks)[:known])
        until_ns = min(until_ns, self._reached_ns(grid, ticks, samples, now_ns, until_ns))
        self._not_before_ns = until_ns
        length = int(np.searchsorted(ticks[:known], until_ns - settling_ns, side="right")) - 1
        length = self._settled(
            ticks, min(length, self._unleveled(ticks, now_ns)), self._doubted(rows, jumped)
        )
        if length < _TICKS_MIN:
            return None
        plan = SpanPlan(rows, grid, ticks, length, samples, implied, streams)
        span = self._span(plan)
        if not self._decides_nothing(plan, span, now_ns):
            return None
        self._not_before_ns = 0
        return plan, span

    def _unleveled(self, ticks: Sequence[int], now_ns: int) -> int:
        """Return the last position of ``ticks`` before a baseline may be known, as long as the level of the FX
        premium may follow from baselines, which are not estimated in a span.
        """
        if self._risk.core.guard.fx.is_level_known:
            return len(ticks)
        self._not_before_ns = now_ns + self._sample_ns
        if self._risk.gaps.baselines.known:
            return -1
        most = max((series.count for series in self._risk.gaps.series.values()), default=0)
        return bisect_left(ticks, now_ns + (self._samples_min - most - 2) * self._sample_ns) - 1

    def _settled(self, ticks: Sequence[int], length: int, doubted: Sequence[tuple[int, int]]) -> int:
        """Return the last position of ``ticks`` up to ``length`` at which the engine doubts no price."""
        while length >= _TICKS_MIN and any(since < ticks[length] <= until for since, until in doubted):
            length -= 1
        return length

    def _decides_nothing(self, plan: SpanPlan, span: RestSpan, now_ns: int) -> bool:
        """Return whether risk decides nothing up to the end of a span."""
        core, now_ms = self._risk.core, self._clock.wall_ms()
        end_ms = now_ms + (plan.ticks[plan.length] - now_ns) // 1_000_000 + 1
        is_quiet = core.is_at_rest(now_ms, end_ms) and self._is_usual(plan)
        return is_quiet and core.guard.fx.is_calm(span)

    def _markets_of(self, block: RowBlock) -> tuple[Numbers, dict[int, SpanStream]]:
        """Return the number of the market of each row, -1 for rows that must be fed, and the stream of each
        market.
        """
        table, size = block.table, len(block.names)
        keys = table["connection"].astype(np.int64) * size + table["market"]
        numbers: dict[int, int] = {}
        streams: dict[int, SpanStream] = {}
        refused = set()
        present = (
            np.flatnonzero(np.bincount(keys))
            if size * size < 1 << 22
            else np.array(sorted(set(keys.tolist())))
        )
        for key in present.tolist():
            connection, symbol = block.names[key // size], block.names[key % size]
            lane, fuser = self._lane_of(connection, symbol) if symbol else (None, None)
            number = self._numbers.get((lane.venue, symbol), -1) if lane is not None else -1
            if lane is None or number < 0 or not lane.takes(symbol, self._legs[number].slot):
                continue
            if number in streams or (fuser is not None and self._parts_before(number, fuser) is None):
                refused.add(number)
            streams[number] = SpanStream(connection, lane, fuser)
            numbers[key] = number
        table_of = np.full(int(keys.max()) + 1, -1, np.int64)
        for key, number in numbers.items():
            if number not in refused:
                table_of[key] = number
        return table_of[keys], streams

    def _silent_from_ns(self, rows: SpanRows, streams: Mapping[int, SpanStream], now_ns: int) -> int:
        """Return from when a venue may have been silent for too long."""
        until_ns = 1 << 62
        for feed in self._feeds:
            due_ns = due_of(rows, streams, feed.connections)
            times = np.concatenate(((min(feed.counted_ns, now_ns),), due_ns))
            is_long = np.diff(times) > _SILENT_NS
            last_ns = int(times[int(is_long.argmax())] if is_long.any() else times[-1])
            until_ns = min(until_ns, last_ns + _SILENT_NS)
        return until_ns

    def _rows(
        self, block: RowBlock, due_ns: Numbers, markets: Numbers, streams: Mapping[int, SpanStream]
    ) -> SpanRows:
        order = np.argsort(markets.astype(np.int16), kind="stable")
        starts = np.searchsorted(markets[order], np.arange(len(self._legs) + 1))
        received_ns, bids, asks = (
            np.ascontiguousarray(block.table[name])[order] for name in ("received_ns", "bid", "ask")
        )
        parts: dict[int, FusedRows] = {}
        prices = self._prices_before()
        for number, stream in streams.items():
            mine = order[starts[number] : starts[number + 1]]
            before = self._parts_before(number, stream.fuser) if stream.fuser is not None else None
            if before is not None and len(mine):
                parts[number] = join(
                    block, mine, before, (float(prices[0][number]), float(prices[1][number]))
                )
        if parts:
            columns = [
                (one.rows, one.bids, one.asks)
                if (one := parts.get(number)) is not None
                else (order[begin:end], bids[begin:end], asks[begin:end])
                for number, (begin, end) in enumerate(pairwise(starts.tolist()))
            ]
            order, bids, asks = (np.concatenate(column) for column in zip(*columns, strict=True))
            starts = np.concatenate(((0,), np.cumsum([len(rows) for rows, _, _ in columns])))
            received_ns = block.table["received_ns"][order]
        return SpanRows(
            order, markets[order], starts, due_ns[order], received_ns, bids, asks, parts, len(markets)
        )

    def _parts_before(self, number: int, fuser: BookFuser) -> FusedBefore | None:
        """Return what is known of a market whose levels and touches come in two streams; None without levels."""
        return self._parts.get(number) or known_to(fuser, self._legs[number].market.symbol)

    def _prices_before(self) -> tuple[Prices, Prices]:
        """Return the best bids and asks of all markets before the block; 0 and infinite for those that are dead, at
        which nothing can be bought or sold.
        """
        fx = self._fx
        if fx is None:
            top = self._worker.engine.fx.top
            assert top is not None
            fx = top.best_bid, top.best_ask
        bids, asks = [fx[0]], [fx[1]]
        for market in self._markets:
            bids.append(0.0 if market.is_dead else market.bid)
            asks.append(inf if market.is_dead else market.ask)
        return np.array(bids), np.array(asks)

    def _jumped(self, rows: SpanRows) -> npt.NDArray[np.bool_]:
        """Return which rows are a jump from the one before; rows without prices count as such."""
        bids_before, asks_before = np.roll(rows.bids, 1), np.roll(rows.asks, 1)
        first = rows.starts[:-1][np.diff(rows.starts) > 0]
        before = self._prices_before()
        bids_before[first], asks_before[first] = (
            before[0][rows.markets[first]],
            before[1][rows.markets[first]],
        )
        up, down = self._screen.jump_up, self._screen.jump_down
        is_near = (
            (bids_before * down <= rows.bids) & (rows.bids <= bids_before * up)
            & (asks_before * down <= rows.asks) & (rows.asks <= asks_before * up)
        )  # fmt: skip
        fx = slice(0, int(rows.starts[1]))
        mids, mids_before = (rows.bids[fx] + rows.asks[fx]) / 2, (bids_before[fx] + asks_before[fx]) / 2
        is_near[fx] = np.abs(mids / mids_before - 1) <= self._fx_jump
        return ~is_near

    def _doubted(self, rows: SpanRows, jumped: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
        """Return from when to when the engine may doubt a price that has jumped: until a frame follows that is no
        jump from the one before, and was received ``jump_settle_ns`` later. ``View.compare`` settles on it at the
        latest, and what came before does not matter any more.
        """
        places = np.flatnonzero(jumped).tolist()
        found = [
            (
                int(rows.due_ns[place]),
                settled_ns(rows, jumped, int(rows.received_ns[place]), self._settle_ns, place),
            )
            for place in places
        ]
        for number, market in enumerate(self._markets, 1):
            if not (market.is_clear or market.is_dead):
                since_ns = market.view.jumped_ns
                found.append(
                    (0, settled_ns(rows, jumped, since_ns, self._settle_ns, int(rows.starts[number]), number))
                )
        return found

    def _samples(self, grid: SpanGrid, ticks: Numbers) -> tuple[dict[str, list[tuple[int, float]]], Prices]:
        """Return the samples that ``GapWatch`` would take at these ticks, and the FX rate that each pair implies at
        each tick at which it is sampled.
        """
        count, pairs, gaps = len(ticks), len(self._screen.pairs), self._risk.gaps
        is_young = ticks - grid.received_ns[:, :count] <= self._age_ns_max
        mids = (grid.bids[:, :count] + grid.asks[:, :count]) / 2
        home, away = mids[1::2], mids[2::2]
        with np.errstate(invalid="ignore"):  # of markets that are dead
            gap = (home / (away * (grid.bids[0, :count] + grid.asks[0, :count]) / 2) - 1) * BPS
            implied = home / away
        is_young &= np.array([True, *(not market.is_dead for market in self._markets)])[:, None]
        is_sampled = is_young[1::2] & is_young[2::2]
        if gaps.pairs_per_tick < pairs:
            turns = (np.arange(pairs)[:, None] - gaps.next - gaps.pairs_per_tick * np.arange(count)) % pairs
            is_sampled &= turns < gaps.pairs_per_tick
        intervals = ticks // self._sample_ns
        samples: dict[str, list[tuple[int, float]]] = {}
        rates = np.full((pairs, count), np.nan)
        for number, pair in enumerate(self._screen.pairs):
            base = pair.state.pair.base
            places = np.flatnonzero(is_sampled[number] & (ticks >= gaps.series[base].due_ns))
            places = places[np.diff(intervals[places], prepend=-1) > 0]
            rates[number, places] = implied[number, places]
            samples[base] = list(zip(places.tolist(), gap[number, places].tolist(), strict=True))
        return samples, rates

    def _reached_ns(
        self,
        grid: SpanGrid,
        ticks: Sequence[int],
        samples: Mapping[str, Sequence[tuple[int, float]]],
        now_ns: int,
        until_ns: int,
    ) -> int:
        """Return from when an entry may be possible; ``until_ns`` at the latest."""
        limits = np.array(
            [
                pair.limits_between(*self._levels(pair, samples[pair.state.pair.base], until_ns))
                for pair in self._screen.pairs
            ]
        )
        bids, asks = grid.highest_bids, grid.lowest_asks
        to_home = bids[2::2] * bids[0] / asks[1::2]
        to_away = bids[1::2] / (asks[2::2] * asks[0])
        is_near = ~((to_home < limits[:, :1]) & (to_away < limits[:, 1:])).all(axis=0)
        if not is_near.any():
            return until_ns
        place = int(is_near.argmax())
        return min(ticks[place - 1] if place else now_ns, until_ns)

    def _levels(
        self, pair: ScreenedPair, samples: Sequence[tuple[int, float]], until_ns: int
    ) -> tuple[float, float]:
        """Return the least and the greatest level that the worker may know of a pair's gap up to ``until_ns``: its
        own, those that risk has worked out in the last seconds, and those that it may work out; 0 while none is
        known.
        """
        state = pair.state
        base = state.pair.base
        series, known = self._risk.gaps.series[base], self._risk.gaps.baselines.known.get(base)
        levels = [state.level_bps, known.level_bps if known is not None else 0.0]
        bounds = series.median_until(until_ns + _EARLIER_SAMPLES * self._sample_ns)
        if bounds is not None:
            levels += bounds
        else:
            levels += (*(series.extremes or ()), *(gap for _, gap in samples))
        lost = (until_ns - self._clock.monotonic_ns()) // self._sample_ns + 2
        if known is None or series.count - lost < self._samples_min:
            levels.append(0.0)
        return min(levels) - _LEVEL_STEP_BPS, max(levels) + _LEVEL_STEP_BPS

    def _is_usual(self, plan: SpanPlan) -> bool:
        """Return whether the prices of each pair's two markets are those of one coin."""
        for number, pair in enumerate(self._screen.pairs):
            base = pair.state.pair.base
            places = [place for place, _ in plan.samples[base] if place < plan.length]
            if places:
                bids = plan.grid.bids[:, places]
                ratios = bids[2 * number + 1] / (bids[2 * number + 2] * bids[0])
                if not self._risk.core.identity.is_usual(base, float(ratios.min()), float(ratios.max())):
                    return False
        return True

    def _span(self, plan: SpanPlan) -> RestSpan:
        """Return what risk would have seen in the span."""
        grid, length = plan.grid, plan.length
        ticks = plan.ticks[:length]
        rates = (grid.bids[0, :length] + grid.asks[0, :length]) / 2
        newest: dict[str, tuple[float, float, float, float, int]] = {}
        gaps: dict[str, list[tuple[int, float]]] = {}
        for number, pair in enumerate(self._screen.pairs):
            base = pair.state.pair.base
            samples = gaps[base] = [
                (ticks[place], gap) for place, gap in plan.samples[base] if place < length
            ]
            if samples:
                place = plan.samples[base][len(samples) - 1][0]
                rate_bid, home_bid, away_bid = grid.bids[[0, 2 * number + 1, 2 * number + 2], place].tolist()
                newest[base] = home_bid, away_bid, rate_bid, float(plan.implied[number, place]), ticks[place]
        return RestSpan(ticks, rates.tolist(), self._implied(plan), gaps, newest)

    def _implied(self, plan: SpanPlan) -> list[tuple[float | None, int]]:
        known = self._risk.core.guard.fx.implied
        before = [known.get(pair.state.pair.base) for pair in self._screen.pairs]
        return implied_in(plan, before, self._fresh_ns, self._pairs_min)

    # What is done.

    def _carry_out(
        self,
        block: RowBlock,
        plan: SpanPlan,
        span: RestSpan,
        timers: Mapping[asyncio.TimerHandle, int],
    ) -> None:
        """Leave everything as it would be at the end of the span."""
        end_ns = plan.ticks[plan.length]
        moved: dict[asyncio.TimerHandle, tuple[int, int]] = {}

        def passed(handle: asyncio.TimerHandle, period_s: float) -> list[int]:
            """Return when a timer would have fired, and have it continue after that."""
            times = series_of_times(timers[handle], period_s, end_ns)
            if times:
                moved[handle] = after(times[-1], period_s), times[-1]
            return times

        times_of = {feed.name: feed.pass_timers(passed) for feed in self._feeds}
        passed(self._risk_timer(), self._risk.tick_s)
        passed(self._worker_timer(), self._worker.loop.timer_s)
        beats = passed(_handle(self._beat.handle), self._beat.period_s)
        self._follow_feeds(block, plan, beats, times_of, end_ns)
        self._fill_slots(block, plan)
        self._loop.now_ns = plan.ticks[plan.length - 1]
        self._risk.rest(span)
        self._on_beats(beats)
        self._loop.move(moved, timers, end_ns - 1)

    def _follow_feeds(
        self,
        block: RowBlock,
        plan: SpanPlan,
        beats: Sequence[int],
        times_of: Mapping[str, FeedTimes],
        end_ns: int,
    ) -> None:
        """Bring the signs of life of connections up to date, and what is known of their lags."""
        for feed in self._feeds:
            times = times_of[feed.name]
            every = {name: due_of(plan.rows, plan.streams, (name,)) for name in feed.connections}
            feed.rest(
                beats,
                times,
                {name: due_ns[: np.searchsorted(due_ns, end_ns)] for name, due_ns in every.items()},
            )
            if times.lags:
                self._measure_lags(block, plan, feed, times.lags)

    def _measure_lags(
        self, block: RowBlock, plan: SpanPlan, feed: TapeVenueFeed, times: Sequence[int]
    ) -> None:
        """Have the watch of lags measure at each of ``times`` the markets with another frame than the last time."""
        rows, lag = plan.rows, feed.lag
        sent_column = np.ascontiguousarray(block.table["sent_ms"])
        numbers = [n for n, leg in enumerate(self._legs) if leg.market.venue == feed.name]
        symbols = [self._legs[number].market.symbol for number in numbers]
        received_ns, sent_ms = np.zeros((2, len(numbers), len(times)), np.int64)
        before_ns = np.array([[lag.measured_ns(symbol)] for symbol in symbols])
        for number, received, sent in zip(numbers, received_ns, sent_ms, strict=True):
            begin, end = int(rows.starts[number]), int(rows.starts[number + 1])
            places = begin + np.searchsorted(rows.due_ns[begin:end], times) - 1
            first = int(np.searchsorted(places, begin))  # what was in the slot is the newest before it
            received[first:] = rows.received_ns[places[first:]]
            sent[first:] = sent_column[rows.order[places[first:]]]
            if first:
                received[:first] = self._screen.books.times(self._legs[number].slot)[0]
                if received[0] != lag.measured_ns(self._legs[number].market.symbol):
                    sent[:first] = self._sent_before(number)
        is_new = np.diff(received_ns, axis=1, prepend=before_ns) != 0
        has_time = is_new & (sent_ms != UNSENT_MS)
        differences = received_ns - sent_ms * 1_000_000

        def found(turn: int) -> list[tuple[str, int, int | None]]:
            return [
                (
                    symbols[place],
                    int(received_ns[place, turn]),
                    int(sent_ms[place, turn]) if has_time[place, turn] else None,
                )
                for place in np.flatnonzero(is_new[:, turn]).tolist()
            ]

        last = len(times) - 1
        for turn in range(last):
            self._loop.now_ns = times[turn]
            lag.pass_round(differences[has_time[:, turn], turn].tolist(), partial(found, turn))
        for symbol, received in zip(symbols, received_ns[:, last].tolist(), strict=True):
            if received:
                lag.set_measured(symbol, received)
        self._loop.now_ns = times[last]
        lag.note(found(last))

    def _sent_before(self, number: int) -> int:
        """Return the time of sending of the frame that is in a slot; ``UNSENT_MS`` if it has none."""
        known = self._sent_ms.get(number)
        if known is None:
            leg = self._legs[number]
            found = get_venue(leg.market.venue).sent_ms(self._screen.books.newest(leg.slot))
            known = UNSENT_MS if found is None else found
        return known

    def _fill_slots(self, block: RowBlock, plan: SpanPlan) -> None:
        """Put the newest frames of the span into their slots, and remember the books that risk saw last."""
        screen, rows, length = self._screen, plan.rows, plan.length
        for number, pair in enumerate(screen.pairs):
            base = pair.state.pair.base
            places = [place for place, _ in plan.samples[base] if place < length]
            if places:
                home, away = (
                    self._frame(block, plan, market, places[-1])
                    for market in (2 * number + 1, 2 * number + 2)
                )
                self._views[base] = home, away, plan.ticks[places[-1]]
        for number, market in enumerate((None, *self._markets)):
            place = int(plan.grid.newest[number, length])
            count = place - int(rows.starts[number]) + 1
            if place < 0:
                continue
            slot = self._legs[number].slot
            later = self._frame(block, plan, number, length)
            self._sent_ms[number] = int(block.table["sent_ms"][rows.order[place]])
            if number in rows.parts:
                self._parts[number] = rows.parts[number].after(block, count - 1)
            screen.books.put(slot, later.message, later.received_ns, count)
            plan.streams[number].lane.lane.frames += count
            screen.screened += count
            self.passed += count
            bid, ask = float(rows.bids[place]), float(rows.asks[place])
            if market is None:
                self._fx = bid, ask
            else:
                market.bid, market.ask, market.is_pending, market.is_clear = bid, ask, True, True

    def _frame(self, block: RowBlock, plan: SpanPlan, number: int, tick: int) -> LaterFrame:
        """Return the newest frame of a market at a tick."""
        place = int(plan.grid.newest[number, tick])
        if place < 0:
            slot = self._legs[number].slot
            return LaterFrame(self._screen.books.later(slot), self._screen.books.times(slot)[0])
        parts, received_ns = plan.rows.parts.get(number), int(plan.rows.received_ns[place])
        if parts is not None:
            return LaterFrame(parts.after(block, place - int(plan.rows.starts[number])).message, received_ns)
        return LaterFrame(block.later(int(plan.rows.order[place])), received_ns)

    # Timers.

    def _risk_timer(self) -> asyncio.TimerHandle:
        return _handle(self._risk.timer)

    def _worker_timer(self) -> asyncio.TimerHandle:
        return _handle(self._worker.loop.timer)

    def _timers(self) -> Mapping[asyncio.TimerHandle, int] | None:
        """Return when each timer is due; None while anything else is planned."""
        known = [self._risk.timer, self._worker.loop.timer, self._beat.handle]
        for feed in self._feeds:
            known += [rhythm.handle for rhythm in feed.rhythms]
        return self._loop.timers([_handle(one) for one in known], self._ignored) if all(known) else None


def _handle(handle: asyncio.TimerHandle | None) -> asyncio.TimerHandle:
    assert handle is not None
    return handle
