"""Work that would hold up the supervisor's loop, done in a thread on a loop of its own.

What venues list takes hundreds of milliseconds to read, and so does the library of the private interfaces to import.
No beat and no frame may wait for that.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from arbshard.model.money import use_money_context

Result = TypeVar("Result")


async def run_in_thread(work: Callable[[], Coroutine[Any, Any, Result]], timeout_s: float) -> Result:
    """What ``work`` comes to. Raises what it raises, and ``TimeoutError``."""

    def in_thread() -> Result:
        use_money_context()
        return asyncio.run(asyncio.wait_for(work(), timeout_s))

    return await asyncio.to_thread(in_thread)


def call_from_thread(call: Callable[[str], None]) -> Callable[[str], None]:
    """``call`` as it can be handed to ``work``: it runs in the loop that is running now."""
    loop = asyncio.get_running_loop()

    def told(line: str) -> None:
        loop.call_soon_threadsafe(call, line)

    return told
