"""Encodes myOrder and myAsset messages, in all four formats. ``private_session`` uses it.

Amounts are JSON numbers: exact decimals, or doubles where the venue should print them so. Callers run inside
``MONEY_CONTEXT``.
"""

from decimal import Decimal
from typing import NamedTuple

import msgspec

from arbshard.exchanges.accounts.order import OrderChanged, SimFill, SimOrder, WalletChanged
from arbshard.exchanges.accounts.wallet import WalletBalance
from arbshard.exchanges.upbit.frames import in_list, is_short
from arbshard.exchanges.upbit.money import uuid_of
from arbshard.exchanges.upbit.replies import figures, printed_price, shown, time_in_force
from arbshard.model.money import ZERO, plain

_STATES = {"new": "wait", "trade": "trade", "done": "done", "canceled": "cancel"}
_CENT = Decimal("1e-8")

_SHORT = {
    "type": "ty",
    "code": "cd",
    "uuid": "uid",
    "ask_bid": "ab",
    "order_type": "ot",
    "state": "s",
    "trade_uuid": "tuid",
    "price": "p",
    "avg_price": "ap",
    "volume": "v",
    "remaining_volume": "rv",
    "executed_volume": "ev",
    "trades_count": "tc",
    "reserved_fee": "rsf",
    "remaining_fee": "rmf",
    "paid_fee": "pf",
    "locked": "l",
    "executed_funds": "ef",
    "time_in_force": "tif",
    "trade_fee": "tf",
    "is_maker": "im",
    "identifier": "id",
    "smp_type": "smpt",
    "prevented_volume": "pv",
    "prevented_locked": "pl",
    "trade_timestamp": "ttms",
    "order_timestamp": "otms",
    "timestamp": "tms",
    "stream_type": "st",
    "asset_uuid": "astuid",
    "assets": "ast",
    "asset_timestamp": "asttms",
}
_SHORT_ASSET = {"currency": "cu", "balance": "b", "locked": "l"}

PrivateValue = None | bool | int | float | str | msgspec.Raw | list[dict[str, "PrivateValue"]]
PrivateFields = dict[str, PrivateValue]


class _Traded(NamedTuple):
    """Holds the fields that only a message about a fill has."""

    uuid: PrivateValue = None
    fee: PrivateValue = None
    is_maker: PrivateValue = None
    at_ms: PrivateValue = None


def my_order(change: OrderChanged, form: str, now_ms: int, *, doubles: bool = False) -> bytes:
    """Return a message about a change of an order. For a fill, ``price`` and ``volume`` are those of the fill."""
    order, fill = change.order, change.fill
    price = printed_price(order) if fill is None else fill.price
    volume = order.quantity if fill is None else fill.quantity
    traded = _traded(order, fill)
    money = figures(order)
    fields: PrivateFields = {
        "type": "myOrder",
        "code": order.symbol,
        "uuid": order.id,
        "ask_bid": "BID" if order.side == "buy" else "ASK",
        "order_type": order.ticket.venue_kind,
        "state": _STATES[change.kind],
        "trade_uuid": traded.uuid,
        "price": _number(price),
        "avg_price": _number(_average(order)),
        "volume": _number(volume),
        "remaining_volume": _number(None if order.quantity is None else order.remaining),
        "executed_volume": _number(order.executed),
        "trades_count": len(order.fills),
        "reserved_fee": _number(money.reserved_fee),
        "remaining_fee": _number(money.remaining_fee),
        "paid_fee": _number(money.paid_fee),
        "locked": _number(money.locked),
        "executed_funds": _number(order.executed_funds),
        "time_in_force": time_in_force(order),
        "trade_fee": traded.fee,
        "is_maker": traded.is_maker,
        "identifier": order.client_id or None,
        "smp_type": order.ticket.self_trade or None,
        "prevented_volume": 0,
        "prevented_locked": 0,
        "trade_timestamp": traded.at_ms,
        "order_timestamp": order.created_ms,
        "timestamp": now_ms,
        "stream_type": "REALTIME",
    }
    return _encode(_as_doubles(fields) if doubles else fields, form)


def my_asset(
    change: WalletChanged,
    form: str,
    now_ms: int,
    account_key: str,
    *,
    is_rounded: bool = False,
    doubles: bool = False,
) -> bytes:
    """Return a message with the currencies that changed: what is free, and what is locked beside it."""
    short = is_short(form)
    fields: PrivateFields = {
        "type": "myAsset",
        "asset_uuid": uuid_of(account_key, change.at_ms),
        "assets": [
            _as_doubles(fields) if doubles else fields
            for fields in (
                _asset(shown(balance) if is_rounded else balance, short=short) for balance in change.balances
            )
        ],
        "asset_timestamp": change.at_ms,
        "timestamp": now_ms,
        "stream_type": "REALTIME",
    }
    return _encode(fields, form)


def _asset(balance: WalletBalance, *, short: bool) -> PrivateFields:
    fields: PrivateFields = {
        "currency": balance.currency,
        "balance": _number(balance.free),
        "locked": _number(balance.locked),
    }
    return {_SHORT_ASSET[name]: value for name, value in fields.items()} if short else fields


def _traded(order: SimOrder, fill: SimFill | None) -> _Traded:
    if fill is not None:
        return _Traded(fill.trade_id, _number(fill.fee), fill.is_maker, fill.at_ms)
    return _Traded(at_ms=order.fills[-1].at_ms if order.fills else None)


def _average(order: SimOrder) -> Decimal:
    """Return the average price of the fills, with 8 decimals at most, because nothing is booked by it."""
    return (order.executed_funds / order.executed).quantize(_CENT) if order.executed else ZERO


def _number(value: Decimal | None) -> PrivateValue:
    return None if value is None else msgspec.Raw(plain(value).encode())


def _as_doubles(fields: PrivateFields) -> PrivateFields:
    """Return ``fields`` with every amount as a double."""
    return {
        name: float(bytes(value)) if isinstance(value, msgspec.Raw) else value
        for name, value in fields.items()
    }


def _encode(fields: PrivateFields, form: str) -> bytes:
    if is_short(form):
        fields = {_SHORT[name]: value for name, value in fields.items()}
    return in_list(form, msgspec.json.encode(fields))
