"""Defines ``Spell``, a fault that lasts for a while, and ``VirtualSpells``, which begins and ends them and traces
both.

The modules that cause faults (``venue_faults``, ``process_faults``, ``unkind``) return a ``Spell``.
"""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import NamedTuple

from arbshard.virtual.loop import VirtualLoop
from arbshard.virtual.trace import Trace


class Spell(NamedTuple):
    """Is a fault that lasts for ``seconds`` of virtual time."""

    seconds: float
    begin: Callable[[], None]
    end: Callable[[], None]
    what: str
    """Describes the fault in the trace."""


class VirtualSpells:
    """Knows the spells under way, and when a fault last began or ended."""

    def __init__(self, loop: VirtualLoop, trace: Trace) -> None:
        self._loop = loop
        self._trace = trace
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._undisturbing: set[int] = set()
        """Numbers of the spells in which only the exchanges are unkind."""
        self._number = 0
        self.context = copy_context()
        """The context outside of all virtual processes: a callback planned inside a process would end with it."""
        self.last_ns = loop.now_ns
        """Time at which a fault last began or ended (monotonic ns)."""
        self.disturbed_ns = self.last_ns
        """Time at which a fault of processes, network or machine last began or ended (monotonic ns). Unkind
        exchanges do not count.
        """

    def __len__(self) -> int:
        """Return how many spells are under way."""
        return len(self._tasks)

    @property
    def disturbing(self) -> bool:
        """Return whether any spell under way affects processes, network or machine."""
        return len(self._tasks) > len(self._undisturbing)

    def new_number(self) -> int:
        """Return a number that no spell has had and none will have."""
        self._number += 1
        return self._number

    def mark(self, what: str, *, disturbs: bool = True) -> None:
        """Write a line of the trace, and note its time as that of the last fault."""
        self.last_ns = self._loop.now_ns
        if disturbs:
            self.disturbed_ns = self.last_ns
        self._trace.note("fault", what)

    def begin(self, spell: Spell, *, disturbs: bool = True) -> str:
        """Begin ``spell`` and plan its end. Returns the text for the trace; the caller marks it."""
        spell.begin()
        number = self.new_number()
        if not disturbs:
            self._undisturbing.add(number)
        self._tasks[number] = self._loop.create_task(self._last(spell, number), context=self.context)
        return f"{spell.what} {spell.seconds:.3f}"

    def end_all(self) -> None:
        """End all spells at the next turn of the loop."""
        for task in tuple(self._tasks.values()):
            task.cancel()

    async def _last(self, spell: Spell, number: int) -> None:
        try:
            await asyncio.sleep(spell.seconds)
        finally:
            spell.end()
            del self._tasks[number]
            self.mark(f"over {spell.what}", disturbs=number not in self._undisturbing)
            self._undisturbing.discard(number)
