"""Simulates the exchanges on virtual time: the real world, sessions and frames of ``arbshard.exchanges``, without
sockets.

``open_stream`` replaces ``data.stream.open_stream``, so the supervisor's own feeds connect, subscribe, lose their
connections and recover. A connection keeps the order of its frames, as TCP does; it may be slow, silent, or be cut,
which loses the frames under way. ``open_order_stream`` does the same for connections that carry orders: what is sent
over one arrives even if its sender has died meanwhile.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from types import TracebackType

from arbshard.clock import Clock
from arbshard.config import SimConfig
from arbshard.data.stream import OnMessage, Receiver, Stream, Target, refused_handshake
from arbshard.errors import VenueUnavailable
from arbshard.exchanges import embedded
from arbshard.exchanges.accounts.account import seeded_accounts
from arbshard.exchanges.counters import Counters
from arbshard.exchanges.hub import Hub
from arbshard.exchanges.loop import run_world
from arbshard.exchanges.session import (
    ClientSession,
    CloseClient,
    Cut,
    Feed,
    PrivateSession,
    RestReply,
    SendData,
    SendLater,
    SessionAction,
)
from arbshard.exchanges.session import SharedStream as Wanted
from arbshard.exchanges.units import UNIT
from arbshard.exchanges.venues import Common, binance_core, upbit_core
from arbshard.exchanges.world import SimWorld
from arbshard.virtual.clock import SteadyClock, VirtualClock
from arbshard.virtual.loop import VirtualLoop, VirtualProcess
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.virtual.trading import TradingVenue, VenueObserver

_PRIVATE = re.compile("/private|/ws-api/")
_FIRST_NUMBER = 1_000
"""Smallest number of orders and trades."""
_SYMBOL = re.compile(rb'"(?:cd|code)":"([A-Z0-9-]+)"|"stream":"([a-z0-9]+)@')
_REFUSED_AFTER_S = 0.002

OnTruth = Callable[[str, int, bytes], None]
"""Takes a market's symbol, the number of the connection that has just brought a frame of it, and the frame."""


def symbol_of(payload: bytes) -> str | None:
    """Return the market of a frame. It is found by other means than those of the system."""
    found = _SYMBOL.search(payload[:120])
    return (found[1] or found[2].upper()).decode() if found is not None else None


