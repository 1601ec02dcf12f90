"""CPU of each stage of the tick path, alone: best of several repetitions, in microseconds per call.

Frames are those of the embedded exchanges' size: 15 levels of Upbit SIMPLE, 20 levels of Binance partial depth.
"""

import json
import tempfile
import timeit
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from arbshard.config import Config
from arbshard.engine.engine import ArbitrageEngine, Funds
from arbshard.engine.quality import View
from arbshard.model.market import Pair
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.doorbell import ShardNotifier, ShardWaiter
from arbshard.shm.pages import PageWriter
from arbshard.venues.listing import fx_leg, pairs_of
from arbshard.venues.registry import get_venue

_REPEAT, _CALLS = 7, 5_000
RECEIVED_NS = 1_000_000_000


def upbit_frame(code: str, mid: float, tick: float, levels: int = 15) -> bytes:
    """A SIMPLE order-book frame as Upbit would send it."""
    units = [
        {"ap": mid + tick * (n + 1), "bp": mid - tick * (n + 1), "as": 0.5 + n / 7, "bs": 0.4 + n / 9}
        for n in range(levels)
    ]
    body = {"ty": "orderbook", "cd": code, "tms": 1795239476126, "tas": 12.3, "tbs": 11.1, "obu": units}
    return json.dumps({**body, "st": "REALTIME", "lv": 0}, separators=(",", ":")).encode()


def binance_frame(symbol: str, mid: float, tick: float, levels: int = 20) -> bytes:
    """A combined ``@depth20@100ms`` frame as Binance would send it."""
    bids = [[f"{mid - tick * (n + 1):.8f}", f"{0.4 + n / 9:.8f}"] for n in range(levels)]
    asks = [[f"{mid + tick * (n + 1):.8f}", f"{0.5 + n / 7:.8f}"] for n in range(levels)]
    data = {"lastUpdateId": 160, "bids": bids, "asks": asks}
    stream = f"{symbol.lower()}@depth20@100ms"
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def measure() -> dict[str, float]:
    """Stage → µs per call."""
    upbit, binance = get_venue("upbit"), get_venue("binance")
    home_frame, away_frame = upbit_frame("KRW-BTC", 137_000_000, 1000), binance_frame("BTCUSDT", 94_500, 0.01)
    fx_frame = upbit_frame("KRW-USDT", 1450, 0.5)
    costs: dict[str, float] = {}

    def note(name: str, call: Callable[[], object]) -> None:
        best = min(timeit.repeat(call, repeat=_REPEAT, number=_CALLS))
        costs[name] = round(best / _CALLS * 1e6, 3)

    note("route upbit", lambda: upbit.route(home_frame))
    note("route binance", lambda: binance.route(away_frame))
    note("decode upbit", lambda: upbit.decode(home_frame, RECEIVED_NS))
    note("decode binance", lambda: binance.decode(away_frame, RECEIVED_NS))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with BooksWriter.create(path / "books", 3, epoch=1) as writer:
            note("slot write", lambda: writer.write(1, home_frame, RECEIVED_NS))
            with BooksReader.attach(path / "books") as reader:
                note("slot read", lambda: reader.read(1))
        with ShardNotifier.create(path, 0) as notifier, ShardWaiter.attach(path, 0) as waiter:
            waiter.drain()

            def change() -> None:
                notifier.push(1)
                waiter.drain()

            note("ring push + drain", change)
            waiter.park()

            def ring() -> None:
                notifier.push(1)
                waiter.unpark()
                waiter.clear()
                waiter.drain()
                waiter.park()

            note("doorbell (pipe): push, ring, clear, drain, park", ring)
        with PageWriter.create(path / "page", ("a",), ("h",)) as page:
            histogram = page.histogram("h")
            note("latency record", lambda: page.record(histogram, 43_210))
    pair, engine = _engine()
    state = engine.pairs[pair.base]
    engine.observe(0, View(upbit.decode(fx_frame, RECEIVED_NS), live=True, bad=False))
    engine.observe(pair.home.slot, View(upbit.decode(home_frame, RECEIVED_NS), live=True, bad=False))
    view = View(binance.decode(away_frame, RECEIVED_NS), live=True, bad=False)

    def evaluate() -> None:
        engine.observe(pair.away.slot, view)
        engine.evaluate(state, RECEIVED_NS, 0)

    note("evaluate, no gap", evaluate)
    dear = View(binance.decode(binance_frame("BTCUSDT", 95_500, 0.01), RECEIVED_NS), live=True, bad=False)

    def trade() -> None:
        engine.observe(pair.away.slot, dear)
        assert engine.evaluate(state, RECEIVED_NS, 0) is not None

    note("evaluate, gap walked and sized", trade)
    return costs


def _engine() -> tuple[Pair, ArbitrageEngine]:
    upbit, binance = get_venue("upbit"), get_venue("binance")
    markets = [{"market": "KRW-BTC"}, {"market": "KRW-USDT"}]
    home = upbit.listing((json.dumps(markets).encode(),))
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
        {"filterType": "NOTIONAL", "minNotional": "5", "maxNotional": "9000000"},
    ]
    symbol = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"}
    away = binance.listing((json.dumps({"symbols": [{**symbol, "filters": filters}]}).encode(),))
    home_fees = upbit.fee_schedule(Decimal(5), Decimal(5))
    pairs = pairs_of(home, away, home_fees, binance.fee_schedule(Decimal(10), Decimal(10)))
    engine = ArbitrageEngine(pairs, fx_leg(home, home_fees), Config())
    engine.pairs["BTC"].funds = Funds(1e9, 1e3, 1e6, 1e3)
    return pairs[0], engine
