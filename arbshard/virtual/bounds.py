"""Judges how far an intent may go: what its limits may cost, how often it may hedge, what it may leave over. Pure.

Each bound has its reason, and none is wider than its reason requires:

    ==============  ================================================================================================
    promise         the edge that an intent promises is the one that the books promised when it was decided on
    cost            an entry's limits are no worse than the last level that its quantity reached; an exit's are
                    ``exit_slippage_bps`` behind that; a hedge's are ``max_hedge_slippage_bps`` behind the best
                    price, twice as much with each try, 10 % at most. A whole round trip may cost as much more than
                    its intents promised as these limits allow, from the market's own prices at the time
    hedges          ``hedge_tries`` orders on each of both legs. By the last of them an order reaches farther than any
                    book here is deep, so a need for one more would mean that hedging does not help
    direction       a hedge or unwind makes the open leg smaller and never turns it; or it takes back what was traded
                    on both venues beyond what there was
    plan            an exit that fills whole leaves at most one lot of each leg over, and is never short of anything:
                    the buying leg is rounded up to the lot, fee in coin included, the selling one down
    residue         what is left at the end of an intent is too small for both venues at the farthest limit that a
                    hedge may have
    result          a round trip brings what its exit promised less what its orders cost more; what was rounded to
                    lots was traded at one price and is valued at another
    ==============  ================================================================================================
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from itertools import product
from typing import NamedTuple

from arbshard.config import DataConfig, ExecutionConfig
from arbshard.model.intent import FxQuote, Intent
from arbshard.model.order import Order
from arbshard.virtual.executions import Execution, VenueFee
from arbshard.virtual.frames import Frames, Levels, ParsedBook, ReceivedFrame, read

_ZERO = Decimal(0)
_BPS = Decimal(10_000)
_REACH_BPS_MAX = Decimal(1_000)
"""Largest distance of any order's limit from the best price, in basis points."""
_PROMISE_BPS = 0.02
"""Tolerance for the edge, which the system calculates with floats, as this module does."""
_SIZE = 1 - 1e-9
_ROOM = 1.02
"""Tolerance factor: an exit was walked for a quantity slightly different from the one that it then orders."""
_MOVED = Decimal("1.01")
"""Tolerance factor: the rest is valued at the home venue's bid, but was assessed at either venue's best price."""
_TOLERANCE = Decimal("0.01")
_APART = Decimal("0.1")
"""Largest relative difference between the prices of both venues, and between the prices before and after an order's
latency in a crash.
"""
_FEES = Decimal("0.005")
"""Allowance for fees on the additional cost, and for both sides of the FX rate."""
_ROUNDED = Decimal("0.000002")
"""Tolerance for rounding: the system uses floats and this module decimals, as for ``_PROMISE_BPS``."""


class MarketFacts(NamedTuple):
    """Holds what a venue requires of orders on one market."""

    lot: Decimal
    notional_min: Decimal
    quantity_max: Decimal


class Look(NamedTuple):
    """Holds the frames of both markets and of FX that had arrived when a trade was decided on, the newest first.

    A worker that was delayed may decide before it has processed the newest frame, as long as no book is too old.
    """

    wall_ms: int
    home: tuple[ReceivedFrame, ...]
    away: tuple[ReceivedFrame, ...]
    fx: tuple[ReceivedFrame, ...]


class Cost(NamedTuple):
    """Is what an execution cost beyond the promise, and what it was allowed to cost beyond it, in KRW."""

    shortfall: Decimal
    allowed: Decimal


class _Price(NamedTuple):
    promised: Decimal
    """Average price that the book promised for the leg's quantity."""
    worst: Decimal
    """The worst limit that an order may have."""


class Walked(NamedTuple):
    """Is the result of walking a quantity through one side of a book: the average and the worst price."""

    average: float
    worst: float


class PositionCost(NamedTuple):
    """Is what a position has received and paid before its exit."""

    long: Decimal
    short: Decimal
    home_quote: Decimal
    away_quote: Decimal
    notional: Decimal


