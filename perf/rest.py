"""Answers the few REST calls that clients make before they subscribe: listings, depth snapshots, the time.
Pure.

``server`` uses it. The limits of the real interfaces are left out, so that clients under test start as fast
as they can.
"""

from collections.abc import Callable, Mapping

import msgspec

from arbshard.exchanges.binance import frames
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.units import fixed8

Params = Mapping[str, str]
Answer = Callable[[Params], bytes | None]
"""The body of a call's answer; None for a market that is not listed."""

_ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET")


def upbit_calls(markets: Mapping[str, SimMarket]) -> dict[str, Answer]:
    """Return the answers to Upbit's calls, by path."""
    rows = [
        {
            "market": market.symbol,
            "korean_name": market.listing.korean_name,
            "english_name": market.listing.english_name,
            "market_event": {"warning": False, "caution": {}},
        }
        for market in markets.values()
    ]
    body = msgspec.json.encode(rows)
    return {"/v1/market/all": lambda _: body}


def binance_calls(
    markets: Mapping[str, SimMarket], last_id: Callable[[str], int], now_ms: Callable[[], int]
) -> dict[str, Answer]:
    """Return the answers to Binance's calls, by path.

    ``last_id`` returns the update id of the last diff event of a symbol.
    """
    listed = msgspec.json.encode([_symbol(market) for market in markets.values()])

    def exchange_info(_: Params) -> bytes:
        return b'{"timezone":"UTC","serverTime":%d,"rateLimits":[],"exchangeFilters":[],"symbols":%s}' % (
            now_ms(),
            listed,
        )

    def depth(params: Params) -> bytes | None:
        market = markets.get(params.get("symbol", ""))
        if market is None:
            return None
        market.book.update_id = last_id(market.symbol)
        return frames.depth(market.book, int(params.get("limit", "100"))).encode()

    return {
        "/api/v3/ping": lambda _: b"{}",
        "/api/v3/time": lambda _: b'{"serverTime":%d}' % now_ms(),
        "/api/v3/exchangeInfo": exchange_info,
        "/api/v3/depth": depth,
    }


def _symbol(market: SimMarket) -> dict[str, object]:
    listing = market.listing
    tick, lot = fixed8(listing.tick), fixed8(listing.lot)
    filters: list[dict[str, object]] = [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "90000000.00000000", "stepSize": lot},
        {"filterType": "NOTIONAL", "minNotional": "5.00000000", "maxNotional": "9000000.00000000"},
    ]
    return {
        "symbol": listing.symbol,
        "status": "TRADING",
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": _ORDER_TYPES,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters,
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }
