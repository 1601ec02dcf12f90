"""Makes requests about orders by ccxt's unified calls, and reads the answers. Pure."""

from decimal import Decimal

import msgspec

from arbshard.errors import VenueError
from arbshard.model.market import Market
from arbshard.model.money import ZERO, plain
from arbshard.model.order import Fill, Order
from arbshard.venues.base.orders import (
    UNREADABLE_ORDER,
    OrderStatus,
    amount_of,
    make_fill,
    shares,
    unreadable_order,
)
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.frame import clipped
from arbshard.venues.unified import calls
from arbshard.venues.unified.calls import Time, UnifiedOrder, UnifiedTrade
from arbshard.venues.unified.limits import cost_of
from arbshard.venues.unified.states import fault_of, state_of

_order = msgspec.json.Decoder(UnifiedOrder, strict=False).decode
_trades = msgspec.json.Decoder(list[UnifiedTrade], strict=False).decode
_time = msgspec.json.Decoder(Time).decode


class UnifiedOrders:
    """Implements ``OrderVenue``."""

    def __init__(self, name: str) -> None:
        self._cost = self.order_cost = cost_of(name)

    def place(self, order: Order, name: str) -> VenueRequest:
        """Send it as an IOC limit order with our name as ``clientOrderId``."""
        return VenueRequest("POST", calls.CREATE_ORDER, _params(order, name), self._cost)

    def rehearse(self, order: Order, name: str) -> VenueRequest | None:
        """Return None: ccxt has no call for test orders that every venue understands."""
        del order, name
        return None

    def find(self, market: Market, name: str) -> VenueRequest:
        """Ask by market and name."""
        return VenueRequest("GET", calls.FIND_ORDER, {"symbol": market.symbol, "name": name}, self._cost)

    def read(self, order: Order, body: bytes) -> OrderStatus:
        """Read the order with those of its fills that the answer lists."""
        try:
            answer = _order(body)
            filled = _filled(order, answer)
            fills = _fills(order, answer.trades or [], _fee_of(answer))
            state = state_of(answer.status, filled)
            return OrderStatus(
                answer.id, state, filled, fills, clipped(answer.status or "accepted"), fault_of(state)
            )
        except UNREADABLE_ORDER as error:
            raise unreadable_order(order, error) from error

    def trades(self, market: Market, venue_order_id: str) -> VenueRequest | None:
        """Ask for the fills: many venues do not list them with the order."""
        return VenueRequest(
            "GET", calls.ORDER_TRADES, {"symbol": market.symbol, "id": venue_order_id}, self._cost
        )

    def read_trades(self, order: Order, body: bytes) -> tuple[Fill, ...]:
        """Read one row for each fill."""
        try:
            return _fills(order, _trades(body), None)
        except UNREADABLE_ORDER as error:
            raise unreadable_order(order, error) from error

    def warm(self) -> VenueRequest:
        """Ask for the venue's time."""
        return VenueRequest("GET", calls.TIME, {}, self._cost, private=False)

    def time_of(self, body: bytes) -> int | None:
        """Read the time; None where the venue has no call for it."""
        try:
            return _time(body).time
        except UNREADABLE_ORDER as error:
            raise VenueError(str(error)) from error


def _filled(order: Order, answer: UnifiedOrder) -> Decimal:
    if answer.filled is not None:
        return amount_of(order, answer.filled)
    if answer.status in (None, "open") and not answer.trades:
        return ZERO  # a mere acknowledgement
    raise VenueError(f"{order.market}: an order that is {answer.status} without the quantity executed")


def _fee_of(answer: UnifiedOrder) -> tuple[Decimal, str] | None:
    """Return the order's whole fee, for venues that do not state it by fill."""
    fees = [fee for fee in answer.fees or [] if fee.cost is not None and fee.currency]
    if len(fees) != 1:
        return None
    (fee,) = fees
    assert fee.cost is not None
    assert fee.currency is not None
    return fee.cost, fee.currency


def _fills(
    order: Order, trades: list[UnifiedTrade], whole_fee: tuple[Decimal, str] | None
) -> tuple[Fill, ...]:
    """Return the fills with their fees: those stated, or the order's fee shared by the money that changed hands."""
    if not trades:
        return ()
    if all(trade.fee is not None and trade.fee.cost is not None and trade.fee.currency for trade in trades):
        return tuple(
            make_fill(order, trade.id, trade.amount, trade.price, trade.fee.cost, trade.fee.currency)
            for trade in trades
            if trade.fee is not None and trade.fee.cost is not None and trade.fee.currency is not None
        )
    if whole_fee is None:
        raise VenueError(f"{order.market}: fills without a fee, which cannot be booked")
    fee, currency = whole_fee
    parts = shares(fee, [trade.amount * trade.price for trade in trades])
    return tuple(
        make_fill(order, trade.id, trade.amount, trade.price, part, currency)
        for trade, part in zip(trades, parts, strict=True)
    )


def _params(order: Order, name: str) -> dict[str, str]:
    return {
        "symbol": order.market.symbol,
        "side": order.side,
        "amount": plain(order.quantity),
        "price": plain(order.limit),
        "name": name,
    }
