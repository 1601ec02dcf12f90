"""One WebSocket stream of a connection, from opening to its end: open, subscribe, follow changes, until it is over.

``FeedConnection`` keeps one going, and two while it renews it.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Literal, NamedTuple, Protocol

from arbshard.clock import Clock
from arbshard.data.stream import OPEN_TIMEOUT_S, Opener, Receiver, Stream, Target
from arbshard.errors import VenueUnavailable
from arbshard.venues.base.market import ControlFrame, FrameKind, Venue
from supervisor.feeds.pacing import Bucket, Spacing
from supervisor.feeds.recording import RecordTopic

_SEND_TIMEOUT_S = 5.0
_GATHER_S = 0.05
"""Changes that come together go out together."""
_FIRST_RETRY_S = 1.0
_RETRY_MAX_S = 60.0
"""What the venue refused is asked for again."""


class Intake(Protocol):
    """Where a stream's frames go: ``fanout.Lane``, or ``diff.DiffLane`` where the book is kept here."""

    frames: int

    def __call__(self, frame: bytes, received_ns: int) -> None:
        """Take in one frame."""
        ...

    def attach(self, symbols: Iterable[str]) -> None:
        """These are going to come."""
        ...

    def detach(self, symbols: Iterable[str]) -> None:
        """These come no longer."""
        ...

    def frames_received(self, symbol: str) -> int:
        """Frames it has brought of a market it is attached to."""
        ...

    def close(self) -> None:
        """Nothing comes any more."""
        ...


MakeIntake = Callable[[Callable[[ControlFrame], None]], Intake]


class Dial(NamedTuple):
    """What all streams of a venue are opened with."""

    venue: Venue
    depth: int
    target: Target
    clock: Clock
    opener: Opener
    receiver: Receiver
    connects: Bucket
    """Shared by all connections of the venue."""
    intake: MakeIntake
    record: RecordTopic | None = None
    """Publishes what the streams receive; None where nobody can subscribe to it."""


