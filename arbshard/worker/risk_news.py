"""Follows news of risk: a number on its page shows that there is some, and then risk is asked for it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol


class Serial(Protocol):
    """Is where news is announced: ``risk_page.RiskPage``."""

    def serial(self, name: str, now_ns: int) -> int | None:
        """Return a number that changes with every news of a kind; None when it cannot be read."""
        ...


class RiskNews:
    """Follows news of one kind. It asks one question at a time, so an answer is never older than the one before."""

    def __init__(
        self,
        name: str,
        page: Serial,
        ask: Callable[[int], Coroutine[None, None, int]],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Prepare the questions.

        ``ask`` is given the serial of what is known, asks risk, and returns its answer's serial.
        """
        self._name = name
        self._page = page
        self._ask = ask
        self._on_failure = on_failure
        self.serial = 0
        """Serial of what is known; 0 before the first answer."""
        self._asking: asyncio.Task[int] | None = None
        self._is_forgotten = False

    def poll(self, now_ns: int) -> None:
        """Ask risk if there is news; its answer comes later."""
        if self._asking is not None:
            return
        serial = self._page.serial(self._name, now_ns)
        if serial is not None and serial != self.serial:
            self._is_forgotten = False
            self._asking = asyncio.ensure_future(self._ask(self.serial))
            self._asking.add_done_callback(self._asked)

    def forget(self) -> None:
        """Ask for everything again, also when a question is under way that did not ask for it."""
        self.serial = 0
        self._is_forgotten = True

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _asked(self, task: "asyncio.Task[int]") -> None:
        self._asking = None
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._on_failure(error)
        elif not self._is_forgotten:
            self.serial = task.result()
