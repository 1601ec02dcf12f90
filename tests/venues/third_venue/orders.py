"""Orders by REST."""

from decimal import Decimal

import msgspec

from arbshard.errors import VenueError
from arbshard.model.market import Market
from arbshard.model.money import plain
from arbshard.model.order import Fill, Order
from arbshard.venues.base.orders import UNREADABLE_ORDER, OrderStatus, amount_of, make_fill, unreadable_order
from arbshard.venues.base.request import VenueRequest
from third_venue import limits
from third_venue.states import state_of


class _Fill(msgspec.Struct):
    id: int
    price: Decimal
    amount: Decimal
    fee: Decimal


class _Order(msgspec.Struct):
    id: str
    state: str
    filled: Decimal
    fills: list[_Fill]


class _Time(msgspec.Struct):
    time: int


_order = msgspec.json.Decoder(_Order).decode
_time = msgspec.json.Decoder(_Time).decode


class ThirdOrders:
    """Implements ``OrderVenue``."""

    order_cost = limits.CALL

    def place(self, order: Order, name: str) -> VenueRequest:
        """An IOC limit order."""
        return VenueRequest("POST", "/v2/order", _params(order, name), limits.CALL)

    def rehearse(self, order: Order, name: str) -> VenueRequest:
        """The venue checks it."""
        return VenueRequest("POST", "/v2/order/check", _params(order, name), limits.CALL)

    def find(self, market: Market, name: str) -> VenueRequest:
        """By our name."""
        return VenueRequest("GET", "/v2/order", {"market": market.symbol, "name": name}, limits.CALL)

    def read(self, order: Order, body: bytes) -> OrderStatus:
        """With all fills."""
        try:
            said = _order(body)
            currency = order.market.quote
            fills = tuple(
                make_fill(order, fill.id, fill.amount, fill.price, fill.fee, currency) for fill in said.fills
            )
        except UNREADABLE_ORDER as error:
            raise unreadable_order(order, error) from error
        return OrderStatus(said.id, state_of(said.state), amount_of(order, said.filled), fills, said.state)

    def trades(self, market: Market, venue_order_id: str) -> VenueRequest | None:
        """None: an order comes with its fills."""
        del market, venue_order_id
        return None

    def read_trades(self, order: Order, body: bytes) -> tuple[Fill, ...]:
        """Nothing was asked."""
        del order, body
        return ()

    def warm(self) -> VenueRequest:
        """The venue's time."""
        return VenueRequest("GET", "/v2/time", {}, limits.CALL, private=False)

    def time_of(self, body: bytes) -> int | None:
        """To the millisecond."""
        try:
            return _time(body).time
        except UNREADABLE_ORDER as error:
            raise VenueError(str(error)) from error


def _params(order: Order, name: str) -> dict[str, str]:
    return {
        "market": order.market.symbol,
        "side": order.side,
        "amount": plain(order.quantity),
        "price": plain(order.limit),
        "until": "IOC",
        "name": name,
    }
