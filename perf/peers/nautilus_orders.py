"""Is a strategy on Nautilus Trader's live node that sends an order to Binance as soon as a quote has come.

Nautilus has no client for Upbit, so this is one leg, without a gap to wait for: each quote is answered with an IOC
order, twice a second for each coin at most. Its execution client logs on to the WebSocket API, which takes Ed25519
keys only. This runs in an environment of its own; standard input has the venues' addresses and keys as JSON.
"""

import asyncio
import importlib
import json
import sys
import time
from typing import Any

binance: Any = importlib.import_module("nautilus_trader.adapters.binance")
settings: Any = importlib.import_module("nautilus_trader.config")
TradingNode: Any = importlib.import_module("nautilus_trader.live.node").TradingNode
enums: Any = importlib.import_module("nautilus_trader.model.enums")
identifiers: Any = importlib.import_module("nautilus_trader.model.identifiers")
Strategy: Any = importlib.import_module("nautilus_trader.trading.strategy").Strategy

_COOLDOWN_S = 0.5
_WORTH_USDT = 20.0
_CROSSES = 1.01


class Taker(Strategy):  # type: ignore[misc]
    """Sends orders that buy and sell in turns, each as a quote comes."""

    def __init__(self) -> None:
        super().__init__(settings.StrategyConfig(strategy_id="TAKER-001"))
        self.rest_until_s: dict[Any, float] = {}
        self.buys: dict[Any, bool] = {}

    def on_start(self) -> None:
        """Subscribe to the quotes of all markets."""
        for instrument in self.cache.instruments():
            if instrument.id.symbol.value.endswith("USDT"):
                self.subscribe_quote_ticks(instrument.id)

    def on_quote_tick(self, tick: Any) -> None:
        """Send an order unless one was sent just now."""
        now_s = time.monotonic()
        if now_s < self.rest_until_s.get(tick.instrument_id, 0.0):
            return
        self.rest_until_s[tick.instrument_id] = now_s + _COOLDOWN_S
        buys = self.buys[tick.instrument_id] = not self.buys.get(tick.instrument_id, False)
        instrument = self.cache.instrument(tick.instrument_id)
        price = tick.ask_price.as_double() * _CROSSES if buys else tick.bid_price.as_double() / _CROSSES
        self.submit_order(
            self.order_factory.limit(
                tick.instrument_id,
                enums.OrderSide.BUY if buys else enums.OrderSide.SELL,
                instrument.make_qty(_WORTH_USDT / price),
                instrument.make_price(price),
                time_in_force=enums.TimeInForce.IOC,
            )
        )


async def _run(given: dict[str, dict[str, str]], seconds: float) -> None:
    one = given["binance"]
    common = {
        "api_key": one["key"],
        "api_secret": one["ed25519_key"],
        "account_type": binance.BinanceAccountType.SPOT,
        "base_url_http": one["rest_url"],
        "instrument_provider": settings.InstrumentProviderConfig(load_all=True),
    }
    node = TradingNode(
        settings.TradingNodeConfig(
            trader_id=identifiers.TraderId("PERF-001"),
            logging=settings.LoggingConfig(log_level="ERROR", print_config=False),
            data_clients={
                binance.BINANCE: binance.BinanceDataClientConfig(**common, base_url_ws=one["ws_url"])
            },
            exec_clients={
                binance.BINANCE: binance.BinanceExecClientConfig(
                    **common, base_url_ws=f"{one['ws_url']}/ws-api/v3"
                )
            },
            timeout_connection=30.0,
            timeout_reconciliation=20.0,
            timeout_disconnection=5.0,
        )
    )
    node.trader.add_strategy(Taker())
    node.add_data_client_factory(binance.BINANCE, binance.BinanceLiveDataClientFactory)
    node.add_exec_client_factory(binance.BINANCE, binance.BinanceLiveExecClientFactory)
    node.build()
    running = asyncio.create_task(node.run_async())
    await asyncio.wait((running,), timeout=seconds)
    await asyncio.wait_for(node.stop_async(), 20)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(_run(json.loads(sys.stdin.read()), float(sys.argv[1])))
