"""The official Binance SDK: REST, streams and WebSocket API."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_sdk_spot.rest_api.models import (
    KlinesIntervalEnum,
    NewOrderSideEnum,
    NewOrderTimeInForceEnum,
    NewOrderTypeEnum,
)
from binance_sdk_spot.spot import Spot
from steps import Account, check, run, step, until

SYMBOL = "BTCUSDT"
STREAM = "btcusdt"


async def main(venues: dict[str, Account]) -> None:
    account = venues["binance"]
    keys = {"api_key": account.key, "api_secret": account.secret}
    spot = Spot(
        ConfigurationRestAPI(**keys, base_path=account.rest_url, retries=0),
        ConfigurationWebSocketAPI(**keys, stream_url=f"{account.ws_url}/ws-api/v3"),
        ConfigurationWebSocketStreams(stream_url=account.ws_url),
    )
    rest = spot.rest_api

    def filled(answer: Any) -> Any:
        found = answer.data()
        check(found, found)
        return found

    def listed() -> Any:
        check(any(one.symbol == SYMBOL for one in rest.exchange_info().data().symbols))

    await step("time", lambda: filled(rest.time()))
    await step("exchange_info", listed)
    book = await step("depth", lambda: filled(rest.depth(SYMBOL)))
    await step("get_trades", lambda: filled(rest.get_trades(SYMBOL)))
    await step("historical_trades", lambda: filled(rest.historical_trades(SYMBOL)))
    await step("agg_trades", lambda: filled(rest.agg_trades(SYMBOL)))
    await step("klines", lambda: filled(rest.klines(SYMBOL, KlinesIntervalEnum.INTERVAL_1m)))
    await step("avg_price", lambda: filled(rest.avg_price(SYMBOL)))
    await step("ticker24hr", lambda: filled(rest.ticker24hr(symbol=SYMBOL)))
    await step("ticker_price", lambda: filled(rest.ticker_price(symbol=SYMBOL)))
    await step("ticker_book_ticker", lambda: filled(rest.ticker_book_ticker(symbol=SYMBOL)))
    await step("ticker_trading_day", lambda: filled(rest.ticker_trading_day(symbol=SYMBOL)))
    await step("get_account", lambda: filled(rest.get_account()))
    await step("my_filters", lambda: filled(rest.my_filters(SYMBOL)))

    streams = await step("websocket_streams.create_connection", spot.websocket_streams.create_connection)
    if streams is not None:
        opened: dict[str, Callable[[], Awaitable[Any]]] = {
            "trade": lambda: streams.trade(STREAM),
            "agg_trade": lambda: streams.agg_trade(STREAM),
            "kline": lambda: streams.kline(STREAM, "1m"),
            "ticker": lambda: streams.ticker(STREAM),
            "mini_ticker": lambda: streams.mini_ticker(STREAM),
            "book_ticker": lambda: streams.book_ticker(STREAM),
            "avg_price": lambda: streams.avg_price(STREAM),
            "diff_book_depth": lambda: streams.diff_book_depth(STREAM),
            "partial_book_depth": lambda: streams.partial_book_depth(STREAM, "20"),
        }
        for name, open_stream in opened.items():

            async def came(open_stream: Callable[[], Awaitable[Any]] = open_stream) -> Any:
                got: list[Any] = []
                handle = await open_stream()
                handle.on("message", got.append)
                await until(lambda: got)
                await handle.unsubscribe()

            await step(f"stream {name}", came)
            await asyncio.sleep(0.3)
        await streams.close_connection(close_session=True)

    low, high = round(float(book.bids[0][0]) * 0.8, 2), round(float(book.asks[0][0]) * 1.02, 2)

    def order(price: float, tif: NewOrderTimeInForceEnum) -> Any:
        return filled(
            rest.new_order(
                SYMBOL,
                NewOrderSideEnum.BUY,
                NewOrderTypeEnum.LIMIT,
                time_in_force=tif,
                quantity=0.001,
                price=price,
            )
        )

    placed = await step("new_order", lambda: order(low, NewOrderTimeInForceEnum.GTC))
    if placed is not None:

        def has_status(wanted: str) -> Any:
            found = rest.get_order(SYMBOL, order_id=placed.order_id).data()
            check(found.status == wanted, found)

        await step("get_order", lambda: has_status("NEW"))
        await step("get_open_orders", lambda: filled(rest.get_open_orders(SYMBOL)))
        await step("delete_order", lambda: filled(rest.delete_order(SYMBOL, order_id=placed.order_id)))
        await step("get_order of a canceled one", lambda: has_status("CANCELED"))

    def taken() -> Any:
        check(order(high, NewOrderTimeInForceEnum.IOC).status == "FILLED")

    await step("new_order that fills", taken)
    await step("my_trades", lambda: filled(rest.my_trades(SYMBOL)))

    api = await step("websocket_api.create_connection", spot.websocket_api.create_connection)
    if api is not None:

        async def answered(call: Callable[[], Awaitable[Any]]) -> Any:
            found = (await call()).data()
            found = getattr(found, "actual_instance", found)  # where an answer may have several forms
            check(found.result, found)

        await step("WebSocket API depth", lambda: answered(lambda: api.depth(SYMBOL)))
        await step("WebSocket API klines", lambda: answered(lambda: api.klines(SYMBOL, "1m")))
        await step("WebSocket API ticker", lambda: answered(lambda: api.ticker24hr(symbol=SYMBOL)))
        await step("WebSocket API account_status", lambda: answered(api.account_status))
        await api.close_connection(close_session=True)


run(main)
