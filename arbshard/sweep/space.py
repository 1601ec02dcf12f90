"""Defines the settings that a sweep varies: each key with its values, and the lattice of points that these span.

It is pure. Every search moves on this lattice. A point therefore has neighbours, two searches meet at equal points,
and a result that exists need not be computed again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from itertools import chain
from math import prod
from typing import Any, NamedTuple, get_origin

import msgspec

from arbshard.config import Config, load_config
from arbshard.config.section import in_words
from arbshard.errors import ConfigError, UsageError

VALUES_MAX = 1000
"""Largest number of values of one key."""
AXES_MAX = 12
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?):(-?\d+(?:\.\d+)?):(\d+(?:\.\d+)?)")
_NOT_SWEPT = ("name", "mode", "data", "data_source", "reporting", "state_dir", "run.", "venues.", "sim.")
"""Keys, and sections with a dot at their end, that a backtest takes from the tape or does not use."""

GridPoint = tuple[int, ...]
"""For each key the index of its value."""


class Axis(NamedTuple):
    """Describes a key of the configuration and the values that it takes."""

    key: str
    values: tuple[str, ...]
    """Values as a configuration file has them; numbers are in ascending order."""
    is_ordered: bool
    """Whether neighbouring values are close to each other, as numbers are."""


class SearchSpace:
    """Contains all combinations of the values of all keys."""

    def __init__(self, base: Config, axes: Sequence[Axis]) -> None:
        """Build the lattice of ``axes``; every point changes the configuration ``base``."""
        self.base = base
        self.axes = tuple(axes)
        self.size = prod(len(axis.values) for axis in axes)
        self._tree: dict[str, Any] = msgspec.to_builtins(base)

    def point(self, number: int) -> GridPoint:
        """Return the point with this number, from 0 to ``size - 1``; the last key changes first."""
        places = []
        for axis in reversed(self.axes):
            number, place = divmod(number, len(axis.values))
            places.append(place)
        return tuple(reversed(places))

    def values(self, point: GridPoint) -> dict[str, str]:
        """Return the values of a point by key."""
        return {axis.key: axis.values[place] for axis, place in zip(self.axes, point, strict=True)}

    def config(self, point: GridPoint) -> Config:
        """Return the configuration of a point. Raises ``ConfigError`` for values that contradict each other."""
        return self.changed(self.values(point))

    def changed(self, values: Mapping[str, str]) -> Config:
        """Return the base with these values. Raises ``ConfigError``."""
        overrides = dict(self._tree)
        for key, value in values.items():
            *tables, last = key.split(".")
            table = overrides
            for name in tables:
                table[name] = dict(table[name])
                table = table[name]
            table[last] = value
        return load_config(None, overrides)

    def around(self, point: GridPoint, reach: int) -> list[GridPoint]:
        """Return the points that differ from ``point`` in one ordered key, by at most ``reach`` values."""
        return [
            (*point[:number], place, *point[number + 1 :])
            for number, axis in enumerate(self.axes)
            if axis.is_ordered
            for place in range(point[number] - reach, point[number] + reach + 1)
            if 0 <= place < len(axis.values) and place != point[number]
        ]


def parse_axes(texts: Sequence[str], base: Config) -> tuple[Axis, ...]:
    """Parse options such as ``strategy.entry_bps=20,30,40`` or ``entry_bps=20:40:5``.

    A key may be written without its sections where that is unambiguous. Raises ``UsageError``.
    """
    fields = dict(_fields(Config, ""))
    axes: dict[str, Axis] = {}
    if not texts:
        raise UsageError("--grid: name at least one key with its values, as in --grid entry_bps=20,30,40")
    if len(texts) > AXES_MAX:
        raise UsageError(f"--grid: {len(texts)} keys are too many; at most {AXES_MAX}")
    for text in texts:
        name, equals, listed = text.partition("=")
        if not equals or not name.strip() or not listed.strip():
            raise UsageError(f"--grid {text}: must be a key and its values, as in entry_bps=20,30,40")
        key = _key_of(name.strip(), fields, text)
        if key in axes:
            raise UsageError(f"--grid {text}: {key} is given twice; write all its values after one --grid")
        axes[key] = _axis(key, fields[key], listed, text)
    space = SearchSpace(base, tuple(axes.values()))
    _require_valid_point(space)
    return space.axes


def _fields(section: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield every key of the configuration with its type: those in tables, and not the tables themselves."""
    for field in msgspec.structs.fields(section):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _fields(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.type


def _key_of(name: str, fields: Mapping[str, Any], text: str) -> str:
    found = [key for key in fields if key == name or key.endswith(f".{name}")]
    if name in fields:
        found = [name]
    if not found:
        near = get_close_matches(name, [*fields, *(key.rpartition(".")[2] for key in fields)], 3, 0.8)
        hint = f"; is {' or '.join(near)} meant?" if near else "; configs/default.toml lists all keys"
        raise UsageError(f"--grid {text}: there is no key '{name}'{hint}")
    if len(found) > 1:
        raise UsageError(f"--grid {text}: '{name}' is one of {', '.join(found)}; write the one you mean")
    key = found[0]
    if any(key == one or (one.endswith(".") and key.startswith(one)) for one in _NOT_SWEPT):
        raise UsageError(
            f"--grid {text}: {key} cannot be varied: a backtest has it from the tape, or does not use it"
        )
    return key


def _axis(key: str, kind: Any, listed: str, text: str) -> Axis:
    if get_origin(kind) in (list, dict, tuple, set, frozenset):
        raise UsageError(f"--grid {text}: {key} holds several values at once and cannot be varied")
    written = [value for part in listed.split(",") for value in _expanded(part.strip(), text)]
    if len(written) > VALUES_MAX:
        raise UsageError(f"--grid {text}: {len(written)} values are too many; at most {VALUES_MAX}")
    known: dict[Any, str] = {}
    for value in written:
        try:
            converted = msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(f"--grid {text}: {key} cannot be {value!r}: {in_words(str(error))}") from error
        if converted in known:  # also 20 and 20.0
            raise UsageError(f"--grid {text}: the value {value} is given twice")
        known[converted] = value
    is_ordered = all(isinstance(one, int | float | Decimal) and not isinstance(one, bool) for one in known)
    return Axis(key, tuple(known[one] for one in (sorted(known) if is_ordered else known)), is_ordered)


def _expanded(value: str, text: str) -> Iterator[str]:
    """Expand ``20:30:5`` to 20, 25, 30; yield anything else as it is."""
    if not value:
        raise UsageError(f"--grid {text}: a value is empty; write them as in entry_bps=20,30,40")
    found = _RANGE.fullmatch(value)
    if found is None:
        yield value
        return
    first, last, step = map(Decimal, found.groups())
    if step == 0 or last < first:
        raise UsageError(
            f"--grid {text}: {value} must be FROM:TO:STEP with TO not below FROM and STEP above 0"
        )
    count = int((last - first) / step) + 1
    if count > VALUES_MAX:
        raise UsageError(f"--grid {text}: {count:,} values are too many; at most {VALUES_MAX}")
    for number in range(count):
        yield format(first + number * step, "f")


def _require_valid_point(space: SearchSpace) -> None:
    """Raise ``UsageError`` if none of many points, evenly spread and on the diagonal, is a valid configuration."""
    tries = min(space.size, 1000)
    problem = ""
    spread = (space.point(number * space.size // tries) for number in range(tries))
    diagonal = (tuple(number * len(axis.values) // tries for axis in space.axes) for number in range(tries))
    for point in chain(spread, diagonal):
        try:
            space.config(point)
        except ConfigError as error:
            problem = error.problem
        else:
            return
    raise UsageError(f"--grid: none of the points that were tried is a valid configuration: {problem}")
