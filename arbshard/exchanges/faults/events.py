"""Decides when private events are sent, under the faults that are on. It is pure; ``server`` asks for each client."""

from collections.abc import Sequence
from typing import NamedTuple

from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.session import SessionAction


class Dealt(NamedTuple):
    """Holds the events for one client."""

    now: Sequence[SessionAction]
    later: Sequence[tuple[float, SessionAction]]
    """Milliseconds from now, and the event to send then."""


class EventFaults:
    """Delays and duplicates events, in their order."""

    def __init__(self, board: Board) -> None:
        self._late = board.late_event
        self._twice = board.duplicate_event

    @property
    def on(self) -> bool:
        """Return whether anything may happen to an event."""
        return self._late.on or self._twice.on

    def deal(self, actions: Sequence[SessionAction]) -> Dealt:
        """Return which events to send now, and which later. An event that is late and duplicated comes both now and
        later.
        """
        now: list[SessionAction] = []
        later: list[tuple[float, SessionAction]] = []
        for action in actions:
            twice, late = self._twice.happens(), self._late.happens()
            if late:
                later.append((self._late.draw_ms(self._late.fault), action))
            now += [action] * (1 + twice - late)
        return Dealt(now, later)
