"""The world that the tests of this folder trade in, and long ledgers."""

import decimal
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from arbshard.ledger.archiving import close_period, take_cut
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.store import LedgerStore
from arbshard.model.money import MONEY_CONTEXT
from arbshard.risk.portfolio.snapshot import PortfolioCodec

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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def chaos() -> ModuleType:
    """``tests/risk/test_sequences.py``: workers that say anything, on paper."""
    return _load("arbshard_test_sequences", _TESTS / "risk" / "test_sequences.py")


@pytest.fixture(scope="session")
def live_chaos() -> ModuleType:
    """``tests/risk/test_reconciler_sequences.py``: a live desk whose venues disagree."""
    return _load(
        "arbshard_test_reconciler_sequences", _TESTS / "risk" / "reconcile" / "test_reconciler_sequences.py"
    )


def close_period_at(path: Path, seq: int, codec: PortfolioCodec, mode: str = "sim-paper") -> int:
    """Archive the events up to about ``seq`` as ``arbshard ledger archive`` does; the last archived one."""
    with LedgerReader(path) as reader:
        statement = next(reader.rows(after=seq, until=seq + 1), None)
        cut = seq - 1 if statement is not None and statement[2].startswith("Position") else seq
        if cut < reader.first_seq:
            return reader.first_seq - 1
        successor = close_period(reader, take_cut(reader, codec, cut))
    store = LedgerStore.open(path, name="sim", mode=mode, now_ms=1)
    try:
        store.take_over(successor)
    finally:
        store.abandon()
    return cut


@pytest.fixture(scope="session")
def close_at(codec: PortfolioCodec) -> Callable[..., int]:
    """``close_period_at`` with the folder's codec."""
    return lambda path, seq, mode="sim-paper": close_period_at(path, seq, codec, mode)