class Bounds:
    """Judges every order and intent against the bounds of this module; ``own_books`` calls it."""

    def __init__(
        self,
        frames: Frames,
        facts: Mapping[str, MarketFacts],
        fees: Mapping[str, VenueFee],
        execution: ExecutionConfig,
        quality: DataConfig,
        fx_symbol: str,
        differ: Callable[[str], None],
    ) -> None:
        self._frames = frames
        self._facts = facts
        self.coarseness: Callable[[str], tuple[int, int]] = lambda _symbol: (1, 1)
        """Returns how many times the usual lot and the usual smallest order of a market are, or were after a change
        of its rules.
        """
        self._fees = fees
        self._exit_slip = Decimal(str(execution.exit_slippage_bps)) / _BPS
        self._hedge_slip_bps = Decimal(str(execution.max_hedge_slippage_bps))
        self._hedges_max = 2 * execution.hedge_tries
        self._age_ns_max = int(quality.max_book_age_ms * 1e6)
        self._fx_age_ns_max = int(quality.max_fx_age_ms * 1e6)
        self._fx_symbol = fx_symbol
        self._differ = differ
        self._looks: dict[str, Look] = {}
        self._prices: dict[str, _Price] = {}
        self._promised: dict[str, None] = {}
        """Exits under way whose promise was found in the books."""

    def decided(self, base: str, home: str, away: str, now_ns: int, wall_ms: int) -> None:
        """Note that a worker has just decided on a trade of the markets ``home`` and ``away``."""
        since = self._frames.since
        self._looks[base] = Look(
            wall_ms,
            since(home, now_ns - self._age_ns_max),
            since(away, now_ns - self._age_ns_max),
            since(self._fx_symbol, now_ns - self._fx_age_ns_max),
        )

    def approved(self, intent: Intent, held: PositionCost | None) -> None:
        """Judge the limits and the promise of an intent. ``held``: the position that an exit closes."""
        look = self._looks.pop(intent.pair, None)
        if look is None or look.wall_ms != intent.decided_ms:
            return  # of another decision
        rate = float(intent.fx.bid), float(intent.fx.ask)
        if not any((book.bids[0][0], book.asks[0][0]) == rate for book in map(read, look.fx)):
            self._differ(f"promise: {intent.intent_id} reckons with an FX rate of {rate}, no book said so")
        found: list[float] = []
        for home, away in product(map(read, look.home), map(read, look.away)):
            own_bps = self._promised_bps(intent, held, home, away)
            if own_bps is None or abs(own_bps - intent.edge_bps) <= _PROMISE_BPS:
                for order, book in ((intent.home, home), (intent.away, away)):
                    self._leg(intent, order, book, held)
                if own_bps is not None and held is not None:
                    self._promised[intent.intent_id] = None
                return
            found.append(own_bps)
        said = " or ".join(f"{bps:.4f}" for bps in found)
        self._differ(
            f"promise: {intent.intent_id} promises {intent.edge_bps:.4f} bps, its books promise {said}"
        )

    def _promised_bps(
        self, intent: Intent, held: PositionCost | None, home: ParsedBook, away: ParsedBook
    ) -> float | None:
        """Return what the books promise; None for what cannot be valued."""
        if held is None:
            return self._entry_bps(intent, home, away)
        is_open = held.long > 0 and held.short > 0 and held.notional > 0
        return self._exit_bps(intent, held, home, away) if is_open else None

    def planned_exit(self, intent: Intent, held: PositionCost, residue: Decimal, arrives: Decimal) -> None:
        """Judge what an exit leaves over if both legs fill whole. ``arrives``: base that its buying leg brings."""
        sold, bought = _sides(intent)
        sell, buy = self._facts_of(sold.market.symbol), self._facts_of(bought.market.symbol)
        if max(sold.quantity, bought.quantity) >= min(sell.quantity_max, buy.quantity_max):
            return  # the part above the largest order of a venue is left to the next exit
        have, need = held.long + min(residue, _ZERO), held.short - max(residue, _ZERO)
        left = residue + held.long - sold.quantity - held.short + arrives
        least = _ZERO if have >= sell.lot else min(have, _ZERO) - sell.lot
        most = sell.lot + buy.lot + max(-need, _ZERO)
        if intent.lead != "both":  # the smallest possible exit leaves over what was there before
            before = residue + held.long - held.short
            least, most = min(least, before - sell.lot), max(most, before + sell.lot + buy.lot)
        if not least <= left <= most:
            self._differ(
                f"plan: {intent.intent_id} is to leave {left:f} {intent.pair} over, "
                f"between {least:f} and {most:f} are lots"
            )

    def follow_up(
        self,
        intent: Intent,
        order: Order,
        number: int,
        excused: int,
        excesses: tuple[Decimal, ...],
        since_ns: int,
    ) -> None:
        """Judge a follow-up order.

        ``number`` is how many there were before, of which ``excused`` do not count. ``excesses`` are the quantities
        that the worker may regard as open, or as traded beyond what there was on the order's venue.
        """
        if number - excused >= self._hedges_max:
            self._differ(f"hedges: {order.client_id} is number {number + 1}, {self._hedges_max} must do")
        brings = self._brings(order)
        if not any(excess * brings < 0 and abs(brings) <= abs(excess) for excess in excesses):
            said = " or ".join(f"{excess:f}" for excess in excesses)
            self._differ(f"direction: {order.client_id} changes the open leg of {said} by {brings:f}")
        reach = min(self._hedge_slip_bps * 2 ** min(number, 10), _REACH_BPS_MAX) / _BPS
        books = tuple(map(read, self._frames.since(order.market.symbol, since_ns)))
        if not books:
            return
        is_buy = order.side == "buy"
        touches = [_exact(book.asks[0][0] if is_buy else book.bids[0][0]) for book in books]
        worst = max(touches) * (1 + reach) if is_buy else min(touches) * (1 - reach)
        leg = intent.home if order.market == intent.home.market else intent.away
        promised = self._prices.get(leg.client_id)
        self._limit(order, _Price(promised.promised if promised is not None else worst, worst))

    def cost(self, intent: Intent, order: Order, execution: Execution) -> Cost:
        """Return what an execution cost beside what was promised."""
        price = self._prices.get(order.client_id)
        if price is None:
            return Cost(_ZERO, _ZERO)
        sign = 1 if execution.side == "buy" else -1
        amount = sign * execution.quantity * (1 if order.market == intent.home.market else intent.fx.ask)
        return Cost(amount * (execution.price - price.promised), amount * (price.worst - price.promised))

    def left_over(self, intent: Intent, excess: Decimal, mark: Decimal) -> None:
        """Judge what an intent leaves open at its end: base of one venue that the other has not."""
        most = self._too_little(intent, self.least_order(intent), mark)
        if abs(excess) * mark > most * _MOVED:
            self._differ(
                f"residue: {intent.intent_id} leaves {abs(excess):f} {intent.pair} open, "
                f"worth {abs(excess) * mark:.0f} KRW, {most:.0f} may be"
            )

    def left_on_each_venue(
        self, intent: Intent, legs: tuple[Decimal, Decimal], residue: Decimal, mark: Decimal
    ) -> None:
        """Judge the legs of a closed position: neither may be open, nor may their direction have reversed.

        Legs that compensate each other leave no excess, but leave coins on the wrong venue and money on the other
        one. A position is closed when one of its venues takes no order so small. One leg may also be larger than the
        other one by less than the minimum of either venue, so both minimums count. ``residue`` is base that earlier
        positions had left over, which either leg may have used up.
        """
        most = self._too_little(intent, sum(self._minimums(intent), _ZERO), mark) * _MOVED + residue * mark
        for leg in legs:
            if abs(leg) * mark > most:
                self._differ(
                    f"turned: {intent.position_id} is over, and a leg of {leg:f} {intent.pair} is open, "
                    f"worth {abs(leg) * mark:.0f} KRW, {most:.0f} may be"
                )

    def _too_little(self, intent: Intent, minimum: Decimal, mark: Decimal) -> Decimal:
        """Return the value in KRW of a quantity that is too small for an order of ``minimum``, with a lot of each
        leg.
        """
        lots = sum((self._facts_of(order.market.symbol).lot for order in (intent.home, intent.away)), _ZERO)
        return minimum / (1 - _REACH_BPS_MAX / _BPS) + lots * mark

    def closed(self, position_id: str, shortfall: Decimal, allowed: Decimal) -> None:
        """Judge what a round trip cost beside what its intents promised."""
        if shortfall > allowed + _TOLERANCE:
            self._differ(
                f"cost: {position_id} cost {shortfall:.2f} KRW more than promised, {allowed:.2f} are accounted for"
            )

    def brought(
        self,
        intent: Intent,
        notional: Decimal,
        worth: Decimal,
        shortfall: Decimal,
        aside: Decimal,
        mark: Decimal,
    ) -> None:
        """Judge the result of a round trip, at the FX rate of its exit's decision, against what the exit promised.

        The promise less the shortfall is the result, except for what was rounded to lots and for ``aside``: base
        that was already there or is too little to be traded. That was promised at one price and is valued at
        another.
        """
        if intent.intent_id not in self._promised:
            return
        promised = _exact(intent.edge_bps) / _BPS * notional
        lots = sum((self._facts_of(order.market.symbol).lot for order in (intent.home, intent.away)), _ZERO)
        most = (lots + aside) * mark * _APART + abs(shortfall) * _FEES + notional * _ROUNDED + _TOLERANCE
        unexplained = worth - (promised - shortfall)
        if abs(unexplained) > most:
            self._differ(
                f"cost: {intent.position_id} brought {worth:.2f} KRW; its exit promised {promised:.2f} and cost "
                f"{shortfall:.2f} more, so {unexplained:.2f} are unexplained, {most:.2f} may be"
            )

    def least_order(self, intent: Intent) -> Decimal:
        """Return the smallest order that one of both venues takes, in KRW."""
        return min(self._minimums(intent))

    def _minimums(self, intent: Intent) -> tuple[Decimal, Decimal]:
        """Return the smallest orders that both venues take, in KRW."""
        home, away = (
            self._facts_of(order.market.symbol).notional_min for order in (intent.home, intent.away)
        )
        return home, away * intent.fx.ask

    def forget(self, intent_id: str, client_ids: Iterable[str]) -> None:
        """Forget an intent that is over, and its orders."""
        self._promised.pop(intent_id, None)
        for client_id in client_ids:
            self._prices.pop(client_id, None)

    def _facts_of(self, symbol: str) -> MarketFacts:
        usual = self._facts[symbol]
        lot, minimum = self.coarseness(symbol)
        return MarketFacts(usual.lot * lot, usual.notional_min * minimum, usual.quantity_max)

    def _brings(self, order: Order) -> Decimal:
        """Return the base that comes when ``order`` fills whole; negative for base that goes."""
        if order.side == "sell":
            return -order.quantity
        fee = self._fees[order.market.venue]
        return order.quantity * (1 - fee.buy_bps / _BPS) if fee.takes_coin else order.quantity

    def _leg(self, intent: Intent, order: Order, book: ParsedBook, held: PositionCost | None) -> None:
        levels = book.asks if order.side == "buy" else book.bids
        size = float(order.quantity)
        if held is not None and intent.lead != "both":  # the smallest exit has the limits of a whole one
            size = max(size, float(held.long if order.side == "sell" else held.short))
        slip = _ZERO
        if intent.kind == "exit":
            # The exit was walked before its quantity was rounded to the lot and what lies there was used up.
            size = size * _ROOM + 2 * float(self._facts_of(order.market.symbol).lot)
            slip = self._exit_slip
        worst = _exact(_walk(levels, size).worst)
        bound = worst * (1 + slip) if order.side == "buy" else worst * (1 - slip)
        self._limit(order, _Price(_exact(_walk(levels, float(order.quantity)).average), bound))

    def _limit(self, order: Order, price: _Price) -> None:
        self._prices[order.client_id] = price
        is_beyond = order.limit > price.worst if order.side == "buy" else order.limit < price.worst
        if is_beyond:
            self._differ(
                f"cost: {order.client_id} may {order.side} at {order.limit:f}, "
                f"no worse than {price.worst:f} is allowed"
            )

    def _entry_bps(self, intent: Intent, home: ParsedBook, away: ParsedBook) -> float:
        sold, bought = _sides(intent)
        buys_home = bought is intent.home
        asks, bids = (home.asks, away.bids) if buys_home else (away.asks, home.bids)
        # USDT that comes in is sold at the bid; USDT that goes out is bought at the ask.
        buy_rate, sell_rate = (1.0, float(intent.fx.bid)) if buys_home else (float(intent.fx.ask), 1.0)
        fee, sell_fee = self._fees[bought.market.venue], self._fees[sold.market.venue]
        surcharge = 0.0 if fee.takes_coin else float(fee.buy_bps) / 1e4
        size, sells = float(bought.quantity), float(sold.quantity)
        cost = size * _walk(asks, size).average * (1 + surcharge) * buy_rate
        proceeds = sells * _walk(bids, sells).average * (1 - float(sell_fee.sell_bps) / 1e4) * sell_rate
        return (proceeds / cost - 1) * 1e4

    def _exit_bps(self, intent: Intent, held: PositionCost, home: ParsedBook, away: ParsedBook) -> float:
        sold, bought = _sides(intent)
        buys_home = bought is intent.home
        asks, bids = (home.asks, away.bids) if buys_home else (away.asks, home.bids)
        fee, sell_fee = self._fees[bought.market.venue], self._fees[sold.market.venue]
        bps = float(fee.buy_bps) / 1e4
        long, short = float(held.long), float(held.short)
        size = short / (1 - bps) if fee.takes_coin else short
        paid = size * _walk(asks, size).average * (1.0 if fee.takes_coin else 1 + bps)
        received = long * _walk(bids, long).average * (1 - float(sell_fee.sell_bps) / 1e4)
        at_home = float(held.home_quote) + (-paid if buys_home else received)
        at_away = float(held.away_quote) + (received if buys_home else -paid)
        rate = float(intent.fx.bid if at_away >= 0 else intent.fx.ask)
        return (at_home + at_away * rate) / float(held.notional) * 1e4


def price_of(intent: Intent) -> Decimal:
    """Return about what one unit of the base is worth in KRW."""
    return intent.home.limit


def value_of(amount: Decimal, fx: FxQuote) -> Decimal:
    """Return USDT in KRW: what was received is sold at the bid, what is owed is bought at the ask."""
    return amount * (fx.bid if amount >= 0 else fx.ask)


def _sides(intent: Intent) -> tuple[Order, Order]:
    """Return (the selling leg, the buying leg)."""
    return (intent.home, intent.away) if intent.home.side == "sell" else (intent.away, intent.home)


def _walk(levels: Levels, size: float) -> Walked:
    """Return the average and the worst price of ``size``, level by level; the excess counts at the last level's
    price.
    """
    left, paid, worst = size, 0.0, levels[0][0]
    for price, offered in levels:
        taken = min(left, offered)
        paid += taken * price
        left -= taken
        worst = price
        if left <= size * (1 - _SIZE):
            break
    return Walked((paid + left * worst) / size if size > 0 else worst, worst)


def _exact(value: float) -> Decimal:
    """Return the decimal that a float was written as."""
    return Decimal(repr(value))
