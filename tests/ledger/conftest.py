"""What the tests of this folder share: the context of money, and ledgers that are opened, split and closed."""

import decimal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arbshard.ledger.archiving import close_period, take_cut
from arbshard.ledger.reader import LedgerReader
from arbshard.ledger.store import LedgerStore
from arbshard.model.money import MONEY_CONTEXT
from arbshard.risk.portfolio.snapshot import PortfolioCodec


@pytest.fixture(autouse=True)
def _money() -> Iterator[None]:
    with decimal.localcontext(MONEY_CONTEXT):
        yield


@pytest.fixture(scope="session")
def codec() -> PortfolioCodec:
    return PortfolioCodec()


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
