"""Binance's public spot REST interface: pure, a query in and an answer out.

Every answer carries ``X-MBX-USED-WEIGHT-1M``. Parameters a call does not know are refused, as on the venue.
"""

import json
import re
from collections.abc import Callable, Mapping

import msgspec

from arbshard.sim.binance import frames
from arbshard.sim.limits import Budget
from arbshard.sim.market import Market
from arbshard.sim.session import Answer, Query
from arbshard.sim.units import UNIT, fixed8

WEIGHT_MAX = 6000
DEPTH_MAX = 5000
_SYMBOL = re.compile(r"[A-Z0-9-_.]{1,20}")
_NUMBER = re.compile(r"[0-9]{1,20}")

_RATE_LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_MAX},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
    {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000},
]
_ORDER_TYPES = [
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
]  # fmt: skip
_TOO_MUCH = (
    f"Too much request weight used; current limit is {WEIGHT_MAX} request weight per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API."
)
_SELF_TRADE = ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"]


class _Refused(Exception):
    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.body = _error(code, message)


def _error(code: int, message: str) -> bytes:
    return msgspec.json.encode({"code": code, "msg": message})


class BinanceRest:
    """``/api/v3`` of the simulated Binance, as far as market data goes."""

    def __init__(self, markets: Mapping[str, Market]) -> None:
        self._markets = markets
        self._symbols = {symbol: msgspec.json.encode(_symbol(market)) for symbol, market in markets.items()}
        self._budget = Budget(WEIGHT_MAX, 60)
        self._routes: dict[str, tuple[frozenset[str], Callable[[Query], bytes]]] = {
            "/api/v3/ping": (frozenset(), lambda _: b"{}"),
            "/api/v3/time": (frozenset(), self._time),
            "/api/v3/depth": (frozenset({"symbol", "limit"}), self._depth),
            "/api/v3/exchangeInfo": (
                frozenset({"symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"}),
                self._exchange_info,
            ),
        }

    def answer(self, query: Query) -> Answer:
        """The reply to ``query``; 429 with ``Retry-After`` (seconds) when the minute's weight is used up."""
        spent = self._budget.spend(query.peer, _weight(query), query.now_ns)
        headers = {"X-MBX-USED-WEIGHT": str(spent), "X-MBX-USED-WEIGHT-1M": str(spent)}
        route = self._routes.get(query.path)
        if route is None:
            page = b"<html><body><h2>404 Not found</h2></body></html>"
            return Answer(404, headers, page, "text/html")
        if spent > WEIGHT_MAX:
            headers["Retry-After"] = str(self._budget.wait_s(query.now_ns))
            return Answer(429, headers, _error(-1003, _TOO_MUCH))
        try:
            _check_params(query, route[0])
            return Answer(200, headers, route[1](query))
        except _Refused as refused:
            return Answer(refused.status, headers, refused.body)

    def _time(self, query: Query) -> bytes:
        return b'{"serverTime":%d}' % query.now_ms

    def _depth(self, query: Query) -> bytes:
        market = self._market(_mandatory(query, "symbol"))
        limit = query.get("limit")
        if limit is None:
            levels = 100
        elif not _NUMBER.fullmatch(limit):
            raise _Refused(
                -1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'."
            )
        else:
            levels = min(int(limit), DEPTH_MAX)
        if levels == 0:
            raise _Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        return frames.depth(market.book, levels).encode()

    def _exchange_info(self, query: Query) -> bytes:
        symbols = self._asked(query)
        status = query.get("symbolStatus")
        if status not in (None, "TRADING"):
            symbols = []
        head = {
            "timezone": "UTC",
            "serverTime": query.now_ms,
            "rateLimits": _RATE_LIMITS,
            "exchangeFilters": [],
        }
        listed = b",".join([self._symbols[symbol] for symbol in symbols])
        return msgspec.json.encode(head)[:-1] + b',"symbols":[' + listed + b"]}"

    def _asked(self, query: Query) -> list[str]:
        one, many = query.get("symbol"), query.get("symbols")
        if one is not None and many is not None:
            raise _Refused(-1128, "Combination of optional parameters invalid.")
        if one is not None:
            return [self._market(one).symbol]
        if many is None:
            return list(self._markets)
        try:
            wanted = json.loads(many)
        except ValueError:
            wanted = None
        if not isinstance(wanted, list) or not wanted or not all(isinstance(name, str) for name in wanted):
            raise _Refused(-1100, "Illegal characters found in parameter 'symbols'.")
        return [self._market(name).symbol for name in wanted]

    def _market(self, symbol: str) -> Market:
        if not _SYMBOL.fullmatch(symbol):
            raise _Refused(
                -1100,
                "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
            )
        market = self._markets.get(symbol)
        if market is None:
            raise _Refused(-1121, "Invalid symbol.")
        return market


def _weight(query: Query) -> int:
    if query.path == "/api/v3/exchangeInfo":
        return 20
    if query.path != "/api/v3/depth":
        return 1
    limit = query.get("limit") or "100"
    levels = int(limit) if _NUMBER.fullmatch(limit) else 100
    return 5 if levels <= 100 else 25 if levels <= 500 else 50 if levels <= 1000 else 250


def _check_params(query: Query, known: frozenset[str]) -> None:
    if query.method not in ("GET", "HEAD"):
        raise _Refused(-1020, "This operation is not supported.", 405)
    unread = [name for name, _ in query.params if name not in known]
    if unread:
        sent = len(query.params)
        raise _Refused(
            -1104,
            f"Not all sent parameters were read; read '{sent - len(unread)}' parameter(s) but was sent '{sent}'.",
        )


def _mandatory(query: Query, name: str) -> str:
    value = query.get(name)
    if not value:
        raise _Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def _symbol(market: Market) -> dict[str, object]:
    listing = market.listing
    return {
        "symbol": listing.symbol,
        "status": "TRADING",
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": _ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(market),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": _SELF_TRADE,
    }


def _filters(market: Market) -> list[dict[str, object]]:
    """PRICE_FILTER first: some clients read ``filters[0].tickSize``."""
    tick, lot = market.listing.tick, market.listing.lot
    largest = tick * 100_000_000
    quantity_max = lot * 900_000_000
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": fixed8(tick),
            "maxPrice": fixed8(largest),
            "tickSize": fixed8(tick),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": fixed8(lot),
            "maxQty": fixed8(quantity_max),
            "stepSize": fixed8(lot),
        },
        {"filterType": "ICEBERG_PARTS", "limit": 100},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": fixed8(0),
            "maxQty": fixed8(quantity_max // 50),
            "stepSize": fixed8(0),
        },
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": 10,
            "maxTrailingAboveDelta": 2000,
            "minTrailingBelowDelta": 10,
            "maxTrailingBelowDelta": 2000,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "2",
            "bidMultiplierDown": "0.5",
            "askMultiplierUp": "2",
            "askMultiplierDown": "0.5",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": fixed8(5 * UNIT),
            "applyMinToMarket": True,
            "maxNotional": fixed8(9_000_000 * UNIT),
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
    ]
