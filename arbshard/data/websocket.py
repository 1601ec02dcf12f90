"""``WebSocketMarketDataProvider`` reads both venues' real streams and decodes them in this process.

The sharded engine decodes in its workers; here the frames of a few markets are decoded as they come. The owner of
the event loop uses it, and it has one guard of its own: a loop that was blocked (a long notebook cell) finds frames
that waited in the socket and would look new, so after a stall no book is live until what had waited is read.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from random import Random
from uuid import uuid4

from typing_extensions import override

from arbshard.clock import Clock
from arbshard.config import Config, VenueConfig
from arbshard.data.address_block import AddressBlock
from arbshard.data.provider import MarketDataProvider
from arbshard.data.reconnect import Backoff
from arbshard.data.stream import HandshakeRefused, Stream, Target, open_stream, target_of
from arbshard.errors import FrameError, UsageError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.model.market import Market
from arbshard.venues.base.market import FrameKind, Venue
from arbshard.venues.registry import get_venue

_PULSE_S = 0.05
_STALL_NS = 250_000_000
"""A pulse that is this late, in ns, means that the loop was blocked."""
_CATCH_UP_NS = 500_000_000
"""How long it may take to read what waited in the sockets, in ns."""


class WebSocketMarketDataProvider(MarketDataProvider):
    """Receives books of ``markets`` from as many connections as their venues' rules require."""

    def __init__(self, config: Config, markets: Iterable[Market], clock: Clock) -> None:
        """Plan the connections.

        Raises ``UsageError`` for an unknown venue, and for an address or ``ca_file`` that cannot be used.
        """
        super().__init__()
        self._clock = clock
        self._lines: list[_Line] = []
        self._line_of: dict[str, _Line] = {}
        self._gap_s: dict[str, float] = {}
        by_venue: dict[str, list[str]] = {}
        for market in markets:
            by_venue.setdefault(market.venue, []).append(market.symbol)
        for name, symbols in by_venue.items():
            self._plan(get_venue(name), config.venues.get(name), list(dict.fromkeys(symbols)))
        self._pulse: asyncio.TimerHandle | None = None
        self._pulse_due_ns = 0
        self._distrust_until_ns = 0

    @override
    def is_live(self, symbol: str) -> bool:
        line = self._line_of.get(symbol)
        return line is not None and line.is_up and self._clock.monotonic_ns() >= self._distrust_until_ns

    async def start(self) -> None:
        """Open all connections, no faster than their venues allow; they are kept up until ``stop``."""
        self._beat_at(self._clock.monotonic_ns())
        opened: set[str] = set()
        for line in self._lines:
            if line.venue.name in opened:
                await asyncio.sleep(self._gap_s[line.venue.name])
            opened.add(line.venue.name)
            self._tasks.start(self._keep(line), name=line.name)

    @override
    async def stop(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        await super().stop()

    def _plan(self, venue: Venue, config: VenueConfig, symbols: Sequence[str]) -> None:
        if not config.ws_url:
            raise UsageError(f"venues.{venue.name}.ws_url is empty: where is {venue.name} to be reached?")
        most = min(config.symbols_per_connection, venue.connection_rules.symbols_max)
        count = -(-len(symbols) // most)
        rules = venue.connection_rules
        target = target_of(venue.name, config, venue.ws_address(config.ws_url), rules.ping_interval_s)
        connects = rules.connects
        # Half of what the venue allows may be opened at once; the other half is kept for reconnections.
        self._gap_s[venue.name] = connects.window_s / connects.count if count > connects.count // 2 else 0.0
        block = AddressBlock(venue.name, self._clock)
        for n in range(count):
            line = _Line(venue, config, target, tuple(symbols[n::count]), f"{venue.name}-{n}", block)
            self._lines.append(line)
            self._line_of.update(dict.fromkeys(line.symbols, line))

    async def _keep(self, line: "_Line") -> None:
        """Keep a connection up."""
        backoff = Backoff(Random(line.name))
        while True:
            opened_ns = 0
            try:
                async with open_stream(
                    line.target, partial(self._on_frame, line), self._clock.monotonic_ns
                ) as stream:
                    opened_ns = self._clock.monotonic_ns()
                    line.stream = stream
                    await self._subscribe(stream, line)
                    line.is_up = True
                    why = await stream.until_over()
                    self._fault(f"lost_{line.venue.name}", f"{line.name}: {why}")
            except VenueUnavailable as error:
                if isinstance(error, HandshakeRefused):
                    line.block.learn(error.answer, is_handshake=True)
                self._fault(f"lost_{line.venue.name}", f"{line.name}: {error}")
            finally:
                line.is_up = False
                line.stream = None
                self._touch(*line.symbols)
            held_ns = self._clock.monotonic_ns() - opened_ns if opened_ns else 0
            pause_s = max(backoff.after_loss(held_ns), line.block.connects_left_s())
            get_logger().warning(
                "connection lost", line=line.name, why=self.last_error, again_in_s=round(pause_s, 2)
            )
            await asyncio.sleep(pause_s)

    async def _subscribe(self, stream: Stream, line: "_Line") -> None:
        messages = line.venue.subscribe_messages(line.symbols, line.config.depth, uuid4().hex)
        for number, message in enumerate(messages):
            if number:
                await asyncio.sleep(line.venue.connection_rules.message_gap_s)
            await stream.send(message)

    def _on_frame(self, line: "_Line", frame: bytes, received_ns: int) -> None:
        self._counters["frames"] += 1
        if received_ns - self._pulse_due_ns > _STALL_NS:
            self._stalled(received_ns)
        symbol = line.venue.route(frame)
        if symbol is None:
            if self._control(frame, line.venue) and line.stream is not None:
                line.stream.abort()
            return
        if symbol not in self._line_of:
            self._counters[f"unasked_{line.venue.name}"] += 1
            return
        try:
            book = line.venue.decode(frame, received_ns)
        except FrameError as error:
            name = line.venue.name
            self._distrust(symbol, f"bad_{name}_{error.reason}", f"{name}:{symbol}: {error}")
        else:
            self._take(symbol, book)

    def _control(self, frame: bytes, venue: Venue) -> bool:
        """Count a frame without a book. Return whether the connection must be made anew."""
        control = venue.classify(frame)
        if control.kind in (FrameKind.GARBAGE, FrameKind.ERROR):
            self._fault(f"{control.kind.value}_{venue.name}", f"{venue.name}: {control.detail}")
        if control.kind is FrameKind.ERROR:
            get_logger().error("the venue refused a request", venue=venue.name, said=control.detail)
        return control.kind is FrameKind.SHUTDOWN

    def _beat_at(self, now_ns: int) -> None:
        self._pulse_due_ns = now_ns + int(_PULSE_S * 1e9)
        self._pulse = asyncio.get_running_loop().call_later(_PULSE_S, self._beat)

    def _beat(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._pulse_due_ns > _STALL_NS:
            self._stalled(now_ns)
        self._beat_at(now_ns)

    def _stalled(self, now_ns: int) -> None:
        """Handle a stall, which the pulse or the first frame after it finds, whichever the loop runs first."""
        self._distrust_until_ns = now_ns + _CATCH_UP_NS
        self._fault(
            "stalls", f"the event loop was blocked for {(now_ns - self._pulse_due_ns) // 1_000_000} ms"
        )
        self._pulse_due_ns = now_ns
        self._touch(*self._line_of)


class _Line:
    """Is one connection with its markets."""

    def __init__(
        self,
        venue: Venue,
        config: VenueConfig,
        target: Target,
        symbols: tuple[str, ...],
        name: str,
        block: AddressBlock,
    ) -> None:
        self.venue = venue
        self.config = config
        self.target = target
        self.symbols = symbols
        self.name = name
        self.block = block
        self.is_up = False
        self.stream: Stream | None = None
