"""Tapes that tests make row by row: books of two coins as both venues send them, and what happens to connections."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from arbshard.config import load_config
from arbshard.exchanges.world import SimWorld
from arbshard.model.universe import Universe
from arbshard.model.warning import CoinName
from arbshard.tape.format import Row, SegmentInfo
from arbshard.tape.writing import TapeBounds, TapeWriter
from arbshard.virtual.settings import universe_of

NS = 1_000_000_000
RECORDING = 1_795_780_800_000
"""12:00 of 27 November 2026."""
CONFIG = load_config(None, {"sim": {"coins": 2}})
UNIVERSE = msgspec.structs.replace(
    universe_of(SimWorld(CONFIG.sim), CONFIG), coin_names=(CoinName("upbit", "BTC", "Bitcoin (simulated)"),)
)


def upbit(bid: object, ask: object, symbol: str = "KRW-BTC", at_ms: int = RECORDING) -> bytes:
    unit = f'{{"ap":{ask},"bp":{bid},"as":0.5,"bs":0.00000001}}'
    return (
        f'{{"ty":"orderbook","cd":"{symbol}","tms":{at_ms},"tas":1.0,"tbs":1.0,"obu":[{unit}],'
        f'"lv":0,"st":"REALTIME"}}'
    ).encode()


def combined(stream: str, data: object) -> bytes:
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def binance(number: int, bid: str = "94500.10000000", ask: str = "94501.00000000") -> bytes:
    book = {"lastUpdateId": number, "bids": [[bid, "1.00000000"]], "asks": [[ask, "0.00001000"]]}
    return combined("btcusdt@depth20@100ms", book)


def change(first: int, last: int, bids: Sequence[list[str]] = (), asks: Sequence[list[str]] = ()) -> bytes:
    data = {"e": "depthUpdate", "E": RECORDING, "s": "BTCUSDT", "U": first, "u": last, "b": bids, "a": asks}
    return combined("btcusdt@depth@100ms", data)


class Recording:
    """A tape with one recording that is made row by row; times are seconds after its beginning."""

    def __init__(
        self,
        folder: Path,
        recording: int = RECORDING,
        universe: Universe | None = UNIVERSE,
        segment_rows: int = 1000,
    ) -> None:
        text = msgspec.json.encode(universe)

        def describe(segment: int, first_row: int) -> SegmentInfo:
            return SegmentInfo(recording=recording, segment=segment, first_row=first_row, instance="t",
                               version="0", boot="b", universe=msgspec.Raw(text))  # fmt: skip

        self.folder = folder
        self.recording_ns = recording * 1_000_000
        bounds = TapeBounds(free_bytes_min=0, segment_ns=segment_rows)
        self.writer = TapeWriter(folder, recording, describe, bounds)
        self.number = 0

    def add(
        self,
        seconds: float,
        venue: str,
        data: bytes = b"",
        kind: str = "frame",
        connection: str = "1",
        symbol: str = "",
        detail: str = "",
        set_s: float = 0.0,
    ) -> Self:
        """Add a row; ``set_s``: how far the wall clock has been set meanwhile."""
        self.number += 1
        at_ns = int(seconds * NS)
        wall_ns = self.recording_ns + at_ns + int(set_s * NS)
        row = Row(kind, venue, connection, symbol, at_ns, wall_ns, 0, self.number, detail, data)
        self.writer.add(row)
        self.writer.flush(self.number, 0)
        return self

    def end(self) -> Path:
        self.writer.close(self.number, 0)
        return self.folder

    def both(self, seconds: float = 0.0) -> Self:
        """A book of each venue's BTC."""
        self.add(seconds, "upbit", upbit(137_000_000.0, 137_001_000))
        return self.add(seconds, "binance", binance(1))
