"""Implements the calls on orders of the simulated Binance: place, test, cancel, replace, status. It is pure.

REST and the WebSocket API both come here, through ``operations``. The matcher's events report what happens in an
account; ``wsapi`` prints them.
"""

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.matching import Matcher, Shortage
from arbshard.exchanges.accounts.order import SimOrder
from arbshard.exchanges.binance import neworder, replies
from arbshard.exchanges.binance.marketdata import MarketData
from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.binance.refusals import (
    BinanceRefusal,
    Json,
    bad_key,
    missing_both,
    no_such_order,
    not_valid,
    rejected,
    unknown_order,
)
from arbshard.exchanges.binance.weights import OrderCounts
from arbshard.exchanges.market import SimMarket

_RESTRICTIONS = ("ONLY_NEW", "ONLY_PARTIALLY_FILLED")
_REPLACE_MODES = ("STOP_ON_FAILURE", "ALLOW_FAILURE")
_EXCEEDED_MODES = ("DO_NOTHING", "CANCEL_ONLY")
RefusalInMarket = Callable[[SimMarket], BinanceRefusal | None]
"""Returns a refusal of a new order that breaks no rule, or None."""


def never(_market: SimMarket) -> None:
    """Refuse no order: the default."""


class VerifiedCall(NamedTuple):
    """Holds a signed request whose signature is valid."""

    account: TradingAccount
    params: BinanceParams
    now_ms: int


class _Cancel(NamedTuple):
    """Says which order to cancel, and how."""

    order_id: int | None
    client_id: str | None
    own_id: str
    restriction: str | None


class Trading:
    """Handles the calls on orders."""

    def __init__(self, data: MarketData, matcher: Matcher, refuse: RefusalInMarket = never) -> None:
        """Trade on the markets of ``data``; ``refuse`` is asked once for each new order that breaks no rule."""
        self._data = data
        self._matcher = matcher
        self._refuse = refuse
        self._counts: dict[str, OrderCounts] = {}
        self._ids_made = 0

    def counts(self, account: TradingAccount) -> OrderCounts:
        """Return the counts of unfilled orders of ``account``."""
        return self._counts.setdefault(account.key, OrderCounts())

    @property
    def fee_rate(self) -> Decimal:
        """Return the commission of a new order, as a share."""
        return self._matcher.fee_rate

    def place(self, call: VerifiedCall) -> Json:
        """Place a new order; return the reply."""
        asked = neworder.read(call.params, self._data, self._fresh_id(call))
        call.params.finish()
        self._may_trade(call.account)
        self.counts(call.account).check(call.now_ms)
        return self._place(call, neworder.check(asked, call.account, self._data))

    def test(self, call: VerifiedCall) -> Json:
        """Check whether an order would be accepted, without placing it; return the reply."""
        wants_rates = call.params.flag("computeCommissionRates")
        asked = neworder.read(call.params, self._data, self._fresh_id(call))
        call.params.finish()
        self._may_trade(call.account)
        neworder.check(asked, call.account, self._data)
        return replies.test_commission(self.fee_rate) if wants_rates else {}

    def cancel(self, call: VerifiedCall) -> Json:
        """Cancel an open order; return the reply."""
        self._data.market(call.params.symbol())
        wanted = self._read_cancel(call, "orderId", "origClientOrderId", "newClientOrderId")
        call.params.finish()
        self._may_trade(call.account)
        return self._cancel(call, wanted)

    def cancel_all(self, call: VerifiedCall) -> Json:
        """Cancel all open orders of a symbol; return the replies."""
        market = self._data.market(call.params.symbol())
        call.params.finish()
        self._may_trade(call.account)
        found = [order for order in call.account.open_orders.values() if order.symbol == market.symbol]
        if not found:
            raise unknown_order()
        return [self._end(call, order, self._fresh_id(call)) for order in found]

    def replace(self, call: VerifiedCall) -> Json:
        """Cancel an order and place another; return the reply. Filters and limits are checked before either."""
        params = call.params
        params.need("cancelReplaceMode")
        mode = params.one_of("cancelReplaceMode", _REPLACE_MODES, not_valid("cancelReplaceMode"))
        exceeded = params.one_of(
            "orderRateLimitExceededMode", _EXCEEDED_MODES, not_valid("orderRateLimitExceededMode")
        )
        wanted = self._read_cancel(call, "cancelOrderId", "cancelOrigClientOrderId", "cancelNewClientOrderId")
        asked = neworder.read(params, self._data, self._fresh_id(call))
        params.finish()
        self._may_trade(call.account)
        new = neworder.check(asked, call.account, self._data)
        too_many = _attempt(lambda: self.counts(call.account).check(call.now_ms))
        if too_many.refused is not None and exceeded != "CANCEL_ONLY":
            raise too_many.refused
        canceled = _attempt(lambda: self._cancel(call, wanted))
        if canceled.refused is not None and mode == "STOP_ON_FAILURE":
            # The new order was not tried, but counts all the same.
            self.counts(call.account).add(call.now_ms)
            raise _replace_failed(canceled, None)
        placed = too_many if too_many.refused is not None else _attempt(lambda: self._place(call, new))
        if canceled.refused is not None or placed.refused is not None:
            raise _replace_failed(canceled, placed)
        return {
            "cancelResult": "SUCCESS",
            "newOrderResult": "SUCCESS",
            "cancelResponse": canceled.reply,
            "newOrderResponse": placed.reply,
        }

    def status(self, call: VerifiedCall) -> Json:
        """Return an order, open or not."""
        market = self._data.market(call.params.symbol())
        order_id, client_id = call.params.integer("orderId"), call.params.client_id("origClientOrderId")
        call.params.finish()
        order = _find(call.account, market.symbol, order_id, client_id)
        if order is None:
            raise no_such_order()
        return replies.queried(order)

    def _place(self, call: VerifiedCall, new: neworder.NewOrder) -> Json:
        ticket, account = new.ticket, call.account
        same_id = account.by_client_id.get(ticket.client_id)
        if same_id is not None and same_id.is_open:
            raise rejected("Duplicate order sent.")
        if ticket.tif == "post_only":
            assert ticket.price is not None
            if self._matcher.would_take(ticket.symbol, ticket.side, ticket.price):
                raise rejected("Order would immediately match and take.")
        refused = self._refuse(self._data.market(ticket.symbol))
        if refused is not None:
            raise refused
        order = self._matcher.place(account, ticket, call.now_ms)
        if isinstance(order, Shortage):
            raise rejected("Account has insufficient balance for requested action.")
        self.counts(account).add(call.now_ms, order)
        return replies.placed(order, new.reply)

    def _read_cancel(self, call: VerifiedCall, order_id: str, client_id: str, own_id: str) -> _Cancel:
        params = call.params
        wanted = _Cancel(
            params.integer(order_id),
            params.client_id(client_id),
            params.client_id(own_id) or self._fresh_id(call),
            params.one_of(
                "cancelRestrictions",
                _RESTRICTIONS,
                BinanceRefusal(
                    -1145, "`cancelRestrictions` has to be either `ONLY_NEW` or `ONLY_PARTIALLY_FILLED`."
                ),
            ),
        )
        if wanted.order_id is None and wanted.client_id is None:
            raise missing_both(client_id, order_id)
        return wanted

    def _cancel(self, call: VerifiedCall, wanted: _Cancel) -> Json:
        symbol = self._data.market(call.params.symbol()).symbol
        order = _find(call.account, symbol, wanted.order_id, wanted.client_id)
        if order is None or not order.is_open:
            raise unknown_order()
        if wanted.restriction == "ONLY_NEW" and order.executed:
            raise _restricted()
        if wanted.restriction == "ONLY_PARTIALLY_FILLED" and not order.executed:
            raise _restricted()
        return self._end(call, order, wanted.own_id)

    def _end(self, call: VerifiedCall, order: SimOrder, cancel_id: str) -> Json:
        order.cancel_id = cancel_id
        self._matcher.cancel(call.account, order, call.now_ms)
        return replies.canceled(order, cancel_id)

    def _may_trade(self, account: TradingAccount) -> None:
        if not account.permissions.can_trade:
            raise bad_key()

    def _fresh_id(self, call: VerifiedCall) -> str:
        """Return a client id for an order without one; none is returned twice in a run."""
        self._ids_made += 1
        return hashlib.blake2b(f"{call.now_ms} {self._ids_made}".encode(), digest_size=11).hexdigest()


