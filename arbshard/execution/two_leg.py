"""The two-leg state machine: what to send next so that an intent ends with no open leg. Pure.

Both legs go out at once. When both are final, what was bought and what was sold are compared:

    ==================  ==========================================================================
    bought = sold       done (nothing filled: nothing happened; equal partial fills: a smaller trade)
    bought > sold       sell the difference: on the selling leg's venue while its price is within
                        ``max_hedge_slippage_bps`` of the leg's limit (hedge), else back where it
                        was bought (unwind)
    bought < sold       buy the difference, likewise
    a leg is UNKNOWN    ask about it until it is known; nothing else happens meanwhile
    ==================  ==========================================================================

``hedge_tries`` orders on the lagging leg, then as many taking the leading leg back, then again from the start,
each reaching twice as far: it gives up only when what is left is below both venues' minimum order, valued at the
limit it would need (residue).
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from arbshard.config import ExecutionConfig
from arbshard.execution.plan import base_kept, make_order
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.intent import Intent
from arbshard.model.market import Leg, Pair, Side
from arbshard.model.money import BPS, ZERO, exact
from arbshard.model.order import Order, OrderResult
from arbshard.model.position import Position

_SLIPPAGE_BPS_MAX = Decimal(1000)
_EXIT_PRICE_SHARE = Decimal("0.95")


class SendOrders(NamedTuple):
    """Send these, all at once."""

    orders: tuple[Order, ...]


class Ask(NamedTuple):
    """Ask the venues how these stand."""

    orders: tuple[Order, ...]


class Pause(NamedTuple):
    """Nothing can be sent at the books as they are; come back after ``retry_ms``."""


class TwoLegEnd(NamedTuple):
    """All orders are final and no leg is open."""

    closed: bool
    """What is left of the position cannot be traded: it is over."""


Step = SendOrders | Ask | Pause | TwoLegEnd


class TwoLeg:
    """One intent on its way. Feed it results; ask it for the next step."""

    def __init__(
        self,
        intent: Intent,
        pair: Pair,
        before: Position | None,
        execution: ExecutionConfig,
        known: Iterable[OrderResult] = (),
        residue: Decimal = ZERO,
    ) -> None:
        """Begin, or carry on from what is ``known``. ``before`` is the position an exit closes.

        ``residue``: base that earlier positions of the pair left over; an exit was planned to use it up.
        """
        self._residue = residue if intent.kind == "exit" else ZERO
        self.intent = intent
        self._pair = pair
        self._execution = execution
        self._long, self._short = (
            (before.long_base, before.short_base) if before is not None else (ZERO, ZERO)
        )
        self._results: dict[str, OrderResult] = {result.order.client_id: result for result in known}

    def record(self, result: OrderResult) -> None:
        """Take in how an order stands. A final state is never left again, and a fill once heard of stays."""
        old = self._results.get(result.order.client_id)
        if old is not None:
            if old.is_final:
                return
            fills = {fill.fill_id: fill for fill in (*old.fills, *result.fills)}
            result = replace(result, fills=tuple(fills.values()))
        self._results[result.order.client_id] = result

    def is_news(self, result: OrderResult) -> bool:
        """Whether ``result`` says anything that was not recorded yet."""
        old = self._results.get(result.order.client_id)
        known = {fill.fill_id for fill in old.fills} if old is not None else set()
        return (
            old is None
            or result.state != old.state
            or any(fill.fill_id not in known for fill in result.fills)
        )

    @property
    def results(self) -> tuple[OrderResult, ...]:
        """All orders of the intent that were sent, and how they stand."""
        return tuple(self._results.values())

    @property
    def follow_ups(self) -> int:
        """How many hedges and unwinds there have been, sent or not."""
        return sum(1 for result in self._results.values() if result.order.role != "leg")

    @property
    def tries(self) -> int:
        """How many of them a venue has looked at: one that was never accepted is no reason to reach farther."""
        return sum(
            1
            for result in self._results.values()
            if result.order.role != "leg" and result.state != "NOT_ACCEPTED"
        )

    @property
    def imbalance(self) -> Decimal:
        """Net base that there is too much (or, negative, too little) of: the position's, and the residue."""
        long, short = self._open()
        return long - short + self._residue

    def next_step(self, home: OrderBookSnapshot | None, away: OrderBookSnapshot | None) -> Step:
        """What to do now, at these books."""
        unsent = tuple(
            order for order in (self.intent.home, self.intent.away) if order.client_id not in self._results
        )
        if unsent:
            return SendOrders(unsent)
        unclear = tuple(result.order for result in self._results.values() if not result.is_final)
        if unclear:
            return Ask(unclear)
        if home is None or away is None:
            return Pause()
        order = self._balance(home, away)
        if order is not None:
            return SendOrders((order,))
        return TwoLegEnd(closed=not self._is_tradable(home, away))

    def _open(self) -> tuple[Decimal, Decimal]:
        """(long, short) base of the position after all fills so far."""
        home, away = ZERO, ZERO
        for result in self._results.values():
            is_home = result.order.market == self._pair.home.market
            for fill in result.fills:
                change = sum((amount for coin, amount in fill.changes() if coin == fill.market.base), ZERO)
                home, away = (home + change, away) if is_home else (home, away + change)
        entered_home = (self.intent.direction == "buy_home") == (self.intent.kind == "entry")
        if entered_home:
            return self._long + home, self._short - away
        return self._long + away, self._short - home

    def _balance(self, home: OrderBookSnapshot, away: OrderBookSnapshot) -> Order | None:
        """The order that takes the imbalance away, or None when it is too small for either venue."""
        excess = self.imbalance
        side: Side = "sell" if excess > 0 else "buy"
        books = {self._pair.home.market: home, self._pair.away.market: away}
        lagging = self._leg_on(side)
        leading = self._pair.away if lagging is self._pair.home else self._pair.home
        tries = self._execution.hedge_tries
        prefer_hedge = (self.tries // tries) % 2 == 0 and self._is_near(lagging, side, books[lagging.market])
        for leg in (lagging, leading) if prefer_hedge else (leading, lagging):
            quantity = leg.rules.round_quantity(
                abs(excess) / base_kept(leg) if side == "buy" else abs(excess)
            )
            name = "h" if leg is self._pair.home else "a"
            order = make_order(
                leg,
                side,
                quantity,
                exact(_touch(books[leg.market], side)) * (1 + self._slip(side)),
                f"{self.intent.intent_id}-{name}{1 + self.follow_ups}",
                "hedge" if leg is lagging else "unwind",
            )
            # Venues measure their minimum at the limit: what only the touch lifts above it is refused for ever.
            if leg.rules.accepts(order.limit, quantity):
                return order
        return None

    def _leg_on(self, side: Side) -> Leg:
        """The leg whose intended order is on ``side``."""
        return self._pair.home if self.intent.home.side == side else self._pair.away

    def _is_near(self, leg: Leg, side: Side, book: OrderBookSnapshot) -> bool:
        """Whether the lagging leg can still be had near the limit it was meant to have."""
        reach = Decimal(str(self._execution.max_hedge_slippage_bps)) / BPS
        limit = self.intent.order(leg.market.venue).limit
        best = exact(_touch(book, side))
        return best <= limit * (1 + reach) if side == "buy" else best >= limit * (1 - reach)

    def _slip(self, side: Side) -> Decimal:
        doubled = Decimal(str(self._execution.max_hedge_slippage_bps)) * (1 << min(self.tries, 10))
        slip = min(doubled, _SLIPPAGE_BPS_MAX) / BPS
        return slip if side == "buy" else -slip

    def _is_tradable(self, home: OrderBookSnapshot, away: OrderBookSnapshot) -> bool:
        """Whether both legs that are left could still be closed by orders that their venues accept.

        Valued a little below the books, for an exit's limits stand behind them: a position that is just large
        enough today could never be left tomorrow.
        """
        long, short = self._open()
        quantity = max(min(long, short), ZERO)
        return all(
            leg.rules.accepts(exact(book.mid) * _EXIT_PRICE_SHARE, leg.rules.round_quantity(quantity))
            for leg, book in ((self._pair.home, home), (self._pair.away, away))
        )


def _touch(book: OrderBookSnapshot, side: Side) -> float:
    """The price an order on ``side`` meets first."""
    return book.best_ask if side == "buy" else book.best_bid
