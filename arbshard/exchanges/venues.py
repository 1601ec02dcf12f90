"""Assembles each simulated venue of its parts: feeds, accounts, matching, both interfaces, faults, server.

``exchanges`` makes both of one world, with servers. A simulation on virtual time uses ``VenueCore``, without
servers.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from arbshard.clock import Clock
from arbshard.config import SimConfig
from arbshard.exchanges.accounts.account import Accounts
from arbshard.exchanges.accounts.matching import Matcher
from arbshard.exchanges.accounts.owner import AccountOwner
from arbshard.exchanges.binance import faults as binance_faults
from arbshard.exchanges.binance.access import Access
from arbshard.exchanges.binance.frames import BinanceFeed
from arbshard.exchanges.binance.money import BinanceMoney
from arbshard.exchanges.binance.operations import Operations
from arbshard.exchanges.binance.rest import BinanceRest
from arbshard.exchanges.binance.session import BinanceSession, opening_streams, unknown_streams
from arbshard.exchanges.binance.wsapi import WsApiSession
from arbshard.exchanges.counters import Counters
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.clock import SkewedClock
from arbshard.exchanges.faults.conditions import Conditions
from arbshard.exchanges.faults.requests import RequestFaults
from arbshard.exchanges.faults.spells import Sequenced, Spells
from arbshard.exchanges.faults.venue import VenueFaults
from arbshard.exchanges.guard import Guard
from arbshard.exchanges.hub import Hub
from arbshard.exchanges.limits import WeightBudget
from arbshard.exchanges.loop import OnStep
from arbshard.exchanges.server import SessionOpener, VenueServer
from arbshard.exchanges.session import Feed, Query, Rest, RestReply
from arbshard.exchanges.upbit import faults as upbit_faults
from arbshard.exchanges.upbit.auth import Authenticator
from arbshard.exchanges.upbit.desk import UpbitDesk
from arbshard.exchanges.upbit.frames import UpbitFeed
from arbshard.exchanges.upbit.gate import RequestCounter
from arbshard.exchanges.upbit.money import UpbitMoney
from arbshard.exchanges.upbit.private import UpbitPrivate
from arbshard.exchanges.upbit.private_session import Printing, PrivateDoor, admit_connection
from arbshard.exchanges.upbit.rest import UpbitRest
from arbshard.exchanges.upbit.session import UpbitSession
from arbshard.exchanges.world import MarketWorld

_CONNECTIONS_MAX = 300
"""Connections to Binance from one address in five minutes. How the venue refuses more is not documented."""
_CONNECTIONS_S = 300


class Common(NamedTuple):
    """Holds what both venues are made of."""

    world: MarketWorld
    config: SimConfig
    clock: Clock
    counters: Counters
    first_number: int
    """The number of the first order and of the first trade."""


class VenueCore(NamedTuple):
    """Combines a venue without sockets: what answers, what keeps the accounts, and what goes wrong."""

    name: str
    rest: Rest
    open_session: SessionOpener
    accounts: Accounts
    matcher: Matcher
    faults: VenueFaults
    clock: SkewedClock
    """The venue's own clock, which a fault may set wrong."""


class EmbeddedVenue(NamedTuple):
    """Holds a venue that is ready to be started."""

    server: VenueServer
    hub: Hub
    feeds: Mapping[str, Feed]
    """Feeds by symbol."""
    on_step: OnStep
    """Fills resting orders when a market moves."""
    matcher: Matcher


def upbit_core(common: Common, accounts: Accounts) -> VenueCore:
    """Return the simulated Upbit without sockets."""
    markets = common.world.upbit
    board = Board("upbit", common.config.faults, common.counters.venues["upbit"].faults)
    money = UpbitMoney()
    conditions = Conditions("upbit", common.world, money)
    faults = VenueFaults(board, upbit_faults.UpbitFaultReplies(), conditions)
    clock = SkewedClock(common.clock, faults.spells)
    matcher = Matcher(markets, money, common.first_number, board.fill_share)
    faults.spells.owner = AccountOwner(accounts, matcher, clock)
    authenticator = Authenticator(accounts, upbit_faults.revoked_key(board, conditions))
    desk = UpbitDesk(markets, matcher, upbit_faults.UpbitRefuser(board), board.rounded_statement.happens)
    gate = RequestCounter()
    rest = UpbitRest(markets, UpbitPrivate(desk, authenticator), gate)
    opener = _upbit_opener(common.world, authenticator, board, gate)
    return VenueCore("upbit", rest, opener, accounts, matcher, faults, clock)


