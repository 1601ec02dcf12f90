"""Whether the books balance: portfolio against double entry."""

from decimal import Decimal

import pytest

from arbshard.ledger.postings import postings_of
from arbshard.risk.portfolio.holdings import Balance, find_any_break, find_break, touched
from support import world as w


def booked(events) -> dict:
    sums = {}
    for event in events:
        for account, currency, amount in postings_of(event):
            sums[account, currency] = sums.get((account, currency), Decimal(0)) + amount
    return sums


@pytest.fixture
def world():
    world = w.World()
    world.round_trip()
    world.open_position("ETH")
    return world


def test_books_balance(world) -> None:
    assert find_any_break(world.state.balances, booked(world.events), {}) is None
    assert find_break(touched(world.events), world.state.balances, booked(world.events)) is None


def test_accounts_touched(world) -> None:
    before = len(world.events)
    intent = world.entry("BTC")
    world.submit(intent)
    assert touched(world.events[before:]) == set()
    world.report(intent, w.filled(intent.home))
    assert touched(world.events[before:]) == {("upbit", "BTC"), ("upbit", "KRW")}
    world.report(intent, w.filled(intent.away))
    assert ("binance", "BTC") in touched(world.events[before:])
    deposits = [event for event in world.events if type(event).__name__ == "Deposited"]
    assert ("binance", "USDT") in touched(deposits)


def test_money_from_nowhere(world) -> None:
    table = world.state.balances.table
    old = table["upbit", "KRW"]
    table["upbit", "KRW"] = Balance(old.total + Decimal("0.0001"), old.held)
    broken = find_break([("upbit", "KRW")], world.state.balances, booked(world.events))
    assert broken is not None
    assert broken.startswith("upbit KRW: ")
    assert find_any_break(world.state.balances, booked(world.events), {}) == broken
    assert find_break([("binance", "USDT")], world.state.balances, booked(world.events)) is None


def test_an_account_that_only_the_ledger_knows(world) -> None:
    entries = booked(world.events)
    entries["venue:upbit", "DOGE"] = Decimal(5)
    entries["deposits:upbit", "DOGE"] = Decimal(-5)
    assert find_any_break(world.state.balances, entries, {}).startswith("upbit DOGE: 0 by the fills, 5")


def test_one_side_missing(world) -> None:
    entries = booked(world.events)
    entries["fees:upbit", "KRW"] += 1
    assert find_any_break(world.state.balances, entries, {}) == "KRW: the ledger's double entry is 1 off"
