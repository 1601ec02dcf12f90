"""Formats orders, fills and balances as the simulated Binance's REST and WebSocket API print them. It is pure.

``trading`` and ``history`` use it; ``reports`` shares the names of states.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.order import SimFill, SimOrder
from arbshard.exchanges.binance.filters import text8
from arbshard.exchanges.binance.refusals import Json
from arbshard.exchanges.market import SimMarket
from arbshard.model.money import ZERO, plain

ReplyKind = Literal["ACK", "RESULT", "FULL"]

_TIFS = {"gtc": "GTC", "ioc": "IOC", "fok": "FOK", "post_only": "GTC"}
_DEPOSITS = ("working", "deposit_only")
_WITHDRAWALS = ("working", "withdraw_only")
_EXPIRY_REASONS = {
    "ioc": "UNFILLED_IOC_QUANTITY_EXPIRED",
    "fok": "UNFILLED_FOK_ORDER_EXPIRED",
    "no_liquidity": "INSUFFICIENT_LIQUIDITY",
}


def status_of(order: SimOrder) -> str:
    """Return the venue's name of an order's state."""
    if order.status == "done":
        return "FILLED"
    if order.status == "canceled":
        return "EXPIRED" if order.ended in _EXPIRY_REASONS else "CANCELED"
    return "PARTIALLY_FILLED" if order.executed else "NEW"


def expiry_reason(order: SimOrder) -> str | None:
    """Return why an order expired; None when it did not."""
    return _EXPIRY_REASONS.get(order.ended)


def time_in_force(order: SimOrder) -> str:
    """Return the venue's name of an order's time in force."""
    return "GTC" if order.kind == "market" else _TIFS[order.tif]


def side_of(order: SimOrder) -> str:
    """Return ``BUY`` or ``SELL``."""
    return order.side.upper()


def quantity_of(order: SimOrder) -> Decimal:
    """Return the base that was requested."""
    assert order.quantity is not None, order.id
    return order.quantity


def placed(order: SimOrder, kind: ReplyKind) -> dict[str, Json]:
    """Return the reply to a new order."""
    reply: dict[str, Json] = {
        "symbol": order.symbol,
        "orderId": order.number,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "transactTime": order.updated_ms,
    }
    if kind == "ACK":
        return reply
    reply |= _amounts(order)
    reply["workingTime"] = order.created_ms
    reply["selfTradePreventionMode"] = order.ticket.self_trade
    reason = expiry_reason(order)
    if reason is not None:
        reply["expiryReason"] = reason
    if kind == "FULL":
        reply["fills"] = [_fill(fill) for fill in order.fills]
    return reply


def _amounts(order: SimOrder) -> dict[str, Json]:
    return {
        "price": text8(order.price or ZERO),
        "origQty": text8(quantity_of(order)),
        "executedQty": text8(order.executed),
        "origQuoteOrderQty": text8(order.ticket.asked_funds or ZERO),
        "cummulativeQuoteQty": text8(order.executed_funds),
        "status": status_of(order),
        "timeInForce": time_in_force(order),
        "type": order.ticket.venue_kind,
        "side": side_of(order),
    }


def _fill(fill: SimFill) -> dict[str, Json]:
    return {
        "price": text8(fill.price),
        "qty": text8(fill.quantity),
        "commission": text8(fill.fee),
        "commissionAsset": fill.fee_currency,
        "tradeId": int(fill.trade_id),
    }


def canceled(order: SimOrder, cancel_id: str) -> dict[str, Json]:
    """Return the reply to a cancel; ``cancel_id`` is the cancel's own client id."""
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_id,
        "orderId": order.number,
        "orderListId": -1,
        "clientOrderId": cancel_id,
        "transactTime": order.updated_ms,
        **_amounts(order),
        "selfTradePreventionMode": order.ticket.self_trade,
    }


def queried(order: SimOrder) -> dict[str, Json]:
    """Return an order in its present state, as queries and lists show it, without commission as on the venue."""
    reply: dict[str, Json] = {
        "symbol": order.symbol,
        "orderId": order.number,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        **_amounts(order),
        "stopPrice": text8(ZERO),
        "icebergQty": text8(ZERO),
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": True,
        "workingTime": order.created_ms,
        "selfTradePreventionMode": order.ticket.self_trade,
    }
    reason = expiry_reason(order)
    return reply if reason is None else {**reply, "expiryReason": reason}


