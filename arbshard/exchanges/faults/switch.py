"""Holds one fault of one venue: its settings, how often it is still to happen, its random numbers.

``board`` makes the switches.
"""

import random
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from arbshard.config.sim import Fault, TimedFault

F_co = TypeVar("F_co", bound=Fault, covariant=True)
T = TypeVar("T")
FaultSettings = dict[str, bool | int | float | str]
"""Settings of a fault, by name."""


class Setting(NamedTuple):
    """Describes what a switch is to be set to."""

    fault: Fault
    left: int


class Switch(Generic[F_co]):
    """Decides at each occasion of a fault whether it happens."""

    def __init__(self, name: str, fault: F_co, counts: dict[str, int], rng: random.Random) -> None:
        """Begin with ``fault``; ``counts`` receives how often it happened, ``rng`` is used by this fault alone."""
        self.name = name
        self._fault = fault
        self.left = fault.times
        """How many more times it happens for certain."""
        self._counts = counts
        self._rng = rng

    @property
    def fault(self) -> F_co:
        """Return the settings."""
        return self._fault

    @property
    def on(self) -> bool:
        """Return whether the fault may happen."""
        return self.left > 0 or self._fault.share > 0

    @property
    def happened(self) -> int:
        """Return how often the fault has happened."""
        return self._counts.get(self.name, 0)

    def happens(self) -> bool:
        """Return whether the fault happens at this occasion. Random numbers are drawn only where chance decides."""
        if self.left:
            self.left -= 1
        elif not self._fault.share or self._rng.random() >= self._fault.share:
            return False
        self._counts[self.name] = self.happened + 1
        return True

    def draw_ms(self, fault: TimedFault) -> float:
        """Draw a time from the range of ``fault``, which belongs to this switch, in milliseconds."""
        return self._rng.uniform(fault.ms_min, fault.ms_max)

    def draw(self, found: Sequence[T], number: int) -> Sequence[T]:
        """Draw ``number`` of ``found``, and keep their order; 0 means all."""
        if not number or number >= len(found):
            return found
        return [found[index] for index in sorted(self._rng.sample(range(len(found)), number))]

    def changed(self, changes: FaultSettings) -> Setting:
        """Return the settings ``changes``, with defaults for everything else. Raises ``msgspec.ValidationError``."""
        fault = msgspec.convert(changes, type(self._fault))
        return Setting(fault, fault.times)

    def once_more(self, changes: FaultSettings) -> Setting:
        """Return the present settings with ``changes``, to happen once more for certain. Raises
        ``msgspec.ValidationError``.
        """
        now: FaultSettings = msgspec.to_builtins(self._fault)
        fault = msgspec.convert(now | changes, type(self._fault))
        more = fault.times if "times" in changes else 1
        return Setting(fault, self.left + more)

    def set(self, setting: Setting) -> None:
        """Put in force what ``changed`` or ``once_more`` returned."""
        assert isinstance(setting.fault, type(self._fault)), self.name
        self._fault, self.left = setting.fault, setting.left

    def clear(self) -> None:
        """Turn the fault off, and reset its other settings to their defaults."""
        self._fault = type(self._fault)()
        self.left = 0

    def state(self) -> dict[str, object]:
        """Return what ``GET /sim/faults`` shows."""
        settings: FaultSettings = msgspec.to_builtins(self._fault)
        return {"on": self.on, "happened": self.happened, "left": self.left, "settings": settings}