class VirtualStream(AbstractAsyncContextManager[Stream]):
    """Is both ends of one WebSocket connection. Implements ``data.stream.Stream`` for the client."""

    def __init__(
        self, venue: "VirtualVenue", target: Target, on_message: OnMessage, *, is_for_orders: bool = False
    ) -> None:
        self._venue = venue
        self._delay_ns = venue.network.call_ns if is_for_orders else venue.network.frame_ns
        self._target = target
        self._on_message = on_message
        self._loop = venue.loop
        self._over: asyncio.Future[str] | None = None
        self._session: ClientSession | None = None
        self._streams: frozenset[Wanted] = frozenset()
        self._arrives_ns = 0
        self._reaches_ns = 0
        self._is_cut = False
        """Whether the venue has ended it."""
        self.cuts_after_ns: int | None = None
        """How long after the next message to the venue the connection breaks, in ns; None if it does not."""
        self.ponged_ns = 0
        self.number = 0
        self.client: VirtualProcess | None = None
        self.is_open = False
        self.is_for_orders = is_for_orders
        self.is_private = False
        """Whether it carries events of our account, or answers to its orders."""
        self.is_silent = False
        """Whether the connection is open but carries nothing."""

    async def __aenter__(self) -> Stream:
        """Connect. Raises ``VenueUnavailable``."""
        self.client = self._loop.current_process()
        trading = self._venue.trading
        if trading is not None:
            trading.leaves("handshake", "a handshake")
        await asyncio.sleep(self._venue.network.frame_ns() / 1e9)
        if not self._venue.is_reachable:
            await asyncio.sleep(_REFUSED_AFTER_S)
            raise VenueUnavailable(f"{self._venue.name}: connection refused")
        self._over = asyncio.get_running_loop().create_future()
        session = self._venue.new_session(self._target)
        if session is None or isinstance(session, RestReply):
            status, headers, body, *_ = session or RestReply(404, {}, b"")
            why = f"{self._venue.name}: server rejected WebSocket connection: HTTP {status}"
            refused = refused_handshake(self._target, why, status, headers.items(), body)
            if trading is not None:
                trading.learned(refused.answer, "handshake")
            raise refused
        self._session = session
        self._arrives_ns = self._loop.now_ns
        self.is_open = True
        self._venue.join(self)
        if isinstance(session, PrivateSession) and trading is not None:
            self.is_private = True
            if not self.is_for_orders:
                trading.join(self, session)
            self._do(session.on_open(self._venue.clock.wall_ms()))
        self._subscribed()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.end("closed by us")

    async def send(self, text: str) -> None:
        """Send a text to the venue, as ``Stream`` does. Raises ``VenueUnavailable`` after the end."""
        self.write(text)

    def write(self, text: str) -> None:
        """Send a text to the venue, as ``Stream`` does. Raises ``VenueUnavailable`` after the end."""
        if not self.is_open:
            raise VenueUnavailable("the connection is over")
        now_ns = self._loop.now_ns
        self._reaches_ns = max(self._reaches_ns, now_ns + self._delay_ns())
        self._loop.deliver(None, self._reaches_ns, self._at_venue, text)
        if self.cuts_after_ns is not None:
            self._loop.deliver(None, now_ns + self.cuts_after_ns, self.cut, "connection reset")
            self.cuts_after_ns = None

    async def ping(self) -> None:
        """Send a ping to the venue, as ``Stream`` does. Raises ``VenueUnavailable`` after the end."""
        if not self.is_open:
            raise VenueUnavailable("the connection is over")
        self._loop.deliver(None, self._loop.now_ns + self._venue.network.frame_ns(), self._on_ping)

    async def until_over(self) -> str:
        """Wait until the connection has ended. Returns the reason, as ``Stream`` does."""
        assert self._over is not None
        return await self._over

    def redirect(self, on_message: OnMessage) -> None:
        """Set the receiver of frames, as ``Stream`` does."""
        self._on_message = on_message

    def abort(self) -> None:
        """End the connection at once, as ``Stream`` does."""
        self.end("aborted")

    def deliver(self, symbol: str | None, payload: bytes) -> None:
        """Send a frame to the client."""
        if self.is_silent:
            return
        self._arrives_ns = max(self._arrives_ns, self._loop.now_ns + self._delay_ns())
        self._loop.deliver(self.client, self._arrives_ns, self._at_client, symbol, payload)

    def perform(self, action: SessionAction, delay_ms: float) -> None:
        """Carry out an action of the venue's session after ``delay_ms``. Other actions overtake a delayed one."""
        if delay_ms:
            self._loop.deliver(None, self._loop.now_ns + int(delay_ms * 1e6), self._do, (action,))
        else:
            self._do((action,))

    def cut(self, why: str, *, is_clean: bool = False) -> None:
        """Break the connection, and notify the client. What is under way to it is lost unless it ``is_clean``."""
        if self.is_open:
            self._is_cut = True
            self._venue.leave(self, self._streams)
            ends_ns = self._loop.now_ns + self._venue.network.frame_ns()
            if is_clean:
                ends_ns = max(ends_ns, self._arrives_ns)
            self._loop.deliver(self.client, ends_ns, self.end, why)

    def end(self, why: str) -> None:
        """End the connection at the client's side."""
        if not self.is_open:
            return
        self.is_open = False
        self._venue.leave(self, self._streams)
        self._streams = frozenset()
        self._venue.on_lost(self.number)
        if self._over is not None and not self._over.done():
            self._over.set_result(why)

    def _at_venue(self, text: str) -> None:
        is_known = self._venue.holds(self) or (self.is_for_orders and self._venue.is_reachable)
        if self._is_cut or self._session is None or not is_known:
            return
        clock = self._venue.clock_of(self._session)
        self._do(self._session.on_text(text, clock.monotonic_ns(), clock.wall_ms()))
        if self.is_open and not self._is_cut:
            self._subscribed()
        if self.is_for_orders and self._venue.trading is not None:
            self._venue.trading.deliver()

    def _on_ping(self) -> None:
        """Answer after what was sent before. A silent connection carries nothing."""
        if not self.is_open or self.is_silent or not self._venue.holds(self):
            return
        self._arrives_ns = max(self._arrives_ns, self._loop.now_ns + self._venue.network.frame_ns())
        self._loop.deliver(self.client, self._arrives_ns, self._on_pong)

    def _on_pong(self) -> None:
        if self.is_open:
            self.ponged_ns = self._loop.now_ns
            self._venue.on_pong(self.number)

    def _subscribed(self) -> None:
        assert self._session is not None
        now = self._session.streams
        if now != self._streams:
            self._venue.hub.move(self, self._streams, now)
            self._streams = now

    def _do(self, actions: Iterable[SessionAction]) -> None:
        for action in actions:
            if not self.is_open or not self._venue.holds(self):
                return
            if isinstance(action, SendData):
                symbol = None if self.is_private else symbol_of(action.payload)
                self.deliver(symbol, action.payload)
            elif isinstance(action, SendLater):
                self.perform(SendData(action.payload), action.wait_ms)
            elif isinstance(action, CloseClient | Cut):
                self.cut(action.reason, is_clean=isinstance(action, CloseClient))

    def _at_client(self, symbol: str | None, payload: bytes) -> None:
        if self.is_open:
            if symbol is not None:
                self._venue.on_truth(symbol, self.number, payload)
            self._on_message(payload, self._loop.now_ns)


