"""The two-leg machine: every pair of outcomes with its defined end, and its hedges and unwinds one by one."""

from decimal import Decimal
from itertools import product
from typing import get_args

import pytest
from msgspec.structs import replace

from arbshard.config import ExecutionConfig
from arbshard.execution.two_leg import (
    TRANSITIONS,
    Ask,
    Pause,
    SendOrders,
    State,
    StateEvent,
    TwoLeg,
    TwoLegEnd,
    Withhold,
)
from arbshard.model.order import OrderResult
from support.two_leg import NOW, PauseClock

NET = Decimal("0.00999")
"""Base both legs are meant to move; 0.01 gross where 10 bps are kept in the coin."""
HALF = NET / 2
EXECUTION = ExecutionConfig()
DECIDES = "the leg before it decides"

OUTCOMES = ("filled", "partial", "rejected", "expired", "unknown")
STATES = {
    "filled": "FILLED",
    "partial": "EXPIRED",
    "rejected": "REJECTED",
    "expired": "EXPIRED",
    "unknown": "UNKNOWN",
}
SHARES = {"filled": NET, "partial": HALF, "rejected": Decimal(0), "expired": Decimal(0), "unknown": NET}
"""Net base that moves; an unknown order turns out to have filled when it is asked about."""

# (bought, sold) → what is to follow: nothing, or the side and net quantity that is missing.
FOLLOWS = {
    (NET, NET): None,
    (NET, HALF): ("sell", HALF),
    (NET, Decimal(0)): ("sell", NET),
    (HALF, NET): ("buy", HALF),
    (HALF, HALF): None,
    (HALF, Decimal(0)): ("sell", HALF),
    (Decimal(0), NET): ("buy", NET),
    (Decimal(0), HALF): ("buy", HALF),
    (Decimal(0), Decimal(0)): None,
}


def gross(order, net):
    """What a buy has to take for ``net`` to arrive."""
    in_coin = order.side == "buy" and order.market.venue == "binance"
    return net / Decimal("0.999") if in_coin else net


def leg_of(make, order):
    return make.home if order.market.venue == "upbit" else make.away


class TestTable:
    @pytest.mark.parametrize(("bought", "sold"), list(product(OUTCOMES, OUTCOMES)))
    @pytest.mark.parametrize("kind", ["entry", "exit"])
    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    def test_every_cell(self, make, begin, kind, direction, bought, sold):
        machine, buy, sell = begin(kind, direction)
        books = make.home_book(), make.away_book()
        assert machine.next_step(*books, now_ns=NOW) == SendOrders((machine.intent.home, machine.intent.away))
        for order, outcome in ((buy, bought), (sell, sold)):
            quantity = 0 if outcome == "unknown" else gross(order, SHARES[outcome])
            machine.record(make.result(order, STATES[outcome], quantity), NOW)
        unknown = {order for order, outcome in ((buy, bought), (sell, sold)) if outcome == "unknown"}
        step = machine.next_step(*books, now_ns=NOW)
        if unknown:
            assert isinstance(step, Ask)
            assert set(step.orders) == unknown
            for order in step.orders:
                machine.record(make.result(order, "FILLED", gross(order, NET)), NOW)
            step = machine.next_step(*books, now_ns=NOW)

        moved = SHARES[bought], SHARES[sold]
        follow = FOLLOWS[moved]
        if follow is not None:
            side, missing = follow
            wanted = buy if side == "buy" else sell
            assert isinstance(step, SendOrders)
            (hedge,) = step.orders
            assert (hedge.side, hedge.market, hedge.role) == (side, wanted.market, "hedge")
            assert hedge.quantity == leg_of(make, hedge).rules.round_quantity(gross(hedge, missing))
            assert hedge.client_id == machine.intent.intent_id + (
                "-h1" if hedge.market.venue == "upbit" else "-a1"
            )
            machine.record(make.result(hedge, "FILLED", hedge.quantity), NOW)
            step = machine.next_step(*books, now_ns=NOW)
        assert isinstance(step, TwoLegEnd)
        # What is open now: an entry has opened what moved, an exit has closed as much of NET.
        open_now = max(moved) if kind == "entry" else NET - max(moved)
        assert step.closed is (open_now == 0)
        assert abs(machine.imbalance) < make.away.rules.lot

    def test_asks_again_until_it_is_known(self, make, begin):
        machine, buy, sell = begin()
        books = make.home_book(), make.away_book()
        machine.record(make.result(buy, "FILLED", NET), NOW)
        for state in ("UNKNOWN", "SENT", "ACCEPTED", "PARTIAL", "UNKNOWN"):
            machine.record(make.result(sell, state), NOW)
            assert machine.next_step(*books, now_ns=NOW) == Ask((sell,))
        machine.record(make.result(sell, "FILLED", NET), NOW)
        assert machine.next_step(*books, now_ns=NOW) == TwoLegEnd(closed=False)

    def test_order_that_risk_knows_only_as_intended_is_asked_about(self, make, begin):
        machine, buy, sell = begin()
        machine, *_ = begin(known=[make.result(buy, "INTENT"), make.result(sell, "INTENT")])
        assert machine.next_step(make.home_book(), make.away_book(), NOW) == Ask((buy, sell))

    def test_legs_go_out_and_unknown_is_asked_without_books(self, make, begin):
        machine, buy, sell = begin()
        assert isinstance(machine.next_step(None, None, NOW), SendOrders)
        machine.record(make.result(buy, "UNKNOWN"), NOW)
        machine.record(make.result(sell, "UNKNOWN"), NOW)
        assert isinstance(machine.next_step(None, None, NOW), Ask)


