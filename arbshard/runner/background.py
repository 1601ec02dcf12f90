"""Provides an event loop on a thread of its own, for the synchronous methods of the runner.

It needs its own thread because market data must continue between two calls: a loop that only ran inside them would
find older frames in its sockets, and take them for new.
"""

import asyncio
from collections.abc import Callable, Coroutine
from threading import Thread
from typing import Any, TypeVar

from arbshard.errors import UsageError

_WAIT_S = 1.0
_JOIN_S = 5.0

Result = TypeVar("Result")


class BackgroundLoop:
    """Provides a loop on a thread, which starts at once; call ``close`` at the end."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run the coroutine that ``make`` returns to its end; return its result, or raise what it raised.

        When the waiting is interrupted (Ctrl-C) the coroutine is cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(make(), self._loop)
        try:
            while True:
                try:
                    return future.result(_WAIT_S)
                except TimeoutError:
                    if future.done() or not self._thread.is_alive():
                        raise
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop and its thread."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_JOIN_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())


def require_no_loop(method: str) -> None:
    """Raise ``UsageError`` inside a running event loop, which a synchronous method would block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        f"{method}() would block the event loop that is running here (a notebook has one): use 'await a{method}()'"
    )
