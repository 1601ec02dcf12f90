"""Defines what all sections of the configuration share: strictness, and the kinds of numbers."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta
from msgspec.structs import fields

PortNumber = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0, lt=1e12)]
NotNegative = Annotated[float, Meta(ge=0, lt=1e12)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=100_000)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Is a table of the file; an unknown key in it is an error."""


_MEANINGS: dict[str, str] = {}
"""What a value must be, as a text, by the pattern that it has to match."""


def matching(pattern: str, meaning: str) -> Meta:
    """Return a constraint for text. ``meaning`` follows the name of the key when a person wrote another value."""
    _MEANINGS[pattern] = meaning
    return Meta(pattern=pattern)


def explain(
    error: msgspec.ValidationError, root: type[msgspec.Struct], replaced: Mapping[str, str] = {}
) -> str:
    """Return what msgspec has found wrong with a file of the type ``root``: the path of the key first, as in the
    file.

    ``replaced``: what to write in place of keys of earlier versions, by their paths.
    """
    problem, _, path = str(error).partition(" - at `$")
    problem = problem.replace("Invalid decimal string", "must be a number such as 500000 or 1.5")
    key = path.rstrip("`").lstrip(".")
    if problem.startswith("Object contains unknown field"):
        unknown = f"{key}." * bool(key) + problem.split("`")[1]
        if unknown in replaced:
            return f"the key '{unknown}' was replaced: write {replaced[unknown]}"
        section = _type_at(root, key)
        return f"unknown key '{unknown}'; known here: {', '.join(one.name for one in fields(section))}"
    if problem.startswith("Invalid enum value"):
        problem = f"{problem}; one of {', '.join(_choices(_type_at(root, key)))}"
    for pattern, meaning in _MEANINGS.items():
        problem = problem.replace(f"Expected `str` matching regex {pattern!r}", meaning)
    return f"{key}: {problem}" if key else problem


def _choices(kind: Any) -> Iterator[str]:
    """Yield the values of a ``Literal``, or of a union of them."""
    for one in get_args(kind):
        yield from (one,) if isinstance(one, str) else _choices(one)


def _type_at(root: type[msgspec.Struct], path: str) -> Any:
    """Return the type of the value at a dotted path of the file."""
    found: Any = root
    for name in path.split(".") if path else ():
        found = next(field.type for field in fields(found) if field.name == name)
    return found
