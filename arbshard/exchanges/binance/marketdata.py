"""Answers the simulated Binance's public calls: server time, symbols and their rules, order books.

It is pure. REST and the WebSocket API both ask here, through ``operations``.
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from arbshard.exchanges.binance import frames
from arbshard.exchanges.binance.filters import Rules, filters_json, rules_of
from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.binance.refusals import BinanceRefusal, Json, invalid_symbol, not_valid
from arbshard.exchanges.binance.weights import RATE_LIMITS
from arbshard.exchanges.market import MarketState, RuleFactors, SimMarket

DEPTH_MAX = 5000
ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET")
SELF_TRADE_MODES = ("EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "NONE")
"""Modes that an order may name and that replies repeat; an account here never trades with its own orders."""
_STATUSES: dict[MarketState, str] = {
    "trading": "TRADING",
    "cancel_only": "CANCEL_ONLY",
    "break": "BREAK",
    "halt": "HALT",
    "delisted": "END_OF_DAY",
}
"""The venue's names of the states. A delisted symbol is in no listing, so that its name is never printed."""
_ASKED_STATUSES = ("TRADING", "HALT", "BREAK", "CANCEL_ONLY")
_PERMISSION = "SPOT"
"""The only permission that symbols here have."""
_DIGITS = re.compile(r"[0-9]{1,20}")


class _Entry(NamedTuple):
    """Holds what ``exchangeInfo`` shows of a symbol, and for which state and rules it was made."""

    state: MarketState
    factors: RuleFactors
    rules: Rules
    text: bytes


class MarketData:
    """Holds the markets as every client sees them. Answers are finished JSON."""

    def __init__(self, markets: Mapping[str, SimMarket]) -> None:
        self._markets = markets
        self._entries: dict[str, _Entry] = {}
        """Entries by symbol, made once for each state of a market."""

    @property
    def symbols(self) -> list[str]:
        """Return all symbols that are listed."""
        return [symbol for symbol, market in self._markets.items() if market.state != "delisted"]

    def market(self, symbol: str) -> SimMarket:
        """Return the market of ``symbol``, listed or delisted. Raises ``BinanceRefusal`` when there never was one."""
        market = self._markets.get(symbol)
        if market is None:
            raise invalid_symbol()
        return market

    def listed_market(self, symbol: str) -> SimMarket:
        """Return the market of ``symbol``. Raises ``BinanceRefusal`` for one that is not listed, or not any more."""
        market = self.market(symbol)
        if market.state == "delisted":
            raise invalid_symbol()
        return market

    def rules(self, symbol: str) -> Rules:
        """Return the trading rules of a listed symbol."""
        return self._entry(symbol).rules

    def _entry(self, symbol: str) -> "_Entry":
        market = self._markets[symbol]
        found = self._entries.get(symbol)
        if found is None or (found.state, found.factors) != (market.state, market.factors):
            rules = rules_of(market.listing, market.factors)
            text = msgspec.json.encode(_symbol(market, rules))
            found = self._entries[symbol] = _Entry(market.state, market.factors, rules, text)
        return found

    def depth(self, params: BinanceParams) -> bytes:
        """Return the book of a symbol."""
        market = self.listed_market(params.symbol())
        limit = params.integer("limit")
        self.of_status(params, [market.symbol], is_single=True)
        params.finish()
        if limit == 0:
            raise not_valid("limit")
        return frames.depth(market.book, min(limit or 100, DEPTH_MAX)).encode()

    def exchange_info(self, params: BinanceParams, now_ms: int) -> bytes:
        """Return rate limits, and the requested symbols with their filters."""
        is_of_some = params.peek("symbol") is not None or params.peek("symbols") is not None
        if is_of_some and (params.peek("symbolStatus") or params.peek("permissions")):
            raise BinanceRefusal(-1128, "Combination of optional parameters invalid.")
        symbols = self.of_status(params, self.asked_symbols(params), is_single=False)
        permissions = params.text("permissions")
        params.skip("showPermissionSets")
        params.finish()
        if permissions is not None and _PERMISSION not in _words(permissions, "permissions"):
            symbols = []
        head = {"timezone": "UTC", "serverTime": now_ms, "rateLimits": RATE_LIMITS, "exchangeFilters": []}
        listed = b",".join([self._entry(symbol).text for symbol in symbols])
        return msgspec.json.encode(head)[:-1] + b',"symbols":[' + listed + b"]}"

    def of_status(self, params: BinanceParams, symbols: list[str], *, is_single: bool) -> list[str]:
        """Return those of ``symbols`` that have the requested status; a single one of another status is refused."""
        status = params.one_of(
            "symbolStatus", _ASKED_STATUSES, BinanceRefusal(-1122, "Invalid symbolStatus.")
        )
        if status is None:
            return symbols
        found = [one for one in symbols if _STATUSES[self._markets[one].state] == status]
        if is_single and not found:
            raise BinanceRefusal(-1220, "The symbol's status does not match the requested symbolStatus.")
        return found

    def asked_symbols(self, params: BinanceParams) -> list[str]:
        """Return the symbols that a request names, or all. Raises ``BinanceRefusal`` for one that is not listed."""
        one, many = params.symbol_if_any(), params.text("symbols")
        if one is not None and many is not None:
            raise BinanceRefusal(-1128, "Combination of optional parameters invalid.")
        if one is not None:
            return [self.listed_market(one).symbol]
        if many is None:
            return self.symbols
        wanted = _words(many, "symbols") if many.startswith("[") else []
        if not wanted:
            raise _illegal_list("symbols")
        if len(set(wanted)) != len(wanted):
            raise BinanceRefusal(-1151, "Symbol is present multiple times in the list.")
        return [self.listed_market(name).symbol for name in wanted]


def _words(text: str, name: str) -> list[str]:
    """Return one word, or the words of a JSON array. Raises ``BinanceRefusal`` for anything else."""
    if not text.startswith("["):
        return [text]
    try:
        words = json.loads(text)
    except ValueError:
        raise _illegal_list(name) from None
    if not all(isinstance(word, str) for word in words):
        raise _illegal_list(name)
    return list(words)


def _illegal_list(name: str) -> BinanceRefusal:
    return BinanceRefusal(-1100, f"Illegal characters found in parameter '{name}'.")


def depth_weight(params: BinanceParams) -> int:
    """Return the weight of a call of ``depth``."""
    limit = params.peek("limit") or "100"
    levels = int(limit) if _DIGITS.fullmatch(limit) else 100
    return 5 if levels <= 100 else 25 if levels <= 500 else 50 if levels <= 1000 else 250


def _symbol(market: SimMarket, rules: Rules) -> dict[str, Json]:
    listing = market.listing
    return {
        "symbol": listing.symbol,
        "status": _STATUSES[market.state],
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(ORDER_TYPES),
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": False,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters_json(rules),
        "permissions": [],
        "permissionSets": [[_PERMISSION]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": list(SELF_TRADE_MODES),
    }
