"""Measures how fast NautilusTrader's backtest engine does the two-leg task: ``CATALOG ENTRY_BPS``.

The script runs in an environment of its own. Each quote of a pair is compared with the newest one of the
other venue and with the FX rate, fees included, as ``arbshard.engine.edge.top_edge_bps`` does. When the
edge reaches ENTRY_BPS both legs are sent as IOC limit orders. There are no limits, ledger, baselines or age
of books. Quotes are used and no depth, which is the least that the engine can be given. One JSON object is
printed; its time excludes start and loading of data.
"""

import json
import sys
import time
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide, TimeInForce
from nautilus_trader.model.identifiers import InstrumentId, TraderId, Venue
from nautilus_trader.model.objects import Currency, Money
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.trading.strategy import Strategy

from perf.peers.memory import peak_memory_mb

KRW = Currency.from_str("KRW")
KRW_USDT = "KRW-USDT.UPBIT"
BPS = 1e4
_COST = 100.0
"""Cost of each leg, in the quote currency of the venue on which it is bought."""


class TwoLegs(Strategy):  # type: ignore[misc]
    """Buys on one venue and sells on the other when the edge of the best prices is large enough."""

    def __init__(self, pairs: list[Any], fees: tuple[float, float], entry_bps: float) -> None:
        super().__init__()
        self.pairs = {one: pair for pair in pairs for one in pair}
        self.kept = (1 - fees[0]) * (1 - fees[1])
        self.entry = 1 + entry_bps / BPS
        self.best: dict[Any, tuple[float, float]] = {}
        self.fx: tuple[float, float] | None = None
        self.orders = 0

    def on_start(self) -> None:
        """Subscribe to the quotes of all markets."""
        for one in (*self.pairs, InstrumentId.from_str(KRW_USDT)):
            self.subscribe_quote_ticks(one)

    def on_quote_tick(self, tick: Any) -> None:
        """Compare both directions of the quote's pair, and send orders when an edge is large enough."""
        instrument = tick.instrument_id
        bid, ask = tick.bid_price.as_double(), tick.ask_price.as_double()
        pair = self.pairs.get(instrument)
        if pair is None:
            self.fx = bid, ask
            return
        self.best[instrument] = bid, ask
        home, away = self.best.get(pair[0]), self.best.get(pair[1])
        if home is None or away is None or self.fx is None:
            return
        if away[0] * self.fx[0] * self.kept >= home[1] * self.entry:
            self.send(pair[0], pair[1], home[1], away[0])
        elif home[0] * self.kept >= away[1] * self.fx[1] * self.entry:
            self.send(pair[1], pair[0], away[1], home[0])

    def send(self, buy: Any, sell: Any, ask: float, bid: float) -> None:
        """Send both legs at once."""
        for one, side, price in ((buy, OrderSide.BUY, ask), (sell, OrderSide.SELL, bid)):
            market = self.cache.instrument(one)
            quantity = market.make_qty(max(_COST / ask, float(market.size_increment)))
            order = self.order_factory.limit(
                one, side, quantity, market.make_price(price), time_in_force=TimeInForce.IOC
            )
            self.orders += 1
            self.submit_order(order)


def main() -> None:
    """Run the engine once."""
    catalog = ParquetDataCatalog(sys.argv[1])
    engine = BacktestEngine(
        BacktestEngineConfig(trader_id=TraderId("PERF-001"), logging=LoggingConfig(bypass_logging=True))
    )
    instruments = catalog.instruments()
    coins = sorted({one.base_currency for one in instruments if one.base_currency != USDT}, key=str)
    for name, quote, amount in (("UPBIT", KRW, 1e11), ("BINANCE", USDT, 1e8)):
        balances = [Money(amount, quote), *(Money(1e6, coin) for coin in coins)]
        if name == "UPBIT":
            balances.append(Money(1e6, USDT))
        engine.add_venue(Venue(name), OmsType.NETTING, AccountType.CASH, balances, base_currency=None)
    by_coin: dict[str, dict[str, Any]] = {}
    for one in instruments:
        engine.add_instrument(one)
        if str(one.id) != KRW_USDT:
            by_coin.setdefault(str(one.base_currency), {})[str(one.id.venue)] = one
    pairs: list[Any] = []
    fees = 0.0, 0.0
    for markets in by_coin.values():
        if len(markets) == 2:
            home, away = markets["UPBIT"], markets["BINANCE"]
            pairs.append((home.id, away.id))
            fees = float(home.taker_fee), float(away.taker_fee)
    quotes = catalog.query(QuoteTick)
    engine.add_data(quotes)
    strategy = TwoLegs(pairs, fees, float(sys.argv[2]))
    engine.add_strategy(strategy)
    began_s = time.process_time()
    engine.run()
    cpu_s = time.process_time() - began_s
    peak_mb = peak_memory_mb()
    print(json.dumps({"frames": len(quotes), "cpu_s": cpu_s, "orders": strategy.orders, "peak_mb": peak_mb}))


if __name__ == "__main__":
    main()
