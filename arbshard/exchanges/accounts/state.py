"""Formats an account as plain values, so that the exchange's books can be compared with a customer's.

``server`` shows it. Amounts are text in plain notation, as in our ledger.
"""

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.order import SimFill, SimOrder
from arbshard.exchanges.accounts.wallet import WalletBalance
from arbshard.model.money import plain


def audit(account: TradingAccount) -> dict[str, object]:
    """Return balances by currency, and all orders that are kept with their fills, oldest first."""
    return {
        "opening": {balance.currency: plain(balance.free) for balance in account.opening},
        "balances": {balance.currency: _balance(balance) for balance in account.wallet.balances()},
        "orders": [_order(order) for order in account.orders.values()],
        "orders_dropped": account.orders_dropped,
        "events_lost": account.events_lost,
    }


def _balance(balance: WalletBalance) -> dict[str, str]:
    return {"free": plain(balance.free), "locked": plain(balance.locked)}


def _order(order: SimOrder) -> dict[str, object]:
    return {
        "id": order.id,
        "client_id": order.client_id,
        "symbol": order.symbol,
        "side": order.side,
        "kind": order.kind,
        "tif": order.tif,
        "price": None if order.price is None else plain(order.price),
        "quantity": None if order.quantity is None else plain(order.quantity),
        "funds": None if order.funds is None else plain(order.funds),
        "executed": plain(order.executed),
        "executed_funds": plain(order.executed_funds),
        "fee_paid": plain(order.fee_paid),
        "held": plain(order.held),
        "held_currency": order.held_currency,
        "status": order.status,
        "ended": order.ended,
        "created_ms": order.created_ms,
        "updated_ms": order.updated_ms,
        "fills": [_fill(fill) for fill in order.fills],
    }


def _fill(fill: SimFill) -> dict[str, object]:
    return {
        "trade_id": fill.trade_id,
        "price": plain(fill.price),
        "quantity": plain(fill.quantity),
        "funds": plain(fill.funds),
        "fee": plain(fill.fee),
        "fee_currency": fill.fee_currency,
        "is_maker": fill.is_maker,
        "at_ms": fill.at_ms,
    }
