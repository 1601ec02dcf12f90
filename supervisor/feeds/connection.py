"""Keeps some of a venue's symbols on one connection: it is reopened when it is lost, and renewed before it ends.

A lost connection is reopened at once the first time, then after growing pauses. A connection whose end is known (by
the venue's longest life or its notice of a shutdown) is renewed before: the successor is opened beside it, and the
old one is closed when every symbol has come on the new one. ``venue`` makes these connections and checks them.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import Enum
from random import Random

from arbshard.config import VenueConfig
from arbshard.data.reconnect import Backoff
from arbshard.errors import FeedFailed, VenueUnavailable
from arbshard.log import get_logger
from arbshard.venues.base.market import ControlFrame, FrameKind
from supervisor.feeds.link import Dial, StreamLink
from supervisor.feeds.silence import Remedy, SilenceDetector

_SWITCH_AFTER_NS = 10_000_000_000
"""Time after which a successor takes over even if quiet symbols have not come on it.

A successor without any frame is closed.
"""
_LOOK_S = 0.02
"""Pause between two checks of a link that is being opened."""
_IDLE_S = 3600.0
_PING_PAUSE_NS = 5_000_000_000
"""Pause between pings of a quiet connection."""


class ConnectionState(Enum):
    """Is the state of a connection."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RENEWING = "renewing"
    """The feed is connected, and its successor is being opened."""
    DOWN = "down"
    """The feed waits before the next attempt."""


class _RunningLink:
    """Is a link with the task that runs it.

    ``margins`` is a factor that differs between links, so that they are not all renewed at once.
    """

    def __init__(self, link: StreamLink, task: "asyncio.Task[str]", margins: float) -> None:
        self.link = link
        self.task = task
        self.margins = margins


