"""``Valuation`` computes what closing all that is open would bring now: equity, losses and naked exposure. Pure.

``core`` owns it. ``position_marker`` gives it the books a few times a second; ``limits.guard`` and ``limits.watch``
read figures that are kept here, so that no approval waits for a calculation. Amounts are in reporting currency.

A single wrong frame must neither raise the high-water mark nor halt, so a mark moves only as far as two valuations
in a row agree: the same figure is shown, stored and used by limits, and it is a second older than the newest books.
Naked exposure likewise counts when two checks in a row find it.
"""

from collections.abc import Iterator
from decimal import Decimal
from math import isfinite
from typing import NamedTuple

from msgspec.structs import replace

from arbshard.engine.closing import close_now
from arbshard.engine.edge import terms_of
from arbshard.engine.engine import held_of
from arbshard.ledger.events import Deposited, EquityMarked
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import Leg, Pair, reverse
from arbshard.model.money import BPS, MONEY_CONTEXT, ZERO, exact
from arbshard.model.position import Flows, Position
from arbshard.risk.portfolio.equity import first_day_of, to_cents, week_of
from arbshard.risk.portfolio.holdings import Account, Trade, notional_of
from arbshard.risk.portfolio.results import ALL
from arbshard.risk.portfolio.settlement import RESIDUE_MAX, add_fills, value_other_fees
from arbshard.risk.portfolio.state import PortfolioState

_PLACES = 2
_STORED_EVERY_MS = 60_000
_BEGINNINGS = frozenset({"opening", "inventory"})
"""Deposits that a new ledger begins with."""
_MOVES = frozenset({"deposit", "withdrawal", "adjustment"})
"""Deposits that are not a result and come from outside, or go there."""


class Mark(NamedTuple):
    """Is what closing a position now would bring."""

    pnl: Decimal
    """Result of the whole round trip: flows and fees so far and the fees of closing, as far as two valuations agree.
    """
    newest: Decimal
    """Result by the newest valuation alone."""
    pair: str
    notional: Decimal
    """Entry notional."""
    books_ms: int
    """Wall time at which the oldest book that ``pnl`` depends on was received; 0: no book was there yet."""
    is_whole: bool
    """Whether both books are deep enough for all of it."""
    newest_ms: int
    """Wall time at which the older of both books of ``newest`` was received; 0: no book was there yet."""

    @property
    def bps(self) -> Decimal:
        """Return ``pnl`` in basis points of the entry notional."""
        return _bps(self.pnl, self.notional)


class NakedExposure(NamedTuple):
    """Is base that is bought on one venue and not sold on the other, or the reverse."""

    pair: str
    quantity: Decimal
    """Positive when more was bought than sold."""
    notional: Decimal
    krw_s: Decimal
    """Notional x seconds so far, since risk started."""


class ValueChange(NamedTuple):
    """What has changed the account value since a run began, as in ``model.risk_note.ValueChangeNote``."""

    started: Decimal
    trading: Decimal
    moved: Decimal
    fx: Decimal
    inventory: Decimal
    equity_started: Decimal


