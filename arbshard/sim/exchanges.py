"""Both simulated exchanges, put together and running: world, feeds, accounts, hubs, servers, clockwork.

``main`` runs one per process; tests may run one inside theirs.
"""

import asyncio
import errno
import socket

from aiohttp import web

from arbshard.clock import Clock
from arbshard.config import SimConfig
from arbshard.errors import ConfigError
from arbshard.sim.accounts.account import AccountsConfig, seeded_accounts
from arbshard.sim.accounts.matching import Matcher
from arbshard.sim.binance.frames import BinanceFeed
from arbshard.sim.binance.money import BinanceMoney
from arbshard.sim.binance.operations import Operations
from arbshard.sim.binance.rest import BinanceRest
from arbshard.sim.binance.session import BinanceSession, opening_streams
from arbshard.sim.binance.wsapi import WsApiSession
from arbshard.sim.connection import WRITE_BUFFER_MAX
from arbshard.sim.counters import Counters
from arbshard.sim.hub import Hub
from arbshard.sim.loop import OnStep, run_world
from arbshard.sim.server import Opener, VenueServer
from arbshard.sim.session import Answer, Feed
from arbshard.sim.upbit.auth import Authenticator
from arbshard.sim.upbit.desk import UpbitDesk
from arbshard.sim.upbit.frames import UpbitFeed
from arbshard.sim.upbit.money import UpbitMoney
from arbshard.sim.upbit.private import UpbitPrivate
from arbshard.sim.upbit.private_session import PrivateDoor
from arbshard.sim.upbit.rest import UpbitRest
from arbshard.sim.upbit.session import UpbitSession
from arbshard.sim.world import World

_DEFAULT_ACCOUNTS = AccountsConfig()
_NUMBERS_PER_MS = 1000
"""Orders and trades are numbered from the start's wall time on, so that no later run repeats an id."""


class Exchanges:
    """The two venues of one world, with a trading account on each."""

    def __init__(
        self,
        config: SimConfig,
        clock: Clock,
        write_buffer_max: int = WRITE_BUFFER_MAX,
        accounts: AccountsConfig = _DEFAULT_ACCOUNTS,
    ) -> None:
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
        upbit_accounts, binance_accounts = seeded_accounts(accounts, world.upbit, world.binance)
        first_number = clock.wall_ms() * _NUMBERS_PER_MS
        upbit_matcher = Matcher(world.upbit, UpbitMoney(), first_number)
        authenticator = Authenticator(upbit_accounts)
        binance_matcher = Matcher(world.binance, BinanceMoney(), first_number)
        binance_operations = Operations(world.binance, binance_accounts, binance_matcher)
        self._upbit = VenueServer(
            "upbit",
            self._hubs["upbit"],
            UpbitRest(world.upbit, UpbitPrivate(UpbitDesk(world.upbit, upbit_matcher), authenticator)),
            _upbit_opener(world, authenticator, clock),
            self.counters,
            clock,
            upbit_accounts,
            write_buffer_max,
        )
        self._binance = VenueServer(
            "binance",
            self._hubs["binance"],
            BinanceRest(binance_operations),
            _binance_opener(world, binance_operations, clock),
            self.counters,
            clock,
            binance_accounts,
            write_buffer_max,
        )
        self._desks = {
            "upbit": _desk(upbit_matcher, self._upbit),
            "binance": _desk(binance_matcher, self._binance),
        }
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
            run_world(self._world, self._feeds, self._hubs, self._clock, self.counters, self._desks)
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


def _desk(matcher: Matcher, server: VenueServer) -> OnStep:
    def on_step(symbol: str, now_ms: int) -> None:
        if matcher.on_step(symbol, now_ms):
            server.deliver()

    return on_step


def _upbit_opener(world: World, authenticator: Authenticator, clock: Clock) -> Opener:
    door = PrivateDoor(world.upbit, authenticator)

    def open_session(request: web.Request) -> UpbitSession | Answer | None:
        if request.path == "/websocket/v1":
            return UpbitSession(world.upbit)
        if request.path == "/websocket/v1/private":
            return door.open(request.headers.get("Authorization", ""), clock.monotonic_ns())
        return None

    return open_session


def _binance_opener(world: World, operations: Operations, clock: Clock) -> Opener:
    symbols = {symbol.lower(): market for symbol, market in world.binance.items()}

    def open_session(request: web.Request) -> BinanceSession | WsApiSession | None:
        root = request.path.split("/")[1]
        if root == "ws-api":
            with_limits = request.query.get("returnRateLimits") != "false"
            address, now_ns, now_ms = request.remote or "", clock.monotonic_ns(), clock.wall_ms()
            return WsApiSession(operations, address, now_ns, now_ms, with_limits=with_limits)
        if root not in ("ws", "stream"):
            return None
        combined, names = opening_streams(request.path, request.query.get("streams"))
        return BinanceSession(symbols, combined=combined, names=names, now_ns=clock.monotonic_ns())

    return open_session
