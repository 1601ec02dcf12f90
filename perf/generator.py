"""Generates the load: ``python -m perf.generator``, with the command line of ``python -m
arbshard.exchanges``.

The generator listens like the embedded exchanges (with their sessions and connections), and replays
prepared frames at the exact rate of (2 x coins + 1 markets) x ``updates_per_s``, FX included. Its counters
are on a page beside the ready file. The supervisor starts it in the place of the exchanges; ``peers``
starts it alone.
"""

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from arbshard.clock import SystemClock
from arbshard.config import SimConfig
from arbshard.exchanges.binance.session import BinanceSession, opening_streams
from arbshard.exchanges.upbit.session import UpbitSession
from arbshard.exchanges.world import SimWorld
from arbshard.shm.pages import PageWriter
from perf.frames import FrameMaker, places_of, settings_of
from perf.replay import Replay, ReplayHub
from perf.rest import binance_calls, upbit_calls
from perf.schedule import Schedule
from perf.server import Opener, ReplayServer
from perf.timer import PeriodicTimer
from perf.unhurried import UnhurriedSession

COUNTERS = ("pid", "sent", "late", "skipped", "clients", "clients_seen", "dropped", "written_bytes")
HISTOGRAMS = ("lateness",)
PAGE = "page-generator"
"""Name of the generator's page, which is beside the ready file."""
_TICK_S = 0.25
_NICE = -10
"""Priority, where the user may set it: a generator that has to wait for its clients would be no open loop."""


class Generator:
    """Replays both venues of one world."""

    def __init__(self, config: SimConfig, clock: SystemClock) -> None:
        self.config = config = settings_of(config)
        world = SimWorld(config)
        places = places_of(world, config.coins)
        self.rate = len(places) * config.updates_per_s
        by_name = {(place.venue, place.market.symbol): place for place in places}
        self.schedule = Schedule(clock.monotonic_ns() + 10_000_000, self.rate)
        self.replay = Replay(places, FrameMaker(by_name, clock.wall_ms()), self.schedule)
        replay = self.replay
        upbit = ReplayServer(
            ReplayHub("upbit", replay, binary=True), upbit_calls(world.upbit), _upbit_opener(world), clock
        )
        binance = ReplayServer(
            ReplayHub("binance", replay, binary=False),
            binance_calls(world.binance, replay.last_id, clock.wall_ms),
            _binance_opener(world, clock),
            clock,
        )
        self.servers = (upbit, binance)
        self.addresses: list[str] = []

    async def start(self) -> None:
        """Open both ports. Raises ``OSError``."""
        config = self.config
        for one, port in zip(self.servers, (config.upbit_port, config.binance_port), strict=True):
            listener = socket.create_server((config.host, port), backlog=1024)
            listener.setblocking(False)
            self.addresses.append("{}:{}".format(*listener.getsockname()[:2]))
            await one.start(listener)

    def on_time(self) -> None:
        """Pass the current time to every session."""
        for one in self.servers:
            one.on_time()

    async def stop(self) -> None:
        """Close the connections of all clients, and both ports."""
        await asyncio.gather(*(one.stop() for one in self.servers))


def _upbit_opener(world: SimWorld) -> Opener:
    def open_session(request: web.Request) -> UnhurriedSession | None:
        if request.path != "/websocket/v1":
            return None
        return UnhurriedSession(UpbitSession(world.upbit))

    return open_session


def _binance_opener(world: SimWorld, clock: SystemClock) -> Opener:
    symbols = {symbol.lower(): market for symbol, market in world.binance.items()}

    def open_session(request: web.Request) -> UnhurriedSession | None:
        if request.path.split("/")[1] not in ("ws", "stream"):
            return None
        combined, names = opening_streams(request.path, request.query.get("streams"))
        session = BinanceSession(symbols, combined=combined, names=names, now_ns=clock.monotonic_ns())
        return UnhurriedSession(session)

    return open_session


async def _run(config: SimConfig, ready_file: Path, parent_pid: int | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock = SystemClock()
    generator = Generator(config, clock)
    await generator.start()
    with (
        PageWriter.create(ready_file.with_name(PAGE), COUNTERS, HISTOGRAMS, note_bytes=0) as page,
        closing(PeriodicTimer(generator.schedule.start_ns, generator.schedule.grid_ns)) as timer,
    ):
        page.set(page.counter("pid"), os.getpid())
        _write_ready(ready_file, generator.addresses)
        print(
            f"generator: {generator.rate:,.0f} messages/s, {generator.config.coins} coins",
            file=sys.stderr,
            flush=True,
        )
        replay, lateness = generator.replay, page.histogram("lateness")
        sent, late = page.counter("sent"), page.counter("late")

        def on_grid() -> None:
            timer.clear()
            before = replay.sent
            replay.turn(clock.monotonic_ns())
            if replay.sent != before:
                page.record(lateness, replay.behind_ns)
                page.set(sent, replay.sent)
                page.set(late, replay.late)

        # The prepared frames live as long as the process. A collection that scans them would delay messages.
        gc.collect()
        gc.freeze()
        loop.add_reader(timer.fileno(), on_grid)
        try:
            while not stop.is_set() and (parent_pid is None or os.getppid() == parent_pid):
                generator.on_time()
                _count(page, generator)
                try:
                    async with asyncio.timeout(_TICK_S):
                        await stop.wait()
                except TimeoutError:
                    continue
        finally:
            loop.remove_reader(timer.fileno())
            await generator.stop()


def _count(page: PageWriter, generator: Generator) -> None:
    venues = [one.counters for one in generator.servers]
    page.set(page.counter("skipped"), generator.schedule.skipped)
    page.set(page.counter("clients"), sum(one.clients for one in venues))
    page.set(page.counter("clients_seen"), sum(one.clients_seen for one in venues))
    page.set(page.counter("dropped"), sum(one.dropped_slow for one in venues))
    page.set(page.counter("written_bytes"), sum(one.bytes_sent for one in venues))


def _write_ready(path: Path, addresses: Sequence[str]) -> None:
    """Write the ready file atomically: a reader sees nothing or all of it."""
    upbit, binance = addresses
    ready = {
        "pid": os.getpid(),
        "upbit": {"ws_url": f"ws://{upbit}/websocket/v1", "rest_url": f"http://{upbit}"},
        "binance": {"ws_url": f"ws://{binance}", "rest_url": f"http://{binance}"},
    }
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(msgspec.json.encode(ready))
    unfinished.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal or the end of the parent; return the exit code.

    The code is 0, or 2 when settings are wrong or a port is taken.
    """
    parser = argparse.ArgumentParser(prog="python -m perf.generator")
    parser.add_argument("--settings", default="{}", help="the [sim] table as JSON; -: from standard input")
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--accounts-file", type=Path, help="not used: there are no accounts")
    parser.add_argument("--parent-pid", type=int)
    given = parser.parse_args(arguments)
    with suppress(PermissionError):  # it then competes with its clients, and its lateness is counted
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    try:
        settings = sys.stdin.read() if given.settings == "-" else given.settings
        config = msgspec.json.decode(settings, type=SimConfig)
        uvloop.run(_run(config, given.ready_file, given.parent_pid))
    except (msgspec.MsgspecError, OSError) as error:
        print(f"generator: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
