"""One fault of one venue: its settings, what is left of its count, its random numbers. ``board`` makes them."""

import random
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from arbshard.config.sim import Fault, TimedFault

F_co = TypeVar("F_co", bound=Fault, covariant=True)
T = TypeVar("T")
Settings = dict[str, bool | int | float | str]
"""Of a fault, by name."""


class Setting(NamedTuple):
    """What a switch is to be set to."""

    fault: Fault
    left: int


class Switch(Generic[F_co]):
    """A fault that is asked at each of its occasions whether it happens."""

    def __init__(self, name: str, fault: F_co, counts: dict[str, int], rng: random.Random) -> None:
        """``counts`` is told how often it happened; ``rng`` is this fault's own."""
        self.name = name
        self._fault = fault
        self.left = fault.times
        """So many more times it happens for certain."""
        self._counts = counts
        self._rng = rng

    @property
    def fault(self) -> F_co:
        """Its settings."""
        return self._fault

    @property
    def on(self) -> bool:
        """Whether it may happen."""
        return self.left > 0 or self._fault.share > 0

    @property
    def happened(self) -> int:
        """How often it did."""
        return self._counts.get(self.name, 0)

    def happens(self) -> bool:
        """Whether it happens at this occasion. Random numbers are drawn only where chance decides."""
        if self.left:
            self.left -= 1
        elif not self._fault.share or self._rng.random() >= self._fault.share:
            return False
        self._counts[self.name] = self.happened + 1
        return True

    def draw_ms(self, fault: TimedFault) -> float:
        """A time out of the range of ``fault``, which is this switch's own."""
        return self._rng.uniform(fault.ms_min, fault.ms_max)

    def draw(self, found: Sequence[T], number: int) -> Sequence[T]:
        """``number`` of ``found`` in their order; all for 0."""
        if not number or number >= len(found):
            return found
        return [found[index] for index in sorted(self._rng.sample(range(len(found)), number))]

    def changed(self, changes: Settings) -> Setting:
        """The settings ``changes``, everything else as by default. Raises ``msgspec.ValidationError``."""
        fault = msgspec.convert(changes, type(self._fault))
        return Setting(fault, fault.times)

    def once_more(self, changes: Settings) -> Setting:
        """The settings there are with ``changes``, and one sure time more. Raises ``msgspec.ValidationError``."""
        now: Settings = msgspec.to_builtins(self._fault)
        fault = msgspec.convert(now | changes, type(self._fault))
        more = fault.times if "times" in changes else 1
        return Setting(fault, self.left + more)

    def set(self, setting: Setting) -> None:
        """Set it to what ``changed`` or ``once_more`` gave."""
        assert isinstance(setting.fault, type(self._fault)), self.name
        self._fault, self.left = setting.fault, setting.left

    def clear(self) -> None:
        """Turn it off; the other settings go back to their defaults."""
        self._fault = type(self._fault)()
        self.left = 0

    def state(self) -> dict[str, object]:
        """As ``GET /sim/faults`` shows it."""
        settings: Settings = msgspec.to_builtins(self._fault)
        return {"on": self.on, "happened": self.happened, "left": self.left, "settings": settings}
