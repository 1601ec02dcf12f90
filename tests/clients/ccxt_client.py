"""ccxt and ccxt.pro, both venues."""

import asyncio
from typing import Any

import ccxt.pro as ccxt
from steps import Account, check, run, step

SYMBOLS = {"upbit": "BTC/KRW", "binance": "BTC/USDT"}
AMOUNT = 0.001


def made(venue: str, account: Account) -> Any:
    exchange = getattr(ccxt, venue)({"apiKey": account.key, "secret": account.secret})
    rest, sockets = account.rest_url, account.ws_url
    if venue == "upbit":
        exchange.urls["api"] = {"public": rest, "private": rest, "ws": sockets}
        return exchange
    api = exchange.urls["api"]
    api.update(dict.fromkeys(("public", "private", "v1"), f"{rest}/api/v3"))
    api.update(dict.fromkeys(("sapi", "sapiV2", "sapiV3", "sapiV4"), f"{rest}/sapi/v1"))
    api.update(dict.fromkeys(("fapiPublic", "fapiPrivate"), f"{rest}/fapi/v1"))
    api.update(dict.fromkeys(("dapiPublic", "dapiPrivate"), f"{rest}/dapi/v1"))
    api["ws"]["spot"] = f"{sockets}/stream/ws"
    api["ws"]["ws-api"]["spot"] = f"{sockets}/ws-api/v3"
    return exchange


async def one(venue: str, account: Account) -> None:
    exchange, symbol = made(venue, account), SYMBOLS[venue]

    def priced(price: float) -> float:
        # ccxt does not know the ticks of this venue's price bands.
        return price // 1000 * 1000 if venue == "upbit" else float(exchange.price_to_precision(symbol, price))

    def named(what: str) -> str:
        return f"{venue} {what}"

    async def markets() -> Any:
        found = await exchange.load_markets()
        check(symbol in found, list(found)[:5])

    async def book() -> Any:
        found = await exchange.fetch_order_book(symbol)
        check(found["bids"][0][0] < found["asks"][0][0], found)
        return found

    async def filled(name: str, *arguments: Any) -> Any:
        found = await getattr(exchange, name)(*arguments)
        check(found, found)
        return found

    await step(named("load_markets"), markets)
    quotes = await step(named("fetch_order_book"), book)
    await step(named("fetch_trades"), lambda: filled("fetch_trades", symbol))
    await step(named("fetch_ohlcv 1m"), lambda: filled("fetch_ohlcv", symbol, "1m"))
    await step(named("fetch_ohlcv 1d"), lambda: filled("fetch_ohlcv", symbol, "1d"))

    async def ticker() -> Any:
        found = await exchange.fetch_ticker(symbol)
        last = found["last"]
        check(abs(last / quotes["asks"][0][0] - 1) < 0.05, (last, quotes["asks"][0]))

    await step(named("fetch_ticker"), ticker)
    await step(named("fetch_tickers"), lambda: filled("fetch_tickers", [symbol]))
    await step(named("watch_order_book"), lambda: filled("watch_order_book", symbol))
    await asyncio.sleep(0.3)
    await step(named("watch_trades"), lambda: filled("watch_trades", symbol))
    await asyncio.sleep(0.3)
    await step(named("watch_ticker"), lambda: filled("watch_ticker", symbol))
    await asyncio.sleep(0.3)
    # The only one that ccxt offers of this venue as a stream.
    candle = "1s" if venue == "upbit" else "1m"
    await step(named("watch_ohlcv"), lambda: filled("watch_ohlcv", symbol, candle))

    async def balance() -> Any:
        found = await exchange.fetch_balance()
        check(found["BTC"]["free"] > 0, found.get("BTC"))

    await step(named("fetch_balance"), balance)
    low = priced(quotes["bids"][0][0] * 0.8)
    order = await step(
        named("create limit order"), lambda: filled("create_order", symbol, "limit", "buy", AMOUNT, low)
    )
    if order is not None:

        async def is_open() -> Any:
            found = await exchange.fetch_order(order["id"], symbol)
            check(found["status"] == "open", found)

        async def canceled() -> Any:
            await exchange.cancel_order(order["id"], symbol)
            found = await exchange.fetch_order(order["id"], symbol)
            check(found["status"] == "canceled", found)

        await step(named("fetch_order"), is_open)
        await step(named("fetch_open_orders"), lambda: filled("fetch_open_orders", symbol))
        await step(named("cancel_order"), canceled)

    async def taken() -> Any:
        high = priced(quotes["asks"][0][0] * 1.02)
        order = await exchange.create_order(symbol, "limit", "buy", AMOUNT, high, {"timeInForce": "IOC"})
        found = await exchange.fetch_order(order["id"], symbol)
        check(found["filled"] > 0, found)

    await step(named("create IOC order that fills"), taken)
    if venue == "binance":
        await step(named("fetch_my_trades"), lambda: filled("fetch_my_trades", symbol))
    else:
        await step(named("fetch_closed_orders"), lambda: filled("fetch_closed_orders", symbol))
    await exchange.close()


async def main(venues: dict[str, Account]) -> None:
    for venue, account in venues.items():
        await one(venue, account)


run(main)
