"""``risk.valuation``: what closing would bring, equity and its losses, naked exposure; also over restarts."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.engine.closing import close_now
from arbshard.engine.edge import terms_of
from arbshard.engine.engine import held_of
from arbshard.ledger.events import Deposited, EquityMarked, Resumed
from arbshard.model.intent import FxQuote
from arbshard.model.market import reverse
from arbshard.model.money import ZERO
from arbshard.risk.portfolio.equity import to_cents
from arbshard.risk.valuation import Valuation
from arbshard.wire.messages import Halt, Resume
from support import world as w
from support.effort import effort
from support.paper_chaos import Chaos, replayed, steps

DAY_MS = 86_400_000
FALLEN = w.HOME_PRICE * Decimal("1.03")
"""Home price at which a position that sold at home stands at about -300 basis points."""


def marked(world) -> list[EquityMarked]:
    return [event for event in world.events if isinstance(event, EquityMarked)]


def valuation_of(world):
    return world.core.valuation


class TestMark:
    def test_it_is_what_the_engine_makes_of_the_same_books(self) -> None:
        world = w.World()
        position = world.open_position()
        world.value(FALLEN)
        pair = world.pairs["BTC"]
        books = w.make_book(pair.home.market, FALLEN), w.make_book(pair.away.market, w.AWAY_PRICE)
        closing = close_now(
            held_of(position), *books, (1399.0, 1401.0), terms_of(pair, reverse(position.direction))
        )
        mark = valuation_of(world).marks[position.position_id]
        assert float(mark.pnl) == pytest.approx(closing.pnl, abs=0.01)
        assert float(mark.bps) == pytest.approx(closing.net_bps, abs=0.01)
        assert mark.is_whole

    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    def test_closing_at_these_books_realises_it(self, direction) -> None:
        world = w.World()
        position = world.open_position(direction=direction)
        home, away = Decimal(995_000), Decimal(705)
        world.value(home, away)
        before = valuation_of(world).equity
        closed = world.carry_out(world.exit_of(position, home, away), done=True)
        # What is left over of a lot is worth less than a won.
        assert abs(closed.pnl - before) < 10
        assert valuation_of(world).equity == closed.pnl == world.state.realised
        assert valuation_of(world).unrealised == 0

    def test_a_thin_book_values_the_rest_at_its_last_price(self) -> None:
        world = w.World()
        position = world.open_position()
        pair = world.pairs["BTC"]
        away = w.make_book(pair.away.market, w.AWAY_PRICE)
        whole = valuation_of(world).mark(
            position.position_id, pair, (w.make_book(pair.home.market, w.HOME_PRICE), away), (1400, 1400), 1
        )
        levels = ((1e6, 0.1), (1.1e6, 0.1))
        book = replace(w.make_book(pair.home.market, w.HOME_PRICE), bids=levels, asks=levels)
        thin = valuation_of(world).mark(position.position_id, pair, (book, away), (1400, 1400), 1)
        assert not thin.is_whole
        # 0.1 at 1,000,000 and 0.4 at 1,100,000 in place of 0.5 at 1,000,000; and the fee of 5 bps
        assert whole.newest - thin.newest == pytest.approx(
            Decimal(40_000) * Decimal("1.0005"), abs=Decimal("0.02")
        )

    def test_an_intent_under_way_counts_with_the_position_that_it_changes(self) -> None:
        world = w.World()
        intent = world.entry()
        world.submit(intent)
        world.value()
        assert valuation_of(world).marks == {}
        world.report(intent, w.filled(intent.home))
        world.value(w.HOME_PRICE * 2)
        # Sold at 1,000,000, to be bought back at 2,000,000: half a coin, and two fees.
        assert valuation_of(world).unrealised == Decimal(-500_000) - 250 - 500
        world.report(intent, w.filled(intent.away))
        world.conclude(intent)
        assert list(valuation_of(world).marks) == [intent.position_id]
        (position,) = world.state.positions.values()
        leave = world.exit_of(position)
        world.submit(leave)
        world.report(leave, w.filled(leave.home))
        world.value()
        world.report(leave, w.filled(leave.away))
        before = valuation_of(world).equity
        world.conclude(leave, done=True)
        assert valuation_of(world).marks == {}
        assert abs(valuation_of(world).equity - before) < 1000  # the coin left over from fees

    def test_an_entry_that_filled_nothing_is_nothing(self) -> None:
        world = w.World()
        intent = world.entry()
        world.carry_out(intent, w.expired(intent.home), w.expired(intent.away))
        world.value()
        assert valuation_of(world).marks == {}
        assert valuation_of(world).equity == 0

    def test_fees_in_other_coins_are_costs(self) -> None:
        world = w.World()
        position = world.open_position()
        poorer = replace(position, other_fees=Decimal(777))
        assert held_of(poorer).home_quote == pytest.approx(held_of(position).home_quote - 777)


class TestOutliers:
    def test_one_wrong_frame_is_no_loss_and_no_peak(self) -> None:
        world = w.World()
        world.open_position()
        world.value()
        calm = valuation_of(world).day_loss(world.day)
        peak = valuation_of(world).high_water
        for wrong in (w.HOME_PRICE * 2, w.HOME_PRICE / 2):
            world.value(wrong, times=1)
            world.value(times=1)
            assert valuation_of(world).day_loss(world.day) <= calm
        world.value(w.HOME_PRICE / 2, times=1)
        assert valuation_of(world).high_water == peak
        world.value(w.HOME_PRICE / 2, times=1)
        assert valuation_of(world).high_water > peak

    def test_the_first_mark_of_a_position_alone_is_neither(self) -> None:
        world = w.World()
        world.open_position()
        world.value(w.HOME_PRICE * 2, times=1)
        (mark,) = valuation_of(world).marks.values()
        assert mark.newest < -400_000
        assert valuation_of(world).equity == valuation_of(world).day_loss(world.day) == 0
        world.value(w.HOME_PRICE / 2, times=1)
        assert valuation_of(world).high_water == 0

    @given(st.lists(st.integers(90, 110), min_size=1, max_size=30))
    def test_equity_is_never_above_its_mark_and_between_the_last_two_values(self, shares) -> None:
        world = w.World()
        world.open_position()
        valuation, before = valuation_of(world), Decimal(0)
        for share in shares:
            world.value(w.HOME_PRICE * share / 100, times=1)
            (mark,) = valuation.marks.values()
            assert min(before, mark.newest) <= mark.pnl <= max(before, mark.newest)
            assert valuation.drawdown == valuation.high_water - valuation.equity >= 0
            before = mark.newest


class TestLosses:
    def test_a_day_begins_with_what_was_unrealised(self) -> None:
        world = w.World()
        world.open_position()
        world.value(FALLEN)
        world.tick()
        lost = valuation_of(world).day_loss(world.day)
        assert lost > 10_000
        world.tick(DAY_MS)
        assert valuation_of(world).day_loss(world.day) == 0
        assert valuation_of(world).drawdown == valuation_of(world).lifetime_loss == lost
        world.value()
        assert valuation_of(world).day_loss(world.day) < -10_000

    def test_a_week_ends_on_sunday(self) -> None:
        world = w.World()  # a Wednesday
        world.round_trip()
        lost = -world.state.realised
        for days in range(5):
            world.tick(DAY_MS * bool(days))
            assert valuation_of(world).week_loss(world.day) == lost
        world.round_trip()
        assert valuation_of(world).week_loss(world.day) == -world.state.realised == 2 * lost
        world.tick(DAY_MS)
        assert valuation_of(world).week_loss(world.day) == 0
        assert valuation_of(world).lifetime_loss == 2 * lost

    @pytest.mark.parametrize("is_day_over", [False, True])
    def test_a_restart_changes_nothing(self, is_day_over) -> None:
        world = w.World()
        world.round_trip()
        world.open_position()
        world.value(FALLEN)
        world.tick()
        if is_day_over:
            world.tick(DAY_MS)
        world.value(w.HOME_PRICE * Decimal("1.01"))
        world.stop()
        again = world.restart()
        for name in ("equity", "unrealised", "high_water", "drawdown", "lifetime_loss"):
            assert getattr(valuation_of(again), name) == getattr(valuation_of(world), name), name
        assert valuation_of(again).day_loss(again.day) == valuation_of(world).day_loss(world.day)
        assert valuation_of(again).week_loss(again.day) == valuation_of(world).week_loss(world.day)


class TestStored:
    def test_at_most_once_a_minute_and_only_what_has_changed(self) -> None:
        world = w.World()
        for _ in range(10):
            world.tick(60_000)
        assert marked(world) == []
        world.open_position()
        for seconds in range(120):
            world.value(w.HOME_PRICE + seconds)
            world.tick(1000)
        assert len(marked(world)) == 2
        for _ in range(10):
            world.tick(60_000)
        assert len(marked(world)) == 3
        last = marked(world)[-1]
        assert last.equity == to_cents(valuation_of(world).equity)
        assert [(name, pnl) for name, pnl, _ in last.marks] == [
            (name, mark.pnl) for name, mark in valuation_of(world).marks.items()
        ]

    def test_at_the_end_of_a_session(self) -> None:
        world = w.World()
        world.round_trip()
        world.stop()
        assert isinstance(world.events[-2], EquityMarked)
        assert world.events[-2].equity == to_cents(world.state.realised)

    def test_a_ledger_of_before_begins_at_what_it_realised_when_it_was_flat(self) -> None:
        world = w.World()
        world.round_trip(home_out=Decimal(980_000))
        won = world.state.realised
        world.round_trip()
        old = [event for event in world.events if not isinstance(event, EquityMarked)]
        state = replayed(old)
        assert state.equity.high_water == won > 0


class TestNaked:
    def test_one_leg_counts_when_two_looks_find_it(self) -> None:
        world = w.World()
        intent = world.entry()
        world.submit(intent)
        world.report(intent, w.filled(intent.home))
        valuation = valuation_of(world)
        valuation.look_at_naked(1_000_000_000)
        assert valuation.naked_notional == 0
        valuation.look_at_naked(1_500_000_000)
        assert valuation.naked_notional == Decimal(500_000)
        ((position_id, naked),) = valuation.naked.items()
        assert (position_id, naked.quantity, naked.krw_s) == (
            intent.position_id,
            Decimal("-0.5"),
            Decimal(250_000),
        )
        world.report(intent, w.filled(intent.away))
        valuation.look_at_naked(2_000_000_000)
        assert valuation.naked_notional == 0
        assert valuation.naked == {}

    def test_a_leg_that_was_never_hedged_stays_naked_after_its_intent(self) -> None:
        world = w.World()
        intent = world.entry()
        world.carry_out(intent, w.filled(intent.home), w.expired(intent.away))
        world.value()
        valuation = valuation_of(world)
        for second in (1, 2, 3):
            valuation.look_at_naked(second * 1_000_000_000)
        assert valuation.naked_notional == Decimal(500_000)
        assert valuation_of(world.restart()).naked_notional == 0
        again = world.restart()
        for second in (1, 2):
            valuation_of(again).look_at_naked(second * 1_000_000_000)
        assert valuation_of(again).naked_notional == Decimal(500_000)

    def test_what_cannot_be_traded_is_not_naked(self) -> None:
        world = w.World()
        world.open_position()  # a thousandth of half a coin was kept as the fee
        for second in (1, 2):
            valuation_of(world).look_at_naked(second * 1_000_000_000)
        assert valuation_of(world).naked_notional == 0


class TestAccountValue:
    def test_all_balances_at_the_bids_with_what_has_no_price_named(self) -> None:
        world = w.World()
        valuation = valuation_of(world)
        valuation.find_unpriced()
        assert valuation.unpriced == ("BTC", "ETH", "KRW", "USDT")
        valuation.set_fx(world.universe.fx, 1400.0)
        valuation.set_prices(world.pairs["BTC"], (1e6, 700.0), 1400.0)
        valuation.find_unpriced()
        assert valuation.unpriced == ("ETH",)
        balance = world.state.balance
        assert float(valuation.account_value) == pytest.approx(
            float(balance("upbit", "KRW").total)
            + float(balance("binance", "USDT").total) * 1400
            + float(balance("upbit", "BTC").total) * 1e6
            + float(balance("binance", "BTC").total) * 700 * 1400
        )

    def test_the_price_of_the_inventory_is_in_it_and_not_in_equity(self) -> None:
        world = w.World(("BTC",))
        valuation = valuation_of(world)
        for factor in (1, 2):
            valuation.set_fx(world.universe.fx, 1400.0)
            valuation.set_prices(world.pairs["BTC"], (1e6 * factor, 700.0 * factor), 1400.0)
            world.value(w.HOME_PRICE * factor, w.AWAY_PRICE * factor)
            assert valuation.equity == 0
        assert valuation.account_value > Decimal(100_000_000)

    def test_flat_and_at_one_rate_what_trading_brought_is_what_the_account_gained(self) -> None:
        world = w.World(("BTC",))
        rate = FxQuote(Decimal(1400), Decimal(1400))

        def value() -> Decimal:
            valuation = valuation_of(world)
            valuation.set_fx(world.universe.fx, 1400.0)
            valuation.set_prices(world.pairs["BTC"], (1e6, 700.0), 1400.0)
            return valuation.account_value

        before = value()
        position = world.open_position()
        leave = world.exit_of(position, Decimal(990_000), Decimal(703))
        world.submit(leave)
        world.report(leave, w.filled(leave.home), w.filled(leave.away))
        closed = world.conclude(leave, done=True, fx=rate).position
        # Left-over coins are marked at the home price by both; at the away venue it is 980,000.
        assert value() - before == pytest.approx(closed.pnl, abs=20)


@settings(max_examples=effort(60, 600), deadline=None)
@given(steps)
def test_equity_is_realised_and_unrealised_and_the_high_water_mark_never_falls(made) -> None:
    chaos = Chaos(w.World())
    mark, seen = ZERO, 0
    for step in made:
        chaos.do(*step)
        world = chaos.world
        state, valuation = world.state, world.core.valuation
        closed = sum((one.pnl for one in state.closed.values()), ZERO)
        open_now = sum((one.pnl for one in valuation.marks.values()), ZERO)
        assert valuation.equity == closed + open_now == state.realised + valuation.unrealised
        assert valuation.marks.keys() <= state.positions.keys() | state.trades.keys()
        accepted = any(
            isinstance(event, Resumed) and event.high_water is not None for event in world.events[seen:]
        )
        seen = len(world.events)
        assert accepted or state.equity.high_water >= mark
        mark = state.equity.high_water
        assert valuation.high_water >= mark
        assert valuation.drawdown >= 0
    world = chaos.world
    assert replayed(world.events).state_hash() == world.state.state_hash()


def test_a_stop_by_hand_is_stored_with_its_level_and_outlives_restarts() -> None:
    world = w.World()
    world.tell(Halt("", flatten=False, level="stopped"))
    assert world.restart().state.standing.is_stopped
    world.tell(Resume(""))
    assert not world.restart().state.standing.is_stopped


class TestChange:
    """What has changed the account value since the run began."""

    @staticmethod
    def price(world, home="1000000", away="714", fx=1400.0):
        for pair in world.pairs.values():
            valuation_of(world).set_prices(pair, (float(home), float(away)), fx)

    def test_nothing_is_said_before_anything_is_valued(self) -> None:
        assert valuation_of(w.World()).value_change is None

    def test_it_begins_with_all_that_is_there_at_the_first_prices(self) -> None:
        world = w.World()
        self.price(world)
        change = valuation_of(world).value_change
        assert change.started == valuation_of(world).account_value > 0
        assert change[1:] == (0, 0, 0, 0, 0)

    def test_prices_of_coins_and_fx_are_told_apart(self) -> None:
        world = w.World()
        self.price(world)
        before = valuation_of(world).account_value
        self.price(world, home="1010000")
        change = valuation_of(world).value_change
        assert change.inventory == valuation_of(world).account_value - before > 0
        assert (change.trading, change.moved, change.fx) == (0, 0, 0)
        pair = world.pairs["BTC"]
        money = world.state.balance(pair.away.market.venue, pair.away.market.quote).total
        self.price(world, home="1010000", fx=1410.0)
        assert valuation_of(world).value_change.fx == money * 10

    def test_what_trading_brings_is_what_equity_gains(self) -> None:
        world = w.World()
        self.price(world)
        position = world.open_position()
        self.price(world)
        world.value(FALLEN)
        assert valuation_of(world).value_change.trading == to_cents(valuation_of(world).equity)
        closed = world.carry_out(world.exit_of(position, Decimal(995_000), Decimal(705)), done=True)
        self.price(world, "1020000", "720", 1404.0)
        change = valuation_of(world).value_change
        assert change.trading == to_cents(closed.pnl)
        total = change.started + change.trading + change.moved + change.fx + change.inventory
        assert total == valuation_of(world).account_value

    @pytest.mark.parametrize(
        ("why", "where"), [("deposit", "moved"), ("withdrawal", "moved"), ("inventory", "started")]
    )
    def test_what_comes_from_outside_is_no_gain(self, why, where) -> None:
        world = w.World()
        self.price(world)
        before = valuation_of(world).value_change
        venue = world.pairs["BTC"].home.market.venue
        event = Deposited(at_ms=w.NOW_MS, venue=venue, currency="KRW", amount=Decimal(5_000_000), why=why)
        world.core.state.apply(event)
        valuation_of(world).deposited(event)
        self.price(world)
        after = valuation_of(world).value_change
        assert getattr(after, where) - getattr(before, where) == 5_000_000
        assert (after.trading, after.fx, after.inventory) == (0, 0, 0)

    def test_a_successor_goes_on_from_where_it_began(self) -> None:
        world = w.World()
        self.price(world)
        world.open_position()
        self.price(world, "1010000", "714", 1410.0)
        before = valuation_of(world).value_change
        successor = Valuation(world.state)
        successor.go_on(before.started, before.moved, before.fx, before.equity_started)
        for pair in world.pairs.values():
            successor.set_prices(pair, (1_010_000.0, 714.0), 1410.0)
        after = successor.value_change
        assert (after.started, after.moved, after.fx) == (before.started, before.moved, before.fx)
        # A mark that was not stored yet is begun anew, so that it may be in the other one of these two.
        assert after.trading + after.inventory == before.trading + before.inventory
