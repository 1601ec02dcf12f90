"""Frames in the form that the exchanges' public streams have, written for the tests: nobody sent them.

A seed makes them, the same ones each time. The markets, prices and sizes are made up. What real exchanges sent may be
laid beside the repository, in ``../shared/data`` or where ``ARBSHARD_CAPTURES`` says; tests use it where it is.
"""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

CAPTURES = Path(os.environ.get("ARBSHARD_CAPTURES") or Path(__file__).parents[2].parent / "shared" / "data")
"""Where what real exchanges sent may be."""
_BEGAN_MS = 1_795_239_476_000
_LEVELS = 15
_DEPTH = 300


class Row(NamedTuple):
    """A frame and when it was received, in seconds."""

    at_s: float
    frame: bytes


class DepthRow(NamedTuple):
    """The answer to a question for a whole book, and when it was received."""

    at_s: float
    query: str
    body: bytes


def _text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# ---- Upbit


class _UpbitMarket:
    """A book that moves by one tick at most from frame to frame, and frames of it."""

    def __init__(self, rng: Random, code: str, tick: str, ticks: int, size: float) -> None:
        self.code = code
        self._rng = rng
        self._digits = len(tick.partition(".")[2])
        self._tick = float(tick)
        self._ticks = ticks
        self._size = size

    def book(self, at_ms: int) -> bytes:
        """Return an ``orderbook`` frame in the format SIMPLE."""
        self._ticks += self._rng.choice((-1, 0, 0, 0, 1))
        units = [(self._price(1 + n), self._price(-n), self._some(), self._some()) for n in range(_LEVELS)]
        asks, bids = (sum(float(unit[n]) for unit in units) for n in (2, 3))
        rows = ",".join(
            f'{{"ap":{ask},"bp":{bid},"as":{ask_size},"bs":{bid_size}}}'
            for ask, bid, ask_size, bid_size in units
        )
        return (
            f'{{"ty":"orderbook","cd":"{self.code}","tms":{at_ms},"tas":{_plain(asks)},"tbs":{_plain(bids)},'
            f'"obu":[{rows}],"st":"REALTIME"}}'
        ).encode()

    def trade(self, at_ms: int, number: int) -> bytes:
        """Return a ``trade`` frame."""
        side = self._rng.choice(("ASK", "BID"))
        price = self._price(1 if side == "BID" else 0)
        return (
            f'{{"ty":"trade","cd":"{self.code}","tms":{at_ms},"td":"2026-11-21","ttm":"05:37:56","ttms":{at_ms},'
            f'"tp":{price},"tv":{self._some()},"ab":"{side}","pcp":{price}0000000,"c":"EVEN","cp":0.00000000,'
            f'"sid":{at_ms}{number:06d},"st":"REALTIME"}}'
        ).encode()

    def _price(self, off: int) -> str:
        return _plain((self._ticks + off) * self._tick, max(self._digits, 1))

    def _some(self) -> str:
        return _plain(self._size * self._rng.uniform(0.05, 2.0))


def _plain(value: float, digits: int = 8) -> str:
    """As Upbit writes a double: no exponent, and one decimal at least."""
    text = f"{value:.{digits}f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


@cache
def upbit_rows() -> tuple[Row, ...]:
    """A minute of five markets: 145 books and ten trades of the first of them."""
    rng = Random(20_261_121)
    markets = {
        _UpbitMarket(rng, "KRW-MOSS", "1", 412, 800_000.0): 87,
        _UpbitMarket(rng, "KRW-REED", "50", 463, 90.0): 26,
        _UpbitMarket(rng, "BTC-FERN", "0.00000001", 23_117, 150.0): 16,
        _UpbitMarket(rng, "BTC-CLAY", "0.00000001", 207, 250_000.0): 8,
        _UpbitMarket(rng, "BTC-DUNE", "0.00000001", 3_041, 500.0): 8,
    }
    order = [market for market, count in markets.items() for _ in range(count)]
    rng.shuffle(order)
    rows, at_ms = [], _BEGAN_MS
    for number, market in enumerate(order):
        at_ms += rng.randint(60, 700)
        rows.append(Row((at_ms + 417) / 1000, market.book(at_ms)))
        if number % 14 == 0 and number < 140:
            first = next(iter(markets))
            rows.append(Row((at_ms + 431) / 1000, first.trade(at_ms, number)))
    return tuple(rows)


# ---- Binance


