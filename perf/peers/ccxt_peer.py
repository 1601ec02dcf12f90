"""Connects ccxt.pro to the generator: ``watch_order_book`` in a loop per symbol, as its manual shows.

This runs in an environment of its own. ccxt has uvloop, orjson and the other packages that it installs; no
rate limit of its own at the start; as few sockets as its limit of 200 subscriptions each allows; and it
subscribes to Upbit once instead of once per symbol.
"""

import asyncio
import importlib
from typing import Any

from perf.peers.measure import Addresses, Desk, arguments_of, serve

# These are no dependencies of the project: only the environment in which this runs has them.
ccxt: Any = importlib.import_module("ccxt.pro")
uvloop: Any = importlib.import_module("uvloop")

_STREAMS_PER_SOCKET = 200
_RETRY_S = 0.2


def _counted(venue: type[Any], desk: Desk) -> type[Any]:
    """Return a subclass of ``venue`` that counts the book messages that it receives."""

    class Counted(venue):  # type: ignore[misc]
        def handle_order_book(self, client: Any, message: Any) -> None:
            desk.messages += 1
            super().handle_order_book(client, message)

    return Counted


def _venues(addresses: Addresses, desk: Desk, symbols: int) -> tuple[Any, Any]:
    upbit = _counted(ccxt.upbit, desk)({"enableRateLimit": False})
    upbit.urls["api"]["public"] = upbit.urls["api"]["private"] = addresses.upbit_rest
    upbit.urls["api"]["ws"] = addresses.upbit_ws
    options = {
        "fetchMarkets": {"types": ["spot"]},
        "fetchCurrencies": False,
        "fetchMargins": False,
        "streamLimits": {"spot": -(-symbols // _STREAMS_PER_SOCKET)},
    }
    binance = _counted(ccxt.binance, desk)({"enableRateLimit": False, "options": options})
    binance.urls["api"]["public"] = binance.urls["api"]["private"] = f"{addresses.binance_rest}/api/v3"
    binance.urls["api"]["ws"]["spot"] = f"{addresses.binance_ws}/stream/ws"
    return upbit, binance


async def _follow_fx(upbit: Any, symbol: str, desk: Desk) -> None:
    while True:
        try:
            book = await upbit.watch_order_book(symbol)
        except ccxt.BaseError:
            desk.errors += 1
            await asyncio.sleep(_RETRY_S)
            continue
        desk.on_fx(book["bids"][0][0], book["asks"][0][0])


async def _follow(venue: Any, symbol: str, base: str, desk: Desk) -> None:
    on_book = desk.on_home if venue.id == "upbit" else desk.on_away
    while True:
        try:
            book = await venue.watch_order_book(symbol)
        except ccxt.BaseError:
            desk.errors += 1
            await asyncio.sleep(_RETRY_S)
            continue
        bids, asks = book["bids"], book["asks"]
        if bids and asks:
            on_book(base, bids[0][0], asks[0][0], bids[0][1])


async def _run(addresses: Addresses, bases: list[str]) -> None:
    desk = Desk(bases)
    upbit, binance = _venues(addresses, desk, len(bases))
    try:
        await asyncio.gather(upbit.load_markets(), binance.load_markets())
        # Symbols are found by market id, because the library renames some coins.
        home = {base: upbit.markets_by_id[f"KRW-{base}"][0]["symbol"] for base in [*bases, "USDT"]}
        away = {base: binance.markets_by_id[f"{base}USDT"][0]["symbol"] for base in bases}
        await upbit.watch_public_multiple(list(home.values()), "orderbook")
        tasks = [asyncio.create_task(_follow_fx(upbit, home["USDT"], desk))]
        for base in bases:
            tasks.append(asyncio.create_task(_follow(upbit, home[base], base, desk)))
            tasks.append(asyncio.create_task(_follow(binance, away[base], base, desk)))
        serving = asyncio.create_task(
            serve(desk, lambda: {"version": ccxt.__version__, "uvloop": uvloop.__version__})
        )
        await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()  # a loop that has ended has failed: this raises its error
            task.cancel()
        await serving
    finally:
        await asyncio.gather(upbit.close(), binance.close())


if __name__ == "__main__":
    uvloop.run(_run(*arguments_of("ccxt_peer")))
