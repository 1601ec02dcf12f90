"""Measures how long each stage of the tick path takes alone: the best of several repetitions, in µs per
call.

Frames have the size of the embedded exchanges' frames: 15 levels of Upbit SIMPLE, 20 levels of Binance
partial depth. Stages that need another process are in ``services``.
"""

import json
import tempfile
import time
import timeit
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Protocol

from arbshard.config import Config
from arbshard.engine.engine import ArbitrageEngine, Entry
from arbshard.engine.quality import View
from arbshard.execution.plan import plan_entry
from arbshard.model.intent import Intent
from arbshard.model.market import Pair
from arbshard.model.money import use_money_context
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.doorbell import ShardNotifier, ShardWaiter
from arbshard.shm.pages import PageWriter
from arbshard.venues.base.signing import SigningMoment
from arbshard.venues.keys import Keys
from arbshard.venues.listing import fx_leg, pairs_of
from arbshard.venues.registry import get_adapter, get_venue
from arbshard.wire.bus import Publisher
from arbshard.wire.doorbell import BusBell, BusRinger

RECEIVED_NS = 1_000_000_000
REFERENCE = "decode binance"
"""The stage that the others are divided by when machines are compared."""
RICH = tuple(
    (venue, currency, Decimal(10) ** 9)
    for venue, currency in (("upbit", "KRW"), ("upbit", "BTC"), ("binance", "USDT"), ("binance", "BTC"))
)
_CALLS = 5_000
_SUBSCRIBED_S = 5.0


def upbit_frame(code: str, mid: float, tick: float, levels: int = 15) -> bytes:
    """Return a SIMPLE order-book frame as Upbit would send it."""
    units = [
        {"ap": mid + tick * (n + 1), "bp": mid - tick * (n + 1), "as": 0.5 + n / 7, "bs": 0.4 + n / 9}
        for n in range(levels)
    ]
    body = {"ty": "orderbook", "cd": code, "tms": 1795239476126, "tas": 12.3, "tbs": 11.1, "obu": units}
    return json.dumps({**body, "st": "REALTIME", "lv": 0}, separators=(",", ":")).encode()


def binance_frame(symbol: str, mid: float, tick: float, levels: int = 20) -> bytes:
    """Return a combined ``@depth20@100ms`` frame as Binance would send it."""
    bids = [[f"{mid - tick * (n + 1):.8f}", f"{0.4 + n / 9:.8f}"] for n in range(levels)]
    asks = [[f"{mid + tick * (n + 1):.8f}", f"{0.5 + n / 7:.8f}"] for n in range(levels)]
    data = {"lastUpdateId": 160, "bids": bids, "asks": asks}
    stream = f"{symbol.lower()}@depth20@100ms"
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


class Costs(Protocol):
    """Is an object that measures the stages, one after the other."""

    def note(self, name: str, call: Callable[[], object], calls: int = _CALLS) -> None:
        """Measure ``call`` under ``name``; ``calls`` is the number of calls that is worth its time."""


class _Times:
    """Takes the best of ``repeat`` repetitions of each stage."""

    def __init__(self, repeat: int) -> None:
        self._repeat = repeat
        self.found: dict[str, float] = {}

    def note(self, name: str, call: Callable[[], object], calls: int = _CALLS) -> None:
        """Measure ``call`` under ``name``."""
        best = min(timeit.repeat(call, repeat=self._repeat, number=calls))
        self.found[name] = round(best / calls * 1e6, 3)


def measure(repeat: int = 7) -> dict[str, float]:
    """Return the cost of each stage in µs per call."""
    times = _Times(repeat)
    visit(times)
    return times.found


def visit(costs: Costs) -> None:
    """Let ``costs`` measure every stage."""
    use_money_context()
    upbit, binance = get_venue("upbit"), get_venue("binance")
    home_frame, away_frame = upbit_frame("KRW-BTC", 137_000_000, 1000), binance_frame("BTCUSDT", 94_500, 0.01)
    costs.note("route upbit", lambda: upbit.route(home_frame))
    costs.note("route binance", lambda: binance.route(away_frame))
    costs.note("top of book upbit", lambda: upbit.top_of_book(home_frame, RECEIVED_NS))
    costs.note("top of book binance", lambda: binance.top_of_book(away_frame, RECEIVED_NS))
    with tempfile.TemporaryDirectory(prefix="arbperf-") as folder:
        _shared_memory(costs, Path(folder), home_frame)
        _zmq_doorbell(costs, Path(folder))
    costs.note("decode upbit", lambda: upbit.decode(home_frame, RECEIVED_NS))
    costs.note("decode binance", lambda: binance.decode(away_frame, RECEIVED_NS))
    _engine_stages(costs, home_frame, away_frame)