class _BinanceMarket:
    """A whole book, its differential depth stream, and its best prices."""

    def __init__(self, rng: Random, symbol: str, digits: int, middle: int, first_id: int) -> None:
        """``middle``: between the best prices, in units of the last of ``digits``."""
        self.symbol = symbol
        self._rng = rng
        self._digits = digits
        self._middle = middle
        self._id = first_id
        self.bids = {middle - 1 - 2 * n: rng.randint(50, 30_000) for n in range(_DEPTH)}
        self.asks = {middle + 2 + 2 * n: rng.randint(50, 30_000) for n in range(_DEPTH)}

    def depth(self) -> bytes:
        """Return the body of ``/api/v3/depth``."""
        sides = {
            "bids": [self._level(one, self.bids[one]) for one in sorted(self.bids, reverse=True)],
            "asks": [self._level(one, self.asks[one]) for one in sorted(self.asks)],
        }
        return _text({"lastUpdateId": self._id, **sides})

    def change(self, at_ms: int) -> tuple[bytes, bytes]:
        """Change the book; return the best prices after it, and the ``depthUpdate`` that brings them."""
        first = self._id + 1
        self._id += self._rng.randint(1, 4)
        changes: dict[str, list[list[str]]] = {"b": [], "a": []}
        for _ in range(self._rng.randint(1, 4)):
            side = self._rng.choice("ba")
            table, sign = (self.bids, -1) if side == "b" else (self.asks, 1)
            best = max(self.bids) if side == "b" else min(self.asks)
            other = min(self.asks) if side == "b" else max(self.bids)
            near = self._rng.random() < 0.4
            price = best + sign * (self._rng.randint(-1, 2) if near else self._rng.randint(3, 400))
            if sign * (price - other) <= 0:
                price = best  # both sides never meet
            known = {one[0] for one in changes[side]}
            size = 0 if price in table and self._rng.random() < 0.3 else self._rng.randint(50, 30_000)
            level = self._level(price, size)
            if level[0] in known or (size == 0 and len(table) < _DEPTH // 2):
                continue
            if size:
                table[price] = size
            else:
                del table[price]
            changes[side].append(level)
        event = {"e": "depthUpdate", "E": at_ms, "s": self.symbol, "U": first, "u": self._id, **changes}
        return self.ticker(), self._wrap("depth@100ms", event)

    def ticker(self) -> bytes:
        """Return a ``bookTicker`` frame."""
        bid, ask = max(self.bids), min(self.asks)
        best = dict(
            zip("bBaA", (*self._level(bid, self.bids[bid]), *self._level(ask, self.asks[ask])), strict=True)
        )
        return self._wrap("bookTicker", {"u": self._id, "s": self.symbol, **best})

    def trade(self, at_ms: int) -> bytes:
        """Return an ``aggTrade`` frame."""
        price, quantity = self._level(min(self.asks), 58)
        trade = {"e": "aggTrade", "E": at_ms, "s": self.symbol, "a": 7_210, "p": price, "q": quantity}
        more = {"f": 9_004, "l": 9_004, "T": at_ms, "m": False, "M": True}
        return self._wrap("aggTrade", {**trade, **more})

    def kline(self, at_ms: int) -> bytes:
        """Return a ``kline`` frame."""
        price, volume = self._level(min(self.asks), 177)
        begins = at_ms - at_ms % 60_000
        bar = {"t": begins, "T": begins + 59_999, "s": self.symbol, "i": "1m", "f": 9_004, "L": 9_004}
        prices = dict.fromkeys("ochl", price)
        rest = {"v": volume, "n": 1, "x": False, "q": "0.51330000", "V": volume, "Q": "0.51330000", "B": "0"}
        return self._wrap(
            "kline_1m", {"e": "kline", "E": at_ms, "s": self.symbol, "k": {**bar, **prices, **rest}}
        )

    def _wrap(self, stream: str, data: dict[str, object]) -> bytes:
        return _text({"stream": f"{self.symbol.lower()}@{stream}", "data": data})

    def _level(self, price: int, size: int) -> list[str]:
        return [f"{price / 10**self._digits:.8f}", f"{size:.8f}"]


class _Session(NamedTuple):
    rows: tuple[Row, ...]
    depths: tuple[DepthRow, ...]


@cache
def _binance() -> _Session:
    rng = Random(20_261_122)
    markets = (
        (_BinanceMarket(rng, "MOSSUSDT", 4, 3_007, 710_020_100), 150),
        (_BinanceMarket(rng, "REEDETH", 8, 7_411, 281_004_700), 10),
        (_BinanceMarket(rng, "FERNBTC", 8, 911, 259_007_300), 15),
        (_BinanceMarket(rng, "CLAYEUR", 3, 5_120, 15_030_900), 2),
    )
    order = [market for market, count in markets for _ in range(count)]
    rng.shuffle(order)
    first, third = markets[0][0], markets[2][0]
    at_ms = _BEGAN_MS
    rows: list[Row] = []
    depths: dict[str, DepthRow] = {}
    for number, market in enumerate(order):
        at_ms += rng.randint(40, 400)
        ticker, depth = market.change(at_ms)
        if market in (first, third) or market.symbol not in depths:
            rows.append(Row(at_ms / 1000 - 0.004, ticker))
        rows.append(Row(at_ms / 1000, depth))
        if market.symbol not in depths:
            query = f"symbol={market.symbol}&limit=1000"
            depths[market.symbol] = DepthRow(at_ms / 1000 + 0.2, query, market.depth())
        if number in (60, 120):
            other = first if number == 60 else third
            rows += [Row(at_ms / 1000, other.trade(at_ms)), Row(at_ms / 1000, other.kline(at_ms))]
    return _Session(tuple(rows), tuple(depths.values()))


def binance_rows() -> tuple[Row, ...]:
    """A minute of four markets: ``@depth@100ms``, ``@bookTicker``, ``@aggTrade`` and ``@kline``."""
    return _binance().rows


def binance_depths() -> tuple[DepthRow, ...]:
    """The whole book of each market, from which ``binance_rows`` goes on."""
    return _binance().depths


# ---- what real exchanges sent


def captured_rows(name: str) -> Iterator[Row]:
    """The frames of a file in ``CAPTURES``."""
    for at_s, frame in _columns(name):
        yield Row(float(at_s), frame.encode())


def captured_depths(name: str) -> Iterator[DepthRow]:
    """The whole books of a file in ``CAPTURES``."""
    for at_s, query, body in _columns(name):
        yield DepthRow(float(at_s), query, body.encode())


def _columns(name: str) -> Iterator[list[str]]:
    for line in (CAPTURES / name).read_text(encoding="utf-8").splitlines():
        yield line.split("\t")
