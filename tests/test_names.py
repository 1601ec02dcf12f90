"""The rule of names: a public class name means one thing, and a method's name says what the method does."""

import ast
from collections import defaultdict
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
    """Every file of the product, parsed once for both rules."""
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


def test_every_method_says_what_it_does(modules):
    assert vague_methods(modules) == []


def test_both_rules_can_be_broken():
    one = "class Order:\n    def look(self): ...\n"
    trees = [("a.py", ast.parse(one)), ("b.py", ast.parse("class Order:\n    async def tell(self): ...\n"))]
    assert twice_defined(trees) == {"Order": ["a.py:1", "b.py:1"]}
    assert vague_methods(trees) == ["a.py:2 look", "b.py:2 tell"]
