"""Formats orders, trades and accounts as Upbit's REST interface does: decimals as text, times at +09:00.

``figures`` has the venue's formulas; the private WebSocket prints the same numbers. Callers run inside
``MONEY_CONTEXT``.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from arbshard.exchanges.accounts.order import SimOrder
from arbshard.exchanges.accounts.wallet import Wallet, WalletBalance
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.upbit.frames import KST
from arbshard.exchanges.upbit.tickets import TOTAL_MAX, total_min
from arbshard.model.money import ZERO, plain

_SHOWN = Decimal("1e-8")
_ORDER_TYPES = ("limit", "limit_ioc", "limit_fok", "limit_post_only", "best_ioc", "best_fok")

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]
JsonObject = dict[str, Json]


class Figures(NamedTuple):
    """Holds an order's money in the venue's terms."""

    reserved_fee: Decimal
    remaining_fee: Decimal
    paid_fee: Decimal
    locked: Decimal
    """What is not executed and its fee, also of a cancelled order, which locks nothing any more."""


def figures(order: SimOrder) -> Figures:
    """Return an order's money: a bid's fee is reserved in addition, an ask's is taken from what is received."""
    if order.side == "sell":
        return Figures(ZERO, ZERO, order.fee_paid, order.remaining)
    if order.funds is not None:
        asked, left = order.funds, order.remaining_funds
    else:
        assert order.quantity is not None, order.id
        assert order.price is not None, order.id
        asked, left = order.quantity * order.price, order.remaining * order.price
    left_fee = left * order.fee_rate
    return Figures(asked * order.fee_rate, left_fee, order.fee_paid, left + left_fee)


def state_of(order: SimOrder) -> str:
    """Return the venue's name of an order's state."""
    return {"open": "wait", "done": "done", "canceled": "cancel"}[order.status]


def printed_price(order: SimOrder) -> Decimal | None:
    """Return a limit price, the total to spend, or None."""
    if order.kind == "limit":
        return order.price
    return order.funds


def time_in_force(order: SimOrder) -> str | None:
    """Return the time in force as it was sent."""
    return None if order.tif == "gtc" else order.tif


def at_kst(at_ms: int) -> str:
    """Return a time as in ``2026-11-21T14:00:00+09:00``."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(KST).isoformat()


def order_reply(order: SimOrder, *, with_funds: bool = False) -> JsonObject:
    """Return an order object; ``with_funds`` where the call reports what was spent or received."""
    money = figures(order)
    reply: JsonObject = {
        "market": order.symbol,
        "uuid": order.id,
        "side": "bid" if order.side == "buy" else "ask",
        "ord_type": order.ticket.venue_kind,
        "price": _text(printed_price(order)),
        "state": state_of(order),
        "created_at": at_kst(order.created_ms),
        "volume": _text(order.quantity),
        "remaining_volume": None if order.quantity is None else plain(order.remaining),
        "executed_volume": plain(order.executed),
        "reserved_fee": plain(money.reserved_fee),
        "remaining_fee": plain(money.remaining_fee),
        "paid_fee": plain(money.paid_fee),
        "locked": plain(money.locked),
        "prevented_volume": "0",
        "prevented_locked": "0",
        "trades_count": len(order.fills),
    }
    if with_funds:
        reply["executed_funds"] = plain(order.executed_funds)
    for name, value in (
        ("time_in_force", time_in_force(order)),
        ("identifier", order.client_id),
        ("smp_type", order.ticket.self_trade),
    ):
        if value:
            reply[name] = value
    return reply


def trades_reply(order: SimOrder) -> list[Json]:
    """Return the fills of an order. Upbit reports no fee here; the trend is the taker's direction."""
    buys = order.side == "buy"
    return [
        {
            "market": order.symbol,
            "uuid": fill.trade_id,
            "price": plain(fill.price),
            "volume": plain(fill.quantity),
            "funds": plain(fill.funds),
            "trend": "up" if buys is not fill.is_maker else "down",
            "created_at": at_kst(fill.at_ms),
            "side": "bid" if buys else "ask",
        }
        for fill in order.fills
    ]


def accounts_reply(wallet: Wallet, *, is_rounded: bool = False) -> list[Json]:
    """Return the account's balances, KRW always; ``is_rounded`` cuts them to the digits that the venue shows."""
    held = (one for one in wallet.balances() if one.free or one.locked or one.currency == "KRW")
    return [_account(shown(balance) if is_rounded else balance) for balance in held]


def shown(balance: WalletBalance) -> WalletBalance:
    """Return ``balance`` cut to eight decimals, as public records of Upbit's statements show it."""
    free, locked = (amount.quantize(_SHOWN, ROUND_DOWN) for amount in (balance.free, balance.locked))
    return WalletBalance(balance.currency, free, locked)


def _account(balance: WalletBalance) -> JsonObject:
    return {
        "currency": balance.currency,
        "balance": plain(balance.free),
        "locked": plain(balance.locked),
        "avg_buy_price": "0",
        "avg_buy_price_modified": True,
        "unit_currency": "KRW",
    }


def chance_reply(market: SimMarket, wallet: Wallet, fee_rate: Decimal) -> JsonObject:
    """Return what may be ordered in ``market``, at which fees and with which balances."""
    listing, fee, least = market.listing, plain(fee_rate), plain(total_min(market))
    return {
        "bid_fee": fee,
        "ask_fee": fee,
        "maker_bid_fee": fee,
        "maker_ask_fee": fee,
        "market": {
            "id": listing.symbol,
            "name": f"{listing.base}/{listing.quote}",
            "order_types": ["limit"],
            "order_sides": ["ask", "bid"],
            "bid_types": [*_ORDER_TYPES, "price"],
            "ask_types": [*_ORDER_TYPES, "market"],
            "bid": {"currency": listing.quote, "min_total": least},
            "ask": {"currency": listing.base, "min_total": least},
            "max_total": plain(TOTAL_MAX),
            "state": "active" if market.takes_orders else "inactive",
        },
        "bid_account": _account(wallet.balance(listing.quote)),
        "ask_account": _account(wallet.balance(listing.base)),
    }


def batch_reply(
    cancelled: Iterable[SimOrder], over: Iterable[SimOrder], unknown: Iterable[JsonObject]
) -> JsonObject:
    """Return which of many orders were cancelled, which were over before, and which do not exist."""
    done: list[Json] = [_named(order) for order in cancelled]
    failed: list[Json] = [*map(_named, over), *unknown]
    return {
        "success": {"count": len(done), "orders": done},
        "failed": {"count": len(failed), "orders": failed},
    }


def _named(order: SimOrder) -> JsonObject:
    named: JsonObject = {"uuid": order.id, "market": order.symbol}
    if order.client_id:
        named["identifier"] = order.client_id
    return named


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def wallet_reply(market: SimMarket) -> dict[str, Json]:
    """Return the state of the wallet of a market's coin."""
    base = market.listing.base
    return {
        "currency": base,
        "wallet_state": market.wallet,
        "block_state": "normal",
        "block_height": 1_000_000,
        "block_updated_at": "2026-01-01T00:00:00.000+00:00",
        "block_elapsed_minutes": 0,
        "net_type": base,
        "network_name": market.listing.english_name,
    }
