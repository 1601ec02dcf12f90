"""What the portfolio keeps of an intent: while it is open, and after it. Frozen: a change is a new value."""

from decimal import Decimal

import msgspec

from arbshard.ledger.events import Hold
from arbshard.model.intent import Intent, OpenIntent
from arbshard.model.market import Leg
from arbshard.model.money import BPS, ONE, ZERO
from arbshard.model.order import Fill, Order, OrderResult
from arbshard.model.position import Position


def hold_for(order: Order, leg: Leg) -> Hold:
    """What ``order`` can spend at most: the coins it sells, or the money it buys with and the fee taken in it."""
    market = order.market
    if order.side == "sell":
        return Hold(order.client_id, market.venue, market.base, order.quantity)
    fee = ZERO if leg.fees.buy_fee_in_base else leg.fees.buy_bps / BPS
    return Hold(order.client_id, market.venue, market.quote, order.quantity * order.limit * (ONE + fee))


class Trade(msgspec.Struct, frozen=True):
    """An open intent: its orders, how they stand, and what is still held for them."""

    intent: Intent
    orders: tuple[OrderResult, ...]
    """Both legs first, then hedges and unwinds as they were recorded."""
    holds: tuple[Hold, ...]

    @classmethod
    def begin(cls, intent: Intent, holds: tuple[Hold, ...]) -> "Trade":
        """An approved intent of which nothing else is known."""
        return cls(intent, (OrderResult(intent.home, "INTENT"), OrderResult(intent.away, "INTENT")), holds)

    def result(self, client_id: str) -> OrderResult | None:
        """How an order stands; None for an order that is not of this intent."""
        for result in self.orders:
            if result.order.client_id == client_id:
                return result
        return None

    def hold(self, client_id: str) -> Hold | None:
        """What is held for an order; None when nothing is."""
        for hold in self.holds:
            if hold.client_id == client_id:
                return hold
        return None

    def extended(self, order: Order, hold: Hold) -> "Trade":
        """With one more order."""
        holds = (*self.holds, hold) if hold.amount else self.holds
        return Trade(self.intent, (*self.orders, OrderResult(order, "INTENT")), holds)

    def reported(self, result: OrderResult, hold: Hold | None) -> "Trade":
        """With ``result`` and ``hold`` in place of the order's old ones; ``hold`` None when nothing is left."""
        client_id = result.order.client_id
        holds = tuple(one for one in self.holds if one.client_id != client_id)
        return Trade(
            self.intent,
            tuple(result if one.order.client_id == client_id else one for one in self.orders),
            (*holds, hold) if hold is not None else holds,
        )

    def find_fill(self, fill_id: str) -> Fill | None:
        """The booked fill of this id."""
        for fill in self.fills():
            if fill.fill_id == fill_id:
                return fill
        return None

    def fills(self) -> tuple[Fill, ...]:
        """All that was executed for the intent."""
        return tuple(fill for result in self.orders for fill in result.fills)

    def unfinished(self) -> OrderResult | None:
        """An order that is not final; None when all are."""
        for result in self.orders:
            if not result.is_final:
                return result
        return None

    def to_open_intent(self) -> OpenIntent:
        """What a successor is told."""
        return OpenIntent(self.intent, self.orders)


def notional_of(intent: Intent) -> Decimal:
    """Base to buy x limit price, in reporting currency: the most that an entry can cost before fees."""
    if intent.home.side == "buy":
        return intent.home.quantity * intent.home.limit
    return intent.away.quantity * intent.away.limit * intent.fx.ask


class Outcome(msgspec.Struct, frozen=True):
    """What is remembered of a concluded intent, so that late repeats are answered as before."""

    intent_id: str
    pair: str
    position: Position | None
    """As the conclusion left it."""
    orders: tuple[tuple[str, tuple[str, ...]], ...]
    """(client id, ids of its fills)."""

    def knows(self, result: OrderResult) -> bool:
        """Whether all that ``result`` says was booked before the conclusion."""
        for client_id, fills in self.orders:
            if client_id == result.order.client_id:
                return all(fill.fill_id in fills for fill in result.fills)
        return False


def outcome_of(trade: Trade, position: Position | None) -> Outcome:
    """What to remember of ``trade``, now concluded."""
    return Outcome(
        trade.intent.intent_id,
        trade.intent.pair,
        position,
        tuple(
            (result.order.client_id, tuple(fill.fill_id for fill in result.fills)) for result in trade.orders
        ),
    )
