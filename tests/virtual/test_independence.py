"""The oracle shares no code with what it checks: held by reading what the judging modules import and call."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import arbshard.virtual
from arbshard.ledger import events
from arbshard.model import intent, market, order, position
from arbshard.wire import messages

JUDGES = (
    "oracle",
    "own_books",
    "venue_books",
    "bounds",
    "exposure",
    "executions",
    "frames",
    "freshness",
    "tally",
    "budgets",
    "worth",
    "outcome",
)
MECHANICS = ("clock", "trace", "loop", "costs", "rates", "settings")
"""Modules of the simulation that judges may use: none of them knows a price."""
VALUES = (
    "arbshard.config",
    "arbshard.ledger.events",
    "arbshard.model.intent",
    "arbshard.model.market",
    "arbshard.model.order",
    "arbshard.model.refusal",
    "arbshard.model.universe",
    "arbshard.wire.messages",
)
"""What the system says is said in these types; judges read their fields and nothing else of them."""
EXCHANGES = ("arbshard.exchanges.embedded",)
"""What the embedded exchanges do is a fact of the simulated world, written down beside them."""

DIRECTORY = Path(arbshard.virtual.__file__).parent


def _tree(module: str) -> ast.Module:
    return ast.parse((DIRECTORY / f"{module}.py").read_text())


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def _structs() -> Iterator[type]:
    for module in (events, intent, market, order, position, messages):
        for _, one in inspect.getmembers(module, inspect.isclass):
            if issubclass(one, msgspec.Struct) and one.__module__ == module.__name__:
                yield one


def _methods() -> frozenset[str]:
    """Names of methods and properties of the system's values."""
    return frozenset(
        name
        for struct in _structs()
        for name, member in vars(struct).items()
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
    )


def _used(module: str) -> Iterator[str]:
    """Methods and properties of the system's values that a module may use: by name, for types are not known here.

    A name that is also a field of some value counts where it is called.
    """
    methods = _methods()
    fields = {field for struct in _structs() for field in struct.__struct_fields__}
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
            yield f"line {node.lineno}: {node.func.attr}()"
        elif isinstance(node, ast.Attribute) and node.attr in methods - fields:
            yield f"line {node.lineno}: {node.attr}"


@pytest.mark.parametrize("module", JUDGES)
def test_a_judge_imports_nothing_that_decides_or_values(module: str) -> None:
    allowed = {*VALUES, *EXCHANGES, *(f"arbshard.virtual.{one}" for one in (*JUDGES, *MECHANICS))}
    ours = [name for name in _imports(module) if name.partition(".")[0] in ("arbshard", "supervisor")]
    assert [name for name in ours if name not in allowed] == []


@pytest.mark.parametrize("module", JUDGES)
def test_a_judge_calls_no_arithmetic_of_the_systems_values(module: str) -> None:
    assert {"changes", "value", "imbalance", "long_base", "accepts", "round_quantity", "filled"} <= _methods()
    assert list(_used(module)) == []


def test_the_oracle_is_made_of_judges() -> None:
    """What the oracle reaches within the simulation is judged here, or knows no price."""
    reached, waiting = set[str](), ["oracle"]
    while waiting:
        module = waiting.pop()
        if module in reached or module in MECHANICS:
            continue
        reached.add(module)
        waiting += [
            name.rpartition(".")[2] for name in _imports(module) if name.startswith("arbshard.virtual.")
        ]
    assert reached <= set(JUDGES)
