"""Formats the private events of the simulated Binance: execution reports and account positions.

It is pure: the matcher's events go in, JSON comes out. ``wsapi`` uses it.
"""

from arbshard.exchanges.accounts.order import OrderChanged, SimFill, WalletChanged
from arbshard.exchanges.binance import replies
from arbshard.exchanges.binance.filters import text8
from arbshard.exchanges.binance.refusals import Json
from arbshard.model.money import ZERO


def position(change: WalletChanged, now_ms: int) -> dict[str, Json]:
    """Return ``outboundAccountPosition``: the balances that changed."""
    return {
        "e": "outboundAccountPosition",
        "E": now_ms,
        "u": change.at_ms,
        "B": [{"a": one.currency, "f": text8(one.free), "l": text8(one.locked)} for one in change.balances],
    }


def execution(change: OrderChanged, now_ms: int) -> dict[str, Json] | None:
    """Return ``executionReport``; None for the event that a filled order is done, which the venue does not report."""
    order, fill = change.order, change.fill
    if change.kind == "done":
        return None
    status = replies.status_of(order)
    kind = "TRADE" if change.kind == "trade" else status
    cancel_id = order.cancel_id if change.kind == "canceled" else ""
    report: dict[str, Json] = {
        "e": "executionReport",
        "E": now_ms,
        "s": order.symbol,
        "c": cancel_id or order.client_id,
        "S": replies.side_of(order),
        "o": order.ticket.venue_kind,
        "f": replies.time_in_force(order),
        "q": text8(replies.quantity_of(order)),
        "p": text8(order.price or ZERO),
        "P": text8(ZERO),
        "F": text8(ZERO),
        "g": -1,
        "C": order.client_id if cancel_id else "",
        "x": kind,
        "X": status,
        "r": "NONE",
        "i": order.number,
        **_last(fill),
        "z": text8(order.executed),
        "T": change.at_ms,
        "I": _number(change),
        "w": status in ("NEW", "PARTIALLY_FILLED"),
        "M": False,
        "O": order.created_ms,
        "Z": text8(order.executed_funds),
        "Q": text8(order.ticket.asked_funds or ZERO),
        "W": order.created_ms,
        "V": order.ticket.self_trade,
    }
    reason = replies.expiry_reason(order)
    return report if kind != "EXPIRED" or reason is None else {**report, "eR": reason}


def _last(fill: SimFill | None) -> dict[str, Json]:
    """Return the fields of an execution report about its fill, or those that say that there is none."""
    if fill is None:
        none = text8(ZERO)
        return {"l": none, "L": none, "Y": none, "n": "0", "N": None, "t": -1, "m": False}
    return {
        "l": text8(fill.quantity),
        "L": text8(fill.price),
        "Y": text8(fill.funds),
        "n": text8(fill.fee),
        "N": fill.fee_currency,
        "t": int(fill.trade_id),
        "m": fill.is_maker,
    }


def _number(change: OrderChanged) -> int:
    """Return a number for an execution: it is unique, and every client can hold it exactly (it is below 2**53)."""
    if change.fill is not None:
        return int(change.fill.trade_id) * 4
    return change.order.number * 4 + (1 if change.kind == "new" else 2)


def terminated(now_ms: int) -> dict[str, Json]:
    """Return ``eventStreamTerminated``: a subscription has ended."""
    return {"e": "eventStreamTerminated", "E": now_ms}
