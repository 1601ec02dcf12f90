"""Answers an account's owner: balances, rates, open and past orders, trades. It is pure.

REST and the WebSocket API of the simulated Binance both ask here, through ``operations``.
"""

from collections.abc import Iterable
from typing import NamedTuple

from arbshard.exchanges.accounts.order import SimFill, SimOrder
from arbshard.exchanges.binance import replies
from arbshard.exchanges.binance.filters import filters_json
from arbshard.exchanges.binance.marketdata import MarketData
from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.binance.refusals import BinanceRefusal, Json, missing_both
from arbshard.exchanges.binance.trading import Trading, VerifiedCall

LIMIT = 500
LIMIT_MAX = 1000
_SPAN_MAX_MS = 86_400_000
_ACCOUNT_FILTERS = ("MAX_NUM_ORDERS", "MAX_NUM_ALGO_ORDERS", "MAX_NUM_ORDER_AMENDS")


class _Range(NamedTuple):
    """Describes the part of a list that is requested."""

    start_ms: int | None
    end_ms: int | None
    limit: int

    def holds(self, at_ms: int) -> bool:
        return (self.start_ms is None or at_ms >= self.start_ms) and (
            self.end_ms is None or at_ms <= self.end_ms
        )

    def cut(self, found: list[Json], *, from_the_start: bool) -> list[Json]:
        """Return the first ones when a beginning was named, otherwise the newest; always with the oldest first."""
        return found[: self.limit] if from_the_start or self.start_ms is not None else found[-self.limit :]


class History:
    """Handles the owner's queries."""

    def __init__(self, data: MarketData, trading: Trading) -> None:
        self._data = data
        self._trading = trading

    def account(self, call: VerifiedCall) -> Json:
        """Return balances and permissions."""
        omit_zero = call.params.flag("omitZeroBalances")
        call.params.finish()
        return replies.account(call.account, self._trading.fee_rate, omit_zero=omit_zero, now_ms=call.now_ms)

    def commission(self, call: VerifiedCall) -> Json:
        """Return the rates of a symbol."""
        market = self._data.market(call.params.symbol())
        call.params.finish()
        return replies.commission(market.symbol, self._trading.fee_rate)

    def coins(self, call: VerifiedCall) -> Json:
        """Return all coins with their networks, one each."""
        call.params.finish()
        return [replies.coin(self._data.market(symbol)) for symbol in self._data.symbols]

    def trade_fees(self, call: VerifiedCall) -> Json:
        """Return the rates of one symbol or of all, in the short form of ``/sapi``."""
        symbol = call.params.symbol_if_any()
        call.params.finish()
        symbols = self._data.symbols if symbol is None else [self._data.market(symbol).symbol]
        return [replies.trade_fee(one, self._trading.fee_rate) for one in symbols]

    def filters(self, call: VerifiedCall) -> Json:
        """Return the filters that concern the account in a symbol. There are none of the exchange or of an asset."""
        market = self._data.market(call.params.symbol())
        call.params.finish()
        of_account: list[Json] = [
            one
            for one in filters_json(self._data.rules(market.symbol))
            if isinstance(one, dict) and one["filterType"] in _ACCOUNT_FILTERS
        ]
        return {"exchangeFilters": [], "symbolFilters": of_account, "assetFilters": []}

    def prevented_matches(self, call: VerifiedCall) -> Json:
        """Return the trades that were prevented between orders of one account: none, as such orders never match
        here.
        """
        params = call.params
        self._data.market(params.symbol())
        match, order = params.integer("preventedMatchId"), params.integer("orderId")
        params.integer("fromPreventedMatchId")
        params.integer("limit")
        params.finish()
        if match is None and order is None:
            raise missing_both("preventedMatchId", "orderId")
        return []

    def key_rights(self, call: VerifiedCall) -> Json:
        """Return the permissions of the key."""
        call.params.finish()
        rights = call.account.permissions
        return {
            "ipRestrict": True,  # it serves this machine alone
            "createTime": call.now_ms // _SPAN_MAX_MS * _SPAN_MAX_MS,
            "enableReading": rights.can_read,
            "enableSpotAndMarginTrading": rights.can_trade,
            "enableWithdrawals": rights.can_withdraw,
            "enableInternalTransfer": False,
            "permitsUniversalTransfer": False,
            "enableMargin": False,
            "enableFutures": False,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enablePortfolioMarginTrading": False,
        }

    def order_counts(self, call: VerifiedCall) -> Json:
        """Return the unfilled orders and their limits."""
        call.params.finish()
        return self._trading.counts(call.account).listed(call.now_ms)

    def open_orders(self, call: VerifiedCall) -> Json:
        """Return the open orders, of one symbol or of all."""
        symbol = call.params.symbol_if_any()
        call.params.finish()
        if symbol is not None:
            self._data.market(symbol)
        return [
            replies.queried(order)
            for order in call.account.open_orders.values()
            if symbol in (None, order.symbol)
        ]

    def orders(self, call: VerifiedCall) -> Json:
        """Return all orders of a symbol, open or not."""
        symbol = self._data.market(call.params.symbol()).symbol
        from_id = call.params.integer("orderId")
        wanted = _range(call.params)
        call.params.finish()
        found: list[Json] = [
            replies.queried(order)
            for order in call.account.orders.values()
            if order.symbol == symbol
            and (from_id is None or order.number >= from_id)
            and wanted.holds(order.created_ms)
        ]
        return wanted.cut(found, from_the_start=from_id is not None)

    def trades(self, call: VerifiedCall) -> Json:
        """Return the fills of a symbol, with their commission."""
        symbol = self._data.market(call.params.symbol()).symbol
        order_id, from_id = call.params.integer("orderId"), call.params.integer("fromId")
        wanted = _range(call.params)
        call.params.finish()
        fills = sorted(
            _fills(
                order
                for order in call.account.orders.values()
                if order.symbol == symbol and order_id in (None, order.number)
            ),
            key=lambda one: int(one[1].trade_id),
        )
        found: list[Json] = [
            replies.trade(order, fill)
            for order, fill in fills
            if (from_id is None or int(fill.trade_id) >= from_id) and wanted.holds(fill.at_ms)
        ]
        return wanted.cut(found, from_the_start=from_id is not None)


def _fills(orders: Iterable[SimOrder]) -> Iterable[tuple[SimOrder, SimFill]]:
    return ((order, fill) for order in orders for fill in order.fills)


def _range(params: BinanceParams) -> _Range:
    start_ms, end_ms, limit = (params.integer(name) for name in ("startTime", "endTime", "limit"))
    if start_ms is not None and end_ms is not None:
        if end_ms < start_ms:
            raise BinanceRefusal(-1128, "Combination of optional parameters invalid.")
        if end_ms - start_ms > _SPAN_MAX_MS:
            raise BinanceRefusal(-1127, "More than 24 hours between startTime and endTime.")
    if limit == 0:
        raise BinanceRefusal(-1130, "Data sent for parameter 'limit' is not valid.")
    return _Range(start_ms, end_ms, min(limit or LIMIT, LIMIT_MAX))
