"""What a ledger says is blocked, while nothing runs."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.ledger.blocks import blocks_of
from arbshard.ledger.events import AccountOpened, DifferenceFound, DifferenceResolved, StrayFound, StrayGone
from arbshard.ledger.history import LedgerHistory

KRW = DifferenceFound(at_ms=2, venue="upbit", currency="KRW", stated=Decimal(7), booked=Decimal(9))
BTC = DifferenceFound(at_ms=3, venue="binance", currency="BTC", stated=Decimal(1), booked=Decimal(2))
STRAY = StrayFound(
    at_ms=4, venue="upbit", client_id="s1-0-1-1-h0", symbol="KRW-BTC", remaining=Decimal(1), pair="BTC"
)


@pytest.fixture
def blocks(opened, tmp_path):
    def look(*events):
        path = tmp_path / "ledger.sqlite"
        store = opened(path)
        store.append([AccountOpened(at_ms=1, venue="upbit"), *events])
        store.close()
        with LedgerHistory(path) as reader:
            assert reader.live.meta["tag"] == store.tag
            return blocks_of(reader)

    return look


def test_what_was_not_resolved(blocks) -> None:
    found = blocks(KRW, BTC, replace(KRW, at_ms=8, stated=Decimal(5)), STRAY)
    assert [(one.venue, one.currency, one.stated, one.since_ms) for one in found.differences] == [
        ("binance", "BTC", 1, 3),
        ("upbit", "KRW", 5, 2),
    ]
    assert [(one.client_id, one.symbol, one.pair) for one in found.strays] == [
        ("s1-0-1-1-h0", "KRW-BTC", "BTC")
    ]
    assert len(found.tag) == 5


def test_what_was_resolved_is_not_in_it(blocks) -> None:
    found = blocks(
        KRW,
        STRAY,
        DifferenceResolved(at_ms=9, venue="upbit", currency="KRW", how="accepted"),
        StrayGone(at_ms=9, venue="upbit", client_id="s1-0-1-1-h0", pair="BTC"),
    )
    assert (found.differences, found.strays) == ((), ())
