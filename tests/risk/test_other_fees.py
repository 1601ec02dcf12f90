"""Fees in a coin that is neither base nor quote (Binance: BNB): in the balances, in the result, in the checks."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.ledger.events import IntentConcluded
from arbshard.ledger.postings import postings_of
from arbshard.ledger.verify import verify
from arbshard.model.position import Flows
from arbshard.risk.portfolio.holdings import Trade, find_any_break
from arbshard.risk.portfolio.settlement import add_fills, fee_value, has_other_fee, value_other_fees
from support import world as w

BNB = Decimal("0.0003")


def in_bnb(result):
    """The same fills, their fees paid in BNB."""
    return replace(result, fills=tuple(replace(one, fee=BNB, fee_currency="BNB") for one in result.fills))


@pytest.fixture
def world():
    return w.World(bases=("BTC",))


def round_trip(world):
    entry = world.entry()
    opened = world.carry_out(entry, w.filled(entry.home), in_bnb(w.filled(entry.away)))
    leave = world.exit_of(opened, home_limit=Decimal(990_000))
    leave = replace(leave, away=replace(leave.away, quantity=opened.long_base))
    return world.carry_out(leave, w.filled(leave.home), in_bnb(w.filled(leave.away)), done=True)


def test_they_leave_their_own_balance(world) -> None:
    round_trip(world)
    assert world.state.balance(w.AWAY, "BNB").total == -2 * BNB
    assert world.state.balance(w.AWAY, "BTC").total == 4  # bought and sold whole


def test_they_are_no_flow_of_the_position(world) -> None:
    intent = world.entry()
    fill = in_bnb(w.filled(intent.away)).fills[0]
    flows = add_fills(Flows(), intent.home.market, [fill])
    assert (flows.away_base, flows.away_quote) == (Decimal("0.5"), Decimal(-350))
    assert has_other_fee(fill)
    assert fee_value(fill, intent.home.market, w.FX) == 0


def test_they_are_valued_at_the_venues_full_rate(world) -> None:
    intent = world.entry()
    trade = Trade.begin(intent, ()).reported(in_bnb(w.filled(intent.away)), None)
    pair = world.pairs["BTC"]
    assert value_other_fees(trade, pair) == 350 * Decimal("0.001") * w.FX.ask
    at_home = Trade.begin(intent, ()).reported(in_bnb(w.filled(intent.home)), None)
    assert value_other_fees(at_home, pair) == 500_000 * Decimal("0.0005")
    usual = Trade.begin(intent, ()).reported(w.filled(intent.away), None)
    assert value_other_fees(usual, pair) == 0


def test_they_lower_the_result(world) -> None:
    closed = round_trip(world)
    paid = 2 * 350 * Decimal("0.001") * w.FX.ask
    assert closed.other_fees == paid
    # Sold for 500,000 and bought back for 495,000 at home, at 0.05 %; bought and sold for 350 away, free in USDT.
    at_home = 500_000 - 495_000 - Decimal("0.0005") * 995_000
    assert closed.pnl == at_home - paid
    assert closed.fees == Decimal("0.0005") * 995_000 + paid


def test_everything_adds_up(world, tmp_path) -> None:
    round_trip(world)
    booked = {}
    for event in world.events:
        for account, currency, amount in postings_of(event):
            booked[account, currency] = booked.get((account, currency), Decimal(0)) + amount
    assert booked["fees:binance", "BNB"] == 2 * BNB
    assert find_any_break(world.state.balances, booked, {}) is None
    world.stop()
    world.write_ledger(tmp_path / "ledger.sqlite")
    report = verify(tmp_path / "ledger.sqlite")
    assert report.differences == ()
    assert report.pnl == next(iter(world.state.closed.values())).pnl


@pytest.mark.parametrize("claimed", ["-1", "1"])
def test_a_worth_that_cannot_be_is_found(tmp_path, claimed) -> None:
    world = w.World(bases=("BTC",))
    world.round_trip()
    world.events = [
        replace(one, other_fees=Decimal(claimed)) if isinstance(one, IntentConcluded) else one
        for one in world.events
    ]
    world.write_ledger(tmp_path / "ledger.sqlite")
    said = "\n".join(verify(tmp_path / "ledger.sqlite").differences)
    assert f"values fees in other coins at {claimed}, its fills have none" in said
