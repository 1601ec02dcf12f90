"""Runs one WebSocket stream of a connection: it is opened, subscribed, follows changes, and is closed at its end.

``FeedConnection`` keeps one open, and two while it renews it.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Literal, NamedTuple, Protocol

from arbshard.clock import Clock
from arbshard.data.address_block import AddressBlock
from arbshard.data.stream import OPEN_TIMEOUT_S, HandshakeRefused, Opener, Receiver, Stream, Target
from arbshard.errors import VenueUnavailable
from arbshard.venues.base.market import ControlFrame, FrameKind, Venue
from supervisor.feeds.pacing import Bucket, Spacing
from supervisor.feeds.recording import RecordTopic

_SEND_TIMEOUT_S = 5.0
_GATHER_S = 0.05
"""Changes within this time are sent together."""
_FIRST_RETRY_S = 1.0
_RETRY_MAX_S = 60.0
"""Longest pause in seconds before a request that the venue refused is sent again."""


class Intake(Protocol):
    """Receives a stream's frames: ``fanout.Lane``, or ``diff.DiffLane`` where the book is kept here."""

    frames: int

    def __call__(self, frame: bytes, received_ns: int) -> None:
        """Receive one frame."""
        ...

    def attach(self, symbols: Iterable[str]) -> None:
        """Expect frames of ``symbols``."""
        ...

    def detach(self, symbols: Iterable[str]) -> None:
        """Expect no more frames of ``symbols``."""
        ...

    def frames_received(self, symbol: str) -> int:
        """Return the number of frames it has brought of a market that it is attached to."""
        ...

    def close(self) -> None:
        """Ignore all further frames."""
        ...


MakeIntake = Callable[[Callable[[ControlFrame], None]], Intake]


class Dial(NamedTuple):
    """Holds what all streams of a venue are opened with."""

    venue: Venue
    depth: int
    target: Target
    clock: Clock
    opener: Opener
    receiver: Receiver
    connects: Bucket
    """Shared by all connections of the venue."""
    block: AddressBlock
    """Shared by everything of the venue."""
    intake: MakeIntake
    record: RecordTopic | None = None
    """Publishes what the streams receive; None where no process can subscribe to it."""


class StreamLink:
    """Is one stream. ``run`` is called once; ``change``, ``ask_again`` and ``abort`` may be called while it runs."""

    def __init__(
        self,
        dial: Dial,
        symbols: Iterable[str],
        ticket: str,
        on_control: Callable[["StreamLink", ControlFrame], None],
    ) -> None:
        """Prepare the stream; ``run`` opens it.

        ``on_control`` receives the frames that are not books. ``ticket`` begins the names of its requests.
        """
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
        """When it was opened (monotonic nanoseconds); 0 before."""
        self.subscribed_ns = 0
        """When all its symbols were subscribed to (monotonic nanoseconds); 0 before."""
        self.refused = ""
        """What the venue last refused; empty once the missing books have come."""

    @property
    def frames(self) -> int:
        """Return the number of books it has brought."""
        return self.intake.frames - self._controls

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols that it carries."""
        return tuple(self._symbols)

    @property
    def ponged_ns(self) -> int:
        """Return when the venue last answered a ping (monotonic nanoseconds); 0 for never."""
        return self._stream.ponged_ns if self._stream is not None else 0

    def frames_by_symbol(self) -> dict[str, int]:
        """Return the number of frames by market."""
        return {symbol: self.intake.frames_received(symbol) for symbol in self._symbols}

    def has_all(self) -> bool:
        """Return whether every market has come at least once."""
        return all(self.intake.frames_received(symbol) for symbol in self._symbols)

    async def run(self) -> str:
        """Open the stream and run it until its end; return why it ended.

        Raises ``VenueUnavailable`` if the connection could not be made or was lost, and any error of the intake.
        """
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
                except HandshakeRefused as error:
                    wait_s = self._dial.block.learn(error.answer, is_handshake=True)
                    if not wait_s:
                        raise
                    raise VenueUnavailable(f"{error}: this address is refused for {wait_s:.0f} s") from error
                # It is called first on the way out: what comes while the socket is being closed is ignored.
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
        """Subscribe anew to markets that it carries already."""
        self._added.update((symbol, None) for symbol in symbols if symbol in self._symbols)
        self._changed.set()

    def ping(self) -> None:
        """Send a ping, unless the last one is still being sent."""
        if self._stream is not None and (self._pinging is None or self._pinging.done()):
            self._pinging = asyncio.create_task(self._ping(self._stream))

    def abort(self, why: str = "") -> None:
        """Close the socket at once; ``run`` then returns ``why``."""
        self._why = self._why or why
        if self._stream is not None:
            self._stream.abort()

    async def _serve(self, stream: Stream) -> str:
        """Run both tasks until one ends: reading the stream, and sending requests. Return why the stream ended."""
        over = asyncio.create_task(stream.until_over())
        asking = asyncio.create_task(self._keep_asking(stream))
        tasks = {over, asking}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and not over.done():
                await asking  # it raises, because a message could not be sent
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
        """Publish the stream's messages on their way to the intake, or stop publishing them."""
        stream, record = self._stream, self._record
        if stream is None or record is None:
            return
        if is_wanted:
            # The answers to its subscriptions may have come long ago, so what it carries is recorded here.
            record.publish(
                "connect", self._ticket, at_ns=self.opened_ns, detail=f"carries {' '.join(self._symbols)}"
            )
        stream.redirect(self._take_recorded if is_wanted else self.intake)

    def _take_recorded(self, frame: bytes, received_ns: int) -> None:
        """Pass one message to the intake, then publish it, so that decisions do not wait for the recorder."""
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
        """Wait until the venue's limits allow a connection, and until it does not refuse them."""
        blocked_s = self._dial.block.connects_left_s()
        if blocked_s:
            await asyncio.sleep(blocked_s)
        wait_ns = self._dial.connects.reserve(self._dial.clock.monotonic_ns())
        if wait_ns:
            await asyncio.sleep(wait_ns / 1e9)
        if self._dial.block.connects_left_s():  # another connection was refused meanwhile
            await self._wait_turn()

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
        """Ask again for all that has not come, because it is not certain what was refused."""
        if self._stream is not None:
            missing = [symbol for symbol in self._symbols if not self.intake.frames_received(symbol)]
            self.refused = self.refused if missing else ""
            self.ask_again(missing)
