"""Frames as exchanges send them, and builders for more of them."""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from types import SimpleNamespace

import pytest

from arbshard.model.market import FeeSchedule, Market, MarketRules, TickBand
from arbshard.venues.base.diff import DepthSnapshot
from arbshard.venues.base.market import ListedMarket
from arbshard.venues.binance.diff import BinanceDiff
from arbshard.venues.binance.market import Binance
from arbshard.venues.upbit.market import Upbit
from support import frames

Levels = Sequence[tuple[object, object]]


@pytest.fixture(scope="session")
def upbit() -> Upbit:
    return Upbit()


@pytest.fixture(scope="session")
def binance() -> Binance:
    return Binance()


@pytest.fixture(scope="session")
def upbit_stream() -> list[bytes]:
    """What Upbit's public stream sends, written for the tests."""
    return [row.frame for row in frames.upbit_rows()]


@pytest.fixture(scope="session")
def upbit_books(upbit_stream: list[bytes]) -> list[bytes]:
    return [frame for frame in upbit_stream if json.loads(frame)["ty"] == "orderbook"]


@pytest.fixture(scope="session")
def binance_stream() -> list[bytes]:
    """What Binance's public streams send, written for the tests."""
    return [row.frame for row in frames.binance_rows()]


@pytest.fixture(scope="session")
def binance_snapshots() -> dict[str, DepthSnapshot]:
    """REST depth bodies that belong to ``binance_stream``, by symbol."""
    return {
        row.query.partition("symbol=")[2].partition("&")[0]: BinanceDiff().snapshot_of(row.body)
        for row in frames.binance_depths()
    }


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.fixture(scope="session")
def upbit_frame() -> Callable[..., bytes]:
    """A book as Upbit sends it today, both sides given rank by rank."""

    def build(bids: Levels, asks: Levels, *, simple: bool = True, code: str = "KRW-BTC") -> bytes:
        units = [
            {"ap": ask, "bp": bid, "as": ask_size, "bs": bid_size}
            for (bid, bid_size), (ask, ask_size) in zip(bids, asks, strict=True)
        ]
        if simple:
            head = {"ty": "orderbook", "cd": code, "tms": 1795239476126, "tas": 3.5, "tbs": 2.9}
            return _dump({**head, "obu": units, "st": "REALTIME", "lv": 0})
        long = {"ap": "ask_price", "bp": "bid_price", "as": "ask_size", "bs": "bid_size"}
        head = {"type": "orderbook", "code": code, "timestamp": 1795239476126}
        totals = {"total_ask_size": 3.5, "total_bid_size": 2.9}
        named = [{long[key]: value for key, value in unit.items()} for unit in units]
        return _dump({**head, **totals, "orderbook_units": named, "stream_type": "SNAPSHOT", "level": 0})

    return build


@pytest.fixture(scope="session")
def binance_frame() -> Callable[..., bytes]:
    """A wrapped partial-depth book; numbers become strings unless they are already."""

    def build(bids: Levels, asks: Levels, *, stream: str = "btcusdt@depth20@100ms") -> bytes:
        def spelled(levels: Levels) -> list[list[object]]:
            return [
                [f"{value:.8f}" if isinstance(value, int | float) else value for value in level]
                for level in levels
            ]

        data = {"lastUpdateId": 160, "bids": spelled(bids), "asks": spelled(asks)}
        return _dump({"stream": stream, "data": data})

    return build


@pytest.fixture(scope="session")
def listed() -> Callable[..., ListedMarket]:
    """A market with rules that do not matter."""
    rules = MarketRules(
        ticks=(TickBand(Decimal(0), Decimal("0.01")),),
        lot=Decimal("0.001"),
        quantity_min=Decimal("0.001"),
        notional_min=Decimal(5),
        notional_max=Decimal(10**9),
    )

    def build(
        symbol: str, base: str, quote: str, venue: str, *, tradable: bool = True, note: str = ""
    ) -> ListedMarket:
        return ListedMarket(Market(venue, symbol, base, quote), rules, tradable, note)

    return build


@pytest.fixture(scope="session")
def fees() -> FeeSchedule:
    return FeeSchedule(buy_bps=Decimal(5), sell_bps=Decimal(5), buy_fee_in_base=False)


@pytest.fixture(scope="session")
def mutated() -> Callable[..., bytes]:
    """Applies (kind, position, what) to a frame: ``put`` overwrites with bytes, ``drop`` removes a count."""

    def apply(frame: bytes, mutations: Sequence[tuple[str, int, bytes | int]]) -> bytes:
        for kind, position, what in mutations:
            at = position % (len(frame) + 1)
            new, gone = (what, len(what)) if kind == "put" else (b"", what)
            frame = frame[:at] + new + frame[at + gone :]
        return frame

    return apply


@pytest.fixture(scope="session")
def said(answers):
    """Answers of the venues, as bytes by ``answer(...).body``."""

    def answer(body, status=200):
        return SimpleNamespace(status=status, body=body if isinstance(body, bytes) else _dump(body))

    return SimpleNamespace(answer=answer, binance=answers.binance, upbit=answers.upbit)
