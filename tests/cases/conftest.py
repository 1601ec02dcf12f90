"""The world that the tests of this folder trade in."""

import decimal
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from arbshard.model.money import MONEY_CONTEXT


def _load() -> ModuleType:
    path = Path(__file__).parent.parent / "risk" / "world.py"
    name = "arbshard_test_world"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def w() -> ModuleType:
    """``tests/risk/world.py``."""
    return _load()


@pytest.fixture(autouse=True)
def _money() -> Iterator[None]:
    with decimal.localcontext(MONEY_CONTEXT):
        yield
