"""Makes Upbit's requests about orders by REST, and reads the answers. Pure.

Upbit reports an order's fee as one sum. Each fill bears its share by the money that changed hands, and the last one
what is left, so that the sum is exact.
"""

from decimal import Decimal

import msgspec

from arbshard.model.market import Market
from arbshard.model.money import plain
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
from arbshard.venues.upbit import limits
from arbshard.venues.upbit.states import state_of


class _Trade(msgspec.Struct):
    uuid: str
    price: Decimal
    volume: Decimal
    funds: Decimal


class _Order(msgspec.Struct):
    uuid: str
    state: str
    executed_volume: Decimal
    paid_fee: Decimal
    trades: list[_Trade] = []


# Decimals are texts; the lax mode also takes numbers, which some answers have.
_order = msgspec.json.Decoder(_Order, strict=False).decode


class UpbitOrders:
    """Implements ``OrderVenue``."""

    order_cost = limits.ORDER

    def place(self, order: Order, name: str) -> VenueRequest:
        """Send it under a name that the venue remembers for ever, even if it refuses the order."""
        return VenueRequest("POST", "/v1/orders", _params(order, name), limits.ORDER)

    def rehearse(self, order: Order, name: str) -> VenueRequest:
        """Use the venue's own call for it."""
        return VenueRequest("POST", "/v1/orders/test", _params(order, name), limits.TEST)

    def find(self, market: Market, name: str) -> VenueRequest:
        """Ask by name alone: a name belongs to the account, whatever the market."""
        del market
        return VenueRequest("GET", "/v1/order", {"identifier": name}, limits.READ)

    def read(self, order: Order, body: bytes) -> OrderStatus:
        """Read it with its fills. The answer to a new order shows it as it was before it met the book."""
        try:
            answer = _order(body)
            fees = shares(answer.paid_fee, [trade.funds for trade in answer.trades])
            fills = tuple(
                make_fill(order, trade.uuid, trade.volume, trade.price, fee, order.market.quote)
                for trade, fee in zip(answer.trades, fees, strict=True)
            )
        except UNREADABLE_ORDER as error:
            raise unreadable_order(order, error) from error
        filled = amount_of(order, answer.executed_volume)
        return OrderStatus(answer.uuid, state_of(answer.state, filled), filled, fills, clipped(answer.state))

    def trades(self, market: Market, venue_order_id: str) -> VenueRequest | None:
        """Return None, because the venue lists the fills with the order."""
        del market, venue_order_id
        return None

    def read_trades(self, order: Order, body: bytes) -> tuple[Fill, ...]:
        """Return nothing, since nothing was asked."""
        del order, body
        return ()

    def warm(self) -> VenueRequest:
        """Ask for the smallest book."""
        return VenueRequest(
            "GET", "/v1/orderbook", {"markets": "KRW-USDT", "count": "1"}, limits.BOOK, private=False
        )

    def time_of(self, body: bytes) -> int | None:
        """Return None: a book has the time of its last change."""
        del body
        return None


def _params(order: Order, name: str) -> dict[str, str]:
    return {
        "market": order.market.symbol,
        "side": "bid" if order.side == "buy" else "ask",
        "ord_type": "limit",
        "volume": plain(order.quantity),
        "price": plain(order.limit),
        "time_in_force": "ioc",
        "identifier": name,
    }