class VirtualHub(Hub):
    """Distributes frames as the real hub does, but directly to virtual connections, with the market's name added."""

    def __init__(self, *, binary: bool) -> None:
        super().__init__(binary=binary)
        self._members: dict[str, dict[Wanted, list[VirtualStream]]] = {}
        self.frames = 0

    def move(self, who: VirtualStream, old: Iterable[Wanted], new: Iterable[Wanted]) -> None:
        """Let ``who`` leave the streams of ``old`` and join those of ``new``."""
        for stream in old:
            members = self._members.get(stream.symbol, {}).get(stream, [])
            if who in members:
                members.remove(who)
        for stream in sorted(new):
            self._members.setdefault(stream.symbol, {}).setdefault(stream, []).append(who)

    def publish(self, feed: Feed, now_ms: int) -> None:
        """Send the frames of the market's last step to all connections that subscribe to it."""
        symbol = feed.market.symbol
        for stream, members in self._members.get(symbol, {}).items():
            if members:
                for payload in feed.payloads(stream, now_ms):
                    for member in members:
                        self.frames += 1
                        member.deliver(symbol, payload)
        feed.on_sent()

    def prepare(self, feed: Feed, now_ms: int) -> Callable[[], None]:
        """Prepare what ``publish`` would send, and return a function that sends it to all that are subscribed by
        then.
        """
        symbol = feed.market.symbol
        payloads = [
            (stream, payload)
            for stream in self._members.get(symbol, {})
            for payload in feed.payloads(stream, now_ms)
        ]
        feed.on_sent()

        def send() -> None:
            for stream, payload in payloads:
                for member in self._members.get(symbol, {}).get(stream, ()):
                    self.frames += 1
                    member.deliver(symbol, payload)

        return send


class VirtualVenue:
    """Is one exchange: its connections, and whether it can be reached."""

    def __init__(
        self,
        name: str,
        world: SimWorld,
        clock: VirtualClock,
        loop: VirtualLoop,
        network: NetworkConditions,
        numbers: list[int],
    ) -> None:
        """Make a venue. ``numbers`` is one counter of connections, shared by all venues."""
        self.name = name
        self.loop = loop
        self.clock = clock
        self.network = network
        self.hub = VirtualHub(binary=embedded.BINARY[name])
        self.is_reachable = True
        self.connections: dict[VirtualStream, None] = {}
        self.on_truth: OnTruth = lambda *_: None
        self.on_lost: Callable[[int], None] = lambda _: None
        self.on_pong: Callable[[int], None] = lambda _: None
        """Takes the number of a connection over which the answer to a ping has just come."""
        self.trading: TradingVenue | None = None
        """Our account at the venue; None where orders are on paper."""
        self._world = world
        self._numbers = numbers

    def new_session(self, target: Target) -> ClientSession | RestReply | None:
        """Return the venue's side of a new connection, or the response that refuses it."""
        if self.trading is not None:
            headers = {name.lower(): value for name, value in target.headers}
            if _PRIVATE.search(target.address):
                return self.trading.session(target.address, headers)
            refusal = self.trading.refusal(target.address, headers)
            if refusal is not None:
                return refusal
        return embedded.open_session(self.name, self._world, target.address, self.clock.monotonic_ns())

    def can_be_reached(self) -> bool:
        """Return whether connections and calls reach the venue."""
        return self.is_reachable

    def clock_of(self, session: ClientSession) -> Clock:
        """Return the clock that the venue uses: where there are accounts, it is its own."""
        if self.trading is not None and isinstance(session, PrivateSession):
            return self.trading.core.clock
        return self.clock

    def join(self, stream: VirtualStream) -> None:
        """Add a connection that has been opened."""
        self._numbers[0] += 1
        stream.number = self._numbers[0]
        self.connections[stream] = None

    def leave(self, stream: VirtualStream, wanted: Iterable[Wanted]) -> None:
        """Remove a connection that has ended or was cut."""
        self.connections.pop(stream, None)
        self.hub.move(stream, wanted, ())
        if self.trading is not None:
            self.trading.leave(stream)

    def holds(self, stream: VirtualStream) -> bool:
        """Return whether the venue still has this connection."""
        return stream in self.connections

    def forget_dead(self) -> None:
        """Remove the connections whose client was killed."""
        for stream in tuple(self.connections):
            if stream.client is not None and not stream.client.alive:
                stream.end("the client died")


