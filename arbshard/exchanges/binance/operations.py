"""Lists what the simulated Binance does: each call once, with its REST path, WebSocket method and weight.

``rest`` and ``wsapi`` look calls up here; neither knows what they do.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from arbshard.exchanges.accounts.matching import Matcher
from arbshard.exchanges.binance.access import Access
from arbshard.exchanges.binance.history import History
from arbshard.exchanges.binance.marketdata import MarketData, depth_weight
from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.binance.refusals import Json
from arbshard.exchanges.binance.tradedata import (
    TradeData,
    day_ticker_weight,
    rolling_ticker_weight,
    weight_by_symbols,
)
from arbshard.exchanges.binance.trading import RefusalInMarket, Trading, VerifiedCall, never
from arbshard.exchanges.binance.weights import Weights
from arbshard.exchanges.market import SimMarket

Weigh = Callable[[BinanceParams], int]


class PublicCall(NamedTuple):
    """Describes a call that needs no account."""

    weigh: Weigh
    run: Callable[[BinanceParams, int], bytes]
    """Returns finished JSON for parameters and wall time in ms."""


class SignedCall(NamedTuple):
    """Describes a call that an account's owner signs."""

    weigh: Weigh
    run: Callable[[VerifiedCall], Json]
    places: bool = False
    """Whether the account's order counts are part of the answer."""
    free: bool = False
    """Whether it weighs nothing when it succeeds."""


class Operations:
    """Holds everything that REST and the WebSocket API have in common."""

    def __init__(
        self,
        markets: Mapping[str, SimMarket],
        access: Access,
        matcher: Matcher,
        refuse: RefusalInMarket = never,
    ) -> None:
        """Build the table; ``refuse`` is asked once for each new order that breaks no rule."""
        self.access = access
        self.weights = Weights()
        data = MarketData(markets)
        self.trading = trading = Trading(data, matcher, refuse)
        history = History(data, trading)
        ping = PublicCall(_flat(1), _ping)
        time = PublicCall(_flat(1), _time)
        depth = PublicCall(depth_weight, lambda params, _: data.depth(params))
        info = PublicCall(_flat(20), data.exchange_info)
        trade_data = TradeData(data)
        recent_trades = PublicCall(_flat(25), trade_data.recent_trades)
        historical_trades = PublicCall(_flat(25), trade_data.historical_trades)
        aggregate_trades = PublicCall(_flat(4), trade_data.aggregate_trades)
        klines = PublicCall(_flat(2), trade_data.klines)
        average_price = PublicCall(_flat(2), trade_data.average_price)
        day_ticker = PublicCall(day_ticker_weight, trade_data.day_ticker)
        price_ticker = PublicCall(weight_by_symbols(2, 4), trade_data.price_ticker)
        book_ticker = PublicCall(weight_by_symbols(2, 4), trade_data.book_ticker)
        rolling_ticker = PublicCall(rolling_ticker_weight, trade_data.rolling_ticker)
        trading_day_ticker = PublicCall(rolling_ticker_weight, trade_data.day_of_trading_ticker)
        place = SignedCall(_flat(1), trading.place, places=True, free=True)
        test = SignedCall(_test_weight, trading.test)
        cancel = SignedCall(_flat(1), trading.cancel, free=True)
        cancel_all = SignedCall(_flat(1), trading.cancel_all, free=True)
        replace = SignedCall(_flat(1), trading.replace, places=True, free=True)
        status = SignedCall(_flat(4), trading.status)
        open_orders = SignedCall(
            lambda params: 80 if params.peek("symbol") is None else 6, history.open_orders
        )
        orders = SignedCall(_flat(20), history.orders)
        trades = SignedCall(lambda params: 20 if params.peek("orderId") is None else 5, history.trades)
        account = SignedCall(_flat(20), history.account)
        counts = SignedCall(_flat(40), history.order_counts)
        commission = SignedCall(_flat(20), history.commission)
        filters = SignedCall(_flat(40), history.filters)
        prevented = SignedCall(
            lambda params: 2 if params.peek("orderId") is None else 20, history.prevented_matches
        )
        self.rest: dict[str, dict[str, PublicCall | SignedCall]] = {
            "/api/v3/ping": {"GET": ping},
            "/api/v3/time": {"GET": time},
            "/api/v3/depth": {"GET": depth},
            "/api/v3/exchangeInfo": {"GET": info},
            "/api/v3/trades": {"GET": recent_trades},
            "/api/v3/historicalTrades": {"GET": historical_trades},
            "/api/v3/aggTrades": {"GET": aggregate_trades},
            "/api/v3/klines": {"GET": klines},
            "/api/v3/uiKlines": {"GET": klines},
            "/api/v3/avgPrice": {"GET": average_price},
            "/api/v3/ticker": {"GET": rolling_ticker},
            "/api/v3/ticker/24hr": {"GET": day_ticker},
            "/api/v3/ticker/tradingDay": {"GET": trading_day_ticker},
            "/api/v3/ticker/price": {"GET": price_ticker},
            "/api/v3/ticker/bookTicker": {"GET": book_ticker},
            "/api/v3/myFilters": {"GET": filters},
            "/api/v3/myPreventedMatches": {"GET": prevented},
            "/api/v3/order": {"POST": place, "GET": status, "DELETE": cancel},
            "/api/v3/order/test": {"POST": test},
            "/api/v3/order/cancelReplace": {"POST": replace},
            "/api/v3/openOrders": {"GET": open_orders, "DELETE": cancel_all},
            "/api/v3/allOrders": {"GET": orders},
            "/api/v3/myTrades": {"GET": trades},
            "/api/v3/account": {"GET": account},
            "/api/v3/account/commission": {"GET": commission},
            "/api/v3/rateLimit/order": {"GET": counts},
            "/sapi/v1/account/apiRestrictions": {"GET": SignedCall(_flat(1), history.key_rights)},
            "/sapi/v1/capital/config/getall": {"GET": SignedCall(_flat(10), history.coins)},
            "/sapi/v1/asset/tradeFee": {"GET": SignedCall(_flat(1), history.trade_fees)},
        }
        """REST calls by path and method."""
        self.methods: dict[str, PublicCall | SignedCall] = {
            "ping": ping,
            "time": time,
            "depth": depth,
            "exchangeInfo": info,
            "trades.recent": recent_trades,
            "trades.historical": historical_trades,
            "trades.aggregate": aggregate_trades,
            "klines": klines,
            "uiKlines": klines,
            "avgPrice": average_price,
            "ticker": rolling_ticker,
            "ticker.24hr": day_ticker,
            "ticker.tradingDay": trading_day_ticker,
            "ticker.price": price_ticker,
            "ticker.book": book_ticker,
            "myFilters": filters,
            "myPreventedMatches": prevented,
            "order.place": place,
            "order.test": test,
            "order.status": status,
            "order.cancel": cancel,
            "order.cancelReplace": replace,
            "openOrders.status": open_orders,
            "openOrders.cancelAll": cancel_all,
            "allOrders": orders,
            "myTrades": trades,
            "account.status": account,
            "account.rateLimits.orders": counts,
            "account.commission": commission,
        }
        """Calls of the WebSocket API by name."""


def _flat(weight: int) -> Weigh:
    return lambda _: weight


def _test_weight(params: BinanceParams) -> int:
    return 20 if (params.peek("computeCommissionRates") or "").lower() == "true" else 1


def _ping(params: BinanceParams, _now_ms: int) -> bytes:
    params.finish()
    return b"{}"


def _time(params: BinanceParams, now_ms: int) -> bytes:
    params.finish()
    return b'{"serverTime":%d}' % now_ms