class TestChangedRules:
    def test_the_next_order_of_an_intent_under_way_goes_by_them(self, make, begin):
        machine, buy, sell = begin()
        books = make.home_book(), make.away_book()
        machine.record(make.result(buy, "FILLED", NET), NOW)
        machine.record(make.result(sell, "REJECTED"), NOW)
        lagging = leg_of(make, sell)
        tick = lagging.rules.tick_at(sell.limit) * 7
        coarse = replace(lagging.rules, ticks=(replace(lagging.rules.ticks[-1], tick=tick),))
        side = "home" if lagging is make.home else "away"
        machine.revise(replace(make.pair, **{side: replace(lagging, rules=coarse)}))
        step = machine.next_step(*books, now_ns=NOW)
        assert isinstance(step, SendOrders)
        (order,) = step.orders
        assert order.market == lagging.market
        assert order.limit % tick == 0

    @pytest.fixture
    def refused(self, make, begin):
        """Both venues have refused what would have ended the naked leg, for rules that nobody here knows yet."""
        machine, buy, sell = begin()
        clock = PauseClock()
        machine.record(make.result(buy, "FILLED", NET), NOW)
        machine.record(make.result(sell, "REJECTED"), NOW)
        for role in ("hedge", "unwind"):
            (order,) = clock.step(machine, make.home_book(), make.away_book()).orders
            assert order.role == role
            machine.record(replace(make.result(order, "REJECTED"), fault="order"), clock.now_ns)
        return machine, clock, order

    def test_the_rules_are_waited_for_before_a_person_is_asked(self, make, refused):
        machine, clock, _ = refused
        books = make.home_book(), make.away_book()
        assert isinstance(clock.step(machine, *books, 4.8), Pause)
        assert machine.state == "taking_back"
        machine.revise(make.pair)
        (hedge,) = clock.step(machine, *books, 0.2).orders
        assert (hedge.role, hedge.market) == ("hedge", make.away.market)
        machine.record(make.result(hedge, "FILLED", hedge.quantity), clock.now_ns)
        assert machine.next_step(*books, clock.now_ns) == TwoLegEnd(closed=False)

    def test_they_are_waited_for_once_and_for_five_seconds(self, make, refused):
        """Then both venues are tried once more: the rules may have been new already when this process began."""
        machine, clock, _ = refused
        began_ns = clock.now_ns
        for role in ("hedge", "unwind"):
            (again,) = clock.step(machine, make.home_book(), make.away_book()).orders
            assert again.role == role
            assert 5.0 <= (clock.now_ns - began_ns) / 1e9 < 5.2
            machine.record(replace(make.result(again, "REJECTED"), fault="order"), clock.now_ns)
        assert machine.state == "stuck"

    def test_a_hedge_that_was_refused_is_tried_again_where_the_other_venue_takes_nothing_so_small(
        self, make, begin
    ):
        """8,000 KRW at home; the other venue takes no order below 10 USDT."""
        away = replace(make.away, rules=replace(make.away.rules, notional_min=Decimal(10)))
        machine, buy, sell = begin("entry", "buy_away")
        machine.revise(replace(make.pair, away=away))
        clock, books = PauseClock(), (make.home_book(), make.away_book())
        little = Decimal("0.00006")
        machine.record(make.result(buy, "FILLED", gross(buy, NET)), NOW)
        machine.record(make.result(sell, "EXPIRED", NET - little), NOW)
        (hedge,) = machine.next_step(*books, NOW).orders
        machine.record(replace(make.result(hedge, "REJECTED"), fault="order"), NOW)
        (again,) = clock.step(machine, *books).orders
        assert (again.role, again.market, machine.state) == ("hedge", make.home.market, "hedging")

    def test_they_are_not_waited_for_beyond_the_naked_budget(self, make, refused):
        """1,460 KRW × 1,000 are naked, so that half of a budget of 4 million KRW × s lasts for 1.4 s."""
        machine, clock, _ = refused
        machine._execution = replace(EXECUTION, naked_krw_s_max=4_000_000.0)
        clock.step(machine, make.home_book(), make.away_book(), 2.0)
        assert machine.state == "stuck"

    def test_an_intent_that_is_level_meanwhile_is_over(self, make, refused):
        machine, clock, unwind = refused
        found = make.fill(unwind, unwind.quantity, unwind.limit)
        machine.record(OrderResult(unwind, "REJECTED", (found,)), clock.now_ns)
        assert machine.next_step(make.home_book(), make.away_book(), clock.now_ns) == TwoLegEnd(closed=True)
        machine.revise(make.pair)
        assert machine.state == "done"

    def test_a_successor_waits_for_them_too(self, make, refused):
        machine, clock, _ = refused
        successor = TwoLeg(machine.intent, make.pair, None, EXECUTION, machine.results, now_ns=clock.now_ns)
        assert isinstance(clock.step(successor, make.home_book(), make.away_book(), 4.8), Pause)
        assert successor.state == "taking_back"