class VirtualExchanges:
    """Holds both venues of one world, with accounts of ours after a call of ``open_accounts``."""

    def __init__(
        self, config: SimConfig, clock: VirtualClock, loop: VirtualLoop, network: NetworkConditions
    ) -> None:
        self.world = SimWorld(config)
        self.counters = Counters()
        self._config = config
        self._clock = clock
        self._loop = loop
        self._network = network
        numbers = [0]
        self.venues = {
            name: VirtualVenue(name, self.world, clock, loop, network, numbers) for name in embedded.BINARY
        }
        self._feeds = embedded.feeds_of(self.world, config)
        self.trading: dict[str, TradingVenue] = {}
        """Our accounts; empty where orders are on paper."""

    def open_accounts(self, watch: VenueObserver) -> None:
        """Open an account of ours on each venue. The venues' clocks are right whatever the machine's clock shows."""
        config, loop = self._config, self._loop
        common = Common(self.world, config, SteadyClock(loop), self.counters, _FIRST_NUMBER)
        at_upbit, at_binance = seeded_accounts(config.accounts, self.world.upbit, self.world.binance)
        for core in (upbit_core(common, at_upbit), binance_core(common, at_binance)):
            venue = self.venues[core.name]
            (account,) = core.accounts
            venue.trading = TradingVenue(core, account, loop, self._network, watch)
            venue.trading.is_reachable = venue.can_be_reached
            self.trading[core.name] = venue.trading

    def wallets(self) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
        """Return what our accounts hold, free and locked, by venue and currency."""
        return {
            account: amounts for one in self.trading.values() for account, amounts in one.wallet().items()
        }

    def best_ask(self, venue: str, symbol: str) -> Decimal:
        """Return the best ask of a market, in its quote currency."""
        market = (self.world.upbit if venue == "upbit" else self.world.binance)[symbol]
        return Decimal(market.best_ask) / UNIT

    async def run(self) -> None:
        """Step the world and publish each step until cancelled."""
        hubs = {name: venue.hub for name, venue in self.venues.items()}
        steps = {name: trading.on_step for name, trading in self.trading.items()}
        await run_world(self.world, self._feeds, hubs, self._clock, self.counters, steps)

    def open_stream(
        self, target: Target, on_message: OnMessage, now_ns: Callable[[], int], receiver: Receiver = "auto"
    ) -> AbstractAsyncContextManager[Stream]:
        """Return a connection to a venue, as ``data.stream.open_stream`` does."""
        del now_ns, receiver
        return VirtualStream(self._venue_at(target), target, on_message)

    def open_order_stream(
        self, target: Target, on_message: OnMessage, now_ns: Callable[[], int], receiver: Receiver = "auto"
    ) -> AbstractAsyncContextManager[Stream]:
        """Return a connection to a venue that carries orders, as ``data.stream.open_stream`` does."""
        del now_ns, receiver
        return VirtualStream(self._venue_at(target), target, on_message, is_for_orders=True)

    def _venue_at(self, target: Target) -> VirtualVenue:
        return self.venues[next(name for name in self.venues if name in target.address)]
