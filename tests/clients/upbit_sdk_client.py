"""The official Upbit SDK, with its strict validation of answers."""

from typing import Any

from steps import Account, check, run, step
from upbit import Upbit

MARKET = "KRW-BTC"
STREAMS: tuple[str, ...] = ("orderbook", "trade", "ticker", "candle.1m")


async def main(venues: dict[str, Account]) -> None:
    account = venues["upbit"]
    client = Upbit(
        access_key=account.key,
        secret_key=account.secret,
        base_url=account.rest_url,
        websocket_base_url=account.ws_url.removesuffix("/websocket/v1"),
        max_retries=0,
        _strict_response_validation=True,
    )
    # Its book model wants "1.0" where documentation and venue have 1.
    lenient = Upbit(
        access_key=account.key, secret_key=account.secret, base_url=account.rest_url, max_retries=0
    )

    def filled(found: Any) -> Any:
        check(found, found)
        return found

    def listed() -> Any:
        found = client.trading_pairs.list()
        check(any(one.market == MARKET for one in found), found)

    await step("trading_pairs.list", listed)
    await step(
        "orderbooks.list_instruments", lambda: filled(client.orderbooks.list_instruments(markets=MARKET))
    )
    book = await step("orderbooks.list", lambda: filled(lenient.orderbooks.list(markets=MARKET)))
    await step(
        "tickers.list_by_trading_pairs", lambda: filled(client.tickers.list_by_trading_pairs(markets=MARKET))
    )
    await step(
        "tickers.list_by_quote_currencies",
        lambda: filled(client.tickers.list_by_quote_currencies(quote_currencies="KRW")),
    )
    await step("trades.list", lambda: filled(client.trades.list(market=MARKET)))
    await step("candles.list_minutes", lambda: filled(client.candles.list_minutes(1, market=MARKET)))
    await step("candles.list_days", lambda: filled(client.candles.list_days(market=MARKET)))
    await step("accounts.list", lambda: filled(client.accounts.list()))
    await step("api_keys.list", lambda: filled(client.api_keys.list()))
    await step("wallet_status.list", lambda: filled(client.wallet_status.list()))
    await step("orders.retrieve_chance", lambda: filled(client.orders.retrieve_chance(market=MARKET)))

    for kind in STREAMS:

        def received(kind: str = kind) -> Any:
            with client.ws_public.connect_public() as socket:
                socket.send([{"ticket": "t"}, {"type": kind, "codes": [MARKET]}, {"format": "DEFAULT"}])  # type: ignore[arg-type]
                found = socket.recv()
                check(found is not None and "error" not in str(found)[:30], found)

        await step(f"ws_public {kind}", received)

    best = book[0].orderbook_units[0]
    low = str(int(float(best.bid_price) * 0.8) // 1000 * 1000)
    high = str(int(float(best.ask_price) * 1.02) // 1000 * 1000)

    def placed() -> Any:
        return filled(
            client.orders.create(market=MARKET, side="bid", ord_type="limit", price=low, volume="0.001")
        )

    order = await step("orders.create", placed)
    if order is not None:

        def in_state(wanted: str) -> Any:
            found = client.orders.retrieve(uuid=order.uuid)
            check(found.state == wanted, found)

        await step("orders.retrieve", lambda: in_state("wait"))
        await step("orders.list_open", lambda: filled(list(client.orders.list_open(market=MARKET))))
        await step("orders.cancel", lambda: filled(client.orders.cancel(uuid=order.uuid)))
        await step("orders.retrieve of a canceled one", lambda: in_state("cancel"))

    def taken() -> Any:
        order = client.orders.create(
            market=MARKET, side="bid", ord_type="limit", price=high, volume="0.001", time_in_force="ioc"
        )
        found = client.orders.retrieve(uuid=order.uuid)
        check(float(found.executed_volume) > 0, found)

    await step("orders.create that fills", taken)
    await step("orders.list_closed", lambda: filled(list(client.orders.list_closed(market=MARKET))))


run(main)
