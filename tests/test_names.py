"""The rule of names: a public class or type name means one thing, and a method's name says what the method does."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import arbshard
import supervisor

ROOTS = [Path(package.__file__).parent for package in (arbshard, supervisor)]
TWICE = {}
"""Public class names that may be defined twice, each with its reason. There are none."""
VAGUE = {"look", "take", "tell", "told", "hear", "heard", "say", "said", "glance"}
"""Names of methods that do not say what happens: poll, judge, sample, read, add, send, log … do."""


@pytest.fixture(scope="module")
def modules() -> list[tuple[str, ast.Module]]:
    """Every file of the product, parsed once for all rules."""
    return [
        (str(path.relative_to(root.parent)), ast.parse(path.read_text(encoding="utf-8")))
        for root in ROOTS
        for path in sorted(root.rglob("*.py"))
    ]


def twice_defined(trees: list[tuple[str, ast.Module]]) -> dict[str, list[str]]:
    places = defaultdict(list)
    for name, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{name}:{node.lineno}")
    return {name: found for name, found in places.items() if len(found) > 1}


def _aliases_of(tree: ast.Module) -> Iterator[tuple[str, int, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp | ast.Attribute):
            for target in node.targets:
                if isinstance(target, ast.Name) and re.fullmatch(
                    "[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", target.id
                ):
                    yield target.id, node.lineno, node.value


def aliased(trees: list[tuple[str, ast.Module]]) -> dict[str, list[str]]:
    """The types that modules give a name to, as in ``Price = tuple[float, float]``, by this name.

    Type variables are no types, and are not found.
    """
    places = defaultdict(list)
    for file, tree in trees:
        for name, line, _ in _aliases_of(tree):
            places[name].append(f"{file}:{line}")
    return places


def class_names_of_others(trees: list[tuple[str, ast.Module]]) -> dict[str, list[str]]:
    """The names of public classes that are also given to other types."""
    classes = {node.name for _, tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return {name: places for name, places in aliased(trees).items() if name in classes}


def meaning_of(node: ast.expr) -> str:
    """What a type says, the same for two that name the same alternatives in another order."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        alternatives, parts = [], [node.left, node.right]
        while parts:
            part = parts.pop()
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.BitOr):
                parts += [part.left, part.right]
            else:
                alternatives.append(meaning_of(part))
        return " | ".join(sorted(alternatives))
    if isinstance(node, ast.Subscript):
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        meant = [meaning_of(one) for one in inside]
        is_literal = ast.unparse(node.value) == "Literal"
        return f"{ast.unparse(node.value)}[{', '.join(sorted(meant) if is_literal else meant)}]"
    return ast.unparse(node)


def aliases_with_two_meanings(trees: list[tuple[str, ast.Module]]) -> dict[str, list[str]]:
    """The names that two modules give to different types."""
    meanings = defaultdict(set)
    for _, tree in trees:
        for name, _, meant in _aliases_of(tree):
            meanings[name].add(meaning_of(meant))
    return {name: places for name, places in aliased(trees).items() if len(meanings[name]) > 1}


def vague_methods(trees: list[tuple[str, ast.Module]]) -> list[str]:
    """Methods and functions of a module; a function inside of another one is not looked at."""
    return [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in trees
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef | ast.Module)
        for node in owner.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in VAGUE
    ]


def test_no_public_class_name_is_defined_twice(modules):
    assert len(modules) > 300
    assert {name: found for name, found in twice_defined(modules).items() if name not in TWICE} == {}


def test_no_name_of_a_public_class_is_given_to_another_type(modules):
    assert len(aliased(modules)) > 100
    assert class_names_of_others(modules) == {}


def test_no_name_is_given_to_two_types(modules):
    assert aliases_with_two_meanings(modules) == {}


def test_every_method_says_what_it_does(modules):
    assert vague_methods(modules) == []


def test_each_rule_can_be_broken():
    one = "class Order:\n    def look(self): ...\n"
    trees = [("a.py", ast.parse(one)), ("b.py", ast.parse("class Order:\n    async def tell(self): ...\n"))]
    assert twice_defined(trees) == {"Order": ["a.py:1", "b.py:1"]}
    assert vague_methods(trees) == ["a.py:2 look", "b.py:2 tell"]
    three = 'Order = Halt | Resume\nKind = TypeVar("Kind")\nEXACT = Order[int]\nclass Kind: ...\n'
    assert class_names_of_others([*trees, ("c.py", ast.parse(three))]) == {"Order": ["c.py:1"]}
    four = 'Step = Literal["a", "b"]\nPlace = tuple[str, int]\nKey = int | str | None\n'
    five = 'Step = Literal["b", "a"]\nPlace = tuple[int, str]\nKey = None | int | str\n'
    trees = [("d.py", ast.parse(four)), ("e.py", ast.parse(five))]
    assert aliases_with_two_meanings(trees) == {"Place": ["d.py:2", "e.py:2"]}