def trade(order: SimOrder, fill: SimFill) -> dict[str, Json]:
    """Return a fill as ``myTrades`` shows it."""
    return {
        "symbol": order.symbol,
        "id": int(fill.trade_id),
        "orderId": order.number,
        "orderListId": -1,
        "price": text8(fill.price),
        "qty": text8(fill.quantity),
        "quoteQty": text8(fill.funds),
        "commission": text8(fill.fee),
        "commissionAsset": fill.fee_currency,
        "time": fill.at_ms,
        "isBuyer": order.side == "buy",
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def account(owner: TradingAccount, fee_rate: Decimal, *, omit_zero: bool, now_ms: int) -> dict[str, Json]:
    """Return commissions, permissions and balances."""
    rate, permissions = text8(fee_rate), owner.permissions
    in_ten_thousandths = int(fee_rate * 10_000)
    balances: Sequence[Json] = [
        {"asset": one.currency, "free": text8(one.free), "locked": text8(one.locked)}
        for one in owner.wallet.balances()
        if not omit_zero or one.free or one.locked
    ]
    return {
        "makerCommission": in_ten_thousandths,
        "takerCommission": in_ten_thousandths,
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {"maker": rate, "taker": rate, "buyer": text8(ZERO), "seller": text8(ZERO)},
        "canTrade": permissions.can_trade,
        "canWithdraw": permissions.can_withdraw,
        "canDeposit": permissions.can_deposit,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": now_ms,
        "accountType": "SPOT",
        "balances": list(balances),
        "permissions": ["SPOT"],
        "uid": 1,
    }


def commission(symbol: str, fee_rate: Decimal) -> dict[str, Json]:
    """Return the rates of a symbol."""
    standard: dict[str, Json] = {
        "maker": text8(fee_rate), "taker": text8(fee_rate), "buyer": text8(ZERO), "seller": text8(ZERO),
    }  # fmt: skip
    none: dict[str, Json] = dict.fromkeys(standard, text8(ZERO))
    return {
        "symbol": symbol,
        "standardCommission": standard,
        "specialCommission": none,
        "taxCommission": none,
        "discount": _discount(),
    }


def trade_fee(symbol: str, fee_rate: Decimal) -> dict[str, Json]:
    """Return the rates of a symbol, in the short form."""
    return {"symbol": symbol, "makerCommission": plain(fee_rate), "takerCommission": plain(fee_rate)}


def test_commission(fee_rate: Decimal) -> dict[str, Json]:
    """Return what ``order/test`` reports of an order's commission."""
    none: dict[str, Json] = {"maker": text8(ZERO), "taker": text8(ZERO)}
    return {
        "standardCommissionForOrder": {"maker": text8(fee_rate), "taker": text8(fee_rate)},
        "specialCommissionForOrder": none,
        "taxCommissionForOrder": none,
        "discount": _discount(),
    }


def _discount() -> dict[str, Json]:
    """Return the discount for paying in BNB, which is not enabled."""
    return {
        "enabledForAccount": False,
        "enabledForSymbol": False,
        "discountAsset": "BNB",
        "discount": "0.75000000",
    }


def coin(market: SimMarket) -> dict[str, Json]:
    """Return a market's coin in the form of ``/sapi/v1/capital/config/getall``."""
    listing = market.listing
    deposits, withdrawals = market.wallet in _DEPOSITS, market.wallet in _WITHDRAWALS
    network: dict[str, Json] = {
        "network": listing.base,
        "coin": listing.base,
        "name": listing.english_name,
        "isDefault": True,
        "depositEnable": deposits,
        "withdrawEnable": withdrawals,
        "depositDesc": "" if deposits else "Wallet Maintenance, Deposit Suspended",
        "withdrawDesc": "" if withdrawals else "Wallet Maintenance, Withdrawal Suspended",
        "withdrawFee": "0",
        "withdrawMin": "0",
        "withdrawMax": "9999999999",
        "withdrawIntegerMultiple": "0.00000001",
        "busy": False,
    }
    return {
        "coin": listing.base,
        "name": listing.english_name,
        "depositAllEnable": deposits,
        "withdrawAllEnable": withdrawals,
        "trading": True,
        "isLegalMoney": False,
        "networkList": [network],
    }
