"""Answers the requests of Upbit's REST interface: quotation here, accounts in ``private``. It is pure.

Every answer carries ``Remaining-Req``, errors too. Errors of quotation endpoints have an integer as their name.
"""

from collections.abc import Callable, Mapping

import msgspec

from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import Query, RestReply
from arbshard.exchanges.units import plain
from arbshard.exchanges.upbit import frames
from arbshard.exchanges.upbit.gate import RateVerdict, RequestCounter
from arbshard.exchanges.upbit.private import UpbitPrivate
from arbshard.exchanges.upbit.quotation import Quotation, QuotationError
from arbshard.exchanges.upbit.refusals import UpbitRefusal, error_body
from arbshard.exchanges.upbit.replies import at_kst

_CAUTIONS = (
    "PRICE_FLUCTUATIONS",
    "TRADING_VOLUME_SOARING",
    "DEPOSIT_AMOUNT_SOARING",
    "GLOBAL_PRICE_DIFFERENCES",
    "CONCENTRATION_OF_SMALL_ACCOUNTS",
)
_TRUE = ("true", "True", "1")
_QUOTATION_METHODS = ("GET", "HEAD")

StatusAndBody = tuple[int, bytes]


class UpbitRest:
    """Serves ``/v1`` of the simulated Upbit."""

    def __init__(
        self,
        markets: Mapping[str, SimMarket],
        private: UpbitPrivate | None = None,
        gate: RequestCounter | None = None,
    ) -> None:
        """Serve ``markets``; without ``private`` there are no accounts. ``gate`` also counts the venue's sockets."""
        self._markets = markets
        self._private = private
        self._routes: dict[str, tuple[str, Callable[[Query], StatusAndBody]]] = {
            "/v1/market/all": ("market", self._market_all),
            "/v1/orderbook": ("orderbook", self._orderbook),
            "/v1/orderbook/instruments": ("orderbook", self._instruments),
            "/v1/orderbook/supported_levels": ("orderbook", self._supported_levels),
            "/v1/ticker": ("ticker", self._ticker),
            "/v1/ticker/all": ("ticker", self._ticker_all),
            **Quotation(markets).routes,
        }
        self._gate = gate or RequestCounter()

    def answer(self, query: Query) -> RestReply:
        """Return the reply to ``query``; a caller that asks too often in one group gets 429 and then 418."""
        private = self._private
        if private is not None and query.path in private.paths:
            verdict, status, body = self._answer_private(private, query)
        else:
            verdict, status, body = self._answer_public(query)
        headers = {"Remaining-Req": verdict.header}
        return RestReply(status, headers, body, "application/json; charset=utf-8")

    def _answer_public(self, query: Query) -> tuple[RateVerdict, int, bytes]:
        group, handler = self._routes.get(query.path, ("default", None))
        # A browser's requests, which have an origin, share a narrow limit of their own.
        verdict = self._admit("origin" if "origin" in query.headers else group, query.peer, query)
        if verdict.status != 200:
            return verdict, verdict.status, _too_many(verdict, query)
        if handler is None:
            return verdict, *_no_route(query)
        if query.method not in _QUOTATION_METHODS:
            return verdict, *_no_method()
        try:
            return verdict, *handler(query)
        except QuotationError as refused:
            return verdict, *refused.reply

    def _answer_private(self, private: UpbitPrivate, query: Query) -> tuple[RateVerdict, int, bytes]:
        """Answer a private call. Limits count by key, or by address when the request has no valid one."""
        route = private.route(query.method, query.path)
        if route is None:
            return self._admit("default", query.peer, query), *_no_method()
        try:
            account = private.account(query)
        except UpbitRefusal as refused:
            verdict = self._admit(route.group, query.peer, query)
            if verdict.status != 200:
                return verdict, verdict.status, _too_many(verdict, query)
            return verdict, refused.status, refused.body
        verdict = self._admit(route.group, account.key, query)
        if verdict.status != 200:
            return verdict, verdict.status, _too_many(verdict, query)
        try:
            return verdict, *private.reply(route, account, query)
        except UpbitRefusal as refused:
            return verdict, refused.status, refused.body

    def _admit(self, group: str, caller: str, query: Query) -> RateVerdict:
        return self._gate.admit(group, caller, query.now_ns)

    def _market_all(self, query: Query) -> StatusAndBody:
        details = query.get("is_details", "isDetails") in _TRUE
        listings = []
        for market in self._markets.values():
            if market.state == "delisted":
                continue
            listing = market.listing
            entry: dict[str, object] = {
                "market": listing.symbol,
                "korean_name": listing.korean_name,
                "english_name": listing.english_name,
            }
            if details:
                entry["market_event"] = {
                    "warning": market.is_warned,
                    "caution": {
                        name: name == market.caution
                        for name in dict.fromkeys((*_CAUTIONS, market.caution or _CAUTIONS[0]))
                    },
                }
            listings.append(entry)
        return 200, msgspec.json.encode(listings)

    def _orderbook(self, query: Query) -> StatusAndBody:
        markets = self._asked(query)
        count = query.get("count")
        depth = int(count) if count and count.isascii() and count.isdigit() and len(count) < 4 else 30
        if query.get("level") not in (None, "0"):
            return 200, b"[]"
        books = [frames.rest_orderbook(market, min(max(depth, 1), 30), query.now_ms) for market in markets]
        return 200, f"[{','.join(books)}]".encode()

    def _instruments(self, query: Query) -> StatusAndBody:
        instruments = [
            {
                "market": market.symbol,
                "quote_currency": market.listing.quote,
                "tick_size": plain(market.tick_at(market.best_bid)),
                "supported_levels": ["0"],
            }
            for market in self._asked(query)
        ]
        return 200, msgspec.json.encode(instruments)

    def _supported_levels(self, query: Query) -> StatusAndBody:
        levels = [{"market": market.symbol, "supported_levels": [0]} for market in self._asked(query)]
        return 200, msgspec.json.encode(levels)

    def _ticker(self, query: Query) -> StatusAndBody:
        tickers = [frames.rest_ticker(market, query.now_ms) for market in self._asked(query)]
        return 200, msgspec.json.encode(tickers)

    def _ticker_all(self, query: Query) -> StatusAndBody:
        quotes = _listed(query, "quote_currencies", "quoteCurrencies")
        if not quotes:
            raise QuotationError(400, "quote_currencies is missing")
        tickers = [
            frames.rest_ticker(market, query.now_ms)
            for market in self._markets.values()
            if market.state != "delisted" and market.listing.quote in quotes
        ]
        return 200, msgspec.json.encode(tickers)

    def _asked(self, query: Query) -> list[SimMarket]:
        """Return the requested markets, which are in a list joined by commas or in repeated parameters."""
        codes = _listed(query, "markets", "market")
        found = (self._markets[code] for code in codes if code in self._markets)
        markets = [market for market in found if market.state != "delisted"]
        if not codes or len(markets) != len(codes):
            raise QuotationError(404, "Code not found")
        return markets


def _listed(query: Query, *names: str) -> list[str]:
    """Return every value of ``names``, with those that are joined by commas split."""
    values = (value for name, value in query.params if name.removesuffix("[]") in names)
    return [part.strip() for value in values for part in value.split(",")]


def _too_many(verdict: RateVerdict, query: Query) -> bytes:
    if verdict.status == 429:
        return error_body("too_many_requests", "Too many API requests.")
    until = at_kst(query.now_ms + verdict.blocked_s * 1000)
    return error_body("too_many_requests", f"Blocked for {verdict.blocked_s} s, until {until}.")


def _no_route(query: Query) -> StatusAndBody:
    return 404, error_body("not_found", f"no Route matched with those values: {query.path}")


def _no_method() -> StatusAndBody:
    return 405, error_body("method_not_allowed", "Method not allowed")
