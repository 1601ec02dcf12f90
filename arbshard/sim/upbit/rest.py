"""Upbit's quotation REST interface: pure, a query in and an answer out.

Every answer carries ``Remaining-Req``, errors too. Errors of quotation endpoints have an integer as their name.
"""

from collections.abc import Callable, Mapping

import msgspec

from arbshard.sim.limits import Budget
from arbshard.sim.market import Market
from arbshard.sim.session import Answer, Query
from arbshard.sim.units import UNIT, plain
from arbshard.sim.upbit import frames

_PER_SECOND = 10
_CAUTIONS = (
    "PRICE_FLUCTUATIONS",
    "TRADING_VOLUME_SOARING",
    "DEPOSIT_AMOUNT_SOARING",
    "GLOBAL_PRICE_DIFFERENCES",
    "CONCENTRATION_OF_SMALL_ACCOUNTS",
)
_TRUE = ("true", "True", "1")

Reply = tuple[int, bytes]


class UpbitRest:
    """``/v1`` of the simulated Upbit, as far as market data goes."""

    def __init__(self, markets: Mapping[str, Market]) -> None:
        self._markets = markets
        self._routes: dict[str, tuple[str, Callable[[Query], Reply]]] = {
            "/v1/market/all": ("market", self._market_all),
            "/v1/orderbook": ("orderbook", self._orderbook),
            "/v1/orderbook/instruments": ("orderbook", self._instruments),
            "/v1/ticker": ("ticker", self._ticker),
        }
        self._budgets = {
            group: Budget(_PER_SECOND, 1) for group in ("market", "orderbook", "ticker", "default")
        }

    def answer(self, query: Query) -> Answer:
        """The reply to ``query``, 429 when the caller asks more than 10 times a second in one group."""
        group, handler = self._routes.get(query.path, ("default", None))
        budget = self._budgets[group]
        spent = budget.spend(query.peer, 1, query.now_ns)
        left = max(0, budget.limit - spent)
        headers = {"Remaining-Req": f"group={group}; min={60 * budget.limit}; sec={left}"}
        if spent > budget.limit:
            status, body = 429, _error("too_many_requests", "Too many API requests.")
        elif handler is None:
            status, body = 404, _error("not_found", f"no Route matched with those values: {query.path}")
        elif query.method not in ("GET", "HEAD"):
            status, body = 405, _error("method_not_allowed", "Method not allowed")
        else:
            status, body = handler(query)
        return Answer(status, headers, body, "application/json; charset=utf-8")

    def _market_all(self, query: Query) -> Reply:
        details = query.get("is_details", "isDetails") in _TRUE
        listings = []
        for market in self._markets.values():
            listing = market.listing
            entry: dict[str, object] = {
                "market": listing.symbol,
                "korean_name": listing.korean_name,
                "english_name": listing.english_name,
            }
            if details:
                entry["market_event"] = {"warning": False, "caution": dict.fromkeys(_CAUTIONS, False)}
            listings.append(entry)
        return 200, msgspec.json.encode(listings)

    def _orderbook(self, query: Query) -> Reply:
        markets = self._asked(query)
        if isinstance(markets, bytes):
            return 404, markets
        count = query.get("count")
        depth = int(count) if count and count.isascii() and count.isdigit() and len(count) < 4 else 30
        if query.get("level") not in (None, "0"):
            return 200, b"[]"
        books = [frames.rest_orderbook(market, min(max(depth, 1), 30), query.now_ms) for market in markets]
        return 200, f"[{','.join(books)}]".encode()

    def _instruments(self, query: Query) -> Reply:
        markets = self._asked(query)
        if isinstance(markets, bytes):
            return 404, markets
        instruments = [
            {
                "market": market.symbol,
                "quote_currency": market.listing.quote,
                "tick_size": plain(market.book.ladder.tick(market.best_bid / UNIT)),
                "supported_levels": ["0"],
            }
            for market in markets
        ]
        return 200, msgspec.json.encode(instruments)

    def _ticker(self, query: Query) -> Reply:
        markets = self._asked(query)
        if isinstance(markets, bytes):
            return 404, markets
        tickers = [{"market": m.symbol, **frames.ticker_fields(m, query.now_ms)} for m in markets]
        return 200, msgspec.json.encode(tickers)

    def _asked(self, query: Query) -> list[Market] | bytes:
        """The markets asked for, or the body of the error."""
        codes = [code.strip() for code in (query.get("markets", "market") or "").split(",")]
        markets = [self._markets[code] for code in codes if code in self._markets]
        return markets if len(markets) == len(codes) else _error(404, "Code not found")


def _error(name: str | int, message: str) -> bytes:
    return msgspec.json.encode({"error": {"name": name, "message": message}})
