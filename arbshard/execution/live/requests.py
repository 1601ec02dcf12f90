"""What is asked of each venue: paths, parameters, costs. Pure.

Prices and quantities go out as plain text of exact decimals; they are on the venue's grid before they come here.
"""

from arbshard.execution.live import limits
from arbshard.model.market import Market
from arbshard.model.money import plain
from arbshard.model.order import Order
from arbshard.venues.base.request import Request


def place(order: Order, name: str) -> Request:
    """Send ``order`` as an IOC limit order that its venue will call ``name``."""
    if order.market.venue == "upbit":
        return Request("POST", "orders", _upbit(order, name), limits.UPBIT_ORDER)
    params = {**_binance(order, name), "newOrderRespType": "FULL"}
    return Request("POST", "order", params, limits.BINANCE_ORDER)


def rehearse(order: Order, name: str) -> Request:
    """Have ``order`` checked, and not carried out."""
    if order.market.venue == "upbit":
        return Request("POST", "orders/test", _upbit(order, name), limits.UPBIT_TEST)
    return Request("POST", "order/test", _binance(order, name), limits.BINANCE_TEST)


def find(market: Market, name: str) -> Request:
    """Ask how the order called ``name`` stands."""
    if market.venue == "upbit":
        return Request("GET", "order", {"identifier": name}, limits.UPBIT_READ)
    params = {"symbol": market.symbol, "origClientOrderId": name}
    return Request("GET", "order", params, limits.BINANCE_QUERY)


def trades(market: Market, venue_order_id: str) -> Request:
    """Ask for the fills of an order, with their commission. Binance only: Upbit tells them with the order."""
    assert market.venue == "binance", market
    params = {"symbol": market.symbol, "orderId": venue_order_id, "limit": "1000"}
    return Request("GET", "myTrades", params, limits.BINANCE_TRADES)


def warm(venue: str) -> Request:
    """Something cheap and public that keeps the connection open, and tells the venue's time where there is a call."""
    if venue == "upbit":
        return Request(
            "GET", "orderbook", {"markets": "KRW-USDT", "count": "1"}, limits.UPBIT_BOOK, private=False
        )
    return Request("GET", "time", {}, limits.BINANCE_TIME, private=False)


def _upbit(order: Order, name: str) -> dict[str, str]:
    return {
        "market": order.market.symbol,
        "side": "bid" if order.side == "buy" else "ask",
        "ord_type": "limit",
        "volume": plain(order.quantity),
        "price": plain(order.limit),
        "time_in_force": "ioc",
        "identifier": name,
    }


def _binance(order: Order, name: str) -> dict[str, str]:
    return {
        "symbol": order.market.symbol,
        "side": order.side.upper(),
        "type": "LIMIT",
        "timeInForce": "IOC",
        "quantity": plain(order.quantity),
        "price": plain(order.limit),
        "newClientOrderId": name,
    }
