"""What outlives a restart of what venues and ledger do not agree on."""

from decimal import Decimal

import pytest

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import AccountOpened, DifferenceFound, DifferenceResolved, StrayFound, StrayGone
from arbshard.risk.portfolio.state import PortfolioState

OPENED = AccountOpened(at_ms=1, venue="upbit")
FOUND = DifferenceFound(at_ms=2, venue="upbit", currency="KRW", stated=Decimal(7), booked=Decimal(9))
RESOLVED = DifferenceResolved(at_ms=3, venue="upbit", currency="KRW", how="agrees")
STRAY = StrayFound(at_ms=4, venue="upbit", client_id="x", symbol="KRW-BTC", remaining=Decimal(1), pair="BTC")
GONE = StrayGone(at_ms=5, venue="upbit", client_id="x", pair="BTC")


@pytest.fixture
def state():
    return PortfolioState()


def test_all_of_it_is_part_of_the_states_hash_and_can_be_taken_back(state) -> None:
    hashes = [state.state_hash()]
    for event in (OPENED, FOUND, STRAY):
        state.commit()
        state.apply(event)
        hashes.append(state.state_hash())
        state.rollback()
        assert state.state_hash() == hashes[-2]
        state.apply(event)
    assert len(set(hashes)) == 4
    state.apply(RESOLVED)
    state.apply(GONE)
    assert state.state_hash() == hashes[1]


def test_a_stray_that_is_gone_takes_no_other_with_it(state) -> None:
    state.apply(OPENED)
    other = StrayFound(
        at_ms=4, venue="upbit", client_id="y", symbol="KRW-ETH", remaining=Decimal(1), pair="ETH"
    )
    for event in (STRAY, other, GONE):
        state.apply(event)
    assert list(state.reconciled.strays) == [("upbit", "y")]


def test_what_a_venue_begins_with_anew_forgets_its_strays_and_no_others(state) -> None:
    elsewhere = StrayFound(
        at_ms=4, venue="binance", client_id="z", symbol="BTCUSDT", remaining=Decimal(1), pair="BTC"
    )
    for event in (OPENED, STRAY, elsewhere, AccountOpened(at_ms=9, venue="upbit")):
        state.apply(event)
    assert list(state.reconciled.strays) == [("binance", "z")]


def test_the_amount_is_what_the_venue_has_more(state) -> None:
    state.apply(FOUND)
    assert state.reconciled.differences["upbit", "KRW"].amount == -2


@pytest.mark.parametrize(("before", "event"), [((), RESOLVED), ((), GONE), ((STRAY, GONE), GONE)])
def test_what_contradicts_itself_is_damage(state, before, event) -> None:
    for one in before:
        state.apply(one)
    with pytest.raises(LedgerDamaged):
        state.apply(event)
