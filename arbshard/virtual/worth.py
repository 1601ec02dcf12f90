"""Compares what our accounts have gained by trading, and what leaving costs, with what risk reports and does. Pure.

==============  ================================================================================================
equity          the stored equity equals what the executions make: the results of all closed positions, and what
                closing the open positions would bring at the books of that time. The marks of the positions add up
                to the unrealised result. A difference that a person accepts as unexplained is a result too, at
                the prices of that time
high water      the high-water mark is never below equity, and falls only when a person accepts a drawdown
way out         an entry leaves on each venue what leaving all open positions takes at the prices of now; and on
                paper an exit is refused for want of money only where prices have taken it away
==============  ================================================================================================

Marks are made a few times a second from books that may be older, so each is compared with all values that it could
have had since shortly before its books came. A position with an order under way, or with one a moment ago, is not
compared.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from arbshard.ledger.events import (
    Deposited,
    EquityMarked,
    Event,
    IntentApproved,
    IntentRefused,
    PositionChanged,
    PositionClosed,
    PositionOpened,
    Resumed,
)
from arbshard.model.intent import Intent
from arbshard.model.market import Pair
from arbshard.model.refusal import Refusal
from arbshard.virtual.executions import VenueFee
from arbshard.virtual.frames import Frames, Levels, read
from arbshard.virtual.own_books import Holding, OwnBooks, Running

_ZERO = Decimal(0)
_CENT = Decimal("0.01")
_SETTLED_NS = 5_000_000_000
"""Time in ns after a position's change by which it was valued again more than once."""
_FEW = 2
"""Number of frames that shows that a book is active if more arrive in that time."""
_BEFORE_NS = 4_000_000_000
"""Largest interval in ns between two books of which a mark may use the newer or the older one."""
_BEGUN_NS = 15_000_000_000
"""Time in ns after which risk has valued everything once it has begun."""
_AGE_MS_MAX = 30_000
"""Largest age in ms of the books of a mark that is compared: the frames of older books are no longer kept."""
_PRICED_NS = 15_000_000_000
"""Longest time in ns between risk's readings of the prices of balances: it reads them every few seconds, and does
nothing while it is stopped.
"""
_SHARE = 2e-6
"""Tolerance as a share of the notional: the system uses floats and this module decimals."""
_DUST = Decimal("0.005")
"""Tolerance as a share of the cost of leaving: risk may have used the prices of a moment before."""

Account = tuple[str, str]
"""Venue and currency."""


class _Range(NamedTuple):
    """Holds the least and the largest value that something had in a period."""

    least: float
    most: float