class Valuation:
    """Holds the figures of one portfolio."""

    def __init__(self, state: PortfolioState) -> None:
        """Begin with the marks that were stored last, and the fills that are booked."""
        self._state = state
        self.marks: dict[str, Mark] = {}
        """Marks by position. A partly filled open intent counts with the position that it changes."""
        self.unrealised = ZERO
        """What closing all that is open would bring."""
        self.unrealised_by: dict[str, Decimal] = {}
        """What closing all open positions of a symbol would bring, by symbol."""
        self._fresh: dict[str, None] = {}
        """Positions valued since ``losing`` was asked."""
        self._peak = state.equity.high_water
        """The highest equity since it was last stored."""
        self.naked: dict[str, NakedExposure] = {}
        """Naked exposure by position or entry, where there is any."""
        self._imbalances: dict[str, tuple[Trade, Decimal]] = {}
        """By open intent: its trade when this was computed, and the base that is naked of it."""
        self._left_naked: dict[str, tuple[str, Decimal, Decimal]] = {}
        """By position that no intent changed when it was valued last: (pair, naked base, price)."""
        self.naked_notional = ZERO
        """Value of all that is naked, as far as the last two checks agree."""
        self._naked_before = ZERO
        self._looked_ns = 0
        self._prices: dict[str, Decimal] = {}
        """Home bid of each pair."""
        self._worth: dict[Account, float] = {}
        self._price_of: dict[Account, float] = {}
        """What one unit of each currency was worth by the newest book, in reporting currency."""
        self.unpriced: tuple[str, ...] = ()
        """Currencies held for which there is not a price."""
        self._day: tuple[int, Decimal, Decimal] = (
            state.equity.day,
            state.equity.day_unrealised,
            state.equity.week_unrealised,
        )
        stored = {name: (pnl, age_ms) for name, pnl, age_ms in state.equity.marks}
        for position in state.positions.values():
            pnl, age_ms = stored.get(position.position_id, (-position.fees, -1))
            books_ms = state.equity.marked_ms - age_ms if age_ms >= 0 else 0
            mark = Mark(
                pnl, pnl, position.pair, position.entry_notional, books_ms, is_whole=False, newest_ms=books_ms
            )
            self._put(position.position_id, mark)
            self._note_left(position, position.entry_home_price)
        self.raise_mark()  # what was realised since the mark was stored counts
        self._equity_started = self.equity
        self._started = self._moved = self._fx_effect = 0.0
        self._is_resumed = False
        """Whether a predecessor in this run has valued the account, so that its beginning is known."""

    # What other parts ask.

    @property
    def equity(self) -> Decimal:
        """Return what was realised since the ledger began, plus what is unrealised."""
        return self._state.realised + self.unrealised

    @property
    def high_water(self) -> Decimal:
        """Return the highest equity so far."""
        return max(self._state.equity.high_water, self._peak)

    @property
    def drawdown(self) -> Decimal:
        """Return how far equity is below its high-water mark; never below 0."""
        return max(ZERO, self.high_water - self.equity)

    def day_loss(self, day: int) -> Decimal:
        """Return the fall of equity since the trading day began; negative for a gain."""
        began = self._day[1] if self._day[0] == day else ZERO
        return self._state.results.loss(day) - self.unrealised + began

    def week_loss(self, day: int) -> Decimal:
        """Return the fall of equity since the week of the trading day ``day`` began; negative for a gain."""
        week = week_of(day)
        began = self._day[2] if week_of(self._day[0]) == week else ZERO
        daily = self._state.results.daily
        realised = sum((daily.get((one, ALL), ZERO) for one in range(first_day_of(week), day + 1)), ZERO)
        return began - realised - self.unrealised

    @property
    def lifetime_loss(self) -> Decimal:
        """Return the amount by which equity is below 0; negative for a gain."""
        return -self.equity

    def losing(self, bps_max: Decimal) -> Iterator[tuple[Position, Mark]]:
        """Return those of the positions valued since the last call that lost so many basis points of their notional.

        Each time that a person released the pair, as much again is allowed to its position.
        """
        accepted = self._state.equity.accepted
        fresh, self._fresh = self._fresh, {}
        for position_id in fresh:
            position, mark = self._state.positions.get(position_id), self.marks.get(position_id)
            if position is None or mark is None or not mark.notional:
                continue
            allowed = bps_max * (1 + accepted.get(position_id, 0))
            if mark.pnl * BPS <= -allowed * mark.notional:
                yield position, mark

    @property
    def account_value(self) -> Decimal:
        """Return the value of all balances and of what is under way, at the present bids, without what is
        ``unpriced``.
        """
        return exact(round(sum(self._worth.values()), _PLACES)) + self.under_way_worth

    @property
    def value_change(self) -> ValueChange | None:
        """Return what changed the account value since the run began; None before anything was valued."""
        if not self._worth:
            return None
        started, moved, fx = (
            exact(round(one, _PLACES)) for one in (self._started, self._moved, self._fx_effect)
        )
        trading = to_cents(self.equity - self._equity_started)
        inventory = self.account_value - started - trading - moved - fx
        return ValueChange(started, trading, moved, fx, inventory, self._equity_started)

    def go_on(self, started: Decimal, moved: Decimal, fx: Decimal, equity_started: Decimal) -> None:
        """Continue from the changes of the account value that a predecessor in this run has found."""
        self._started, self._moved, self._fx_effect = float(started), float(moved), float(fx)
        self._equity_started = equity_started
        self._is_resumed = True

    @property
    def under_way_worth(self) -> Decimal:
        """Return the value of what is between venues, at the present bids or the prices when it was announced."""
        worth = ZERO
        for one in self._state.transfers.open.values():
            price = self.price_of(one.target, one.currency)
            worth += one.under_way * (price if price is not None else one.price)
        return exact(round(float(worth), _PLACES))

    # How it follows the portfolio.

    def closed(self, position: Position) -> None:
        """Forget what a position would bring, because it is realised now."""
        self._drop(position.position_id)
        self._left_naked.pop(position.position_id, None)
        self.raise_mark()

    def raise_mark(self) -> None:
        """Raise the high-water mark to equity where that is higher: something was valued, or was realised."""
        self._peak = max(self._peak, self.equity)

    def deposited(self, event: Deposited) -> None:
        """Count what a balance has gained or lost otherwise than by trading."""
        price = self._price_of.get((event.venue, event.currency))
        if price is None:
            return  # all of the balance counts when it is priced for the first time
        if event.why in _BEGINNINGS:
            self._started += float(event.amount) * price
        elif event.why in _MOVES:
            self._moved += float(event.amount) * price

    def resumed(self, high_water: Decimal | None) -> None:
        """Go on after a person resumed; ``high_water`` is the mark from here on, None when it stays as it was."""
        if high_water is not None:
            self._peak = high_water

    def roll(self, day: int) -> None:
        """Note what is unrealised when a trading day or week begins."""
        last, _, week_unrealised = self._day
        if day > last:
            is_new_week = week_of(day) > week_of(last)
            self._day = day, self.unrealised, self.unrealised if is_new_week else week_unrealised

    def statement(self, now_ms: int, *, at_once: bool = False) -> list[EquityMarked]:
        """Return the event that stores the present figures; none when they are stored, or were within the last
        minute.

        ``at_once``: do not wait for the minute to pass. The beginning of a day is stored at once, too.
        """
        stored = self._state.equity
        day, day_unrealised, week_unrealised = self._day
        is_new_day = day != stored.day and bool(day_unrealised or week_unrealised)
        if not (at_once or is_new_day) and 0 <= now_ms - stored.marked_ms < _STORED_EVERY_MS:
            return []
        unrealised, high_water = self.unrealised, to_cents(self.high_water)
        now = (to_cents(self._state.realised + unrealised), unrealised, high_water)
        if now == (stored.equity, stored.unrealised, to_cents(stored.high_water)) and not is_new_day:
            return []
        marks = tuple(
            (name, mark.pnl, max(0, now_ms - mark.books_ms) if mark.books_ms else -1)
            for name, mark in self.marks.items()
        )
        return [
            EquityMarked(
                at_ms=now_ms,
                equity=now[0],
                unrealised=unrealised,
                high_water=high_water,
                day=day,
                day_unrealised=day_unrealised,
                week_unrealised=week_unrealised,
                marks=marks,
            )
        ]

    # What the books show.

    def open_ids(self) -> list[tuple[str, str]]:
        """Return (position, pair) of all that is to be valued: positions, and entries that have filled something."""
        state = self._state
        found = [(one.position_id, one.pair) for one in state.positions.values()]
        found += [
            (trade.intent.position_id, trade.intent.pair)
            for trade in state.trades.values()
            if trade.intent.kind == "entry" and trade.fills()
        ]
        return found

    def not_valued(self) -> list[tuple[str, str]]:
        """Return (position, pair) of the open positions that were never valued, the oldest first.

        The order is part of what the ledger stores, so that it must not be that of a set.
        """
        return [(name, one.pair) for name, one in self._state.positions.items() if name not in self.marks]

    def mark(
        self,
        position_id: str,
        pair: Pair,
        books: tuple[OrderBookSnapshot, OrderBookSnapshot],
        fx: tuple[float, float],
        books_ms: int,
    ) -> Mark | None:
        """Value what is open of a position at the ``books`` (home, away). Return None when nothing is, or they are
        unusable.

        ``fx`` is (bid, ask). ``books_ms``: wall time at which the older of both books was received. A mark between
        two valuations is as old as the older one, which was long ago after a venue was lost.
        """
        position = self._as_of_now(position_id, pair)
        if position is None:
            return None
        back = terms_of(pair, reverse(position.direction))
        closing = close_now(held_of(position), *books, fx, back)
        if not isfinite(closing.pnl):
            return None
        newest = exact(round(closing.pnl, _PLACES) + 0.0)
        known = self.marks.get(position_id)
        pnl, before = (known.pnl, known.newest) if known is not None else (ZERO, ZERO)
        pnl = min(max(pnl, min(newest, before)), max(newest, before))
        oldest_ms = books_ms
        if known is not None and known.newest_ms and pnl != newest:
            oldest_ms = min(known.newest_ms, books_ms)
        mark = Mark(
            pnl, newest, pair.base, position.entry_notional, oldest_ms, closing.is_whole, newest_ms=books_ms
        )
        self._put(position_id, mark)
        self._fresh[position_id] = None
        if self._filled_trade(position_id) is None:
            self._note_left(position, exact(books[0].best_bid))
        self.raise_mark()
        return mark

    def set_prices(self, pair: Pair, bids: tuple[float, float], fx_bid: float) -> None:
        """Note the best ``bids`` (home, away) of a pair, and value its coins and money with them."""
        self._prices[pair.base] = exact(bids[0])
        for leg, bid, quote in ((pair.home, bids[0], 1.0), (pair.away, bids[1], fx_bid)):
            self._value(leg.market.venue, leg.market.base, bid * quote)
            self._value(leg.market.venue, leg.market.quote, quote, is_money=True)

    def set_fx(self, leg: Leg, bid: float) -> None:
        """Value the balances of the FX market's own venue with its best bid."""
        self._value(leg.market.venue, leg.market.base, bid, is_money=True)
        self._value(leg.market.venue, leg.market.quote, 1.0, is_money=True)

    def price_of(self, venue: str, currency: str) -> Decimal | None:
        """Return the value of one unit of ``currency`` at ``venue``, in reporting currency; None before a book gives
        it.
        """
        price = self._price_of.get((venue, currency))
        return exact(price) if price is not None else None

    def find_unpriced(self) -> None:
        """Name the currencies that the account's value leaves out. Once a second: there may be thousands."""
        held = self._state.balances.items()
        names = {account[1] for account, balance in held if account not in self._worth and balance.total}
        self.unpriced = tuple(sorted(names))

    def look_at_naked(self, now_ns: int) -> None:
        """Find what is naked, add up for how long, and keep the sum that two checks in a row agree on."""
        span_s = exact(max(0, now_ns - self._looked_ns) / 1e9) if self._looked_ns else ZERO
        self._looked_ns = now_ns
        open_before, self._imbalances = self._imbalances, {}
        for intent_id, trade in self._state.trades.items():
            known = open_before.get(intent_id)
            is_same = known is not None and known[0] is trade
            self._imbalances[intent_id] = (
                known if known is not None and is_same else (trade, self._imbalance(trade))
            )
        for intent_id, (trade, _) in open_before.items():
            if intent_id in self._imbalances:
                continue
            intent = trade.intent  # it has ended: its position may be naked
            position = self._state.positions.get(intent.position_id)
            if position is not None:
                self._note_left(position, intent.home.limit)
        naked = {
            trade.intent.position_id: (trade.intent.pair, quantity, trade.intent.home.limit)
            for trade, quantity in self._imbalances.values()
        }
        for position_id, left in self._left_naked.items():
            if position_id not in naked and position_id in self._state.positions:
                naked[position_id] = left
        before, self.naked = self.naked, {}
        total = ZERO
        for position_id, (pair, quantity, price) in naked.items():
            notional = abs(quantity) * self._prices.get(pair, price)
            if notional > RESIDUE_MAX:  # what cannot be traded is left over in every position
                so_far = before[position_id].krw_s if position_id in before else ZERO
                self.naked[position_id] = NakedExposure(pair, quantity, notional, so_far + notional * span_s)
                total += notional
        self.naked_notional = min(total, self._naked_before)
        self._naked_before = total

    def _note_left(self, position: Position, price: Decimal) -> None:
        """Note what is naked of a position that no intent changes."""
        if abs(position.imbalance) * price > RESIDUE_MAX:
            self._left_naked[position.position_id] = position.pair, position.imbalance, price
        else:
            self._left_naked.pop(position.position_id, None)

    def _imbalance(self, trade: Trade) -> Decimal:
        """Return the base that an intent and the position it changes have bought and not sold."""
        position = self._state.positions.get(trade.intent.position_id)
        flows = add_fills(
            position.flows if position is not None else Flows(), trade.intent.home.market, trade.fills()
        )
        return flows.home_base + flows.away_base

    def _value(self, venue: str, currency: str, price: float, *, is_money: bool = False) -> None:
        account = venue, currency
        before = self._price_of.get(account)
        self._price_of[account] = price
        balance = self._state.balances.table.get(account)
        if balance is None:
            return
        total = float(balance.total)
        if before is None:
            if not self._is_resumed:
                self._started += total * price
        elif is_money:
            self._fx_effect += total * (price - before)
        self._worth[account] = total * price

    def _filled_trade(self, position_id: str) -> Trade | None:
        """Return the open intent that changes a position, if it has filled something."""
        position = self._state.positions.get(position_id)
        intent_id = self._state.busy.get(position.pair, "") if position is not None else position_id
        trade = self._state.trades.get(intent_id)
        return (
            trade if trade is not None and trade.intent.position_id == position_id and trade.fills() else None
        )

    def _as_of_now(self, position_id: str, pair: Pair) -> Position | None:
        """Return the position with the fills of its open intent; None when nothing is open."""
        position = self._state.positions.get(position_id)
        trade = self._filled_trade(position_id)
        if trade is None:
            return position
        if position is None:
            intent = trade.intent
            notional = notional_of(intent)
            position = Position(position_id, intent.pair, intent.direction, "OPEN", entry_notional=notional)
        flows = add_fills(position.flows, pair.home.market, trade.fills())
        other_fees = position.other_fees + value_other_fees(trade, pair)
        return replace(position, flows=flows, other_fees=other_fees)

    def _put(self, position_id: str, mark: Mark) -> None:
        self._drop(position_id)
        self.marks[position_id] = mark
        self._add(mark, 1)

    def _drop(self, position_id: str) -> None:
        mark = self.marks.pop(position_id, None)
        if mark is not None:
            self._add(mark, -1)

    def _add(self, mark: Mark, sign: int) -> None:
        self.unrealised += sign * mark.pnl
        by = self.unrealised_by.get(mark.pair, ZERO) + sign * mark.pnl
        if by:
            self.unrealised_by[mark.pair] = by
        else:
            self.unrealised_by.pop(mark.pair, None)


def _bps(amount: Decimal, notional: Decimal) -> Decimal:
    return MONEY_CONTEXT.divide(amount * BPS, notional) if notional else ZERO