def _find(
    account: TradingAccount, symbol: str, order_id: int | None, client_id: str | None
) -> SimOrder | None:
    """Return the order that both ids (where given) name; None when there is none.

    Raises ``BinanceRefusal`` when no id is given, or they disagree.
    """
    if order_id is None and client_id is None:
        raise missing_both("origClientOrderId", "orderId")
    if order_id is None:
        order = account.by_client_id.get(client_id or "")
    else:
        order = account.orders.get(str(order_id))
        if order is not None and client_id not in (None, order.client_id):
            raise BinanceRefusal(-2039, "Client order ID is not correct for this order ID.")
    return order if order is not None and order.symbol == symbol else None


def _restricted() -> BinanceRefusal:
    return BinanceRefusal(-2011, "Order was not canceled due to cancel restrictions.")


class _Attempt(NamedTuple):
    """Describes the outcome of one half of a replacement."""

    reply: Json
    refused: BinanceRefusal | None


def _attempt(action: Callable[[], Json]) -> _Attempt:
    try:
        return _Attempt(action(), None)
    except BinanceRefusal as refused:
        return _Attempt(refused.body(), refused)


def _replace_failed(canceled: _Attempt, placed: _Attempt | None) -> BinanceRefusal:
    """Return the error for a replacement that failed in part or completely.

    ``placed`` is None when the new order was not tried.
    """
    data: dict[str, Json] = {
        "cancelResult": "SUCCESS" if canceled.refused is None else "FAILURE",
        "newOrderResult": "NOT_ATTEMPTED" if placed is None else "FAILURE" if placed.refused else "SUCCESS",
        "cancelResponse": canceled.reply,
        "newOrderResponse": None if placed is None else placed.reply,
    }
    if canceled.refused is not None and (placed is None or placed.refused is not None):
        return BinanceRefusal(-2022, "Order cancel-replace failed.", 400, data)
    return BinanceRefusal(-2021, "Order cancel-replace partially failed.", 409, data)
