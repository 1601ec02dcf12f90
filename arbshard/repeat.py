"""Work that a process repeats for as long as it lives: beats, looks, and the steps of the embedded exchanges."""

import asyncio
from collections.abc import Callable


async def repeat(turn: Callable[[], float | None], *, first_after_s: float = 0.0) -> None:
    """Call ``turn`` again and again, each time after as many seconds as it returned, until it returns None.

    The first call is made after ``first_after_s``, at once where that is 0. Raises what ``turn`` raises. A coroutine
    that sleeps in a loop needs a future and two callbacks for each turn; this needs one callback.
    """
    loop = asyncio.get_running_loop()
    end: asyncio.Future[None] = loop.create_future()
    handle: asyncio.Handle | None = None

    def call() -> None:
        nonlocal handle
        try:
            pause_s = turn()
        except Exception as error:  # noqa: BLE001 - it is raised below
            if not end.done():
                end.set_exception(error)
            return
        if pause_s is not None:
            handle = loop.call_later(pause_s, call) if pause_s > 0 else loop.call_soon(call)
        elif not end.done():
            end.set_result(None)

    if first_after_s > 0:
        handle = loop.call_later(first_after_s, call)
    else:
        call()
    try:
        await end
    finally:
        if handle is not None:
            handle.cancel()
