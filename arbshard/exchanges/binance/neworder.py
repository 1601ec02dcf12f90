"""Reads the parameters of a new order and checks them against the symbol's rules. It is pure.

``trading`` places the result. Stop, iceberg and pegged orders are not traded on the simulated Binance, as its
``exchangeInfo`` states.
"""

from decimal import Decimal
from typing import NamedTuple, cast

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.order import Side, Ticket, TimeInForce
from arbshard.exchanges.accounts.taking import plan
from arbshard.exchanges.binance.marketdata import SELF_TRADE_MODES, MarketData
from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.binance.refusals import (
    BinanceRefusal,
    market_closed,
    missing_both,
    not_required,
    not_valid,
    rejected,
)
from arbshard.exchanges.binance.replies import ReplyKind
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.units import UNIT
from arbshard.model.money import ZERO

_SIDES: dict[str, Side] = {"BUY": "buy", "SELL": "sell"}
_TIFS: dict[str, TimeInForce] = {"GTC": "gtc", "IOC": "ioc", "FOK": "fok"}
_NOT_TRADED = {
    "STOP_LOSS": "Stop loss orders are not supported for this symbol.",
    "STOP_LOSS_LIMIT": "Stop loss limit orders are not supported for this symbol.",
    "TAKE_PROFIT": "Take profit orders are not supported for this symbol.",
    "TAKE_PROFIT_LIMIT": "Take profit limit orders are not supported for this symbol.",
}
_TYPES = ("LIMIT", "MARKET", "LIMIT_MAKER", *_NOT_TRADED)
_REPLY_KINDS: tuple[ReplyKind, ...] = ("ACK", "RESULT", "FULL")


class NewOrder(NamedTuple):
    """Holds an order that breaks no filter."""

    ticket: Ticket
    reply: ReplyKind


class _Asked(NamedTuple):
    """Holds the parameters of a new order, in a valid form."""

    market: SimMarket
    side: Side
    kind: str
    tif: TimeInForce
    price: Decimal | None
    quantity: Decimal | None
    funds: Decimal | None
    client_id: str
    self_trade: str
    reply: ReplyKind


def read(params: BinanceParams, data: MarketData, fresh_id: str) -> _Asked:
    """Read the order in ``params``; ``fresh_id`` is its client id when it has none. Raises ``BinanceRefusal``."""
    market = data.listed_market(params.symbol())
    params.need("side")
    side = params.one_of("side", _SIDES, BinanceRefusal(-1117, "Invalid side."))
    params.need("type")
    kind = params.one_of("type", _TYPES, BinanceRefusal(-1116, "Invalid orderType."))
    tif = params.one_of("timeInForce", _TIFS, BinanceRefusal(-1115, "Invalid timeInForce."))
    price, quantity, funds = (params.decimal(name) for name in ("price", "quantity", "quoteOrderQty"))
    reply = params.one_of("newOrderRespType", _REPLY_KINDS, not_valid("newOrderRespType"))
    self_trade = params.one_of(
        "selfTradePreventionMode", SELF_TRADE_MODES, not_valid("selfTradePreventionMode")
    )
    client_id = params.client_id("newClientOrderId")
    iceberg = params.decimal("icebergQty")
    # These are for the customer's own use: the venue accepts them and does not print them.
    params.skip("strategyId", "strategyType")
    assert side is not None
    assert kind is not None
    if kind in _NOT_TRADED:
        raise BinanceRefusal(-1013, _NOT_TRADED[kind])
    if iceberg:
        raise BinanceRefusal(-1013, "Iceberg orders are not supported for this symbol.")
    _check_combination(params, kind, price=price, quantity=quantity, funds=funds)
    return _Asked(
        market,
        _SIDES[side],
        kind,
        "post_only" if kind == "LIMIT_MAKER" else _TIFS[tif or "GTC"],
        price,
        quantity,
        funds,
        client_id or fresh_id,
        self_trade or "EXPIRE_MAKER",
        cast("ReplyKind", reply) if reply else "ACK" if kind == "LIMIT_MAKER" else "FULL",
    )


def _check_combination(
    params: BinanceParams,
    kind: str,
    *,
    price: Decimal | None,
    quantity: Decimal | None,
    funds: Decimal | None,
) -> None:
    if kind == "MARKET":
        if price is not None:
            raise not_required("price")
        if params.peek("timeInForce") is not None:
            raise not_required("timeInForce")
        if quantity is not None and funds is not None:
            raise not_required("quoteOrderQty")
        if quantity is None and funds is None:
            raise missing_both("quantity", "quoteOrderQty")
        return
    if kind == "LIMIT":
        params.need("timeInForce")
    elif params.peek("timeInForce") is not None:
        raise not_required("timeInForce")
    params.need("quantity")
    params.need("price")
    if funds is not None:
        raise not_required("quoteOrderQty")


def check(asked: _Asked, account: TradingAccount, data: MarketData) -> NewOrder:
    """Return the order for the matcher. Raises ``BinanceRefusal`` when it breaks a filter."""
    market, rules = asked.market, data.rules(asked.market.symbol)
    if not market.takes_orders:
        raise market_closed()
    reference = _reference(market)
    is_market = asked.price is None
    quantity = asked.quantity
    if asked.price is not None:
        rules.check_price(asked.price, reference)
    if quantity is not None:
        rules.check_quantity(quantity, is_market=is_market)
        notional = quantity * (reference if asked.price is None else asked.price)
    else:
        assert asked.funds is not None
        quantity, notional = _quantity_for(asked.funds, asked.side, market), asked.funds
    rules.check_notional(notional, is_market=is_market)
    if not quantity:
        raise rejected("Order book liquidity is less than `LOT_SIZE` filter minimum quantity.")
    rules.check_open_orders(sum(order.symbol == market.symbol for order in account.open_orders.values()))
    ticket = Ticket(
        market.symbol,
        asked.side,
        "market" if is_market else "limit",
        asked.tif,
        price=asked.price,
        quantity=quantity,
        client_id=asked.client_id,
        venue_kind=asked.kind,
        self_trade=asked.self_trade,
        asked_funds=asked.funds,
    )
    return NewOrder(ticket, asked.reply)


def _quantity_for(funds: Decimal, side: Side, market: SimMarket) -> Decimal:
    """Return the whole lots that ``funds`` (quote) buy from the book, or whose sale brings as much."""
    book = market.book
    levels = book.asks if side == "buy" else book.bids
    found = plan(Ticket(market.symbol, side, "market", funds=funds), levels, market.lot)
    return sum((take.quantity for take in found.takes), ZERO)


def _reference(market: SimMarket) -> Decimal:
    """Return the price that values market orders and that limits are compared with: the middle of the book.

    The venue uses a mean of the last minutes or a reference price; in whole percent they are the same.
    """
    return Decimal(market.best_bid + market.best_ask) / (2 * UNIT)
