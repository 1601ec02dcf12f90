"""python-binance: AsyncClient, its sockets and its depth cache."""

from typing import Any

from binance import AsyncClient, BinanceSocketManager, DepthCacheManager
from steps import Account, check, run, step

SYMBOL = "BTCUSDT"


async def main(venues: dict[str, Account]) -> None:
    account = venues["binance"]
    AsyncClient.API_URL = f"{account.rest_url}/api"
    AsyncClient.MARGIN_API_URL = f"{account.rest_url}/sapi"
    BinanceSocketManager.STREAM_URL = f"{account.ws_url}/"
    client = AsyncClient(account.key, account.secret)
    client.API_URL = f"{account.rest_url}/api"
    client.MARGIN_API_URL = f"{account.rest_url}/sapi"
    client.ws_api.fstream_url = f"{account.ws_url}/ws-api/v3"
    client.ws_api._url = f"{account.ws_url}/ws-api/v3"

    async def listed() -> Any:
        found = await client.get_exchange_info()
        check(any(one["symbol"] == SYMBOL for one in found["symbols"]))

    async def filled(call: Any, **arguments: Any) -> Any:
        found = await call(**arguments)
        check(found, found)
        return found

    await step("ping and time", client.get_server_time)
    await step("get_exchange_info", listed)
    book = await step("get_order_book", lambda: filled(client.get_order_book, symbol=SYMBOL))
    await step("get_orderbook_ticker", lambda: filled(client.get_orderbook_ticker, symbol=SYMBOL))
    await step("get_recent_trades", lambda: filled(client.get_recent_trades, symbol=SYMBOL))
    await step("get_historical_trades", lambda: filled(client.get_historical_trades, symbol=SYMBOL))
    await step("get_aggregate_trades", lambda: filled(client.get_aggregate_trades, symbol=SYMBOL))
    await step("get_klines", lambda: filled(client.get_klines, symbol=SYMBOL, interval="1m"))
    await step("get_ticker", lambda: filled(client.get_ticker, symbol=SYMBOL))
    await step("get_symbol_ticker", lambda: filled(client.get_symbol_ticker, symbol=SYMBOL))
    await step("get_avg_price", lambda: filled(client.get_avg_price, symbol=SYMBOL))
    await step("get_account", lambda: filled(client.get_account))
    await step("get_account_api_permissions", lambda: filled(client.get_account_api_permissions))

    manager = BinanceSocketManager(client)
    sockets = {
        "depth_socket": manager.depth_socket(SYMBOL),
        "depth_socket of 20": manager.depth_socket(SYMBOL, depth="20"),
        "trade_socket": manager.trade_socket(SYMBOL),
        "aggtrade_socket": manager.aggtrade_socket(SYMBOL),
        "kline_socket": manager.kline_socket(SYMBOL),
        "symbol_ticker_socket": manager.symbol_ticker_socket(SYMBOL),
        "symbol_book_ticker_socket": manager.symbol_book_ticker_socket(SYMBOL),
    }
    for name, socket in sockets.items():

        async def received(socket: Any = socket) -> Any:
            async with socket as stream:
                found = await stream.recv()
                check(found and found.get("e") != "error", found)

        await step(name, received)

    async def cached() -> Any:
        async with DepthCacheManager(client, symbol=SYMBOL) as cache:
            found = await cache.recv()
            check(found.get_bids()[0][0] < found.get_asks()[0][0])

    await step("DepthCacheManager", cached)
    low = f"{float(book['bids'][0][0]) * 0.8:.2f}"
    order = await step(
        "create_order", lambda: filled(client.order_limit_buy, symbol=SYMBOL, quantity="0.001", price=low)
    )

    async def has_status(status: str, number: int) -> Any:
        found = await client.get_order(symbol=SYMBOL, orderId=number)
        check(found["status"] == status, found)

    async def canceled() -> Any:
        await client.cancel_order(symbol=SYMBOL, orderId=order["orderId"])
        await has_status("CANCELED", order["orderId"])

    if order is not None:
        await step("get_order", lambda: has_status("NEW", order["orderId"]))
        await step("get_open_orders", lambda: filled(client.get_open_orders, symbol=SYMBOL))
        await step("cancel_order", canceled)

    async def taken() -> Any:
        found = await client.order_market_buy(symbol=SYMBOL, quantity="0.001")
        check(found["status"] == "FILLED", found)

    await step("order_market_buy", taken)
    await step("get_my_trades", lambda: filled(client.get_my_trades, symbol=SYMBOL))
    await step("get_all_orders", lambda: filled(client.get_all_orders, symbol=SYMBOL))
    await client.close_connection()


run(main)
