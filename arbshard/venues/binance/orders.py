"""Makes Binance's requests about orders by REST, and reads the answers. Pure."""

from decimal import Decimal

import msgspec

from arbshard.errors import VenueError
from arbshard.model.market import Market
from arbshard.model.money import plain
from arbshard.model.order import Fill, Order
from arbshard.venues.base.orders import UNREADABLE_ORDER, OrderStatus, amount_of, make_fill, unreadable_order
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.binance import limits
from arbshard.venues.binance.states import fault_of, state_of
from arbshard.venues.frame import clipped


class _Fill(msgspec.Struct, rename="camel"):
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str
    trade_id: int


class _Order(msgspec.Struct, rename="camel"):
    order_id: int
    status: str
    executed_qty: Decimal
    fills: list[_Fill] = []


class _Trade(msgspec.Struct, rename="camel"):
    id: int
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str


class _Time(msgspec.Struct, rename="camel"):
    server_time: int


_order = msgspec.json.Decoder(_Order, strict=False).decode
_trades = msgspec.json.Decoder(list[_Trade], strict=False).decode
_time = msgspec.json.Decoder(_Time).decode


class BinanceOrders:
    """Implements ``OrderVenue``."""

    order_cost = limits.ORDER

    def place(self, order: Order, name: str) -> VenueRequest:
        """Ask for the full answer, which lists the fills and what each of them cost."""
        params = {**_params(order, name), "newOrderRespType": "FULL"}
        return VenueRequest("POST", "/api/v3/order", params, limits.ORDER)

    def rehearse(self, order: Order, name: str) -> VenueRequest:
        """Use the venue's own call for it."""
        return VenueRequest("POST", "/api/v3/order/test", _params(order, name), limits.TEST)

    def find(self, market: Market, name: str) -> VenueRequest:
        """Ask by market and name: a name belongs to its market."""
        params = {"symbol": market.symbol, "origClientOrderId": name}
        return VenueRequest("GET", "/api/v3/order", params, limits.QUERY)

    def read(self, order: Order, body: bytes) -> OrderStatus:
        """Read it with its fills, which the answer to ``find`` does not list."""
        try:
            answer = _order(body)
            fills = tuple(
                make_fill(order, row.trade_id, row.qty, row.price, row.commission, row.commission_asset)
                for row in answer.fills
            )
        except UNREADABLE_ORDER as error:
            raise unreadable_order(order, error) from error
        filled = amount_of(order, answer.executed_qty)
        state = state_of(answer.status)
        return OrderStatus(
            str(answer.order_id), state, filled, fills, clipped(answer.status), fault_of(state)
        )

    def trades(self, market: Market, venue_order_id: str) -> VenueRequest | None:
        """Ask for the fills with their commission."""
        params = {"symbol": market.symbol, "orderId": venue_order_id, "limit": "1000"}
        return VenueRequest("GET", "/api/v3/myTrades", params, limits.TRADES)

    def read_trades(self, order: Order, body: bytes) -> tuple[Fill, ...]:
        """Read one row for each fill."""
        try:
            rows = _trades(body)
        except UNREADABLE_ORDER as error:
            raise unreadable_order(order, error) from error
        return tuple(
            make_fill(order, row.id, row.qty, row.price, row.commission, row.commission_asset) for row in rows
        )

    def warm(self) -> VenueRequest:
        """Ask for the venue's time."""
        return VenueRequest("GET", "/api/v3/time", {}, limits.TIME, private=False)

    def time_of(self, body: bytes) -> int | None:
        """Read the time, which is exact to the millisecond."""
        try:
            return _time(body).server_time
        except UNREADABLE_ORDER as error:
            raise VenueError(str(error)) from error


def _params(order: Order, name: str) -> dict[str, str]:
    return {
        "symbol": order.market.symbol,
        "side": order.side.upper(),
        "type": "LIMIT",
        "timeInForce": "IOC",
        "quantity": plain(order.quantity),
        "price": plain(order.limit),
        "newClientOrderId": name,
    }
