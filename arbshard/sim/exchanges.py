"""Both simulated exchanges, put together and running: world, feeds, hubs, servers, clockwork.

``main`` runs one per process; tests may run one inside theirs.
"""

import asyncio
import errno
import socket

from aiohttp import web

from arbshard.clock import Clock
from arbshard.config import SimConfig
from arbshard.errors import ConfigError
from arbshard.sim.binance.frames import BinanceFeed
from arbshard.sim.binance.rest import BinanceRest
from arbshard.sim.binance.session import BinanceSession, opening_streams
from arbshard.sim.connection import WRITE_BUFFER_MAX
from arbshard.sim.counters import Counters
from arbshard.sim.hub import Hub
from arbshard.sim.loop import run_world
from arbshard.sim.server import Opener, VenueServer
from arbshard.sim.session import Feed
from arbshard.sim.upbit.frames import UpbitFeed
from arbshard.sim.upbit.rest import UpbitRest
from arbshard.sim.upbit.session import UpbitSession
from arbshard.sim.world import World


class Exchanges:
    """The two venues of one world."""

    def __init__(self, config: SimConfig, clock: Clock, write_buffer_max: int = WRITE_BUFFER_MAX) -> None:
        self._config = config
        self._clock = clock
        self.counters = Counters()
        self.upbit_at = self.binance_at = ""
        """``host:port``, once started."""
        self._world = world = World(config)
        self._hubs = {"upbit": Hub(binary=True), "binance": Hub(binary=False)}
        self._feeds: dict[str, dict[str, Feed]] = {
            "upbit": {symbol: UpbitFeed(market) for symbol, market in world.upbit.items()},
            "binance": {
                symbol: BinanceFeed(market, config.updates_per_s) for symbol, market in world.binance.items()
            },
        }
        self._upbit = VenueServer(
            "upbit",
            self._hubs["upbit"],
            UpbitRest(world.upbit),
            _upbit_opener(world),
            self.counters,
            clock,
            write_buffer_max,
        )
        self._binance = VenueServer(
            "binance",
            self._hubs["binance"],
            BinanceRest(world.binance),
            _binance_opener(world, clock),
            self.counters,
            clock,
            write_buffer_max,
        )
        self.clockwork: asyncio.Task[None] | None = None
        """Runs until ``stop``; when it ends before, something broke."""

    async def start(self) -> None:
        """Open both ports and set the world going. Raises ``ConfigError`` for a port or host that cannot be used."""
        config = self._config
        upbit = _listen("sim.upbit_port", config.host, config.upbit_port)
        try:
            binance = _listen("sim.binance_port", config.host, config.binance_port)
        except ConfigError:
            upbit.close()
            raise
        self.upbit_at, self.binance_at = _authority(upbit), _authority(binance)
        await self._upbit.start(upbit)
        await self._binance.start(binance)
        self.clockwork = asyncio.create_task(
            run_world(self._world, self._feeds, self._hubs, self._clock, self.counters)
        )

    def on_time(self) -> None:
        """Let every session see the time; call a few times a second."""
        now_ns = self._clock.monotonic_ns()
        self._upbit.on_time(now_ns)
        self._binance.on_time(now_ns)

    async def stop(self) -> None:
        """Send all clients away, close both ports, stop the world. Raises what broke the clockwork, if anything."""
        await asyncio.gather(self._upbit.stop(), self._binance.stop())
        if self.clockwork is not None:
            self.clockwork.cancel()
            try:
                await self.clockwork
            except asyncio.CancelledError:
                return


def _listen(setting: str, host: str, port: int) -> socket.socket:
    """A bound socket. Raises ``ConfigError`` that names the setting."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError("sim.host", f"{host!r} cannot be resolved") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(setting, f"{host}:{port} is already in use") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError("sim.host", f"{host!r} is not an address of this machine") from error
        raise ConfigError(setting, f"{host}:{port} cannot be opened: {error.strerror}") from error
    return listener


def _authority(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a wildcard cannot be called
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _upbit_opener(world: World) -> Opener:
    def open_session(request: web.Request) -> UpbitSession | None:
        return UpbitSession(world.upbit) if request.path == "/websocket/v1" else None

    return open_session


def _binance_opener(world: World, clock: Clock) -> Opener:
    symbols = {symbol.lower(): market for symbol, market in world.binance.items()}

    def open_session(request: web.Request) -> BinanceSession | None:
        if request.path.split("/")[1] not in ("ws", "stream"):
            return None
        combined, names = opening_streams(request.path, request.query.get("streams"))
        return BinanceSession(symbols, combined=combined, names=names, now_ns=clock.monotonic_ns())

    return open_session
