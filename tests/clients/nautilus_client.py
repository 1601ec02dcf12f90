"""Nautilus Trader's live node: Binance's data and execution clients, with a strategy that reads and trades.

Its execution client logs on to the WebSocket API, which takes Ed25519 keys only.
"""

import asyncio
from decimal import Decimal
from typing import Any

from nautilus_trader.adapters.binance import (
    BINANCE,
    BinanceAccountType,
    BinanceDataClientConfig,
    BinanceExecClientConfig,
    BinanceLiveDataClientFactory,
    BinanceLiveExecClientFactory,
)
from nautilus_trader.config import InstrumentProviderConfig, LoggingConfig, StrategyConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import OrderSide, TimeInForce
from nautilus_trader.model.identifiers import InstrumentId, TraderId
from nautilus_trader.trading.strategy import Strategy
from steps import Account, check, run, step, until

INSTRUMENT = InstrumentId.from_str("BTCUSDT.BINANCE")
BARS = BarType.from_str("BTCUSDT.BINANCE-1-MINUTE-LAST-EXTERNAL")
QUANTITY = Decimal("0.001")


class Reader(Strategy):
    """Keeps what came, by kind, and the events of its orders."""

    def __init__(self) -> None:
        super().__init__(StrategyConfig(strategy_id="READER-001"))
        self.came: dict[str, Any] = {}
        self.events: dict[str, list[str]] = {}

    def on_start(self) -> None:
        self.subscribe_order_book_deltas(INSTRUMENT)
        self.subscribe_quote_ticks(INSTRUMENT)
        self.subscribe_trade_ticks(INSTRUMENT)
        self.subscribe_bars(BARS)
        self.came["start"] = True

    def on_order_book_deltas(self, deltas: Any) -> None:
        self.came["order book deltas"] = deltas

    def on_quote_tick(self, tick: Any) -> None:
        self.came["quotes"] = tick

    def on_trade_tick(self, tick: Any) -> None:
        self.came["trades"] = tick

    def on_bar(self, bar: Any) -> None:
        self.came["bars"] = bar

    def on_historical_data(self, data: Any) -> None:
        self.came[f"requested {type(data).__name__}"] = data

    def on_order_event(self, event: Any) -> None:
        self.events.setdefault(event.client_order_id.value, []).append(type(event).__name__)


async def main(venues: dict[str, Account]) -> None:
    account = venues["binance"]
    common = {
        "api_key": account.key,
        "api_secret": account.ed25519_key,
        "account_type": BinanceAccountType.SPOT,
        "base_url_http": account.rest_url,
        "instrument_provider": InstrumentProviderConfig(load_all=True),
    }
    node = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("CLIENTS-001"),
            logging=LoggingConfig(log_level="WARNING", print_config=False),
            data_clients={BINANCE: BinanceDataClientConfig(**common, base_url_ws=account.ws_url)},
            exec_clients={
                BINANCE: BinanceExecClientConfig(
                    **common,
                    base_url_ws=f"{account.ws_url}/ws-api/v3",
                )
            },
            timeout_connection=30.0,
            timeout_reconciliation=20.0,
            timeout_disconnection=5.0,
        )
    )
    reader = Reader()
    node.trader.add_strategy(reader)
    node.add_data_client_factory(BINANCE, BinanceLiveDataClientFactory)
    node.add_exec_client_factory(BINANCE, BinanceLiveExecClientFactory)
    node.build()
    running = asyncio.create_task(node.run_async())

    async def started() -> Any:
        await until(lambda: reader.came.get("start") or running.done())
        check(reader.came.get("start"), "the node has ended")

    if await step("start: logon, instruments, reconciliation", started, 90.0) is None:
        running.cancel()
        return

    async def came(kind: str) -> Any:
        return await until(lambda: reader.came.get(kind), 75.0)

    async def listed() -> Any:
        check(node.cache.instrument(INSTRUMENT), node.cache.instruments()[:3])

    await step("instruments", listed)
    for kind in ("order book deltas", "quotes", "trades"):
        await step(kind, lambda kind=kind: came(kind), 80.0)

    async def has_balance() -> Any:
        held = node.portfolio.account(INSTRUMENT.venue)
        check(held is not None and any(one.free for one in held.balances().values()), held)

    await step("account", has_balance)

    async def requested(name: str, *arguments: Any, **options: Any) -> Any:
        got: list[Any] = []
        getattr(reader, name)(*arguments, callback=got.append, **options)
        await until(lambda: got)

    since = reader.clock.utc_now().floor("D")
    await step("request_trade_ticks", lambda: requested("request_trade_ticks", INSTRUMENT, since, limit=10))

    instrument, quote = node.cache.instrument(INSTRUMENT), reader.came["quotes"]
    low = instrument.make_price(quote.bid_price.as_double() * 0.8)
    high = instrument.make_price(quote.ask_price.as_double() * 1.02)

    def submit(price: Any, tif: Any) -> str:
        order = reader.order_factory.limit(
            INSTRUMENT, OrderSide.BUY, instrument.make_qty(QUANTITY), price, time_in_force=tif
        )
        reader.submit_order(order)
        return str(order.client_order_id.value)

    async def happened(name: str, event: str) -> Any:
        return await until(lambda: event in reader.events.get(name, ()))

    async def accepted() -> Any:
        name = submit(low, TimeInForce.GTC)
        await happened(name, "OrderAccepted")
        return name

    resting = await step("submit_order", accepted)
    if resting is not None:

        async def canceled() -> Any:
            reader.cancel_all_orders(INSTRUMENT)
            await happened(resting, "OrderCanceled")

        await step("cancel_order", canceled)

    async def filled() -> Any:
        await happened(submit(high, TimeInForce.IOC), "OrderFilled")

    await step("submit_order that fills", filled)
    await step("bars", lambda: came("bars"), 80.0)
    # Only now: it leaves out the minute that is not over.
    await step("request_bars", lambda: requested("request_bars", BARS, since))
    await asyncio.wait_for(node.stop_async(), 20)
    running.cancel()


run(main)
