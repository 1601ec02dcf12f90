"""Defines what all sections of the configuration share: strictness, and the kinds of numbers."""

import re
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


_KINDS: Mapping[str, str] = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}
"""What a person calls msgspec's kinds of values."""
_GIVEN: Mapping[str, str] = {**_KINDS, "float": "a fraction"}
_BOUNDS: Mapping[str, str] = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}
_UNITS: Mapping[str, str] = {"str": "character", "array": "entry", "object": "key"}
_EXPECTED = re.compile(
    r"Expected `(?P<kind>[a-z |]+)`"
    r"(?:, got `(?P<got>\w+)`"
    r"| of length (?P<size>[<>]=)? ?(?P<length>\d+)(?:, got \d+)?"
    r"| (?P<bound>[<>]=?) (?P<limit>\S+))"
)
_MEANINGS: dict[str, str] = {}
"""What a value must be, as a text, by the pattern that it has to match."""


def matching(pattern: str, meaning: str) -> Meta:
    """Return a constraint for text. ``meaning`` follows the name of the key when a person wrote another value."""
    _MEANINGS[pattern] = meaning
    return Meta(pattern=pattern)


def explain(
    error: msgspec.ValidationError,
    root: type[msgspec.Struct],
    replaced: Mapping[str, str] = {},
    *,
    under: str = "",
) -> str:
    """Return what msgspec has found wrong with a file of the type ``root``: the path of the key first, as in the
    file.

    ``replaced``: what to write in place of keys of earlier versions, by their paths. ``under``: the path of ``root``
    where that is not the whole file.
    """
    problem, _, path = str(error).partition(" - at `$")
    problem = problem.replace("Invalid decimal string", "must be a number such as 500000 or 1.5")
    inner = path.rstrip("`").lstrip(".")
    key = ".".join(filter(None, (under, inner)))
    if problem.startswith("Object contains unknown field"):
        unknown = f"{key}." * bool(key) + problem.split("`")[1]
        if unknown in replaced:
            return f"the key '{unknown}' was replaced: write {replaced[unknown]}"
        section = _type_at(root, inner)
        return f"unknown key '{unknown}'; known here: {', '.join(one.name for one in fields(section))}"
    if problem.startswith("Invalid enum value"):
        choices = ", ".join(_choices(_type_at(root, inner)))
        problem = f"must be one of {choices}, not {problem.removeprefix('Invalid enum value ')}"
    if problem.startswith("Object missing required field"):
        problem = f"the key '{problem.split('`')[1]}' is missing"
    for pattern, meaning in _MEANINGS.items():
        problem = problem.replace(f"Expected `str` matching regex {pattern!r}", meaning)
    problem = in_words(problem)
    return f"{key}: {problem}" if key else problem


def in_words(problem: str) -> str:
    """Return what msgspec says of a value as what the value must be. A text of another form stays as it is."""
    return _EXPECTED.sub(_must_be, problem)


def _must_be(found: re.Match[str]) -> str:
    kinds = " or ".join(_KINDS.get(kind, kind) for kind in found["kind"].split(" | "))
    if found["got"]:
        return f"must be {kinds}, not {_GIVEN.get(found['got'], found['got'])}"
    if found["bound"]:
        return f"must be {kinds} {_BOUNDS[found['bound']]} {found['limit'].removesuffix('.0')}"
    unit = _UNITS.get(found["kind"], "part")
    units = unit if found["length"] == "1" else "entries" if unit == "entry" else f"{unit}s"
    return f"must be {kinds} {_BOUNDS.get(found['size'], 'of')} {found['length']} {units}"


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
