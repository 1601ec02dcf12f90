"""Skips the frames of a block that screening would skip one by one, without a step of Python for each.

``BlockScreen`` finds the next row of a block that may matter: a mark, a frame of the FX market, a frame of a pair
that is not screened now, or one whose prices reach the limits of ``screening`` or have jumped. It calculates the
edges of all rows at once over the block's columns. The rows before that one are processed when their time has come,
and only for slots that are read (``TapeBooks.pending``).

What it skips is what ``ScreenedLane`` would skip, by the same limits, and leaves the same state. Whatever changes
the limits of a pair, or whether it is screened, reaches its worker by a frame that is fed, by a mark, or by an
answer of risk, and ``fed`` or ``recheck`` is called after each of these.
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt

from arbshard.backtest.blocks import RowBlock, RowTable
from arbshard.backtest.screening import Screen, ScreenedLane, ScreenedMarket, ScreenedPair

_Prices = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.bool_]
_Numbers = npt.NDArray[np.intp]


class _LaneRows:
    """Holds the rows of a block that came by one lane and may be skipped."""

    def __init__(self, due_ns: npt.NDArray[np.int64]) -> None:
        self.due_ns: list[int] = due_ns.tolist()
        self.taken = 0
        """Number of these rows that have been processed or fed."""


class _MarketRows:
    """Holds the rows of one market in a block."""

    def __init__(self, market: ScreenedMarket, rows: _Numbers, table: RowTable) -> None:
        self.market = market
        self.rows: list[int] = rows.tolist()
        self.due_ns: list[int] = table["due_ns"][rows].tolist()
        self.received_ns: list[int] = table["received_ns"][rows].tolist()
        self.lanes: list[ScreenedLane | None] = []
        """Lane of each row, or the one lane by which all came; None for rows that may not be skipped."""
        self.taken = 0
        """Number of these rows that have been processed or fed."""

    @property
    def is_open(self) -> bool:
        """Return whether each lane puts frames into the slot unchanged."""
        return all(lane is None or lane.is_open(self.market) for lane in dict.fromkeys(self.lanes))


class _PairRows:
    """Holds the rows of one pair in a block."""

    def __init__(
        self, pair: ScreenedPair, rows: _Numbers, to_home: _Prices, to_away: _Prices, is_forced: _Flags
    ) -> None:
        self.pair = pair
        self.place = 0
        """Position of this pair in the block."""
        self.rows = rows
        self.numbers: list[int] = rows.tolist()
        """The same, for single steps."""
        self.to_home, self.to_away = to_home, to_away
        """Values that are compared with ``ScreenedPair.limits``, at the prices after each row."""
        self.is_forced = is_forced
        """Rows that are fed whatever the limits are."""
        self.is_any_forced = bool(is_forced.any())
        self.highest = float(to_home.max()), float(to_away.max())
        self.markets: tuple[_MarketRows, ...] = ()
        self.judged_by: tuple[float, float] | None = None
        """Limits by which its next row was found; None if the pair was not screened."""
        self.begun = 0
        """Number of its rows that are fed, or have been received and skipped."""


class BlockScreen:
    """Applies the screen to one block.

    ``next`` is the row to be fed next, or the count of all rows if none is. Call ``approach``, feed the row, and
    call ``fed``. After a mark, or a frame of no known market, continue with another ``BlockScreen`` over the rest.
    """

    def __init__(
        self,
        block: RowBlock,
        screen: Screen,
        lane_of: Callable[[str, str], ScreenedLane | None],
        now_ns: Callable[[], int],
    ) -> None:
        """Make the screen of ``block``.

        ``lane_of`` returns the lane of the frames of a stream and a market, or None where they may not be skipped.
        """
        self.block = block
        self._lane_of = lane_of
        self._screen = screen
        self._now_ns = now_ns
        self._due_ns: list[int] = block.table["due_ns"].tolist()
        self._fed = 0
        """First row that is neither fed nor skipped; skipped rows before it are processed when their
        slots are read.
        """
        self._until_ns = 0
        """Time in ns: rows that are due before it have been received, unless they are to be fed."""
        self._is_fx_known = True
        """Whether the engine sees the FX book with which the columns were calculated."""
        self._markets: dict[int, _MarketRows] = {}
        """Rows of each market, by slot."""
        self._lanes: dict[object, _LaneRows] = {}
        """Rows of each lane, by lane of the fan-out."""
        self._pairs: list[_PairRows] = []
        self._nexts: list[int] = []
        """The next row of each pair that is to be fed."""
        self._owners: npt.NDArray[np.int32]
        """The number of each row's pair in ``_pairs``, -1 for none."""
        self._is_fx: _Flags
        self._is_foreign: _Flags
        """Rows of markets that are not traded."""
        self._is_open: _Flags
        """Rows that came by a lane that may skip them."""
        self._prepare()
        self._others: list[int] = np.flatnonzero(self._owners < 0).tolist()
        self._others.append(len(self._due_ns))
        self._nexts = [0] * len(self._pairs)
        for pair in self._pairs:
            self._judge(pair)
        self.next = 0
        self._find_next()

    @property
    def is_over(self) -> bool:
        """Return whether no row is left that is to be fed."""
        return self.next == len(self._due_ns)

    @property
    def due_ns(self) -> int:
        """Return when the next row that is to be fed is due, or the last of all if none is (ns)."""
        return self._due_ns[min(self.next, len(self._due_ns) - 1)]

    def bring(self, slot: int) -> None:
        """Implements ``slots.PendingFrames``."""
        market = self._markets.get(slot)
        if market is not None and market.taken < len(market.rows):
            self._take(market, bisect_left(market.due_ns, self._received_until_ns(), market.taken))

    def received_ns(self, slot: int) -> int:
        """Implements ``slots.PendingFrames``."""
        market = self._markets.get(slot)
        if market is None or market.taken == len(market.rows):
            return 0
        until = bisect_left(market.due_ns, self._received_until_ns(), market.taken)
        return market.received_ns[until - 1] if until > market.taken else 0

    def count(self, lane: object) -> int:
        """Implements ``slots.PendingFrames``."""
        rows = self._lanes.get(lane)
        return bisect_left(rows.due_ns, self._received_until_ns()) - rows.taken if rows is not None else 0

    def bring_all(self) -> None:
        """Process all frames that were received."""
        until_ns = self._received_until_ns()
        for market in self._markets.values():
            if market.taken < len(market.rows):
                self._take(market, bisect_left(market.due_ns, until_ns, market.taken))

    def received(self, now_ns: int) -> None:
        """Note that all frames that are due by ``now_ns``, and not to be fed, have been received."""
        self._until_ns = now_ns + 1

    def approach(self) -> None:
        """Process what matters to the next row before it is fed."""
        row = self.next
        owner = self._owners[row]
        if owner >= 0:
            for market in self._pairs[owner].markets:
                self._take(market, bisect_left(market.rows, row))
                if market.taken < len(market.rows) and market.rows[market.taken] == row:
                    lane = market.lanes[market.taken] if len(market.lanes) > 1 else market.lanes[0]
                    market.taken += 1
                    if lane is not None:
                        self._lanes[lane.lane].taken += 1
        elif not (self._is_fx[row] or self._is_foreign[row]):  # a mark, or a frame of an unknown market
            for market in self._markets.values():
                self._take(market, bisect_left(market.rows, row))

    def fed(self) -> bool:
        """Find the next row after one has been fed. Returns whether the rest needs another ``BlockScreen`` instead.

        It does after a mark, after a frame of no known market, and when frames of a stream may be skipped from now
        on.
        """
        row = self.next
        owner = self._owners[row]
        if owner >= 0:
            if not self._is_open[row] and self._may_skip_now(row):
                return True
        elif not (self._is_fx[row] or self._is_foreign[row]):
            return True
        self._fed = row + 1
        if owner >= 0:
            self._judge(self._pairs[owner])
        elif self._is_fx[row]:
            self._check_fx(row)
        self._find_next()
        return False

    def _may_skip_now(self, row: int) -> bool:
        found, names = self.block.table[row], self.block.names
        return self._lane_of(names[found["connection"]], names[found["market"]]) is not None

    def recheck(self) -> None:
        """Find the next row anew, as risk may have changed limits of pairs, or whether they are screened."""
        for pair in self._pairs:
            if pair.judged_by != self._limits_of(pair):
                self._judge(pair)
        self._find_next()

    def _received_until_ns(self) -> int:
        """Return the time in ns before which all due frames have been received. At the same instant, timers come
        before frames.
        """
        return max(self._now_ns(), self._until_ns)

    def _take(self, market: _MarketRows, until: int) -> None:
        """Process the rows of a market up to its ``until``-th."""
        count = until - market.taken
        if count <= 0:
            return
        lanes, each = market.lanes, count
        if len(lanes) > 1:
            lanes, each = lanes[market.taken : until], 1
        for lane in lanes:
            assert lane is not None, market.market.symbol
            lane.lane.frames += each
            self._lanes[lane.lane].taken += each
        market.taken = until
        row = market.rows[until - 1]
        found, screened = self.block.table[row], market.market
        self._screen.books.put(
            screened.slot, partial(self.block.message, row), int(found["received_ns"]), count
        )
        screened.bid, screened.ask, screened.is_pending = float(found["bid"]), float(found["ask"]), True
        self._screen.screened += count

    def _find_next(self) -> None:
        other = self._others[bisect_left(self._others, self._fed)]
        self.next = min(other, *self._nexts) if self._nexts else other

    def _limits_of(self, pair: _PairRows) -> tuple[float, float] | None:
        is_screened = (
            self._is_fx_known
            and self._screen.is_screened(pair.pair)
            and all(market.is_open for market in pair.markets)
        )
        return pair.pair.limits() if is_screened else None

    def _judge(self, pair: _PairRows) -> None:
        """Find the next row of a pair that is to be fed."""
        front = bisect_left(self._due_ns, self._received_until_ns(), self._fed)
        pair.begun = start = bisect_left(pair.numbers, front, pair.begun)
        pair.judged_by = limits = self._limits_of(pair)
        end = len(self._due_ns)
        self._nexts[pair.place] = end
        if start == len(pair.numbers):
            return
        if limits is None:
            self._nexts[pair.place] = pair.numbers[start]
            return
        found = end
        to_home, to_away = limits
        if pair.is_any_forced or not (pair.highest[0] < to_home and pair.highest[1] < to_away):
            is_fed = pair.is_forced[start:] | ~(
                (pair.to_home[start:] < to_home) & (pair.to_away[start:] < to_away)
            )
            place = int(is_fed.argmax())
            if is_fed[place]:
                found = pair.numbers[start + place]
        for market in pair.markets:
            # The columns compare each frame with the one before it; the first may follow another one.
            self._take(market, bisect_left(market.rows, front))
            if market.taken == len(market.rows):
                continue
            row = market.rows[market.taken]
            top = self.block.table[row]
            if self._screen.jumps(market.market, float(top["bid"]), float(top["ask"])):
                found = min(found, row)
        self._nexts[pair.place] = found

    def _check_fx(self, row: int) -> None:
        """Check whether the engine knows the FX book that a row has brought; all pairs wait while it does not."""
        top, found = self._screen.fx, self.block.table[row]
        is_known = top is not None and (top.best_bid, top.best_ask) == (found["bid"], found["ask"])
        if is_known is not self._is_fx_known:
            self._is_fx_known = is_known
            self.recheck()

    def _prepare(self) -> None:
        """Sort the rows by their markets and pairs, and calculate their edges."""
        table, names, screen = self.block.table, self.block.names, self._screen
        count = len(table)
        self._owners = np.full(count, -1, np.int32)
        self._is_fx, self._is_foreign = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        is_home, self._is_open = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        found: dict[int, list[tuple[_Numbers, ScreenedLane | None]]] = {}
        streams = table["connection"].astype(np.int64) << 32 | table["market"]
        order = np.argsort(streams, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(streams[order])) + 1):
            connection, number, venue, *_ = (
                table[name][rows[0]] for name in ("connection", "market", "venue")
            )
            if not number:  # marks, and frames in which no market was found
                continue
            symbol = names[number]
            if screen.is_fx(names[venue], symbol):
                self._is_fx[rows] = True
                continue
            market = screen.market_of(names[venue], symbol)
            if market is None:
                self._is_foreign[rows] = True
                continue
            lane = self._lane_of(names[connection], symbol)
            self._owners[rows] = market.pair.number
            is_home[rows], self._is_open[rows] = market.is_home, lane is not None
            found.setdefault(market.slot, []).append((rows, lane))
        for slot, parts in found.items():
            rows = np.sort(np.concatenate([rows for rows, _ in parts]))
            market_rows = self._markets[slot] = _MarketRows(screen.markets[slot], rows, table)
            if len(parts) == 1:
                market_rows.lanes = [parts[0][1]]
            else:
                by_row = {row: lane for rows, lane in parts for row in rows.tolist()}
                market_rows.lanes = [by_row[row] for row in market_rows.rows]
        by_lane: dict[ScreenedLane, list[_Numbers]] = {}
        for rows, lane in chain.from_iterable(found.values()):
            if lane is not None:
                by_lane.setdefault(lane, []).append(rows)
        for lane, every in by_lane.items():
            self._lanes[lane.lane] = _LaneRows(np.sort(table["due_ns"][np.concatenate(every)]))
        self._pairs = self._pairs_of(is_home)

    def _pairs_of(self, is_home: _Flags) -> list[_PairRows]:
        """Return the rows of each pair with their edges; ``_owners`` become numbers of these."""
        table, screen = self.block.table, self._screen
        rows = np.argsort(self._owners, kind="stable")
        rows = rows[np.searchsorted(self._owners[rows], 0) :]
        by_number = np.bincount(self._owners[rows])
        numbers = np.flatnonzero(by_number)
        counts = by_number[numbers]
        starts = np.cumsum(counts) - counts
        pairs = [screen.pairs[number] for number in numbers.tolist()]
        bids, asks = table["bid"][rows], table["ask"][rows]
        start = np.repeat(starts, counts)
        here = np.arange(len(rows))

        def newest(is_of: _Flags) -> _Numbers:
            """Return for each row the place of the newest row of one side of its pair; -1 for none in this block."""
            places = np.maximum.accumulate(np.where(is_of, here, -1))
            return np.where(places < start, -1, places)

        def prices_of(places: _Numbers, column: _Prices, before: list[float]) -> _Prices:
            return np.where(places < 0, np.repeat(np.array(before), counts), column[places])

        home = is_home[rows]
        homes, aways = newest(home), newest(~home)
        fx_rows = np.maximum.accumulate(np.where(self._is_fx, np.arange(len(table)), -1))[rows]
        fx = screen.fx
        fx_bid = np.where(fx_rows < 0, fx.best_bid if fx is not None else np.nan, table["bid"][fx_rows])
        fx_ask = np.where(fx_rows < 0, fx.best_ask if fx is not None else np.nan, table["ask"][fx_rows])
        home_bid = prices_of(homes, bids, [pair.home.bid for pair in pairs])
        home_ask = prices_of(homes, asks, [pair.home.ask for pair in pairs])
        away_bid = prices_of(aways, bids, [pair.away.bid for pair in pairs])
        away_ask = prices_of(aways, asks, [pair.away.ask for pair in pairs])
        to_home, to_away = away_bid * fx_bid / home_ask, home_bid / (away_ask * fx_ask)
        before = np.where(home, *(np.concatenate(([-1], places[:-1])) for places in (homes, aways)))
        before = np.where(before < start, -1, before)
        up, down = screen.jump_up, screen.jump_down
        last_bids, last_asks = bids[before], asks[before]
        is_near = (
            (last_bids * down <= bids) & (bids <= last_bids * up)
            & (last_asks * down <= asks) & (asks <= last_asks * up)
        )  # fmt: skip
        is_forced = ~self._is_open[rows] | ((before >= 0) & ~is_near)
        found = []
        for place, (pair, first, count) in enumerate(
            zip(pairs, starts.tolist(), counts.tolist(), strict=True)
        ):
            part = slice(first, first + count)
            one = _PairRows(pair, rows[part], to_home[part], to_away[part], is_forced[part])
            one.place = place
            slots = (pair.home.slot, pair.away.slot)
            one.markets = tuple(self._markets[slot] for slot in slots if slot in self._markets)
            self._owners[one.rows] = place
            found.append(one)
        return found
