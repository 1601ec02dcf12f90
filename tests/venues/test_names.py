"""No venue is named outside of its own folder, the registry, the configuration and the embedded exchanges."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import arbshard
import supervisor
from arbshard.venues.registry import ADAPTERS

ROOTS = [Path(package.__file__).parent for package in (arbshard, supervisor)]
VENUES = ROOTS[0] / "venues"
# The last two put the embedded exchanges into the simulation.
MAY_NAME_ANY = [
    ROOTS[0] / "exchanges",
    ROOTS[0] / "config",
    VENUES / "registry.py",
    ROOTS[0] / "virtual" / "exchange.py",
    ROOTS[0] / "virtual" / "settings.py",
    ROOTS[0] / "virtual" / "unkind.py",
]


def words(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every identifier and every text, docstrings too, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Constant(value=str() as text):
                yield line, text
            case ast.Constant(value=bytes() as raw):
                yield line, raw.decode("utf-8", "replace")
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield line, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield line, name
            case ast.keyword(arg=str() as name) | ast.alias(asname=str() as name):
                yield line, name
        match node:
            case ast.alias(name=name) | ast.ImportFrom(module=str() as name):
                yield line, name


def named(source: str, venue: str) -> list[int]:
    """The lines that name ``venue``."""
    if venue not in source.lower():  # most files, which need not be parsed
        return []
    return sorted({line for line, text in words(ast.parse(source)) if venue in text.lower()})


def own_venue(path: Path) -> str:
    """The venue whose folder holds ``path``; empty for none."""
    inside = path.relative_to(VENUES).parts if path.is_relative_to(VENUES) else ()
    return inside[0] if len(inside) > 1 and inside[0] in ADAPTERS else ""


def files() -> list[Path]:
    return [path for root in ROOTS for path in sorted(root.rglob("*.py"))]


@pytest.mark.parametrize("venue", sorted(ADAPTERS))
def test_a_venue_is_named_at_home_only(venue):
    found = [
        f"{path}:{line}"
        for path in files()
        if not any(path == place or path.is_relative_to(place) for place in MAY_NAME_ANY)
        and own_venue(path) != venue
        for line in named(path.read_text(encoding="utf-8"), venue)
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        'x = "upbit"', 'x = b"at Upbit"', "upbit = 1", "x.upbit_key", "def f(upbit): ...", "class UpbitX: ...",
        "from a.upbit import b", "import upbit", "from a import b as upbit", "f(upbit=1)", '"""As Upbit does."""',
        'f"{x} upbit"', "async def upbit(): ...",
    ],
)  # fmt: skip
def test_every_kind_of_name_is_seen(source):
    assert named(source, "upbit") == [1]


def test_code_is_walked_and_every_venue_has_a_folder():
    assert len(files()) > 300
    assert {own_venue(path) for path in files()} - {""} == set(ADAPTERS)


def test_the_page_names_every_room():
    page = (Path(__file__).resolve().parents[2] / "docs" / "adding-a-venue.md").read_text(encoding="utf-8")
    rooms = {path.stem for path in VENUES.glob("*/*.py") if own_venue(path)} - {"__init__"}
    assert {room for room in rooms if f"| `{room}` |" not in page} == set()