class StreamLink:
    """One stream. ``run`` once; ``change``, ``ask_again`` and ``abort`` meanwhile."""

    def __init__(
        self,
        dial: Dial,
        symbols: Iterable[str],
        ticket: str,
        on_control: Callable[["StreamLink", ControlFrame], None],
    ) -> None:
        """``on_control`` takes the frames that are not books; ``ticket`` begins the names of its requests."""
        self._dial = dial
        self._venue = dial.venue
        self._symbols = dict.fromkeys(symbols)
        self._ticket = ticket
        self._record = dial.record
        self._tickets = 0
        self._forward_control = on_control
        self._stream: Stream | None = None
        self._spacing = Spacing(dial.venue.connection_rules.message_gap_s)
        self._added: dict[str, None] = {}
        self._removed: dict[str, None] = {}
        self._changed = asyncio.Event()
        self._why = ""
        self._pinging: asyncio.Task[None] | None = None
        self._refusals = 0
        self._controls = 0
        self.intake = dial.intake(self._on_control)
        self.opened_ns = 0
        """When it was open; 0 before."""
        self.subscribed_ns = 0
        """When all was asked for; 0 before."""
        self.refused = ""
        """What the venue last refused; empty once books have come since."""

    @property
    def frames(self) -> int:
        """Books it has brought."""
        return self.intake.frames - self._controls

    @property
    def symbols(self) -> tuple[str, ...]:
        """What it carries."""
        return tuple(self._symbols)

    @property
    def ponged_ns(self) -> int:
        """When the venue last answered a ping; 0 for never."""
        return self._stream.ponged_ns if self._stream is not None else 0

    def frames_by_symbol(self) -> dict[str, int]:
        """Frames by market."""
        return {symbol: self.intake.frames_received(symbol) for symbol in self._symbols}

    def has_all(self) -> bool:
        """Whether every market has come at least once."""
        return all(self.intake.frames_received(symbol) for symbol in self._symbols)

    async def run(self) -> str:
        """Until it is over; why it ended. Raises ``VenueUnavailable``, and what the taker of frames raised."""
        record, began_ns, why = self._record, 0, "closed by us"
        if record is not None:
            record.join(self._follow_recording)
        try:
            await self._wait_turn()
            async with AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(OPEN_TIMEOUT_S + 1.0):
                        stream = await stack.enter_async_context(
                            self._dial.opener(
                                self._dial.target,
                                self.intake
                                if record is None or not record.is_wanted
                                else self._take_recorded,
                                self._dial.clock.monotonic_ns,
                                self._dial.receiver,
                            )
                        )
                except TimeoutError:
                    raise VenueUnavailable("no connection in time") from None
                # First of all on the way out: what comes while the socket is closed goes nowhere.
                stack.callback(self.intake.close)
                self._stream = stream
                self.opened_ns = began_ns = self._dial.clock.monotonic_ns()
                if record is not None:  # recording may have begun or ended meanwhile
                    self._follow_recording(record.is_wanted)
                self.intake.attach(self._symbols)
                why = await self._serve(stream)
                return self._why or why
        except VenueUnavailable as error:
            why = str(error)
            raise
        finally:
            self._stream = None
            if record is not None:
                record.leave(self._follow_recording)
                record.publish("disconnect", self._ticket, began_ns=began_ns, detail=self._why or why)
            self.intake.close()
            if self._pinging is not None:
                self._pinging.cancel()

    def change(self, added: Iterable[str], removed: Iterable[str]) -> None:
        """Carry other markets, as soon as the venue's limits allow the request."""
        for symbol in removed:
            self._symbols.pop(symbol, None)
            self._added.pop(symbol, None)
            self._removed[symbol] = None
            self.intake.detach((symbol,))
        for symbol in added:
            self._symbols[symbol] = None
            self._removed.pop(symbol, None)
            self._added[symbol] = None
        if self._stream is not None:
            self.intake.attach(self._symbols)
        self._changed.set()

    def ask_again(self, symbols: Iterable[str]) -> None:
        """Subscribe anew to markets it carries already."""
        self._added.update((symbol, None) for symbol in symbols if symbol in self._symbols)
        self._changed.set()

    def ping(self) -> None:
        """Send a ping, unless the last one is still being sent."""
        if self._stream is not None and (self._pinging is None or self._pinging.done()):
            self._pinging = asyncio.create_task(self._ping(self._stream))

    def abort(self, why: str = "") -> None:
        """Let go of the socket at once; ``run`` then says ``why``."""
        self._why = self._why or why
        if self._stream is not None:
            self._stream.abort()

    async def _serve(self, stream: Stream) -> str:
        """Both until one ends: the stream, and what is asked of it."""
        over = asyncio.create_task(stream.until_over())
        asking = asyncio.create_task(self._keep_asking(stream))
        tasks = {over, asking}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and not over.done():
                await asking  # raises: a message could not be sent
            return await over
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_asking(self, stream: Stream) -> None:
        self._added.clear()
        self._removed.clear()
        await self._send(
            stream,
            "subscribe",
            self._venue.subscribe_messages(self.symbols, self._dial.depth, self._next_ticket()),
        )
        self.subscribed_ns = self._dial.clock.monotonic_ns()
        while True:
            await self._changed.wait()
            await asyncio.sleep(_GATHER_S)
            self._changed.clear()
            added, removed = tuple(self._added), tuple(self._removed)
            self._added.clear()
            self._removed.clear()
            if self._symbols and (added or removed):
                await self._send(
                    stream,
                    "resubscribe",
                    self._venue.change_messages(
                        self.symbols, added, removed, self._dial.depth, self._next_ticket()
                    ),
                )

    async def _send(
        self, stream: Stream, kind: Literal["subscribe", "resubscribe"], messages: Iterable[str]
    ) -> None:
        for message in messages:
            wait_ns = self._spacing.reserve(self._dial.clock.monotonic_ns())
            if wait_ns:
                await asyncio.sleep(wait_ns / 1e9)
            try:
                async with asyncio.timeout(_SEND_TIMEOUT_S):
                    await stream.send(message)
            except TimeoutError:
                raise VenueUnavailable("a message could not be sent in time") from None
            if self._record is not None:
                self._record.publish(kind, self._ticket, data=message.encode())

    def _follow_recording(self, is_wanted: bool) -> None:
        """Have the stream's messages published on their way to the intake, or not any more."""
        stream, record = self._stream, self._record
        if stream is None or record is None:
            return
        if is_wanted:
            # The answers to its subscriptions may have come long ago: what it carries is said here.
            record.publish(
                "connect", self._ticket, at_ns=self.opened_ns, detail=f"carries {' '.join(self._symbols)}"
            )
        stream.redirect(self._take_recorded if is_wanted else self.intake)

    def _take_recorded(self, frame: bytes, received_ns: int) -> None:
        """Take in one message, then publish it: what is decided on it does not wait for the recorder."""
        assert self._record is not None
        try:
            self.intake(frame, received_ns)
        finally:
            self._record.publish("frame", self._ticket, at_ns=received_ns, data=frame)

    async def _ping(self, stream: Stream) -> None:
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await stream.ping()
        except TimeoutError:
            self.abort("a ping could not be sent in time")
        except VenueUnavailable as error:
            self.abort(str(error))

    async def _wait_turn(self) -> None:
        wait_ns = self._dial.connects.reserve(self._dial.clock.monotonic_ns())
        if wait_ns:
            await asyncio.sleep(wait_ns / 1e9)

    def _next_ticket(self) -> str:
        self._tickets += 1
        return f"{self._ticket}-{self._tickets}"

    def _on_control(self, control: ControlFrame) -> None:
        self._controls += 1
        if control.kind is FrameKind.ERROR:
            self.refused = control.detail
            pause_s = min(_FIRST_RETRY_S * 2.0 ** min(self._refusals, 16), _RETRY_MAX_S)
            self._refusals += 1
            asyncio.get_running_loop().call_later(pause_s, self._ask_all_again)
        self._forward_control(self, control)

    def _ask_all_again(self) -> None:
        """What was refused is not known for sure: ask for all that has not come."""
        if self._stream is not None:
            missing = [symbol for symbol in self._symbols if not self.intake.frames_received(symbol)]
            self.refused = self.refused if missing else ""
            self.ask_again(missing)
