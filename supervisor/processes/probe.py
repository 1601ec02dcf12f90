"""Finds whether the simulated exchanges still do anything: by what comes from them, else by whether they answer.

Faults on purpose make their feeds silent too, but an exchange that is down for maintenance answers that.
``watchdog`` uses it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from arbshard.clock import Clock

_QUIET_NS = 500_000_000
"""Data that came within this time, in ns, counts as an answer."""
_EVERY_S = 0.25
_TIMEOUT_S = 1.0
_QUESTION = "GET /api/v3/ping HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n\r\n"


class HttpProbe:
    """Asks ``host:port`` while no frames come. ``run`` it until it is cancelled."""

    def __init__(self, host: str, port: int, frames: Callable[[], int], clock: Clock) -> None:
        """Begin. ``frames`` returns how many frames have come from it so far."""
        self._host = host
        self._port = port
        self._frames = frames
        self._clock = clock
        self._seen = 0
        self._answered_ns = clock.monotonic_ns()
        self._pid = 0

    async def run(self) -> None:
        """Check and ask, again and again."""
        while True:
            if self._clock.monotonic_ns() - self._answered_ns > _QUIET_NS and await self._answers():
                self._answered_ns = self._clock.monotonic_ns()
            await asyncio.sleep(_EVERY_S)

    def silent_ns(self, pid: int, now_ns: int) -> int:
        """Return for how long (ns) the incarnation ``pid`` has neither sent nor answered anything."""
        frames = self._frames()
        if frames != self._seen or pid != self._pid:
            self._seen, self._pid, self._answered_ns = frames, pid, now_ns
        return now_ns - self._answered_ns

    async def _answers(self) -> bool:
        """Return whether anything at all comes back: a refusal, or the end of the connection, is an answer too."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                writer.write(_QUESTION.format(self._host, self._port).encode())
                await reader.read(1)
                return True
        except TimeoutError:
            return False
        except OSError:
            return True  # there is no listener, and the end of the process is noticed elsewhere
        finally:
            if writer is not None:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
