"""Selects the orders of an account that a list call asks for. It is pure; ``desk`` uses it."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.order import SimOrder
from arbshard.exchanges.upbit.frames import KST
from arbshard.exchanges.upbit.params import UpbitParams
from arbshard.exchanges.upbit.refusals import invalid, missing
from arbshard.exchanges.upbit.replies import JsonObject, state_of

IDS_MAX = 100
_DAY_MS = 86_400_000
_SPAN_MS_MAX = 7 * _DAY_MS
_PAGE_MAX = 100
_CLOSED_MAX = 1000
_OPEN_STATES = ("wait", "watch")
_CLOSED_STATES = ("done", "cancel")


def open_orders(account: TradingAccount, params: UpbitParams) -> list[SimOrder]:
    """Return the orders of ``GET /v1/orders/open``."""
    states = _states(params, _OPEN_STATES, _OPEN_STATES)
    return _page(_wanted(_ordered(account.open_orders.values(), params), params, states), params)


def closed_orders(account: TradingAccount, params: UpbitParams, now_ms: int) -> list[SimOrder]:
    """Return the orders of ``GET /v1/orders/closed``.

    They were made within at most seven days; without a time these are the last seven.
    """
    states = _states(params, _CLOSED_STATES, _CLOSED_STATES)
    start_ms, end_ms = _span(params, now_ms)
    limit = params.count("limit", 100, _CLOSED_MAX)
    found = _wanted(_ordered(account.orders.values(), params), params, states)
    return list(islice((order for order in found if start_ms <= order.created_ms <= end_ms), limit))


def legacy_orders(account: TradingAccount, params: UpbitParams) -> list[SimOrder]:
    """Return the orders of ``GET /v1/orders``, the list that older clients call, by ids or by state.

    The default state is ``wait``; with ids it is every state.
    """
    states = _states(params, (*_OPEN_STATES, *_CLOSED_STATES), ("wait",))
    if params.all("uuids", "identifiers"):
        if params.get("state", "states") is None:
            states = (*_OPEN_STATES, *_CLOSED_STATES)
        return list(_wanted(found_orders(account, params, IDS_MAX)[0], params, states))
    return _page(_wanted(_ordered(account.orders.values(), params), params, states), params)


def found_orders(
    account: TradingAccount, params: UpbitParams, largest: int
) -> tuple[list[SimOrder], list[JsonObject]]:
    """Return the orders that ``uuids`` or else ``identifiers`` name, and those ids that name none.

    Raises ``UpbitRefusal`` for no ids or too many.
    """
    kind = "uuids" if params.all("uuids") else "identifiers"
    ids, by_id = params.all(kind), account.orders if kind == "uuids" else account.by_client_id
    if not ids:
        raise missing("uuids or identifiers")
    if len(ids) > largest:
        raise invalid(kind)
    ids = list(dict.fromkeys(ids))
    found = [by_id[one] for one in ids if one in by_id]
    return found, [{kind.removesuffix("s"): one} for one in ids if one not in by_id]


def orders_to_cancel(account: TradingAccount, params: UpbitParams) -> list[SimOrder]:
    """Return the orders of ``DELETE /v1/orders/open``: by side, by pairs or by quote currencies; at most 300,
    usually 20.
    """
    side = params.one_of("cancel_side", ("all", "ask", "bid"), "all")
    pairs, excluded = params.listed("pairs"), params.listed("excluded_pairs")
    quotes = params.listed("quote_currencies")
    if pairs and quotes:
        raise invalid("pairs")
    word = {"ask": "sell", "bid": "buy"}.get(side)
    found = (
        order
        for order in _ordered(account.open_orders.values(), params)
        if word in (None, order.side)
        and (not pairs or order.symbol in pairs)
        and order.symbol not in excluded
        and (not quotes or order.quote in quotes)
    )
    return list(islice(found, params.count("count", 20, 300)))


def _states(params: UpbitParams, allowed: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
    asked = tuple(params.listed("state", "states"))
    if any(state not in allowed for state in asked):
        raise invalid("states")
    return asked or default


def _ordered(orders: Iterable[SimOrder], params: UpbitParams) -> list[SimOrder]:
    """Return ``orders`` with the oldest or the newest first, as the call wants."""
    listed = list(orders)
    if params.one_of("order_by", ("asc", "desc"), "desc") == "desc":
        listed.reverse()
    return listed


def _wanted(orders: Iterable[SimOrder], params: UpbitParams, states: tuple[str, ...]) -> Iterator[SimOrder]:
    market = params.get("market")
    return (order for order in orders if market in (None, order.symbol) and state_of(order) in states)


def _page(orders: Iterator[SimOrder], params: UpbitParams) -> list[SimOrder]:
    page, limit = params.count("page", 1, 10**6), params.count("limit", _PAGE_MAX, _PAGE_MAX)
    return list(islice(orders, (page - 1) * limit, page * limit))


def _span(params: UpbitParams, now_ms: int) -> tuple[int, int]:
    """Return start and end in wall ms, at most seven days apart."""
    start_ms, end_ms = _time_ms(params, "start_time"), _time_ms(params, "end_time")
    if start_ms is None:
        end_ms = now_ms if end_ms is None else end_ms
        return end_ms - _SPAN_MS_MAX, end_ms
    if end_ms is None:
        return start_ms, start_ms + _SPAN_MS_MAX
    if not start_ms <= end_ms <= start_ms + _SPAN_MS_MAX:
        raise invalid("end_time")
    return start_ms, end_ms


def _time_ms(params: UpbitParams, name: str) -> int | None:
    """Return a time in wall ms, from milliseconds or an ISO 8601 time, which is Korean where it names no zone."""
    value = params.get(name)
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) <= 13:
        return int(value)
    try:
        # A plus sign of a zone that was not percent-encoded has arrived as a blank.
        at = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
        return int((at if at.tzinfo else at.replace(tzinfo=KST)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise invalid(name) from None