class Worth:
    """Judges the gain of our accounts: it takes every stored event in order, after ``own_books``."""

    def __init__(
        self,
        books: OwnBooks,
        frames: Frames,
        fees: Mapping[str, VenueFee],
        pairs: Mapping[str, Pair],
        fx_symbol: str,
        differ: Callable[[str], None],
        *,
        is_live: bool,
    ) -> None:
        """Make the judge. ``pairs`` are by base; ``is_live`` is whether a person may withdraw the money."""
        self._books = books
        self._frames = frames
        self._fees = fees
        self._pairs = pairs
        self._fx_symbol = fx_symbol
        self._differ = differ
        self._is_live = is_live
        self._high_water = _ZERO
        self._accepted = _ZERO
        """Result of accepted differences, in reporting currency."""
        self.is_traded: Callable[[str], bool] = lambda _base: True
        """Returns whether the run has a pair: of others risk knows no price but that of the entry."""
        self._began_ns = 0
        """Time at which risk last began (monotonic ns)."""
        self._changed_ns: dict[str, int] = {}
        """Times at which open positions were last changed, by id (monotonic ns)."""
        self._offset_ns: int | None = None
        """Wall time less monotonic time at the last valuation, in ns; None before the first."""
        self.compared = 0
        """Number of marks that were compared."""

    def add(self, event: Event, now_ns: int, wall_ms: int) -> None:
        """Apply the next event."""
        match event:
            case EquityMarked():
                self._marked(event, now_ns, wall_ms)
            case Deposited():
                self._moved(event, now_ns)
            case Resumed(high_water=Decimal() as high_water):
                self._high_water = high_water
            case IntentApproved(intent=Intent(kind="entry") as intent):
                self._entered(intent, now_ns)
            case IntentRefused(reason=Refusal.BALANCE, intent_kind="exit"):
                self._refused(event, now_ns)
            case PositionOpened() | PositionChanged():
                self._changed_ns[event.position.position_id] = now_ns
            case PositionClosed():
                self._changed_ns.pop(event.position.position_id, None)
            case _:
                pass  # this event contains nothing about values

    # equity

    def stated(self, equity: Decimal, high_water: Decimal) -> None:
        """Judge the equity and high-water mark that risk uses now. A mark that was not stored yet may be lost with
        its process.
        """
        if high_water < self._high_water - _CENT:
            self._differ(f"high water: the mark fell from {self._high_water:f} to {high_water:f}")
        if equity > high_water:
            self._differ(f"high water: equity is {equity:f}, its mark {high_water:f}")

    def risk_began(self, now_ns: int) -> None:
        """Note that risk has begun anew: it values what is open from what was stored, then by two books at least."""
        self._began_ns = now_ns

    def _marked(self, event: EquityMarked, now_ns: int, wall_ms: int) -> None:
        self.stated(event.equity, event.high_water)
        self._high_water = event.high_water
        count = self._books.closed_count + len(event.marks)
        realised = event.equity - event.unrealised
        expected = self._books.realised + self._accepted
        if abs(realised - expected) > _CENT + _CENT * count / 10:
            self._differ(
                f"equity: {realised:f} is realised, executions and accepted differences make {expected:f}"
            )
        marked = sum((pnl for _, pnl, _ in event.marks), _ZERO)
        if abs(event.unrealised - marked) > _CENT:
            self._differ(f"equity: {event.unrealised:f} is unrealised, the marks add up to {marked:f}")
        if now_ns - self._began_ns < _BEGUN_NS:
            return
        offset_ns, before_ns = wall_ms * 1_000_000 - now_ns, self._offset_ns
        self._offset_ns = offset_ns
        if before_ns is None or abs(offset_ns - before_ns) > 1_000_000:
            return  # the machine's clock was set: ages are wrong
        marks = {position_id: (pnl, age_ms) for position_id, pnl, age_ms in event.marks}
        for position_id, holding in self._books.holdings.items():
            if not self._is_settled(position_id, now_ns):
                continue
            pnl, age_ms = marks.get(position_id, (None, 0))
            since_ns = now_ns - age_ms * 1_000_000 - _BEFORE_NS
            if pnl is None:
                if self._has_books(self._pairs[holding.pair], now_ns):
                    self._differ(f"equity: {position_id} is open and has no mark")
            elif 0 <= age_ms <= _AGE_MS_MAX and since_ns > self._changed_ns.get(position_id, 0):
                self._compare(position_id, holding, pnl, since_ns)

    def _moved(self, event: Deposited, now_ns: int) -> None:
        """Compare what an accepted difference counts as a result with the bids of the last seconds."""
        self._accepted += event.value
        if event.why != "unexplained":
            if event.value:
                self._differ(f"equity: a {event.why} counts {event.value:f} as a result")
            return
        price = self._price(event.venue, event.currency, now_ns - _PRICED_NS)
        if price is None:
            return
        amount = float(event.amount)
        least, most = sorted((amount * price.least, amount * price.most))
        if not least - float(_CENT) <= float(event.value) <= most + float(_CENT):
            self._differ(
                f"equity: {event.amount:f} {event.currency} count {event.value:f} as a result, "
                f"the bids make {least:.2f} to {most:.2f}"
            )

    def _price(self, venue: str, currency: str, since_ns: int) -> _Range | None:
        """Return the price at which one unit at a venue could have been sold since then; None where the books do not
        contain it.
        """
        one = _Range(1.0, 1.0)
        fx = self._walked(self._fx_symbol, "bids", 0.0, since_ns)
        for pair in self._pairs.values():
            for leg, rate in ((pair.home, one), (pair.away, fx)):
                if leg.market.venue != venue or currency not in (leg.market.base, leg.market.quote):
                    continue
                bid = (
                    one
                    if currency == leg.market.quote
                    else self._walked(leg.market.symbol, "bids", 0.0, since_ns)
                )
                legs = pair.home.market.symbol, pair.away.market.symbol, self._fx_symbol
                if bid is None or rate is None or not all(self._is_steady(one, since_ns) for one in legs):
                    return None
                return _Range(bid.least * rate.least, bid.most * rate.most)
        return fx  # the base of the FX market at its own venue

    def _is_steady(self, symbol: str, since_ns: int) -> bool:
        """Return whether a market's books came without a long pause since then, so that risk took their prices."""
        times = [one.at_ns for one in self._frames.since(symbol, since_ns)]
        return len(times) > _FEW and all(newer - older < _BEFORE_NS for newer, older in pairwise(times))

    def _is_settled(self, position_id: str, now_ns: int) -> bool:
        """Return whether no order of a position is under way, or was a moment ago."""
        is_busy = any(one.intent.position_id == position_id for one in self._books.running.values())
        return not is_busy and now_ns - self._changed_ns.get(position_id, 0) > _SETTLED_NS

    def _has_books(self, pair: Pair, now_ns: int) -> bool:
        """Return whether books came during the whole time in which a position should have been valued."""
        symbols = (pair.home.market.symbol, pair.away.market.symbol, self._fx_symbol)
        return all(len(self._frames.since(one, now_ns - _SETTLED_NS)) > _FEW for one in symbols)

    def _compare(self, position_id: str, holding: Holding, pnl: Decimal, since_ns: int) -> None:
        could_be = self._closing(holding, since_ns)
        if could_be is None:
            return
        self.compared += 1
        room = 1.0 + _SHARE * float(holding.notional)
        if not could_be.least - room <= float(pnl) <= could_be.most + room:
            self._differ(
                f"equity: {position_id} is valued at {pnl:f}, closing it could have brought "
                f"{could_be.least:.2f} to {could_be.most:.2f}"
            )

    def _closing(self, holding: Holding, since_ns: int) -> _Range | None:
        """Return what closing a position could have brought since then; None where the books do not contain it."""
        pair, long, short = self._pairs[holding.pair], float(holding.long), float(holding.short)
        if long <= 0 or short <= 0:
            return None
        sold, bought = (pair.home, pair.away) if holding.is_home_bought else (pair.away, pair.home)
        fee, sell_fee = self._fees[bought.market.venue], self._fees[sold.market.venue]
        share = float(fee.buy_bps) / 1e4
        received = self._walked(sold.market.symbol, "bids", long, since_ns)
        paid = self._walked(
            bought.market.symbol, "asks", short / (1 - share) if fee.takes_coin else short, since_ns
        )
        bid = self._walked(self._fx_symbol, "bids", 0.0, since_ns)
        ask = self._walked(self._fx_symbol, "asks", 0.0, since_ns)
        if received is None or paid is None or bid is None or ask is None:
            return None
        keeps, costs = 1 - float(sell_fee.sell_bps) / 1e4, 1.0 if fee.takes_coin else 1 + share
        results = []
        for came in received:
            for went in paid:
                at_sold, at_bought = came * keeps, -went * costs
                at_home, at_away = (at_sold, at_bought) if holding.is_home_bought else (at_bought, at_sold)
                at_home += float(holding.flows.home_quote)
                at_away += float(holding.flows.away_quote)
                results += [at_home + at_away * rate for rate in (bid if at_away >= 0 else ask)]
        return _Range(min(results), max(results))

    def _walked(self, symbol: str, side: str, size: float, since_ns: int) -> _Range | None:
        """Return the value of ``size`` since then, or the best price without a size; None where that is not known."""
        frames = self._frames.since(symbol, since_ns)
        if not frames or frames[-1].at_ns > since_ns:
            return None
        found = []
        for frame in frames:
            book = read(frame)
            amount = _walk(book.bids if side == "bids" else book.asks, size)
            if amount is None:
                return None
            found.append(amount)
        return _Range(min(found), max(found))

    # the ways out

    def _entered(self, intent: Intent, now_ns: int) -> None:
        for account, needed in self._needed(now_ns).items():
            owned = self._books.owned.get(account, _ZERO)
            if account[1] in _currencies(intent, account[0]) and needed * (1 - _DUST) > owned:
                self._differ(
                    f"way out: {intent.intent_id} was approved, {' '.join(account)} has {owned:f}, and what is open "
                    f"takes {needed:f} to be left"
                )

    def _refused(self, event: IntentRefused, now_ns: int) -> None:
        """Judge a refused exit: money that is available and that no other exit needs must not be withheld from it."""
        if self._is_live:
            return
        needed = self._needed(now_ns)
        pair = self._pairs[event.pair]
        for market in (pair.home.market, pair.away.market):
            for currency in (market.base, market.quote):
                account = market.venue, currency
                if needed.get(account, _ZERO) * (1 + 2 * _DUST) > self._books.owned.get(account, _ZERO):
                    return
        self._differ(f"way out: {event.intent_id} of {event.pair} was refused: {event.detail}")

    def _needed(self, now_ns: int) -> dict[Account, Decimal]:
        """Return what leaving all open positions takes, and what entries under way may still spend, by account."""
        found: dict[Account, Decimal] = {}
        for holding, running in self._open():
            pair = self._pairs[holding.pair]
            flows = running.flows if running is not None else None
            changes = (flows.home_base, flows.away_base) if flows is not None else (_ZERO, _ZERO)
            at_bought, at_sold = changes if holding.is_home_bought else changes[::-1]
            bought, sold = (pair.home, pair.away) if holding.is_home_bought else (pair.away, pair.home)
            coins, short = max(holding.long + at_bought, _ZERO), max(holding.short - at_sold, _ZERO)
            price = self._walked(sold.market.symbol, "asks", 0.0, now_ns)
            _add(found, (bought.market.venue, bought.market.base), coins)
            if price is not None and short:
                least = Decimal(price.least)
                if not self.is_traded(holding.pair):
                    quote = holding.flows.away_quote if holding.is_home_bought else holding.flows.home_quote
                    least = min(least, quote / short)
                fee = 1 + self._fees[sold.market.venue].buy_bps / 10_000
                _add(found, (sold.market.venue, sold.market.quote), short * least * fee)
        for running in self._books.running.values():
            if running.intent.kind == "entry":
                _add_orders(found, running, self._fees)
        return found

    def _open(self) -> Iterator[tuple[Holding, Running | None]]:
        """Yield positions and entries that have filled something, each with the intent that changes it."""
        changing = {running.intent.position_id: running for running in self._books.running.values()}
        for position_id, holding in self._books.holdings.items():
            yield holding, changing.pop(position_id, None)
        for running in changing.values():
            if running.intent.kind == "entry":
                yield Holding(running.intent), running


