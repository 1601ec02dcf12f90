"""Checks the prose of code and documents: ``python scripts/check_prose.py [FILE OR FOLDER ...]``.

Without an argument everything is checked. A docstring of a function begins with a verb, and the first sentence of a
module and of a class has one. No text uses a figure of speech where the field has a word (``prose.toml`` lists the
words). A line is printed for each finding, and the exit code is then 1.
"""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CHECKED = (
    "arbshard",
    "supervisor",
    "scripts",
    "examples",
    "perf",
    "docs",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
)
_EXEMPT = {Path(__file__).resolve(), ROOT / "docs" / "glossary.md"}
"""Files that name what they forbid."""
_MADE = ROOT / "perf" / "out"
"""A folder that measurements make, with the environments of other clients."""

with Path(__file__).with_name("prose.toml").open("rb") as file:
    _WORDS = tomllib.load(file)
VERBS = frozenset(_WORDS["verbs"].split())
FINITE = frozenset(_WORDS["finite"].split())
NOUNS = frozenset(_WORDS["nouns"].split())
FIGURES: dict[str, str] = _WORDS["figures"]


_BLOCKS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_VAGUE = ("It ", "Of ", "See ")
"""Beginnings of docstrings of attributes that do not say what they are about."""


class Finding(NamedTuple):
    """A place where the prose breaks a rule."""

    path: Path
    line: int
    text: str


def third_person(verb: str) -> str:
    """Return ``verb`` with the ending of the third person: "carry" gives "carries"."""
    if re.search(r"(?:[sxz]|ch|sh|o)$", verb):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if re.search(r"[^aeiou]y$", verb) else f"{verb}s"


THIRD = frozenset(third_person(verb) for verb in VERBS)


def begins_with_a_verb(summary: str) -> bool:
    """Return whether the first word of ``summary`` is a verb, as in "Return the sum." and "Returns the sum."."""
    first = re.split(r"[^A-Za-z]", summary, maxsplit=1)[0].lower()
    return first in VERBS or first in THIRD


def has_a_verb(summary: str) -> bool:
    """Return whether ``summary`` begins with a verb or has a word that is hardly ever anything else."""
    words = [word.lower() for word in re.findall(r"[A-Za-z']+", summary)]
    return words[:1] != [] and (
        words[0] in VERBS or any(word in FINITE or word in THIRD - NOUNS for word in words)
    )


def of_docstrings(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """Find the docstrings of ``tree`` that are not sentences."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            continue
        text = ast.get_docstring(node)
        if text is None:
            continue
        summary = text.split("\n\n")[0].replace("\n", " ")
        line = node.body[0].lineno
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not begins_with_a_verb(summary):
                yield Finding(path, line, f'the docstring begins with no verb: "{summary[:60]}"')
        elif not has_a_verb(summary):
            yield Finding(path, line, f'the docstring has no verb: "{summary[:60]}"')


def of_attributes(path: Path, tree: ast.Module) -> Iterator[Finding]:
    """Find the docstrings of attributes that do not say what they are about."""
    for node in ast.walk(tree):
        for before, after in pairwise(node.body if isinstance(node, _BLOCKS) else ()):
            if not isinstance(before, ast.Assign | ast.AnnAssign) or not isinstance(after, ast.Expr):
                continue
            text = after.value.value if isinstance(after.value, ast.Constant) else None
            if isinstance(text, str) and text.startswith(_VAGUE):
                yield Finding(path, after.lineno, f'the text names no subject: "{text[:60]}"')


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield the comments and strings of ``source`` with their lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in {tokenize.COMMENT, tokenize.STRING}:
            for offset, line in enumerate(token.string.splitlines()):
                if " " in line.strip():  # a single word is a key or a name
                    yield token.start[0] + offset, line


def of_figures(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Finding]:
    """Find the figures of speech in ``lines``."""
    for number, line in lines:
        for figure, instead in FIGURES.items():
            if found := re.search(rf"\b(?:{figure})\b", line, re.IGNORECASE):
                yield Finding(path, number, f'"{found[0]}": say {instead}')


def findings(places: Iterable[Path]) -> Iterator[Finding]:
    """Find what breaks the rules in ``places``: files, and folders with all that is below them."""
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path in _EXEMPT or path.is_relative_to(_MADE):
                continue
            if path.suffix == ".py":
                source = path.read_text(encoding="utf-8")
                tree = ast.parse(source)
                yield from of_docstrings(path, tree)
                yield from of_attributes(path, tree)
                yield from of_figures(path, texts(source))
            elif path.suffix == ".md":
                yield from of_figures(path, enumerate(path.read_text(encoding="utf-8").splitlines(), 1))


def main(arguments: list[str]) -> int:
    """Print the findings; return 1 when there is one."""
    found = list(findings([Path(name).resolve() for name in arguments] or [ROOT / name for name in CHECKED]))
    for finding in found:
        print(f"{finding.path.relative_to(ROOT)}:{finding.line}: {finding.text}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
