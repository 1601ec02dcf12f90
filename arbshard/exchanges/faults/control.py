"""Changes a venue's faults by request: ``GET`` and ``POST /sim/faults`` as JSON. It is pure; ``venue`` calls it.

``{"clear": ["delay"], "set": {"delay": {"share": 0.1}}, "once": {"lost_reply": {}}}`` first clears, then sets, then
handles ``once``; ``"clear": "all"`` clears everything. ``set`` starts from the defaults. ``once`` keeps the present
settings and lets the fault happen at its next occasion. A request with a mistake in it changes nothing.
"""

from typing import Literal

import msgspec

from arbshard.config.section import in_words
from arbshard.config.sim import Fault
from arbshard.errors import UsageError
from arbshard.exchanges.faults.board import Board
from arbshard.exchanges.faults.switch import FaultSettings, Setting, Switch


class _Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Describes the body of a request."""

    clear: Literal["all"] | list[str] = []
    to_set: dict[str, FaultSettings] = msgspec.field(default_factory=dict, name="set")
    once: dict[str, FaultSettings] = {}


def state(board: Board) -> dict[str, object]:
    """Return which faults are on, and how often each happened."""
    return {"venue": board.venue, "faults": {switch.name: switch.state() for switch in board}}


def change(board: Board, body: bytes) -> list[str]:
    """Apply a request; return the names that were cleared. Raises ``UsageError``, which says what is
    wrong with it.
    """
    try:
        order = msgspec.json.decode(body, type=_Order)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UsageError(f"not a request for faults: {error}") from error
    names = board.names if order.clear == "all" else [_switch(board, name).name for name in order.clear]
    if order.to_set.keys() & order.once.keys():
        raise UsageError("a fault is either set or let happen once, not both")
    puts = [
        (_switch(board, name), _checked(board, name, wish, once=False)) for name, wish in order.to_set.items()
    ]
    for name, wish in order.once.items():
        puts.append((_switch(board, name), _checked(board, name, wish, once=True)))
    for name in names:
        _switch(board, name).clear()
    for switch, setting in puts:
        switch.set(setting)
    return names


def _switch(board: Board, name: str) -> Switch[Fault]:
    switch = board.get(name)
    if switch is None:
        raise UsageError(f"no fault {name!r}; one of {', '.join(board.names)}")
    return switch


def _checked(board: Board, name: str, wish: FaultSettings, *, once: bool) -> Setting:
    """Return what the switch is set to. Raises ``UsageError`` for wrong settings, or when another venue is meant."""
    switch = _switch(board, name)
    if wish.get("venue", "") not in ("", board.venue):
        raise UsageError(f"{name}: this is {board.venue}")
    try:
        return (switch.once_more if once else switch.changed)({**wish, "venue": board.venue})
    except msgspec.ValidationError as error:
        raise UsageError(f"{name}: {in_words(str(error))}") from error