def _shared_memory(costs: Costs, place: Path, frame: bytes) -> None:
    with BooksWriter.create(place / "books", 3, epoch=1) as writer:
        costs.note("slot write", lambda: writer.write(1, frame, RECEIVED_NS))
        with BooksReader.attach(place / "books") as reader:
            costs.note("slot read", lambda: reader.read(1))
    with ShardNotifier.create(place, 0) as notifier, ShardWaiter.attach(place, 0) as waiter:
        waiter.drain()

        def change() -> None:
            notifier.push(1)
            waiter.drain()

        costs.note("ring push + drain", change)
        costs.note("doorbell (pipe): push, ring, clear, drain, park", _ring_once(notifier, waiter))
    with PageWriter.create(place / "page", ("a",), ("h",)) as page:
        histogram = page.histogram("h")
        costs.note("latency record", lambda: page.record(histogram, 43_210))


def _ring_once(notifier: ShardNotifier, waiter: ShardWaiter) -> Callable[[], None]:
    waiter.park()

    def ring() -> None:
        notifier.push(1)
        waiter.unpark()
        waiter.clear()
        waiter.drain()
        waiter.park()

    return ring


def _zmq_doorbell(costs: Costs, place: Path) -> None:
    endpoint = f"ipc://{place}/bus.ipc"
    with Publisher(endpoint) as bus:
        notifier = ShardNotifier.create(place, 1, ringer=BusRinger(bus, 1))
        with notifier, ShardWaiter.attach(place, 1, bell=BusBell(endpoint, 1)) as waiter:
            deadline_s = time.monotonic() + _SUBSCRIBED_S
            while not bus.wanted(b"bell.1.") and time.monotonic() < deadline_s:
                bus.pump()
                time.sleep(0.01)
            assert bus.wanted(b"bell.1."), "the doorbell's subscription did not arrive"
            waiter.drain()
            ring = _ring_once(notifier, waiter)
            costs.note("doorbell (zmq): push, ring, clear, drain, park", ring, _CALLS // 5)


def _engine_stages(costs: Costs, home_frame: bytes, away_frame: bytes) -> None:
    upbit, binance = get_venue("upbit"), get_venue("binance")
    pair, engine = _engine()
    state = engine.pairs[pair.base]
    fx_frame = upbit_frame("KRW-USDT", 1450, 0.5)
    engine.observe(0, View(upbit.decode(fx_frame, RECEIVED_NS), live=True, bad=False))
    engine.observe(pair.home.slot, View(upbit.decode(home_frame, RECEIVED_NS), live=True, bad=False))
    view = View(binance.decode(away_frame, RECEIVED_NS), live=True, bad=False)

    def evaluate() -> None:
        engine.observe(pair.away.slot, view)
        engine.evaluate(state, RECEIVED_NS)

    costs.note("edge, no gap", evaluate)
    dear_frame = binance_frame("BTCUSDT", 95_500, 0.01)
    before = View(binance.decode(dear_frame, RECEIVED_NS - 20_000_000), live=True, bad=False)
    engine.observe(pair.away.slot, before)  # the engine trades on a jump only with a second frame
    dear = View(binance.decode(dear_frame, RECEIVED_NS), live=True, bad=False)

    def trade() -> Entry:
        engine.observe(pair.away.slot, dear)
        found = engine.evaluate(state, RECEIVED_NS)
        assert isinstance(found, Entry), found
        return found

    costs.note("edge, gap walked and sized", trade)
    entry = trade()
    costs.note("order build", lambda: plan_entry(entry, "s1-0-1-1", 0))
    _orders(costs, plan_entry(entry, "s1-0-1-1", 0))


def _orders(costs: Costs, intent: Intent) -> None:
    """Measure how a leg becomes a signed request, as it does while risk decides."""
    moment = SigningMoment(1_795_239_476_126, 5000, "0123456789abcdef0123456789abcdef")
    for leg, order in (("home", intent.home), ("away", intent.away)):
        adapter = get_adapter(order.market.venue)
        orders, signing, socket = adapter.orders, adapter.signing, adapter.order_socket
        keys = Keys(order.market.venue, "k" * 64, "s" * 64)
        assert signing is not None, order.market
        request = orders.place(order, "ab1cd-s1-0-1-1-a0")
        costs.note(f"request of a leg, {leg}", partial(orders.place, order, "ab1cd-s1-0-1-1-a0"))
        costs.note(f"signature over REST, {leg}", partial(signing.sign, request, keys, moment))
        if socket is not None:
            costs.note(f"signature over WebSocket, {leg}", partial(socket.encode, request, keys, moment))


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
    engine.pairs["BTC"].is_funded = True
    engine.set_free(RICH)
    return pairs[0], engine
