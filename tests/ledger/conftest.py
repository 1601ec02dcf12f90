"""The world that the tests of this folder trade in, and long ledgers."""

import decimal
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from arbshard.ledger.store import LedgerStore
from arbshard.model.money import MONEY_CONTEXT
from arbshard.risk.snapshot import PortfolioCodec

_TESTS = Path(__file__).parent.parent


def _load(name: str, path: Path) -> ModuleType:
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
    return _load("arbshard_test_world", _TESTS / "risk" / "world.py")


@pytest.fixture(scope="session")
def history() -> ModuleType:
    """``tests/ledger/history.py``."""
    return _load("arbshard_test_history", _TESTS / "ledger" / "history.py")


@pytest.fixture(autouse=True)
def _money() -> Iterator[None]:
    with decimal.localcontext(MONEY_CONTEXT):
        yield


@pytest.fixture
def codec() -> PortfolioCodec:
    return PortfolioCodec("this code")


@pytest.fixture
def opened() -> Iterator[Callable[[Path], LedgerStore]]:
    """Opens ledgers; all are closed at the end."""
    stores: list[LedgerStore] = []

    def open_it(path: Path, **changes: object) -> LedgerStore:
        given = {"name": "sim", "mode": "sim-paper", "now_ms": 1, **changes}
        stores.append(LedgerStore.open(path, **given))
        return stores[-1]

    yield open_it
    for store in stores:
        store.abandon()
