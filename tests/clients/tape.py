"""A tape for the clients: what the made-up exchanges send in a while, written without waiting for them."""

from pathlib import Path

import msgspec

from arbshard.config import Config, load_config
from arbshard.exchanges.binance.frames import BinanceFeed
from arbshard.exchanges.session import Feed, SharedStream
from arbshard.exchanges.upbit.frames import UpbitFeed
from arbshard.exchanges.world import SimWorld
from arbshard.tape.format import Row, SegmentInfo
from arbshard.tape.writing import TapeBounds, TapeWriter
from arbshard.virtual.settings import universe_of

SECONDS = 120
_STEP_NS = 100_000_000
_RECORDING = 1_795_780_800_000


def write_tape(folder: Path, coins: int, seconds: int = SECONDS) -> None:
    """Write so many seconds into ``folder``."""
    config: Config = load_config(None, {"sim": {"coins": coins}})
    world = SimWorld(config.sim)
    universe = msgspec.Raw(msgspec.json.encode(universe_of(world, config)))

    def describe(segment: int, first_row: int) -> SegmentInfo:
        return SegmentInfo(
            recording=_RECORDING, segment=segment, first_row=first_row, instance="clients", version="0", boot="b",
            universe=universe,
        )  # fmt: skip

    writer = TapeWriter(folder, _RECORDING, describe, TapeBounds(free_bytes_min=0))
    outlets: list[tuple[str, Feed, list[SharedStream]]] = []
    for venue, market in world.places:
        symbol = market.symbol
        if venue == "upbit":
            kinds, form, feed = [("orderbook", 15), ("trade", 0)], "SIMPLE", UpbitFeed(market)
            names = dict.fromkeys((kind for kind, _ in kinds), symbol)
        else:
            kinds, form, feed = [("depth", 20), ("trade", 0)], "combined", BinanceFeed(market, 10)
            names = {"depth": f"{symbol.lower()}@depth20@100ms", "trade": f"{symbol.lower()}@trade"}
        streams = [
            SharedStream(symbol, kind, depth, slow=False, form=form, name=names[kind])
            for kind, depth in kinds
        ]
        outlets.append((venue, feed, streams))
    numbers = {"upbit": 0, "binance": 0}
    for step in range(seconds * 10):
        at_ns = _RECORDING * 1_000_000 + step * _STEP_NS
        for place, (venue, feed, streams) in enumerate(outlets):
            world.step(place)
            feed.on_step()
            for stream in streams:
                for data in feed.payloads(stream, at_ns // 1_000_000):
                    numbers[venue] += 1
                    writer.add(
                        Row("frame", venue, f"{venue}-1", "", at_ns, at_ns, 0, numbers[venue], "", data)
                    )
            feed.on_sent()
        if step % 5 == 0:
            writer.flush(step * _STEP_NS, at_ns)
    writer.close(seconds * 10 * _STEP_NS, _RECORDING * 1_000_000)
