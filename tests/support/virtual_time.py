"""An event loop whose time passes as soon as nobody has anything to do, and streams without sockets."""

import asyncio
import selectors
from contextlib import asynccontextmanager

from arbshard.data.stream import HandshakeRefused
from arbshard.errors import VenueUnavailable


class _Selector(selectors.DefaultSelector):
    """Does not wait: the loop's time moves instead."""

    def __init__(self, loop: "VirtualLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self._loop.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now_s = 1_000.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now_s


class LoopClock:
    def monotonic_ns(self) -> int:
        return int(asyncio.get_running_loop().time() * 1e9)

    def wall_ms(self) -> int:
        return 1_795_000_000_000 + self.monotonic_ns() // 1_000_000


def run(work):
    """Run a coroutine on virtual time, and end whatever it left behind."""

    async def whole():
        try:
            return await work
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(whole())
    finally:
        loop.close()


class FakeStream:
    """One side of a connection; the test is the other."""

    def __init__(self, host, on_message, now_ns):
        self.host = host
        self._take = on_message
        self._now_ns = now_ns
        self._over = asyncio.get_running_loop().create_future()
        self.sent = []
        self.pings = 0
        self.ponged_ns = 0
        self.closed_s = None

    def say(self, frame):
        try:
            self._take(frame, self._now_ns())
        except Exception as error:  # noqa: BLE001 - as ``open_stream`` does
            self._over.set_exception(error)

    def end(self, why="closed"):
        if not self._over.done():
            self._over.set_result(why)

    async def send(self, text):
        if self.host.send_hangs:
            await asyncio.sleep(1e6)
        self.sent.append((asyncio.get_running_loop().time(), text))
        if self.host.on_text is not None:
            self.host.on_text(self, text)

    async def ping(self):
        if self.host.send_hangs:
            await asyncio.sleep(1e6)
        self.pings += 1
        if self.host.answers_pings:
            self.ponged_ns = self._now_ns()

    async def until_over(self):
        return await self._over

    def redirect(self, on_message):
        self._take = on_message

    def abort(self):
        self.end("let go")


class Host:
    """A venue that accepts streams. ``refuse``: how many of the next to turn away, or "hang".

    ``answer``: what those get that are turned away; None for no answer.
    """

    def __init__(self):
        self.opened = []
        self.tries_s = []
        self.refuse = 0
        self.answer = None
        self.send_hangs = False
        self.answers_pings = True
        self.on_text = None

    @asynccontextmanager
    async def open(self, target, on_message, now_ns, receiver):
        self.tries_s.append(asyncio.get_running_loop().time())
        if self.refuse == "hang":
            await asyncio.sleep(1e6)
        if self.refuse:
            self.refuse -= 1
            if self.answer is not None:
                raise HandshakeRefused(f"turned away with {self.answer.status}", self.answer)
            raise VenueUnavailable("turned away")
        stream = FakeStream(self, on_message, now_ns)
        self.opened.append(stream)
        try:
            yield stream
        finally:
            stream.closed_s = asyncio.get_running_loop().time()
            stream.end("closed by us")

    @property
    def open_now(self):
        return [stream for stream in self.opened if stream.closed_s is None]