class TestRecord:
    def test_final_state_is_never_left(self, make, begin):
        machine, buy, sell = begin()
        machine.record(make.result(buy, "FILLED", NET), NOW)
        machine.record(make.result(buy, "UNKNOWN"), NOW)
        machine.record(make.result(sell, "FILLED", NET), NOW)
        assert machine.next_step(make.home_book(), make.away_book(), NOW) == TwoLegEnd(closed=False)

    @pytest.mark.parametrize("state", ["UNKNOWN", "CANCELED"])
    def test_fills_once_heard_of_are_never_lost(self, make, begin, state):
        """A venue that does not answer, or answers without the fills, does not undo them."""
        machine, buy, sell = begin()
        machine.record(make.result(sell, "REJECTED"), NOW)
        machine.record(make.result(buy, "PARTIAL", HALF), NOW)
        machine.record(make.result(buy, state), NOW)
        assert machine.imbalance == HALF

    def test_the_same_fill_counts_once(self, make, begin):
        machine, buy, _ = begin()
        machine.record(make.result(buy, "PARTIAL", HALF), NOW)
        two = (make.fill(buy, HALF, buy.limit), make.fill(buy, HALF, buy.limit, 1))
        machine.record(OrderResult(buy, "FILLED", two), NOW)
        assert machine.imbalance == NET


