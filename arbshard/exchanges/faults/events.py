"""When private events are told, under the faults that are on. Pure; ``server`` asks for each client."""

from collections.abc import Sequence
from typing import NamedTuple

from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.session import Action


class Dealt(NamedTuple):
    """Events for one client."""

    now: Sequence[Action]
    later: Sequence[tuple[float, Action]]
    """Milliseconds from now, and what to tell then."""


class EventFaults:
    """Deals out events, in their order."""

    def __init__(self, board: Board) -> None:
        self._late = board.late_event
        self._twice = board.duplicate_event

    @property
    def on(self) -> bool:
        """Whether anything may happen to an event."""
        return self._late.on or self._twice.on

    def deal(self, actions: Sequence[Action]) -> Dealt:
        """What to tell now, and what later. An event may be late and still come twice: at once, and late."""
        now: list[Action] = []
        later: list[tuple[float, Action]] = []
        for action in actions:
            twice, late = self._twice.happens(), self._late.happens()
            if late:
                later.append((self._late.draw_ms(self._late.fault), action))
            now += [action] * (1 + twice - late)
        return Dealt(now, later)
