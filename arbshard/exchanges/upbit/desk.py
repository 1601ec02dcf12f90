"""Implements Upbit's calls on an account: balances, orders, lists, cancels. It is pure.

``private`` authenticates and calls these; ``accounts.matching`` executes the orders. Refusals are raised.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from arbshard.exchanges.accounts.account import TradingAccount
from arbshard.exchanges.accounts.matching import Matcher, Shortage
from arbshard.exchanges.accounts.order import Side, SimOrder, Ticket
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.trades import DAY_MS
from arbshard.exchanges.upbit import order_lists
from arbshard.exchanges.upbit.money import uuid_of
from arbshard.exchanges.upbit.params import UpbitParams
from arbshard.exchanges.upbit.refusals import (
    UpbitRefusal,
    by_side,
    invalid,
    missing,
    order_not_found,
)
from arbshard.exchanges.upbit.replies import (
    Json,
    accounts_reply,
    at_kst,
    batch_reply,
    chance_reply,
    order_reply,
    trades_reply,
    wallet_reply,
)
from arbshard.exchanges.upbit.tickets import OrderTicket, check_identifier, listed_market, ticket_of

_KEY_DAYS = 365
_CANCEL_IDS_MAX = 20
RefusalOfSide = Callable[[SimMarket, Side], UpbitRefusal | None]
"""Returns a refusal of a new order that breaks no rule, or None."""


def _never(_market: SimMarket, _side: Side) -> None:
    """Refuse no order: the default."""


def _exact() -> bool:
    """Return that statements have all digits: the default."""
    return False


class AccountCall(NamedTuple):
    """Describes a call on an account."""

    account: TradingAccount
    params: UpbitParams
    now_ms: int


class UpbitDesk:
    """Answers the private calls of one venue.

    Each method takes an ``AccountCall`` and returns the reply's JSON, and may raise ``UpbitRefusal``.
    """

    def __init__(
        self,
        markets: Mapping[str, SimMarket],
        matcher: Matcher,
        refuse: RefusalOfSide = _never,
        rounds: Callable[[], bool] = _exact,
    ) -> None:
        """Serve ``markets``; ``refuse`` is asked once for each new order that breaks no rule.

        ``rounds`` is asked for each statement of the account whether it is cut to the digits that the venue shows.
        """
        self._rounds = rounds
        self._markets = markets
        self._matcher = matcher
        self._refuse = refuse

    def accounts(self, call: AccountCall) -> Json:
        """Answer ``GET /v1/accounts``."""
        return accounts_reply(call.account.wallet, is_rounded=self._rounds())

    def api_keys(self, call: AccountCall) -> Json:
        """Answer ``GET /v1/api_keys``: the key of the request, which is the only one and does not expire."""
        expire_ms = (call.now_ms // DAY_MS + _KEY_DAYS) * DAY_MS
        return [{"access_key": call.account.key, "expire_at": at_kst(expire_ms)}]

    def wallets(self, call: AccountCall) -> Json:
        """Answer ``GET /v1/status/wallet``: one network for each coin."""
        del call
        return [wallet_reply(market) for market in self._markets.values()]

    def chance(self, call: AccountCall) -> Json:
        """Answer ``GET /v1/orders/chance``."""
        market = listed_market(self._markets, call.params.need("market"))
        return chance_reply(market, call.account.wallet, self._matcher.fee_rate)

    def create(self, call: AccountCall) -> Json:
        """Answer ``POST /v1/orders``: the order as it was accepted, before it was matched.

        The attempt uses up an identifier, whatever its outcome is.
        """
        self._burn(call.account, call.params.get("identifier"))
        ticket = ticket_of(_request(call.params), self._markets)
        return order_reply(self._place(call, ticket))

    def test(self, call: AccountCall) -> Json:
        """Answer ``POST /v1/orders/test``: check everything and do nothing. The reply shows what the
        order would be.
        """
        identifier = call.params.get("identifier")
        if identifier is not None:
            _check_unused(call.account, identifier)
        ticket = ticket_of(_request(call.params), self._markets)
        lack = self._matcher.shortage(call.account, ticket)
        if lack is not None:
            raise _short(ticket)
        listing = self._markets[ticket.symbol].listing
        order_id, rate = uuid_of("test", call.now_ms), self._matcher.fee_rate
        order = SimOrder(
            0, order_id, ticket, listing.base, listing.quote, call.now_ms, call.now_ms, fee_rate=rate
        )
        return order_reply(order)

    def order(self, call: AccountCall) -> Json:
        """Answer ``GET /v1/order``."""
        order = _one(call.account, call.params, "uuid", "identifier")
        return {**order_reply(order, with_funds=True), "trades": trades_reply(order)}

    def cancel(self, call: AccountCall) -> Json:
        """Answer ``DELETE /v1/order``: the order as it was when the request was accepted."""
        order = _one(call.account, call.params, "uuid", "identifier")
        reply = order_reply(order)
        self._cancel(call, order)
        return reply

    def cancel_and_new(self, call: AccountCall) -> Json:
        """Answer ``POST /v1/orders/cancel_and_new``: the old order as it was, and the id of the new one.

        Nothing is cancelled when the new order could not be placed.
        """
        params, account = call.params, call.account
        identifier = params.get("new_identifier")
        self._burn(account, identifier)
        old = _one(account, params, "prev_order_uuid", "prev_order_identifier")
        if not old.is_open:
            raise order_not_found()
        ticket = ticket_of(_renewed(old, params), self._markets)
        lack = self._matcher.shortage(account, ticket)
        if lack is not None and (lack.currency != old.held_currency or lack.free + old.held < lack.needed):
            raise _short(ticket)
        reply = order_reply(old)
        self._cancel(call, old)
        reply["new_order_uuid"] = self._place(call, ticket).id
        if identifier is not None:
            reply["new_order_identifier"] = identifier
        return reply

    def open_orders(self, call: AccountCall) -> Json:
        """Answer ``GET /v1/orders/open``."""
        return _listed(order_lists.open_orders(call.account, call.params))

    def closed_orders(self, call: AccountCall) -> Json:
        """Answer ``GET /v1/orders/closed``."""
        return _listed(order_lists.closed_orders(call.account, call.params, call.now_ms))

    def legacy_orders(self, call: AccountCall) -> Json:
        """Answer ``GET /v1/orders``."""
        return _listed(order_lists.legacy_orders(call.account, call.params))

    def orders_by_id(self, call: AccountCall) -> Json:
        """Answer ``GET /v1/orders/uuids``."""
        found, _ = order_lists.found_orders(call.account, call.params, order_lists.IDS_MAX)
        market = call.params.get("market")
        return _listed([order for order in found if market in (None, order.symbol)])

    def cancel_by_id(self, call: AccountCall) -> Json:
        """Answer ``DELETE /v1/orders/uuids``."""
        found, unknown = order_lists.found_orders(call.account, call.params, _CANCEL_IDS_MAX)
        open_ones = [order for order in found if order.is_open]
        over = [order for order in found if not order.is_open]
        for order in open_ones:
            self._cancel(call, order)
        return batch_reply(open_ones, over, unknown)

    def cancel_open(self, call: AccountCall) -> Json:
        """Answer ``DELETE /v1/orders/open``."""
        orders = order_lists.orders_to_cancel(call.account, call.params)
        for order in orders:
            self._cancel(call, order)
        return batch_reply(orders, (), ())

    def _burn(self, account: TradingAccount, identifier: str | None) -> None:
        if identifier is not None:
            _check_unused(account, identifier)
            account.burn_client_id(identifier)

    def _place(self, call: AccountCall, ticket: Ticket) -> SimOrder:
        """Place an order; return it as it was before it was matched, which is what Upbit answers."""
        refused = self._refuse(self._markets[ticket.symbol], ticket.side)
        if refused is not None:
            raise refused
        placed = self._matcher.place(call.account, ticket, call.now_ms)
        if isinstance(placed, Shortage):
            raise _short(ticket)
        return placed.as_taken_on()

    def _cancel(self, call: AccountCall, order: SimOrder) -> None:
        if not order.is_open:
            raise order_not_found()
        self._matcher.cancel(call.account, order, call.now_ms)


def _check_unused(account: TradingAccount, identifier: str) -> None:
    check_identifier(identifier)
    if account.has_used(identifier):
        raise UpbitRefusal(400, "duplicated_identifier", "The identifier was used before.")


def _short(ticket: Ticket) -> UpbitRefusal:
    return by_side(
        "insufficient_funds", "bid" if ticket.side == "buy" else "ask", "The balance is too small."
    )


def _request(params: UpbitParams) -> OrderTicket:
    return OrderTicket(*(params.get(name) for name in OrderTicket._fields))


def _renewed(old: SimOrder, params: UpbitParams) -> OrderTicket:
    """Return the order that replaces ``old``: same market and side, new terms."""
    volume = params.get("new_volume")
    if volume == "remain_only":
        if old.quantity is None:
            raise invalid("new_volume")
        volume = f"{old.remaining:f}"
    return OrderTicket(
        old.symbol,
        "bid" if old.side == "buy" else "ask",
        params.need("new_ord_type"),
        params.get("new_price"),
        volume,
        params.get("new_time_in_force"),
        params.get("new_identifier"),
        params.get("new_smp_type"),
    )


def _one(account: TradingAccount, params: UpbitParams, by_uuid: str, by_identifier: str) -> SimOrder:
    """Return the order that is named; the uuid takes precedence. Raises ``UpbitRefusal``."""
    uuid, identifier = params.get(by_uuid), params.get(by_identifier)
    if uuid is None and identifier is None:
        raise missing(f"{by_uuid} or {by_identifier}")
    order = account.orders.get(uuid) if uuid is not None else account.by_client_id.get(identifier or "")
    if order is None:
        raise order_not_found()
    return order


def _listed(orders: list[SimOrder]) -> Json:
    return [order_reply(order, with_funds=True) for order in orders]
