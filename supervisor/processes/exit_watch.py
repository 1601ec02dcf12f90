"""Sees the death of a child the moment it happens, where the system tells; ``process_supervisor`` polls besides."""

import asyncio
import os


class ExitWatch:
    """``exited`` is set when any of the processes it follows has ended."""

    def __init__(self) -> None:
        self.exited = asyncio.Event()
        self._open: set[int] = set()
        self._loop: asyncio.AbstractEventLoop

    def follow(self, pid: int) -> None:
        """Tell of the end of ``pid``, a child of ours."""
        if not hasattr(os, "pidfd_open"):
            return  # no Linux: polling finds it
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            self.exited.set()  # it has ended already, or there is no room: look
            return
        self._open.add(descriptor)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._ended, descriptor)

    async def wait(self, timeout_s: float) -> None:
        """Until a process has ended, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.exited.wait()
        except TimeoutError:
            return
        self.exited.clear()

    def close(self) -> None:
        """Follow nobody any more. May be called again."""
        for descriptor in tuple(self._open):
            self._forget(descriptor)

    def _ended(self, descriptor: int) -> None:
        self._forget(descriptor)
        self.exited.set()

    def _forget(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        if not self._loop.is_closed():
            self._loop.remove_reader(descriptor)
        os.close(descriptor)
