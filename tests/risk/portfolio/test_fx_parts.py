"""What the FX rate has brought of each result: trade, fees and FX add up to the PnL, to the last digit."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.ledger.events import PositionChanged, PositionClosed, PositionOpened
from arbshard.ledger.rebook import Rebook
from arbshard.model.intent import FxQuote
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.results import ALL
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.wire.messages import Approved, Conclude, Extend, Refused, Settled
from support import world as w
from support.effort import effort


def quote(mid: Decimal, spread: Decimal = Decimal(2)) -> FxQuote:
    return FxQuote(mid - spread / 2, mid + spread / 2)


def trade(world: w.World, intent, fx: FxQuote, *results, done: bool = False):
    """Submit, report and conclude, all at one FX rate; the position."""
    intent = replace(intent, fx=fx)
    approved = world.submit(intent)
    assert isinstance(approved, Approved), approved
    world.report(intent, *(results or (w.filled(intent.home), w.filled(intent.away))))
    settled = world.ask(Conclude(0, 1, intent.intent_id, w.HOME_PRICE, fx, done=done))
    assert isinstance(settled, Settled), settled
    return settled.position


def differences(world: w.World) -> list[str]:
    said: list[str] = []
    rebook = Rebook(said.append)
    for seq, event in enumerate(world.events, 1):
        rebook.add(seq, event)
    rebook.finish()
    return said


@pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
@pytest.mark.parametrize("move", [Decimal("-0.03"), Decimal(0), Decimal("0.03")])
def test_a_coin_whose_home_price_follows_fx(direction, move) -> None:
    """Its gap stays as it was (2 % here), so nearly all that is left is fees and FX."""
    world = w.World()
    rate = Decimal(1400)
    opened = trade(world, world.entry(direction=direction), quote(rate))
    held = opened.flows.away_quote
    assert world.state.away_held == held
    leave = world.exit_of(opened, home_limit=w.HOME_PRICE * (1 + move))
    closed = trade(world, leave, quote(rate * (1 + move)), done=True)
    assert closed.fx_pnl == held * rate * move
    assert closed.pnl == closed.trade_pnl - closed.fees + closed.fx_pnl
    assert abs(closed.trade_pnl) < 320
    totals = world.state.results.run[ALL]
    assert (totals.pnl, totals.fx, totals.fees) == (closed.pnl, closed.fx_pnl, closed.fees)
    assert differences(world) == []


def test_three_percent_on_a_position_of_half_a_million() -> None:
    world = w.World()
    opened = trade(world, world.entry(direction="buy_home"), quote(Decimal(1400)))
    closed = trade(world, world.exit_of(opened), quote(Decimal(1358)), done=True)
    assert opened.flows.away_quote == Decimal("349.65")
    assert closed.fx_pnl == Decimal("-14685.3")


def test_a_position_that_is_closed_in_parts_counts_each_part_for_as_long_as_it_was_held() -> None:
    world = w.World()
    opened = trade(world, world.entry(direction="buy_home"), quote(Decimal(1400)))
    leave = world.exit_of(opened)
    half = w.filled(leave.home, leave.home.quantity / 2), w.filled(leave.away, Decimal("0.25"))
    left = trade(world, leave, quote(Decimal(1410)), *half)
    assert left.state == "OPEN"
    closed = trade(world, world.exit_of(left), quote(Decimal(1390)), done=True)
    first, second = opened.flows.away_quote, left.flows.away_quote
    assert closed.fx_pnl == first * 10 + second * -20
    assert closed.trade_pnl - closed.fees + closed.fx_pnl == closed.pnl
    assert differences(world) == []
    assert world.state.away_costs == {}


def test_an_entry_that_is_taken_back_at_once_has_no_fx_part() -> None:
    world = w.World()
    intent = world.entry()
    assert isinstance(world.submit(intent), Approved)
    world.report(intent, w.expired(intent.home), w.filled(intent.away))
    order = w.Order(
        f"{intent.intent_id}-a1", intent.away.market, "sell", Decimal("0.4995"), Decimal(700), "unwind"
    )
    assert isinstance(world.ask(Extend(0, 1, intent.intent_id, order)), Approved)
    world.report(intent, w.filled(order))
    position = world.conclude(intent, done=True).position
    assert (position.reason, position.fx_pnl) == ("entry_unwound", 0)


def test_a_ledger_whose_statements_do_not_say_it_is_replayed_and_verified() -> None:
    world = w.World()
    opened = trade(world, world.entry(), quote(Decimal(1400)))
    trade(world, world.exit_of(opened), quote(Decimal(1442)), done=True)
    second = trade(world, world.entry("ETH"), quote(Decimal(1400)))
    kinds = PositionOpened | PositionChanged | PositionClosed
    world.events = [
        replace(event, position=replace(event.position, fx_pnl=None)) if isinstance(event, kinds) else event
        for event in world.events
    ]
    again = world.restart()
    assert again.state.results.lifetime[ALL].fx == opened.flows.away_quote * 42
    assert differences(again) == []
    closed = trade(again, again.exit_of(second), quote(Decimal(1386)), done=True)
    assert closed.fx_pnl == second.flows.away_quote * -14


def test_a_position_that_an_older_program_opened_in_an_archived_period_has_no_fx_part() -> None:
    world = w.World()
    opened = trade(world, world.entry(), quote(Decimal(1400)))
    world.state.away_costs.clear()
    closed = trade(world, world.exit_of(opened), quote(Decimal(1442)), done=True)
    assert (closed.fx_pnl, closed.trade_pnl) == (None, None)
    assert world.state.results.run[ALL].fx == 0


def test_verification_finds_a_wrong_fx_part() -> None:
    world = w.World()
    opened = trade(world, world.entry(), quote(Decimal(1400)))
    trade(world, world.exit_of(opened), quote(Decimal(1442)), done=True)
    wrong = replace(world.events[-1].position, fx_pnl=Decimal(7))
    world.events[-1] = replace(world.events[-1], position=wrong)
    (line,) = differences(world)
    assert f"FX part of {opened.position_id} is stated as 7, its fills make" in line


rates = st.decimals(Decimal(1000), Decimal(2000), places=2)
prices = st.decimals(Decimal(500), Decimal(900), places=4)


@settings(max_examples=effort(50, 500))
@given(
    st.sampled_from(["buy_home", "buy_away"]),
    st.lists(st.tuples(rates, prices, st.integers(4, 9)), min_size=2, max_size=5),
)
def test_the_parts_add_up_exactly_however_it_is_traded(direction, steps) -> None:
    limits = w.with_limits(
        edge_bps_min=-10_000.0, edge_bps_max=1e6, price_bound_bps=1e6, position_loss_bps_max=Decimal(10**9)
    )
    world = w.World(config=limits)
    (rate, price, _), *exits = steps
    position = trade(world, world.entry(direction=direction, away_limit=price), quote(rate))
    expected, before = Decimal(0), rate
    for number, (rate, price, tenths) in enumerate(exits, 1):
        expected += position.flows.away_quote * (rate - before)
        leave = world.exit_of(position, away_limit=price)
        if number < len(exits):
            share = Decimal(tenths) / 20
            lot = Decimal("0.00001")
            parts = (
                w.filled(leave.home, leave.home.quantity * share // lot * lot),
                w.filled(leave.away, leave.away.quantity * share // lot * lot),
            )
            position = trade(world, leave, quote(rate), *parts)
            assert position.state == "OPEN"
        else:
            position = trade(world, leave, quote(rate), done=True)
        before = rate
    assert position.fx_pnl == expected
    assert position.trade_pnl - position.fees + position.fx_pnl == position.pnl
    assert differences(world) == []
    replayed = PortfolioState()
    for event in world.events:
        replayed.apply(event)
    assert replayed.state_hash() == world.state.state_hash()


class TestExposure:
    """413: what open positions hold or owe of the away quote."""

    def refusal(self, world, base, direction) -> Refused | None:
        reply = world.submit(world.entry(base, direction))
        return reply if isinstance(reply, Refused) else None

    def test_entries_of_one_direction_add_up_to_the_limit(self) -> None:
        world = w.World(("A", "B", "C"), config=w.with_limits(fx_exposure_max=Decimal(1_100_000)))
        for base in ("A", "B"):
            world.open_position(base, "buy_home")
        assert world.core.guard.fx_exposure() == Decimal("699.3") * 1400
        refused = self.refusal(world, "C", "buy_home")
        assert refused.reason is Refusal.FX_EXPOSURE
        assert refused.detail == (
            "1049.3 USDT in open positions would come to 1470069.3, the limit is 1100000"
        )

    def test_an_entry_under_way_counts(self) -> None:
        world = w.World(("A", "B", "C"), config=w.with_limits(fx_exposure_max=Decimal(1_100_000)))
        world.open_position("A", "buy_home")
        assert isinstance(world.submit(world.entry("B", "buy_home")), Approved)
        assert world.state.away_held == Decimal("699.65")
        assert self.refusal(world, "C", "buy_home").reason is Refusal.FX_EXPOSURE

    def test_the_other_direction_makes_it_smaller_and_passes(self) -> None:
        world = w.World(("A", "B", "C"), config=w.with_limits(fx_exposure_max=Decimal(500_000)))
        world.open_position("A", "buy_home")
        world.open_position("B", "buy_away")
        assert abs(world.state.away_held) < 1
        assert self.refusal(world, "C", "buy_away") is None
        assert world.core.guard.fx_exposure() < 500_000

    def test_above_the_limit_already_what_reduces_it_still_passes(self) -> None:
        world = w.World(("A", "B", "C"))
        for base in ("A", "B"):
            world.open_position(base, "buy_home")
        world.tell(w_limits("fx_exposure_max", "100000"))
        assert self.refusal(world, "C", "buy_home").reason is Refusal.FX_EXPOSURE
        assert self.refusal(world, "C", "buy_away") is None

    def test_it_is_a_line_of_the_limits_and_is_tightened(self) -> None:
        world = w.World(("A",))
        world.open_position("A", "buy_home")
        from arbshard.risk.limits.limit_lines import limit_lines

        lines = limit_lines(world.state, world.core.guard, world.core.valuation, "", world.day)
        (line,) = [one for one in lines if one.key == "fx_exposure_max"]
        assert (line.value, line.used, line.factor) == ("50000000", "489510", "1")
        (flag,) = [one for one in lines if one.key == "unknown_correlated"]
        assert flag.value == "true"


def w_limits(key: str, value: str):
    from arbshard.wire.messages import SetLimits

    return SetLimits(((key, value),), "")
