"""Makes a tape without a recording, from the embedded exchanges' world in virtual time: an hour takes
seconds.

Both venues' sessions make the frames, one stream of each brings them with the latencies of the simulation,
and the tape's own writer writes them. There are no decisions on such a tape, because no system runs
meanwhile.
"""

import asyncio
import sys
from pathlib import Path
from random import Random

import msgspec
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.config.sim import Regime
from arbshard.data.stream import Target
from arbshard.model.money import use_money_context
from arbshard.tape.format import Row, SegmentInfo
from arbshard.tape.writing import TapeBounds, TapeWriter
from arbshard.venues.registry import get_adapter
from arbshard.version import __version__
from arbshard.virtual.clock import VirtualClock
from arbshard.virtual.exchange import VirtualExchanges
from arbshard.virtual.loop import VirtualLoop
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.virtual.settings import universe_of

_FLUSH_S = 0.5
_WEBSOCKETS = {"upbit": "wss://upbit.virtual/websocket/v1", "binance": "wss://binance.virtual"}


def make_tape(
    folder: Path,
    *,
    seconds: float,
    pairs: int,
    updates_per_s: float,
    regime: Regime = "mixed",
    seed: int = 7,
    base: Config | None = None,
    is_fused: bool = False,
) -> Config:
    """Write a tape into ``folder``; return the configuration that is on it.

    ``base`` holds all that is not an argument. With ``is_fused`` levels come every 100 ms and touches at
    once; otherwise levels come with every update.
    """
    config = base if base is not None else Config()
    config = replace(
        config,
        run=replace(config.run, shards=1),
        sim=replace(
            config.sim,
            seed=seed,
            coins=pairs,
            updates_per_s=updates_per_s,
            depth_interval_ms=config.sim.depth_interval_ms if is_fused else 0,
            regime=regime,
        ),
        venues=replace(
            config.venues,
            **{
                name: replace(
                    config.venues.get(name),
                    ws_url=_WEBSOCKETS[name],
                    rest_url=f"https://{name}.virtual",
                    stream="fused" if is_fused and get_adapter(name).fused is not None else "partial",
                )
                for name in config.venues.traded
            },
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    use_money_context()
    loop = VirtualLoop()  # type: ignore[abstract]  # what it lacks raises, as it should
    try:
        loop.run_until_complete(_record(loop, config, folder, seconds))
    finally:
        loop.finish()
    return config


async def _record(loop: VirtualLoop, config: Config, folder: Path, seconds: float) -> None:
    clock = VirtualClock(loop)
    exchanges = VirtualExchanges(
        config.sim, clock, loop, NetworkConditions(Random(f"{config.sim.seed}:weather"))
    )
    universe = universe_of(exchanges.world, config)
    recording = clock.wall_ms()

    def describe(segment: int, first_row: int) -> SegmentInfo:
        return SegmentInfo(
            recording=recording,
            segment=segment,
            first_row=first_row,
            instance="made",
            version=__version__,
            boot="virtual",
            universe=msgspec.Raw(msgspec.json.encode(universe)),
            config=msgspec.Raw(msgspec.json.encode(config)),
        )

    writer = TapeWriter(folder, recording, describe, TapeBounds())
    offset_ns = clock.wall_ms() * 1_000_000 - clock.monotonic_ns()
    numbers = dict.fromkeys(config.venues.traded, 0)

    def add(venue: str, kind: str, at_ns: int, detail: str, data: bytes) -> None:
        numbers[venue] += 1
        name = f"{venue}-1"
        writer.add(Row(kind, venue, name, "", at_ns, at_ns + offset_ns, 0, numbers[venue], detail, data))

    async def stream(venue: str) -> None:
        symbols = [leg.market.symbol for leg in universe.legs() if leg.market.venue == venue]
        settings, adapter = config.venues.get(venue), get_adapter(venue)
        speaker = (
            adapter.fused if settings.stream == "fused" and adapter.fused is not None else adapter.market
        )
        target = Target(speaker.ws_address(settings.ws_url), 20.0)

        def take(frame: bytes, received_ns: int) -> None:
            add(venue, "frame", received_ns, "", frame)

        async with exchanges.open_stream(target, take, clock.monotonic_ns) as opened:
            add(venue, "connect", clock.monotonic_ns(), f"carries {' '.join(symbols)}", b"")
            for message in speaker.subscribe_messages(symbols, settings.depth, "1"):
                await opened.send(message)
            await asyncio.sleep(seconds)
            add(venue, "disconnect", clock.monotonic_ns(), "closed by us", b"")

    tasks = [asyncio.ensure_future(exchanges.run())]
    streams = [asyncio.ensure_future(stream(venue)) for venue in config.venues.traded]
    while not all(task.done() for task in streams):
        await asyncio.sleep(_FLUSH_S)
        writer.flush(clock.monotonic_ns(), clock.wall_ms())
    for task in streams:
        task.result()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    writer.close(clock.monotonic_ns(), clock.wall_ms())


if __name__ == "__main__":
    make_tape(
        Path(sys.argv[1]),
        seconds=float(sys.argv[2]),
        pairs=int(sys.argv[3]),
        updates_per_s=float(sys.argv[4]),
        regime=sys.argv[5] if len(sys.argv) > 5 else "mixed",  # type: ignore[arg-type]
    )