class FeedConnection:
    """Keeps a connection up from ``start`` to ``cancel``."""

    def __init__(
        self, name: str, dial: Dial, config: VenueConfig, symbols: Sequence[str], ticket: str
    ) -> None:
        """Prepare the connection; ``start`` opens it.

        ``name`` seeds the random part of its pauses, so that they differ from those of other connections.
        ``ticket`` begins the names of its requests.
        """
        self.name = name
        self._dial = dial
        self._symbols = dict.fromkeys(symbols)
        self._random = Random(name)
        self._backoff = Backoff(self._random)
        self._renewals = Backoff(self._random)
        rules = dial.venue.connection_rules
        self._life_s = config.life_max_s or rules.life_max_s
        self._margin_s = config.life_margin_s
        self._ticket = ticket
        self._links = 0
        self._now: _RunningLink | None = None
        self._next: _RunningLink | None = None
        self._closing: list[asyncio.Task[str]] = []
        self._wake = asyncio.Event()
        self._renew_ns: int | None = None
        self._not_before_ns = 0
        """Before this time (monotonic nanoseconds) a successor is not opened, because the last one failed."""
        self._is_down = False
        self._task: asyncio.Task[None] | None = None
        self._worked_ns = dial.clock.monotonic_ns()
        """When it was last found up and with a frame (monotonic nanoseconds); at first, when it was made."""
        self._silence = SilenceDetector(rules.silence, config.silence_s, dial.clock.monotonic_ns())
        self._judged: StreamLink | None = None
        self._proven: StreamLink | None = None
        """The link that showed the signs of life below."""
        self._frames = 0
        self._counted_ns = 0
        self._alive_ns = 0
        self._pinged_ns = 0
        self.reconnects = 0
        self.planned = 0
        """Number of renewals before the end."""
        self.garbage = 0
        """Number of frames that were neither books nor anything that the venue documents."""
        self.refusals = 0
        """Number of requests that the venue refused."""
        self.last_error = ""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols that it carries."""
        return tuple(self._symbols)

    @property
    def state(self) -> ConnectionState:
        """Return the state that is shown."""
        if self.is_up:
            return ConnectionState.RENEWING if self._next is not None else ConnectionState.CONNECTED
        return ConnectionState.DOWN if self._is_down else ConnectionState.CONNECTING

    @property
    def is_up(self) -> bool:
        """Return whether a stream is open and all its symbols were subscribed to."""
        return self._now is not None and self._now.link.subscribed_ns > 0

    @property
    def has_received(self) -> bool:
        """Return whether a book has come on the stream that is open."""
        return self._now is not None and self._now.link.frames > 0

    @property
    def stalls(self) -> int:
        """Return the number of silences found."""
        return self._silence.stalls

    @property
    def quiet(self) -> tuple[str, ...]:
        """Return the markets from which nothing comes."""
        return self._silence.quiet

    def line(self, now_ns: int) -> str:
        """Describe the connection in one line, for people."""
        text = f"{self.name}: {self.state.value}"
        if self._now is not None and self._now.link.opened_ns:
            link = self._now.link
            held_s = (now_ns - link.opened_ns) / 1e9
            text += f" for {held_s:.0f} s, {len(self._symbols)} symbols, {link.frames} frames"
            if link.refused:
                text += f", refused: {link.refused}"
        elif self.last_error:
            text += f", {self.last_error}"
        return text

    def start(self) -> None:
        """Open it, and keep it up."""
        self._task = asyncio.create_task(self.run(), name=self.name)

    def cancel(self) -> "list[asyncio.Task[None]]":
        """Close it, and return the tasks that the caller waits for."""
        if self._task is None:
            return []
        self._task.cancel()
        return [self._task]

    def check(self) -> None:
        """Raise ``FeedFailed`` if it has ended because of a defect. It recovers from lost connections by itself."""
        task = self._task
        if task is not None and task.done() and not task.cancelled():
            raise FeedFailed(f"{self.name}: a connection ended in a defect: {task.exception()!r}")

    def down_ns(self, now_ns: int) -> int:
        """Return for how many nanoseconds nothing can have come on it; 0 while it is up and receives.

        It has to be called a few times a second.
        """
        if self.is_up and self.has_received:
            self._worked_ns = now_ns
        return now_ns - self._worked_ns

    def alive_ns(self, now_ns: int) -> int:
        """Return until when it is known to have brought what the venue sent (monotonic nanoseconds); 0 while it is
        not up.

        A frame or the answer to a ping shows this. It has to be called a few times a second. A frame counts from
        the call before it, because it may have come right after that call.
        """
        if self._now is None or not self.is_up:
            return 0
        link = self._now.link
        if link is not self._proven:
            self._proven, self._frames, self._alive_ns = link, link.intake.frames, 0
        elif link.intake.frames != self._frames:
            self._frames, self._alive_ns = link.intake.frames, self._counted_ns
        self._counted_ns = now_ns
        self._alive_ns = max(self._alive_ns, link.ponged_ns)
        return self._alive_ns

    def ping(self, now_ns: int, pause_ns: int) -> None:
        """Send a ping, unless that was done less than ``pause_ns`` nanoseconds ago."""
        if self._now is not None and self.is_up and now_ns - self._pinged_ns >= pause_ns:
            self._pinged_ns = now_ns
            self._now.link.ping()

    def frames_received(self, symbol: str) -> int:
        """Return the number of a market's frames on the stream that is open."""
        if self._now is None or not self.is_up or symbol not in self._symbols:
            return 0
        return self._now.link.intake.frames_received(symbol)

    def ask_again(self, symbol: str) -> None:
        """Subscribe anew to a market that it carries already."""
        if self._now is not None:
            self._now.link.ask_again((symbol,))

    async def run(self) -> None:
        """Keep it up until this is cancelled. Raises the error of a defect."""
        while True:
            held_ns = await self._hold()
            pause_s = max(self._backoff.after_loss(held_ns), self._dial.block.connects_left_s())
            self.reconnects += 1
            self._is_down = True
            get_logger().warning(
                "connection lost", connection=self.name, why=self.last_error, again_in_s=round(pause_s, 2)
            )
            await asyncio.sleep(pause_s)
            self._is_down = False

    def change(self, added: Iterable[str], removed: Iterable[str]) -> None:
        """Carry the markets ``added``, and no longer those ``removed``."""
        added, removed = tuple(added), tuple(removed)
        for symbol in removed:
            self._symbols.pop(symbol, None)
        self._symbols.update(dict.fromkeys(added))
        for running in (self._now, self._next):
            if running is not None:
                running.link.change(added, removed)

    def drop(self) -> None:
        """Close the socket at once, because it is of no use. ``run`` connects anew."""
        if self._now is not None:
            self._now.link.abort()

    def renew(self) -> None:
        """Open a successor now, and close the old link when the successor has taken over."""
        self._renew_ns = self._dial.clock.monotonic_ns()
        self._wake.set()

    def judge_silence(self, now_ns: int) -> None:
        """Judge its silence and apply the remedies. It has to be called a few times a second."""
        if self._now is None or not self.is_up or self._next is not None:
            return
        link = self._now.link
        if link is not self._judged:
            self._judged = link
            self._silence.begin(now_ns)
        if self._silence.needs_ping(now_ns):
            self.ping(now_ns, _PING_PAUSE_NS)
        found = self._silence.judge(link.frames, link.frames_by_symbol(), now_ns, link.ponged_ns)
        for remedy, symbols in found:
            some = ", ".join(symbols[:5])
            get_logger().warning("silence", connection=self.name, cure=remedy.value, symbols=some)
            if remedy is Remedy.RECONNECT:
                link.abort("connected, and nothing came")
            elif remedy is Remedy.RESUBSCRIBE:
                link.ask_again(symbols)
            else:
                self.renew()

    async def _hold(self) -> int:
        """Open a stream and renew it in time, until the last one is lost.

        Return how many nanoseconds that one was open.
        """
        now = self._now = self._begin()
        self._renew_ns = None
        try:
            while True:
                await self._sleep(now)
                self._see_to_successor(now)
                if self._now is not now:
                    now = self._now
                elif now.task.done():
                    held_ns = self._end_of(now)
                    if self._next is None:
                        return held_ns
                    self.reconnects += 1  # the successor is there already, though it may have to catch up
                    now = self._take_over(self._next)
        finally:
            await self._close_all()

    def _see_to_successor(self, now: _RunningLink) -> None:
        """Open the successor when it is due, let it take over when it is ready, and open it anew when it failed."""
        now_ns = self._dial.clock.monotonic_ns()
        coming = self._next
        if coming is None:
            if not now.task.done() and self._due_in_ns(now, now_ns) <= 0:
                self._next = self._begin()
        elif coming.task.done():
            self._end_of(coming)
            self._next = None
            self._not_before_ns = now_ns + int(max(self._renewals.after_loss(0), _LOOK_S) * 1e9)
            self._renew_ns = self._renew_ns or now_ns
        elif not self._has_waited(coming.link, now_ns):
            pass  # quiet symbols may still come on it
        elif not coming.link.frames:
            coming.link.abort("nothing came on a new connection")
        else:
            self._take_over(coming)
            self._renewals.succeeded()
            self.planned += 1
            get_logger().info("connection renewed", connection=self.name)
            now.task.cancel()  # it closes its intake before its socket
            self._closing.append(now.task)

    def _has_waited(self, link: StreamLink, now_ns: int) -> bool:
        """Return whether all symbols have come on ``link``, or there was time enough for them."""
        return link.subscribed_ns > 0 and (link.has_all() or now_ns - link.subscribed_ns >= _SWITCH_AFTER_NS)

    def _due_in_ns(self, now: _RunningLink, now_ns: int) -> int:
        """Return in how many nanoseconds a successor is to be opened; at 0 or less it is due now."""
        dues = [] if self._renew_ns is None else [self._renew_ns]
        if self._life_s and now.link.opened_ns:
            margin_s = min(self._margin_s * now.margins, self._life_s / 2)
            dues.append(now.link.opened_ns + int((self._life_s - margin_s) * 1e9))
        return max(min(dues), self._not_before_ns) - now_ns if dues else int(_IDLE_S * 1e9)

    def _take_over(self, successor: _RunningLink) -> _RunningLink:
        self._now, self._next = successor, None
        self._renew_ns = None
        return successor

    def _begin(self) -> _RunningLink:
        self._links += 1
        link = StreamLink(self._dial, self._symbols, f"{self._ticket}-{self._links}", self._on_control)
        task = asyncio.create_task(link.run(), name=f"{self.name}-{self._links}")
        task.add_done_callback(lambda _: self._wake.set())
        return _RunningLink(link, task, self._random.uniform(1.0, 1.5))

    def _end_of(self, running: _RunningLink) -> int:
        """Return how many nanoseconds its stream was open. Raises the error of its task if that was a defect."""
        running.link.intake.close()
        try:
            why = running.task.result()
        except VenueUnavailable as error:
            why = str(error)
        self.last_error = why
        opened_ns = running.link.opened_ns
        return self._dial.clock.monotonic_ns() - opened_ns if opened_ns else 0

    async def _sleep(self, now: _RunningLink) -> None:
        """Wait until a link ends, something is wanted, or the next check is due."""
        timeout_s = _LOOK_S
        if self._next is None and now.link.opened_ns:
            now_ns = self._dial.clock.monotonic_ns()
            timeout_s = min(max(self._due_in_ns(now, now_ns) / 1e9, _LOOK_S), _IDLE_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        self._wake.clear()
        for task in [task for task in self._closing if task.done()]:
            self._closing.remove(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                get_logger().warning("a renewed connection ended badly", connection=self.name, why=str(error))

    async def _close_all(self) -> None:
        running = [one for one in (self._now, self._next) if one is not None]
        self._now = self._next = None
        tasks = [*self._closing, *(one.task for one in running)]
        self._closing = []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in running:
            one.link.intake.close()

    def _on_control(self, link: StreamLink, control: ControlFrame) -> None:
        if control.kind is FrameKind.GARBAGE:
            self.garbage += 1
        elif control.kind is FrameKind.ERROR:
            self.refusals += 1
            self.last_error = f"refused: {control.detail}"
            get_logger().error("the venue refused a request", connection=self.name, detail=control.detail)
            if self._next is not None and link is self._next.link:
                link.abort(self.last_error)  # it would take over and bring no books
        elif control.kind is FrameKind.SHUTDOWN:
            get_logger().warning("the venue announced the end of a connection", connection=self.name)
            if self._now is not None and link is self._now.link:
                self.renew()
            elif self._next is not None and link is self._next.link:
                link.abort()