def binance_core(common: Common, accounts: Accounts, feeds: Sequence[Sequenced] = ()) -> VenueCore:
    """Return the simulated Binance without sockets. Raises ``ConfigError`` for an invalid Ed25519 key."""
    markets = common.world.binance
    board = Board("binance", common.config.faults, common.counters.venues["binance"].faults)
    money = BinanceMoney()
    conditions = Conditions("binance", common.world, money)
    faults = VenueFaults(board, binance_faults.BinanceFaultReplies(), conditions, feeds)
    clock = SkewedClock(common.clock, faults.spells)
    matcher = Matcher(markets, money, common.first_number, board.fill_share)
    faults.spells.owner = AccountOwner(accounts, matcher, clock)
    access = Access(accounts, lambda: conditions.is_key_revoked)
    operations = Operations(markets, access, matcher, binance_faults.BinanceRefuser(board))
    opener = _binance_opener(common.world, operations, faults.requests)
    return VenueCore("binance", BinanceRest(operations), opener, accounts, matcher, faults, clock)


def make_upbit(common: Common, accounts: Accounts, guard: Guard, write_buffer_max: int) -> EmbeddedVenue:
    """Return the simulated Upbit with its server."""
    feeds = {symbol: UpbitFeed(market) for symbol, market in common.world.upbit.items()}
    return _serve(upbit_core(common, accounts), Hub(binary=True), feeds, common, guard, write_buffer_max)


def make_binance(common: Common, accounts: Accounts, guard: Guard, write_buffer_max: int) -> EmbeddedVenue:
    """Return the simulated Binance with its server. Raises ``ConfigError`` for an invalid Ed25519 key."""
    config = common.config
    markets = list(common.world.binance.values())
    feeds = {
        market.symbol: BinanceFeed(
            market,
            config.updates_per_s,
            markets if market is markets[0] else (),
            config.depth_interval_ms,
        )
        for market in markets
    }
    core = binance_core(common, accounts, tuple(feeds.values()))
    return _serve(core, Hub(binary=False), feeds, common, guard, write_buffer_max)


def _serve(
    core: VenueCore,
    hub: Hub,
    feeds: Mapping[str, Feed],
    common: Common,
    guard: Guard,
    write_buffer_max: int,
) -> EmbeddedVenue:
    server = VenueServer(
        core.name,
        hub,
        core.rest,
        core.open_session,
        common.counters,
        core.clock,
        core.accounts,
        write_buffer_max,
        core.faults,
        guard,
    )
    return EmbeddedVenue(server, hub, feeds, _on_step(core.matcher, server, core.faults.spells), core.matcher)


def _on_step(matcher: Matcher, server: VenueServer, spells: Spells) -> OnStep:
    def on_step(symbol: str, now_ms: int) -> None:
        if matcher.on_step(symbol, now_ms + spells.skew_ms):
            server.deliver()

    return on_step


def _upbit_opener(
    world: MarketWorld, authenticator: Authenticator, board: Board, gate: RequestCounter
) -> SessionOpener:
    door = PrivateDoor(
        world.upbit,
        authenticator,
        Printing(board.rounded_statement.happens, board.figures_as_doubles.happens),
        gate,
    )

    def open_session(query: Query) -> UpbitSession | RestReply | None:
        if query.path == "/websocket/v1":
            has_origin = "origin" in query.headers
            refused = admit_connection(gate, query.peer, query.now_ns, has_origin=has_origin)
            return refused or UpbitSession(world.upbit)
        if query.path == "/websocket/v1/private":
            return door.open(query.headers.get("authorization", ""), query.now_ns)
        return None

    return open_session


def _binance_opener(world: MarketWorld, operations: Operations, faults: RequestFaults) -> SessionOpener:
    symbols = {symbol.lower(): market for symbol, market in world.binance.items()}
    connections = WeightBudget(_CONNECTIONS_MAX, _CONNECTIONS_S)

    def open_session(query: Query) -> BinanceSession | WsApiSession | RestReply | None:
        root = query.path.split("/")[1]
        if root not in ("ws", "stream", "ws-api"):
            return None
        if connections.spend(query.peer, 1, query.now_ns) > _CONNECTIONS_MAX:
            return RestReply(429, {"Retry-After": str(connections.wait_s(query.now_ns))}, b"")
        in_microseconds = (query.get("timeUnit") or "").upper() == "MICROSECOND"
        if root == "ws-api":
            with_limits = query.get("returnRateLimits") != "false"
            return WsApiSession(
                operations,
                query.peer,
                query.now_ns,
                query.now_ms,
                with_limits=with_limits,
                in_microseconds=in_microseconds,
                faults=faults,
            )
        combined, names = opening_streams(query.path, query.get("streams"))
        refused = unknown_streams(names)
        if refused is not None:
            return refused
        return BinanceSession(
            symbols,
            combined=combined,
            names=names,
            now_ns=query.now_ns,
            in_microseconds=in_microseconds,
        )

    return open_session