class TestFollowUps:
    @pytest.fixture
    def long(self, make, begin):
        """An entry whose buy filled and whose sell did not."""

        def build(direction):
            machine, buy, sell = begin("entry", direction)
            machine.record(make.result(buy, "FILLED", gross(buy, NET)), NOW)
            machine.record(make.result(sell, "REJECTED"), NOW)
            return machine

        return build

    def sent(self, step):
        assert isinstance(step, SendOrders)
        (order,) = step.orders
        return order

    def test_hedge_at_the_touch_with_slippage(self, make, long):
        order = self.sent(long("buy_home").next_step(make.home_book(), make.away_book(), NOW))
        assert (order.role, order.market) == ("hedge", make.away.market)
        assert order.limit == make.away.rules.round_price(Decimal("104999.99") * Decimal("0.996"), "sell")

    @pytest.mark.parametrize(("mid", "role"), [(104_600.0, "hedge"), (104_500.0, "unwind")])
    def test_a_price_that_ran_away_is_not_followed(self, make, long, mid, role):
        """40 bps below the leg's limit of 105,000 is 104,580."""
        order = self.sent(long("buy_home").next_step(make.home_book(), make.away_book(mid), NOW))
        assert order.role == role
        assert order.side == "sell"
        assert order.market == (make.away.market if role == "hedge" else make.home.market)

    def test_a_successor_uses_no_name_again_where_a_number_is_missing(self, make, long):
        """An order that could not be paid for is known to nobody but the worker that made it, and that has died."""
        machine, clock = long("buy_home"), PauseClock()
        books = make.home_book(), make.away_book()
        first = self.sent(clock.step(machine, *books))
        third = replace(first, client_id=f"{first.client_id[:-1]}3")
        machine.record(make.result(third, "EXPIRED"), clock.now_ns)
        after = self.sent(clock.step(machine, *books))
        assert after.client_id == f"{first.client_id[:-1]}4"

    def test_short_position_buys(self, make, begin):
        machine, buy, sell = begin("entry", "buy_home")
        machine.record(make.result(buy, "EXPIRED"), NOW)
        machine.record(make.result(sell, "FILLED", NET), NOW)
        order = self.sent(machine.next_step(make.home_book(), make.away_book(), NOW))
        assert (order.side, order.market, order.role) == ("buy", make.home.market, "hedge")
        best = Decimal(str(make.home_book().best_ask))
        assert order.limit == make.home.rules.round_price(best * Decimal("1.004"), "buy")
        far = make.home_book(gap_bps=60.0)
        order = self.sent(machine.next_step(far, make.away_book(), NOW))
        assert (order.side, order.market, order.role) == ("buy", make.away.market, "unwind")
        assert order.quantity == Decimal("0.01")  # the fee in the coin is bought too

    def test_tries_reach_twice_as_far_each_time_within_the_loss_budget(self, make, long):
        """Three hedges, three unwinds, and then a person is asked while both go on with long pauses."""
        machine = long("buy_home")
        books = make.home_book(), make.away_book()
        clock, seen, states = PauseClock(), [], []
        for _ in range(9):
            order = self.sent(clock.step(machine, *books))
            seen.append(order)
            states.append(machine.state)
            machine.record(make.result(order, "EXPIRED"), clock.now_ns)
        assert states == ["hedging"] * 3 + ["taking_back"] * 3 + ["stuck"] * 3
        assert [order.role for order in seen] == ["hedge"] * 3 + ["unwind"] * 3 + ["hedge", "unwind", "hedge"]
        ends = [f"-{'a' if order.role == 'hedge' else 'h'}{n}" for n, order in enumerate(seen, 1)]
        assert [order.client_id.removeprefix("s1-0-1-1") for order in seen] == ends
        touch = {make.home.market: books[0].best_bid, make.away.market: books[1].best_bid}
        slips = [round((1 - float(order.limit) / touch[order.market]) * 1e4) for order in seen]
        assert slips[:3] == [40, 80, 160]
        for order in seen:
            leg_limit = machine.intent.order(order.market.venue).limit
            assert order.limit >= leg_limit * Decimal("0.97")

    def test_what_was_never_accepted_is_no_reason_to_reach_farther(self, make, long):
        """A rate limit says nothing about the price, but the other venue may be better."""
        machine = long("buy_home")
        books = make.home_book(), make.away_book()
        clock, seen = PauseClock(), []
        for _ in range(6):
            order = self.sent(clock.step(machine, *books))
            seen.append(order)
            machine.record(make.result(order, "NOT_ACCEPTED"), clock.now_ns)
        assert len({order.limit for order in seen}) == 2
        assert [order.role for order in seen] == ["hedge"] * 3 + ["unwind"] * 3
        assert len({order.client_id for order in seen}) == 6

    @pytest.mark.parametrize("fault", ["order", "funds", "market", "venue"])
    def test_a_venue_that_refuses_for_good_is_tried_once(self, make, long, fault):
        machine = long("buy_home")
        books = make.home_book(), make.away_book()
        hedge = self.sent(machine.next_step(*books, NOW))
        machine.record(replace(make.result(hedge, "REJECTED"), fault=fault), NOW)
        unwind = self.sent(machine.next_step(*books, NOW))
        assert (unwind.role, unwind.market) == ("unwind", make.home.market)

    def test_pauses_double(self, make, long):
        machine = long("buy_home")
        books = make.home_book(), make.away_book()
        clock, pauses_ms = PauseClock(), []
        for _ in range(10):
            before_ns = clock.now_ns
            order = self.sent(clock.step(machine, *books))
            pauses_ms.append((clock.now_ns - before_ns) // 1_000_000)
            machine.record(make.result(order, "REJECTED"), clock.now_ns)
        assert pauses_ms == [0, 200, 400, 0, 200, 400, 0, 4000, 8000, 16000]

    def test_hedge_completes_a_partial_hedge(self, make, long):
        machine = long("buy_home")
        books = make.home_book(), make.away_book()
        first = self.sent(machine.next_step(*books, now_ns=NOW))
        machine.record(make.result(first, "EXPIRED", "0.004"), NOW)
        second = self.sent(machine.next_step(*books, now_ns=NOW))
        assert second.quantity == Decimal("0.00599")
        machine.record(make.result(second, "FILLED", "0.00599"), NOW)
        assert machine.next_step(*books, now_ns=NOW) == TwoLegEnd(closed=False)

    def test_what_one_venue_refuses_as_too_small_goes_to_the_other(self, make, begin):
        """0.00004 BTC is 5,840 KRW: enough for upbit, below binance's 5 USDT."""
        machine, buy, sell = begin("entry", "buy_home")
        machine.record(make.result(buy, "EXPIRED", "0.00004"), NOW)
        machine.record(make.result(sell, "REJECTED"), NOW)
        order = self.sent(machine.next_step(make.home_book(), make.away_book(), NOW))
        assert (order.market, order.role, order.quantity) == (make.home.market, "unwind", Decimal("0.00004"))

    def test_too_small_for_both_is_left(self, make, begin):
        machine, buy, sell = begin("entry", "buy_home")
        machine.record(make.result(buy, "EXPIRED", "0.00003"), NOW)
        machine.record(make.result(sell, "REJECTED"), NOW)
        assert machine.next_step(make.home_book(), make.away_book(), NOW) == TwoLegEnd(closed=True)

    def test_order_that_its_limit_makes_too_small_is_not_sent(self, make, begin):
        """5,010 KRW at the touch, 4,990 at the limit: every venue would refuse it, for ever."""
        machine, buy, sell = begin("entry", "buy_home")
        quantity = make.home.rules.round_quantity(Decimal(5010) / Decimal(make.home_book().best_bid))
        machine.record(make.result(buy, "EXPIRED", quantity), NOW)
        machine.record(make.result(sell, "REJECTED"), NOW)
        assert machine.next_step(make.home_book(), make.away_book(), NOW) == TwoLegEnd(closed=True)

    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    def test_position_an_exit_could_not_trade_is_over(self, make, begin, direction):
        """Worth 5.01 USDT at the mid: an exit's limits stand behind it, and binance takes nothing below 5."""
        machine, buy, sell = begin("entry", direction)
        sold = Decimal("0.00005")
        machine.record(make.result(buy, "EXPIRED", gross(buy, sold)), NOW)
        machine.record(make.result(sell, "EXPIRED", sold), NOW)
        assert machine.next_step(make.home_book(), make.away_book(100_200.0), NOW) == TwoLegEnd(closed=True)
        assert machine.next_step(make.home_book(), make.away_book(110_000.0), NOW) == TwoLegEnd(closed=False)


class TestLateExecutions:
    """A venue tells an execution after its order's end, when the difference is made up for already."""

    @pytest.mark.parametrize("kind", ["entry", "exit"])
    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    @pytest.mark.parametrize("is_bought", [True, False])
    def test_it_is_taken_back_where_it_happened(self, make, begin, kind, direction, is_bought):
        machine, buy, sell = begin(kind, direction)
        books = make.home_book(), make.away_book()
        late, other = (buy, sell) if is_bought else (sell, buy)
        first = make.fill(late, gross(late, HALF), late.limit)
        machine.record(OrderResult(late, "EXPIRED", (first,)), NOW)
        machine.record(make.result(other, "FILLED", gross(other, NET)), NOW)
        (hedge,) = machine.next_step(*books, NOW).orders
        assert (hedge.market, hedge.role) == (late.market, "hedge")
        machine.record(make.result(hedge, "FILLED", hedge.quantity), NOW)
        assert isinstance(machine.next_step(*books, NOW), TwoLegEnd)

        second = make.fill(late, gross(late, HALF), late.limit, 1)
        machine.record(OrderResult(late, "EXPIRED", (first, second)), NOW)
        (back,) = machine.next_step(*books, NOW).orders
        assert (back.market, back.side, back.role) == (late.market, other.side, "unwind")
        assert abs(back.quantity - gross(back, HALF)) <= leg_of(make, back).rules.lot
        machine.record(make.result(back, "FILLED", back.quantity), NOW)
        assert machine.next_step(*books, NOW) == TwoLegEnd(closed=kind == "exit")

    @pytest.fixture
    def turned(self, make, begin):
        """An exit of which both legs have traded half as much again as there was: what was told late."""

        def build(direction, more=HALF):
            machine, buy, sell = begin("exit", direction)
            for order in (buy, sell):
                machine.record(make.result(order, "FILLED", gross(order, NET + more)), NOW)
            assert abs(machine.imbalance) < make.away.rules.lot
            return machine, buy, sell

        return build

    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    def test_legs_that_have_both_turned_are_taken_back_together(self, make, turned, direction):
        machine, buy, _ = turned(direction)
        books = make.home_book(), make.away_book()
        step = machine.next_step(*books, NOW)
        assert machine.state == "taking_back"
        assert [(order.market, order.role) for order in step.orders] == [
            (make.home.market, "unwind"),
            (make.away.market, "unwind"),
        ]
        for order in step.orders:
            assert order.side == ("sell" if order.market == buy.market else "buy")
            assert abs(order.quantity - gross(order, HALF)) <= leg_of(make, order).rules.lot
            machine.record(make.result(order, "FILLED", order.quantity), NOW)
        assert machine.next_step(*books, NOW) == TwoLegEnd(closed=True)

    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    @pytest.mark.parametrize("first", ["upbit", "binance"])
    def test_when_one_is_taken_back_the_other_follows_where_it_happened(self, make, turned, direction, first):
        machine, _, _ = turned(direction)
        clock, books = PauseClock(), (make.home_book(), make.away_book())
        for order in clock.step(machine, *books).orders:
            is_first = order.market.venue == first
            result = (
                make.result(order, "FILLED", order.quantity) if is_first else make.result(order, "EXPIRED")
            )
            machine.record(result, clock.now_ns)
        (other,) = clock.step(machine, *books).orders
        assert (other.market.venue != first, other.role) == (True, "unwind")
        machine.record(make.result(other, "FILLED", other.quantity), clock.now_ns)
        assert clock.step(machine, *books) == TwoLegEnd(closed=True)

    def test_neither_goes_alone_and_a_dark_venue_leads_to_a_person(self, make, turned):
        machine, _, _ = turned("buy_home")
        clock = PauseClock()
        assert isinstance(clock.step(machine, make.home_book(), None, limit_s=10), Pause)
        assert machine.state == "stuck"
        step = clock.step(machine, make.home_book(), make.away_book())
        assert len(step.orders) == 2
        for order in step.orders:
            machine.record(make.result(order, "FILLED", order.quantity), clock.now_ns)
        assert clock.step(machine, make.home_book(), make.away_book()) == TwoLegEnd(closed=True)

    def test_a_price_beyond_the_loss_budget_leads_to_a_person_and_is_not_paid(self, make, turned):
        """Neither leg is sent: the other one alone would be naked."""
        machine, _, _ = turned("buy_home")
        clock, books = PauseClock(), (make.home_book(), make.away_book())
        far = make.home_book(gap_bps=-2_000.0), make.away_book()
        assert isinstance(clock.step(machine, *far, limit_s=10), Pause)
        assert (machine.state, machine.why) == ("stuck", "too_dear")
        assert isinstance(clock.step(machine, *far, limit_s=60), Pause)
        assert len(clock.step(machine, *books).orders) == 2  # once it has come back

    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    def test_an_entry_that_was_taken_back_twice_is_entered_again(self, make, begin, direction):
        """Both unwinds were filled once more than was known: less than nothing is left of the entry."""
        machine, buy, sell = begin("entry", direction)
        for order in (buy, sell):
            machine.record(make.result(order, "FILLED", gross(order, NET)), NOW)
        for order, number in ((buy, 1), (sell, 2)):
            side = "sell" if order.side == "buy" else "buy"
            name = f"{order.client_id[:-1]}{number}"
            back = make.order(leg_of(make, order), side, "0.02", order.limit, name, "unwind")
            machine.record(make.result(back, "FILLED", gross(back, NET + HALF)), NOW)
        clock, books = PauseClock(), (make.home_book(), make.away_book())
        assert abs(machine.turned(*books) - HALF) < make.away.rules.lot
        step = clock.step(machine, *books)
        assert [(order.market, order.side) for order in step.orders] == [
            (leg.market, machine.intent.order(leg.market.venue).side) for leg in (make.home, make.away)
        ]
        for order in step.orders:
            machine.record(make.result(order, "FILLED", order.quantity), clock.now_ns)
        assert clock.step(machine, *books) == TwoLegEnd(closed=True)

    def test_a_successor_that_finds_a_hedge_after_an_unwind_knows_that_it_was_stuck(self, make, begin):
        """Only a stuck intent trades on both venues in turn; its pauses are those of one that waits for a person."""
        machine, buy, sell = begin("entry", "buy_home")
        known = [make.result(buy, "FILLED", buy.quantity), make.result(sell, "REJECTED")]
        unwind = make.order(make.home, "sell", NET, buy.limit, "s1-0-1-1-h1", "unwind")
        hedge = make.order(make.away, "sell", NET, sell.limit, "s1-0-1-1-a2", "hedge")
        known += [make.result(unwind, "EXPIRED"), make.result(hedge, "EXPIRED")]
        successor = TwoLeg(machine.intent, make.pair, None, EXECUTION, known, now_ns=NOW)
        assert successor.state == "stuck"
        step = successor.next_step(make.home_book(), make.away_book(), NOW)
        assert isinstance(step, Pause)
        assert step.wait_ns >= EXECUTION.pause_s * 1_000_000_000

    def test_a_successor_takes_back_what_is_left(self, make, turned):
        machine, _, _ = turned("buy_away")
        books = make.home_book(), make.away_book()
        for order in machine.next_step(*books, NOW).orders:
            machine.record(make.result(order, "EXPIRED"), NOW)
        before = make.position("buy_home", NET)
        clock = PauseClock()
        successor = TwoLeg(machine.intent, make.pair, before, EXECUTION, machine.results, now_ns=clock.now_ns)
        assert [order.role for order in clock.step(successor, *books).orders] == ["unwind", "unwind"]

    def test_orders_that_find_nothing_lead_to_a_person_with_pauses(self, make, turned):
        machine, _, _ = turned("buy_home")
        clock, books = PauseClock(), (make.home_book(), make.away_book())
        sent = []
        while machine.state != "stuck":
            sent.append(clock.now_ns)
            for order in clock.step(machine, *books).orders:
                machine.record(make.result(order, "EXPIRED"), clock.now_ns)
        assert len(sent) <= EXECUTION.hedge_tries
        before_ns = clock.now_ns
        for order in clock.step(machine, *books).orders:
            machine.record(make.result(order, "EXPIRED"), clock.now_ns)
        assert len(clock.step(machine, *books).orders) == 2
        assert clock.now_ns - before_ns >= EXECUTION.pause_s * 1_000_000_000

    @pytest.mark.parametrize("residue", ["0", "0.00999", "-0.00999"])
    def test_what_a_venue_would_not_take_or_the_residue_makes_up_for_stays(self, make, turned, residue):
        """5 USDT are the least that Binance takes; what earlier positions left over lies on either venue."""
        little = Decimal("0.00004") if residue == "0" else HALF
        machine, _, _ = turned("buy_home", little)
        before = make.position("buy_away", NET)
        machine = TwoLeg(
            machine.intent, make.pair, before, EXECUTION, machine.results, Decimal(residue), now_ns=NOW
        )
        assert machine.turned() == 0

    def test_what_is_lacking_is_completed_before_what_is_too_much_is_taken_back(self, make, begin):
        """An exit has bought half as much again as it should, and has sold nothing."""
        machine, buy, sell = begin("exit", "buy_home")
        books = make.home_book(), make.away_book()
        machine.record(make.result(buy, "FILLED", NET + HALF), NOW)
        machine.record(make.result(sell, "REJECTED"), NOW)
        (hedge,) = machine.next_step(*books, NOW).orders
        rounded = make.away.rules.round_quantity(NET)
        assert (hedge.market, hedge.role, hedge.quantity) == (sell.market, "hedge", rounded)
        machine.record(make.result(hedge, "FILLED", hedge.quantity), NOW)
        (back,) = machine.next_step(*books, NOW).orders
        assert (back.market, back.side, back.role) == (buy.market, "sell", "unwind")
        assert back.quantity == pytest.approx(HALF, abs=Decimal("0.00001"))

    def test_what_its_venue_would_not_take_back_goes_to_the_other_one(self, make, begin):
        """3,000 KRW are below the minimum of Upbit: they are left to the venue that lags, with what it lacks."""
        machine, buy, sell = begin("exit", "buy_home")
        little = Decimal("0.00002")
        machine.record(make.result(buy, "FILLED", NET + little), NOW)
        machine.record(make.result(sell, "REJECTED"), NOW)
        (hedge,) = machine.next_step(make.home_book(), make.away_book(), NOW).orders
        assert (hedge.market, hedge.quantity) == (sell.market, make.away.rules.round_quantity(NET + little))

    def test_the_end_may_be_asked_for_again(self, make, begin):
        machine, buy, sell = begin("exit")
        for order in (buy, sell):
            machine.record(make.result(order, "FILLED", gross(order, NET)), NOW)
        for _ in range(2):
            assert machine.next_step(make.home_book(), make.away_book(), NOW) == TwoLegEnd(closed=True)

    def test_one_leg_that_a_person_closes_alone_is_not_bounded_by_the_other(self, make, begin):
        machine, buy, sell = begin("exit", "buy_home")
        intent = replace(machine.intent, reason="one_leg", lead="away")
        before = make.position("buy_away", NET)
        machine = TwoLeg(intent, make.pair, before, EXECUTION, now_ns=NOW)
        machine.record(make.result(sell, "EXPIRED", HALF), NOW)
        machine.record(make.result(buy, "NOT_ACCEPTED"), NOW)
        step = machine.next_step(make.home_book(), make.away_book(), NOW)
        (hedge,) = step.orders
        assert (hedge.side, hedge.market) == ("buy", make.home.market)


class TestStates:
    """A step on one venue needs that venue's book alone; budgets lead to the other venue, then to a person."""

    @pytest.fixture
    def long(self, make, begin):
        machine, buy, sell = begin("entry", "buy_home")
        machine.record(make.result(buy, "FILLED", NET), NOW)
        machine.record(make.result(sell, "REJECTED"), NOW)
        return machine

    def test_table_leads_from_every_state_to_the_end(self):
        states = set(get_args(State))
        assert {state for state, _ in TRANSITIONS} == states
        assert set(TRANSITIONS.values()) <= states
        assert {event for _, event in TRANSITIONS} == set(get_args(StateEvent))
        assert {state for (state, event), after in TRANSITIONS.items() if after == "done"} == states - {
            "done"
        }

    def test_lagging_venue_without_a_book_is_left_after_two_seconds(self, make, long):
        clock = PauseClock()
        step = clock.step(long, make.home_book(), None)
        assert isinstance(step, SendOrders)
        assert (step.orders[0].role, step.orders[0].market) == ("unwind", make.home.market)
        assert 2.0 <= (clock.now_ns - NOW) / 1e9 < 2.5

    def test_leading_venue_needs_no_book_to_hedge(self, make, long):
        (hedge,) = long.next_step(None, make.away_book(), NOW).orders
        assert (hedge.role, hedge.market) == ("hedge", make.away.market)

    def test_no_book_at_all_is_waited_for_and_a_person_is_asked(self, make, long):
        """1,460 KRW × 1,000 are naked: half the budget lasts for 20.5 s on each venue."""
        clock = PauseClock()
        assert isinstance(clock.step(long, None, None, 18), Pause)
        assert long.state == "hedging"
        clock.step(long, None, None, 20)
        assert long.state == "taking_back"
        clock.step(long, None, None, 22)
        assert (long.state, long.why) == ("stuck", "overdue")
        (hedge,) = clock.step(long, None, make.away_book()).orders
        assert hedge.role == "hedge"

    def test_price_beyond_the_loss_budget_is_not_paid(self, make, long):
        """Both venues fell by 4 %: nothing is sold 3 % below its leg's limit, until a person has it closed."""
        clock = PauseClock()
        books = make.home_book(gap_bps=-400.0), make.away_book(105_000.0 * 0.96)
        assert isinstance(clock.step(long, *books, 60), Pause)
        assert (long.state, long.why) == ("stuck", "too_dear")
        long.renew(clock.now_ns)
        (order,) = clock.step(long, *books).orders
        assert order.role == "hedge"
        long.record(make.result(order, "FILLED", order.quantity), clock.now_ns)
        assert isinstance(clock.step(long, *books), TwoLegEnd)

    def test_renewing_changes_nothing_unless_stuck(self, make, long):
        long.next_step(make.home_book(), make.away_book(), NOW)
        long.renew(NOW)
        assert long.state == "hedging"

    def test_stuck_ends_when_a_venue_works_again(self, make, long):
        clock = PauseClock()
        books = make.home_book(), make.away_book()
        for _ in range(6):
            (order,) = clock.step(long, *books).orders
            long.record(make.result(order, "NOT_ACCEPTED"), clock.now_ns)
        (order,) = clock.step(long, *books).orders
        assert long.state == "stuck"
        long.record(make.result(order, "FILLED", order.quantity), clock.now_ns)
        assert isinstance(clock.step(long, *books), TwoLegEnd)

    def test_stuck_sends_no_more_after_a_hundred_orders(self, make, long):
        clock, sent = PauseClock(), 0
        while isinstance(step := clock.step(long, make.home_book(), make.away_book(), 1000), SendOrders):
            sent += 1
            long.record(make.result(step.orders[0], "REJECTED"), clock.now_ns)
        assert sent == 106
        assert long.imbalance == NET


class TestFirstLeg:
    """After an exit that failed the leg that failed goes first, alone."""

    @pytest.fixture
    def exiting(self, make):
        """A machine that closes a long position; ``lead`` goes first."""

        def build(lead, reason="max_hold"):
            intent = replace(make.intent("exit", "buy_away", NET), lead=lead, reason=reason)
            return TwoLeg(intent, make.pair, make.position("buy_home", NET), EXECUTION, now_ns=NOW)

        return build

    @pytest.mark.parametrize("lead", ["home", "away"])
    def test_refused_leg_costs_nothing(self, make, exiting, lead):
        machine = exiting(lead)
        first = getattr(machine.intent, lead)
        other = machine.intent.away if lead == "home" else machine.intent.home
        assert machine.next_step(make.home_book(), make.away_book(), NOW) == SendOrders((first,))
        machine.record(make.result(first, "REJECTED"), NOW)
        assert machine.next_step(make.home_book(), make.away_book(), NOW) == Withhold(other, DECIDES)
        machine.record(make.result(other, "NOT_ACCEPTED"), NOW)
        assert machine.next_step(make.home_book(), make.away_book(), NOW) == TwoLegEnd(closed=False)

    @pytest.mark.parametrize("lead", ["home", "away"])
    @pytest.mark.parametrize("share", [Decimal(1), Decimal("0.5")])
    def test_what_it_fills_is_completed_on_the_other_venue(self, make, exiting, lead, share):
        machine = exiting(lead)
        books = make.home_book(), make.away_book()
        first = getattr(machine.intent, lead)
        other = machine.intent.away if lead == "home" else machine.intent.home
        machine.next_step(*books, NOW)
        quantity = leg_of(make, first).rules.round_quantity(first.quantity * share)
        machine.record(make.result(first, "FILLED" if share == 1 else "EXPIRED", quantity), NOW)
        assert machine.next_step(*books, NOW) == Withhold(other, DECIDES)
        machine.record(make.result(other, "NOT_ACCEPTED"), NOW)
        (hedge,) = machine.next_step(*books, NOW).orders
        assert (hedge.role, hedge.market, hedge.side) == ("hedge", other.market, other.side)
        machine.record(make.result(hedge, "FILLED", hedge.quantity), NOW)
        assert isinstance(machine.next_step(*books, NOW), TwoLegEnd)

    def test_unknown_first_leg_is_asked_about_before_the_other_is_decided(self, make, exiting):
        machine = exiting("home")
        machine.next_step(make.home_book(), make.away_book(), NOW)
        machine.record(make.result(machine.intent.home, "UNKNOWN"), NOW)
        assert machine.next_step(make.home_book(), make.away_book(), NOW) == Ask((machine.intent.home,))

    def test_one_leg_by_hand_is_never_taken_back(self, make, exiting):
        """Upbit is down and a person wants the Binance leg closed alone: the other one waits for its venue."""
        machine, clock = exiting("away", "one_leg"), PauseClock()
        away = machine.intent.away
        assert machine.next_step(None, make.away_book(), NOW) == SendOrders((away,))
        machine.record(make.result(away, "FILLED", away.quantity), NOW)
        assert machine.next_step(None, make.away_book(), NOW) == Withhold(machine.intent.home, DECIDES)
        machine.record(make.result(machine.intent.home, "NOT_ACCEPTED"), NOW)
        assert isinstance(clock.step(machine, None, make.away_book(), 10), Pause)
        assert machine.state == "stuck"
        (hedge,) = clock.step(machine, make.home_book(), make.away_book()).orders
        assert (hedge.role, hedge.market) == ("hedge", make.home.market)


class TestLegBelowTheMinimum:
    """A leg of an exit that is below its venue's minimum is never sent: its venue would refuse it for ever."""

    @pytest.fixture
    def exiting(self, make):
        """A machine that closes a position of NET; ``small`` is a leg of one lot, and the residue makes up for it."""

        def build(small, lead="both", residue=None):
            intent = make.intent("exit", "buy_away", NET)
            leg = getattr(intent, small)
            lot = leg_of(make, leg).rules.lot
            intent = replace(intent, lead=lead, **{small: replace(leg, quantity=lot)})
            if residue is None:
                residue = NET if leg.side == "buy" else -NET
            position = make.position("buy_home", NET)
            return TwoLeg(intent, make.pair, position, EXECUTION, residue=residue, now_ns=NOW)

        return build

    @pytest.mark.parametrize("lead", ["both", "home", "away"])
    @pytest.mark.parametrize("small", ["home", "away"])
    def test_the_other_one_goes_alone_and_the_position_is_over(self, make, exiting, small, lead):
        machine, books = exiting(small, lead), (make.home_book(), make.away_book())
        left = getattr(machine.intent, small)
        other = machine.intent.away if small == "home" else machine.intent.home
        assert machine.next_step(*books, NOW) == Withhold(left, "it is below the venue's minimum")
        machine.record(make.result(left, "NOT_ACCEPTED"), NOW)
        assert machine.next_step(*books, NOW) == SendOrders((other,))
        machine.record(make.result(other, "FILLED", other.quantity), NOW)
        assert machine.next_step(*books, NOW) == TwoLegEnd(closed=True)

    @pytest.mark.parametrize("lead", ["both", "home", "away"])
    @pytest.mark.parametrize("small", ["home", "away"])
    def test_one_that_would_only_be_taken_back_stays_too(self, make, exiting, small, lead):
        machine = exiting(small, lead, residue=Decimal(0))
        books = make.home_book(), make.away_book()
        for _ in range(2):
            step = machine.next_step(*books, NOW)
            assert isinstance(step, Withhold)
            machine.record(make.result(step.order, "NOT_ACCEPTED"), NOW)
        assert isinstance(machine.next_step(*books, NOW), TwoLegEnd)

    def test_one_leg_by_hand_sends_nothing_to_the_other_venue(self, make, exiting):
        machine = exiting("away", "away")
        machine.intent = replace(machine.intent, reason="one_leg")
        machine.record(make.result(machine.intent.away, "NOT_ACCEPTED"), NOW)
        assert machine.next_step(None, make.away_book(), NOW) == Withhold(machine.intent.home, DECIDES)


def test_market_without_minimums_still_comes_to_an_end(make, begin, execution):
    """Nothing left is nothing to send, whatever the venue would take."""
    machine, buy, sell = begin()
    rules = replace(make.home.rules, quantity_min=Decimal(0), notional_min=Decimal(0))
    pair = replace(make.pair, home=replace(make.home, rules=rules), away=replace(make.away, rules=rules))
    machine = TwoLeg(machine.intent, pair, None, execution)
    machine.record(make.result(buy, "FILLED", NET), NOW)
    machine.record(make.result(sell, "FILLED", NET), NOW)
    assert isinstance(machine.next_step(make.home_book(), make.away_book(), NOW), TwoLegEnd)


class TestNews:
    @pytest.mark.parametrize(
        ("state", "quantity", "is_news"),
        [("UNKNOWN", 0, False), ("ACCEPTED", 0, True), ("FILLED", NET, True), ("UNKNOWN", "0.001", True)],
    )
    def test_against_what_was_recorded(self, make, begin, state, quantity, is_news):
        machine, buy, _ = begin("entry", "buy_home")
        assert machine.is_news(make.result(buy, "UNKNOWN"))
        machine.record(make.result(buy, "UNKNOWN"), NOW)
        assert machine.is_news(make.result(buy, state, quantity)) is is_news
