"""Is a two-leg script on ccxt.pro: it watches the books of each pair, and places both legs where a gap pays.

This runs in an environment of its own. It gets what suits it best: uvloop, no pause between calls, and Binance's
orders over its WebSocket API. It keeps no positions, asks no risk and writes no ledger. Standard input has the
venues' addresses and keys as JSON.
"""

import asyncio
import importlib
import json
import sys
import time
from typing import Any

ccxt: Any = importlib.import_module("ccxt.pro")
uvloop: Any = importlib.import_module("uvloop")

_ENTRY_BPS = 30.0
_COST_BPS = 15.0
"""Fees of both venues."""
_COOLDOWN_S = 0.5
_WORTH_KRW = 150_000.0
_RETRY_S = 0.2


class _Pair:
    """Holds the best prices of both books, by side."""

    def __init__(self) -> None:
        self.home: tuple[float, float] | None = None
        self.away: tuple[float, float] | None = None
        self.rest_until_s = 0.0
        self.is_busy = False


class _Trader:
    """Follows books and places orders."""

    def __init__(self, upbit: Any, binance: Any) -> None:
        self.upbit, self.binance = upbit, binance
        self.fx = 0.0
        self.pairs: dict[str, _Pair] = {}
        self.orders = self.errors = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def follow(self, venue: Any, symbol: str, base: str) -> None:
        """Keep the best prices of a market."""
        while True:
            try:
                book = await venue.watch_order_book(symbol)
            except ccxt.BaseError:
                self.errors += 1
                await asyncio.sleep(_RETRY_S)
                continue
            if not (book["bids"] and book["asks"]):
                continue
            best = book["bids"][0][0], book["asks"][0][0]
            if base == "USDT":
                self.fx = sum(best) / 2
                continue
            pair = self.pairs[base]
            if venue is self.upbit:
                pair.home = best
            else:
                pair.away = best
            self._judge(base, pair)

    def _judge(self, base: str, pair: _Pair) -> None:
        if pair.is_busy or pair.home is None or pair.away is None or not self.fx:
            return
        if time.monotonic() < pair.rest_until_s:
            return
        (home_bid, home_ask), (away_bid, away_ask) = pair.home, pair.away
        buys_home = away_bid * self.fx / home_ask - 1 >= (_ENTRY_BPS + _COST_BPS) / 1e4
        buys_away = home_bid / (away_ask * self.fx) - 1 >= (_ENTRY_BPS + _COST_BPS) / 1e4
        if buys_home or buys_away:
            pair.is_busy = True
            task = asyncio.create_task(self._trade(base, pair, buys_home=buys_home))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _trade(self, base: str, pair: _Pair, *, buys_home: bool) -> None:
        assert pair.home is not None
        assert pair.away is not None
        amount = _WORTH_KRW / pair.home[1]
        home = self.upbit.markets_by_id[f"KRW-{base}"][0]["symbol"]
        away = self.binance.markets_by_id[f"{base}USDT"][0]["symbol"]
        ioc = {"timeInForce": "IOC"}
        amount = float(self.binance.amount_to_precision(away, amount))
        try:
            await asyncio.gather(
                self.upbit.create_order(
                    home,
                    "limit",
                    "buy" if buys_home else "sell",
                    amount,
                    pair.home[1 if buys_home else 0],
                    ioc,
                ),
                self.binance.create_order_ws(
                    away,
                    "limit",
                    "sell" if buys_home else "buy",
                    amount,
                    pair.away[0 if buys_home else 1],
                    ioc,
                ),
            )
            self.orders += 2
        except ccxt.BaseError as error:
            self.errors += 1
            if self.errors <= 3:
                print(type(error).__name__, str(error)[:200], file=sys.stderr)
        pair.rest_until_s = time.monotonic() + _COOLDOWN_S
        pair.is_busy = False


async def _run(given: dict[str, dict[str, str]], seconds: float) -> None:
    keys = {venue: {"apiKey": one["key"], "secret": one["secret"]} for venue, one in given.items()}
    upbit = ccxt.upbit({"enableRateLimit": False, **keys["upbit"]})
    upbit.urls["api"]["public"] = upbit.urls["api"]["private"] = given["upbit"]["rest_url"]
    upbit.urls["api"]["ws"] = given["upbit"]["ws_url"]
    options = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False}
    binance = ccxt.binance({"enableRateLimit": False, "options": options, **keys["binance"]})
    root = given["binance"]["rest_url"]
    binance.urls["api"]["public"] = binance.urls["api"]["private"] = f"{root}/api/v3"
    binance.urls["api"]["ws"]["spot"] = f"{given['binance']['ws_url']}/stream/ws"
    binance.urls["api"]["ws"]["ws-api"]["spot"] = f"{given['binance']['ws_url']}/ws-api/v3"
    trader = _Trader(upbit, binance)
    try:
        await asyncio.gather(upbit.load_markets(), binance.load_markets())
        bases = sorted(
            name.removeprefix("KRW-")
            for name in upbit.markets_by_id
            if f"{name.removeprefix('KRW-')}USDT" in binance.markets_by_id
        )
        trader.pairs = {base: _Pair() for base in bases}
        tasks = [
            asyncio.create_task(trader.follow(upbit, upbit.markets_by_id["KRW-USDT"][0]["symbol"], "USDT"))
        ]
        for base in bases:
            home = upbit.markets_by_id[f"KRW-{base}"][0]["symbol"]
            away = binance.markets_by_id[f"{base}USDT"][0]["symbol"]
            tasks.append(asyncio.create_task(trader.follow(upbit, home, base)))
            tasks.append(asyncio.create_task(trader.follow(binance, away, base)))
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
    finally:
        await asyncio.gather(upbit.close(), binance.close())
    print(json.dumps({"orders": trader.orders, "errors": trader.errors, "version": ccxt.__version__}))


if __name__ == "__main__":
    uvloop.run(_run(json.loads(sys.stdin.read()), float(sys.argv[1])))