def _add(table: dict[Account, Decimal], account: Account, amount: Decimal) -> None:
    table[account] = table.get(account, _ZERO) + amount


def _add_orders(table: dict[Account, Decimal], running: Running, fees: Mapping[str, VenueFee]) -> None:
    """Add what the legs of an entry may still spend. The proceeds of its sale are available once it is executed."""
    for order in (running.intent.home, running.intent.away):
        if order.client_id in running.over:
            continue
        left, market = order.quantity - running.executed.get(order.client_id, _ZERO), order.market
        if order.side == "buy":
            fee = fees[market.venue]
            share = 1 if fee.takes_coin else 1 + fee.buy_bps / 10_000
            _add(table, (market.venue, market.quote), left * order.limit * share)
        else:
            _add(table, (market.venue, market.base), left)


def _currencies(intent: Intent, venue: str) -> tuple[str, str]:
    market = intent.home.market if intent.home.market.venue == venue else intent.away.market
    return market.base, market.quote


def _walk(levels: Levels, size: float) -> float | None:
    """Return the value of ``size``, or the best price without a size; None where the book has less than that."""
    if not size:
        return levels[0][0]
    left, amount = size, 0.0
    for price, offered in levels:
        taken = min(left, offered)
        amount += taken * price
        left -= taken
        if left <= size * 1e-9:
            return amount
    return None
