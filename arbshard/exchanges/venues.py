"""Each simulated venue put together out of its parts: feeds, accounts, matching, both interfaces, faults, server.

``exchanges`` makes both of one world.
"""

from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

from arbshard.clock import Clock
from arbshard.config import SimConfig
from arbshard.exchanges.accounts.account import Accounts
from arbshard.exchanges.accounts.matching import Matcher
from arbshard.exchanges.binance import faults as binance_faults
from arbshard.exchanges.binance.frames import BinanceFeed
from arbshard.exchanges.binance.money import BinanceMoney
from arbshard.exchanges.binance.operations import Operations
from arbshard.exchanges.binance.rest import BinanceRest
from arbshard.exchanges.binance.session import BinanceSession, opening_streams
from arbshard.exchanges.binance.wsapi import WsApiSession
from arbshard.exchanges.counters import Counters
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.clock import SkewedClock
from arbshard.exchanges.faults.spells import Spells
from arbshard.exchanges.faults.venue import VenueFaults
from arbshard.exchanges.guard import Guard
from arbshard.exchanges.hub import Hub
from arbshard.exchanges.loop import OnStep
from arbshard.exchanges.server import Opener, VenueServer
from arbshard.exchanges.session import Answer, Feed
from arbshard.exchanges.upbit import faults as upbit_faults
from arbshard.exchanges.upbit.auth import Authenticator
from arbshard.exchanges.upbit.desk import UpbitDesk
from arbshard.exchanges.upbit.frames import UpbitFeed
from arbshard.exchanges.upbit.money import UpbitMoney
from arbshard.exchanges.upbit.private import UpbitPrivate
from arbshard.exchanges.upbit.private_session import PrivateDoor
from arbshard.exchanges.upbit.rest import UpbitRest
from arbshard.exchanges.upbit.session import UpbitSession
from arbshard.exchanges.world import World


class Common(NamedTuple):
    """What both venues are made of."""

    world: World
    config: SimConfig
    clock: Clock
    counters: Counters
    first_number: int
    """Of orders and trades."""
    write_buffer_max: int
    guard: Guard


class Venue(NamedTuple):
    """A venue, ready to be started."""

    server: VenueServer
    hub: Hub
    feeds: Mapping[str, Feed]
    """By symbol."""
    on_step: OnStep
    """Fills resting orders when a market moves."""
    matcher: Matcher


def make_upbit(common: Common, accounts: Accounts) -> Venue:
    """The simulated Upbit."""
    markets, config = common.world.upbit, common.config
    board = Board("upbit", config.faults, common.counters.venues["upbit"].faults)
    faults = VenueFaults(board, upbit_faults.UpbitWords())
    clock = SkewedClock(common.clock, faults.spells)
    matcher = Matcher(markets, UpbitMoney(), common.first_number, board.fill_share)
    authenticator = Authenticator(accounts)
    desk = UpbitDesk(markets, matcher, upbit_faults.Refuser(board))
    hub = Hub(binary=True)
    server = VenueServer(
        "upbit",
        hub,
        UpbitRest(markets, UpbitPrivate(desk, authenticator)),
        _upbit_opener(common.world, authenticator, clock),
        common.counters,
        clock,
        accounts,
        common.write_buffer_max,
        faults,
        common.guard,
    )
    feeds = {symbol: UpbitFeed(market) for symbol, market in markets.items()}
    return Venue(server, hub, feeds, _on_step(matcher, server, faults.spells), matcher)


def make_binance(common: Common, accounts: Accounts) -> Venue:
    """The simulated Binance. Raises ``ConfigError`` for an Ed25519 key that cannot be used."""
    markets, config = common.world.binance, common.config
    feeds = {symbol: BinanceFeed(market, config.updates_per_s) for symbol, market in markets.items()}
    board = Board("binance", config.faults, common.counters.venues["binance"].faults)
    faults = VenueFaults(board, binance_faults.BinanceWords(), tuple(feeds.values()))
    clock = SkewedClock(common.clock, faults.spells)
    matcher = Matcher(markets, BinanceMoney(), common.first_number, board.fill_share)
    operations = Operations(markets, accounts, matcher, binance_faults.Refuser(board))
    hub = Hub(binary=False)
    server = VenueServer(
        "binance",
        hub,
        BinanceRest(operations),
        _binance_opener(common.world, operations, clock),
        common.counters,
        clock,
        accounts,
        common.write_buffer_max,
        faults,
        common.guard,
    )
    return Venue(server, hub, feeds, _on_step(matcher, server, faults.spells), matcher)


def _on_step(matcher: Matcher, server: VenueServer, spells: Spells) -> OnStep:
    def on_step(symbol: str, now_ms: int) -> None:
        if matcher.on_step(symbol, now_ms + spells.skew_ms):
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
