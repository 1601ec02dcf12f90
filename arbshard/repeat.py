"""Provides work beside the main work of a process: what it repeats while it is alive, and tasks in the background."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import Any


def close_arguments(work: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> None:
    """Close the coroutines among the arguments of ``work`` if it has not begun and is about to be ended.

    Nothing awaits them any more, and Python would warn of that.
    """
    if not inspect.iscoroutine(work) or inspect.getcoroutinestate(work) != inspect.CORO_CREATED:
        return
    for argument in inspect.getcoroutinelocals(work).values():
        if inspect.iscoroutine(argument):
            close_arguments(argument)
            argument.close()


class BackgroundTasks:
    """Holds tasks of one owner, which is informed when one of them fails."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        """Begin without tasks; ``on_failure`` gets the exception of each task that fails."""
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None], *, name: str | None = None) -> None:
        """Run ``work`` in a task of its own."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Cancel running tasks, and wait for their end."""
        for task in self._tasks:
            work = task.get_coro()
            assert isinstance(work, Coroutine), work
            close_arguments(work)
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)


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
