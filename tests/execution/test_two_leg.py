"""The two-leg machine: every pair of outcomes with its defined end, and its hedges and unwinds one by one."""

from decimal import Decimal
from itertools import product

import pytest
from msgspec.structs import replace

from arbshard.execution.two_leg import Ask, Pause, SendOrders, TwoLeg, TwoLegEnd
from arbshard.model.order import OrderResult

NET = Decimal("0.00999")
"""Base both legs are meant to move; 0.01 gross where 10 bps are kept in the coin."""
HALF = NET / 2

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
        assert machine.next_step(*books) == SendOrders((machine.intent.home, machine.intent.away))
        for order, outcome in ((buy, bought), (sell, sold)):
            quantity = 0 if outcome == "unknown" else gross(order, SHARES[outcome])
            machine.record(make.result(order, STATES[outcome], quantity))
        unknown = {order for order, outcome in ((buy, bought), (sell, sold)) if outcome == "unknown"}
        step = machine.next_step(*books)
        if unknown:
            assert isinstance(step, Ask)
            assert set(step.orders) == unknown
            for order in step.orders:
                machine.record(make.result(order, "FILLED", gross(order, NET)))
            step = machine.next_step(*books)

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
            machine.record(make.result(hedge, "FILLED", hedge.quantity))
            step = machine.next_step(*books)
        assert isinstance(step, TwoLegEnd)
        # What is open now: an entry has opened what moved, an exit has closed as much of NET.
        open_now = max(moved) if kind == "entry" else NET - max(moved)
        assert step.closed is (open_now == 0)
        assert abs(machine.imbalance) < make.away.rules.lot

    def test_asks_again_until_it_is_known(self, make, begin):
        machine, buy, sell = begin()
        books = make.home_book(), make.away_book()
        machine.record(make.result(buy, "FILLED", NET))
        for state in ("UNKNOWN", "SENT", "ACCEPTED", "PARTIAL", "UNKNOWN"):
            machine.record(make.result(sell, state))
            assert machine.next_step(*books) == Ask((sell,))
        machine.record(make.result(sell, "FILLED", NET))
        assert machine.next_step(*books) == TwoLegEnd(closed=False)

    def test_order_that_risk_knows_only_as_intended_is_asked_about(self, make, begin):
        machine, buy, sell = begin()
        machine, *_ = begin(known=[make.result(buy, "INTENT"), make.result(sell, "INTENT")])
        assert machine.next_step(make.home_book(), make.away_book()) == Ask((buy, sell))

    @pytest.mark.parametrize("missing", ["home", "away"])
    def test_without_a_book_it_waits(self, make, begin, missing):
        machine, buy, sell = begin()
        machine.record(make.result(buy, "FILLED", NET))
        machine.record(make.result(sell, "REJECTED"))
        books = {"home": make.home_book(), "away": make.away_book(), missing: None}
        assert machine.next_step(**books) == Pause()

    def test_legs_go_out_and_unknown_is_asked_without_books(self, make, begin):
        machine, buy, sell = begin()
        assert isinstance(machine.next_step(None, None), SendOrders)
        machine.record(make.result(buy, "UNKNOWN"))
        machine.record(make.result(sell, "UNKNOWN"))
        assert isinstance(machine.next_step(None, None), Ask)


class TestRecord:
    def test_final_state_is_never_left(self, make, begin):
        machine, buy, sell = begin()
        machine.record(make.result(buy, "FILLED", NET))
        machine.record(make.result(buy, "UNKNOWN"))
        machine.record(make.result(sell, "FILLED", NET))
        assert machine.next_step(make.home_book(), make.away_book()) == TwoLegEnd(closed=False)

    @pytest.mark.parametrize("state", ["UNKNOWN", "CANCELED"])
    def test_fills_once_heard_of_are_never_lost(self, make, begin, state):
        """A venue that does not answer, or answers without the fills, does not undo them."""
        machine, buy, sell = begin()
        machine.record(make.result(sell, "REJECTED"))
        machine.record(make.result(buy, "PARTIAL", HALF))
        machine.record(make.result(buy, state))
        assert machine.imbalance == HALF

    def test_the_same_fill_counts_once(self, make, begin):
        machine, buy, _ = begin()
        machine.record(make.result(buy, "PARTIAL", HALF))
        two = (make.fill(buy, HALF, buy.limit), make.fill(buy, HALF, buy.limit, 1))
        machine.record(OrderResult(buy, "FILLED", two))
        assert machine.imbalance == NET


class TestFollowUps:
    @pytest.fixture
    def long(self, make, begin):
        """An entry whose buy filled and whose sell did not."""

        def build(direction):
            machine, buy, sell = begin("entry", direction)
            machine.record(make.result(buy, "FILLED", gross(buy, NET)))
            machine.record(make.result(sell, "REJECTED"))
            return machine

        return build

    def sent(self, step):
        assert isinstance(step, SendOrders)
        (order,) = step.orders
        return order

    def test_hedge_at_the_touch_with_slippage(self, make, long):
        order = self.sent(long("buy_home").next_step(make.home_book(), make.away_book()))
        assert (order.role, order.market) == ("hedge", make.away.market)
        assert order.limit == make.away.rules.round_price(Decimal("104999.99") * Decimal("0.996"), "sell")

    @pytest.mark.parametrize(("mid", "role"), [(104_600.0, "hedge"), (104_500.0, "unwind")])
    def test_a_price_that_ran_away_is_not_followed(self, make, long, mid, role):
        """40 bps below the leg's limit of 105,000 is 104,580."""
        order = self.sent(long("buy_home").next_step(make.home_book(), make.away_book(mid)))
        assert order.role == role
        assert order.side == "sell"
        assert order.market == (make.away.market if role == "hedge" else make.home.market)

    def test_short_position_buys(self, make, begin):
        machine, buy, sell = begin("entry", "buy_home")
        machine.record(make.result(buy, "EXPIRED"))
        machine.record(make.result(sell, "FILLED", NET))
        order = self.sent(machine.next_step(make.home_book(), make.away_book()))
        assert (order.side, order.market, order.role) == ("buy", make.home.market, "hedge")
        best = Decimal(str(make.home_book().best_ask))
        assert order.limit == make.home.rules.round_price(best * Decimal("1.004"), "buy")
        far = make.home_book(gap_bps=60.0)
        order = self.sent(machine.next_step(far, make.away_book()))
        assert (order.side, order.market, order.role) == ("buy", make.away.market, "unwind")
        assert order.quantity == Decimal("0.01")  # the fee in the coin is bought too

    def test_tries_alternate_and_reach_twice_as_far_each_time(self, make, long):
        machine = long("buy_home")
        books = make.home_book(), make.away_book()
        seen = []
        for _ in range(9):
            order = self.sent(machine.next_step(*books))
            seen.append(order)
            machine.record(make.result(order, "EXPIRED"))
        assert [order.role for order in seen] == ["hedge"] * 3 + ["unwind"] * 3 + ["hedge"] * 3
        ends = [f"-{'a' if order.role == 'hedge' else 'h'}{n}" for n, order in enumerate(seen, 1)]
        assert [order.client_id.removeprefix("s1-0-1-1") for order in seen] == ends
        touch = {make.home.market: books[0].best_bid, make.away.market: books[1].best_bid}
        slips = [round((1 - float(order.limit) / touch[order.market]) * 1e4) for order in seen]
        assert slips == [40, 80, 160, 320, 640, 1000, 1000, 1000, 1000]

    def test_what_was_never_accepted_is_no_reason_to_reach_farther(self, make, long):
        """A rate limit says nothing about the price."""
        machine = long("buy_home")
        books = make.home_book(), make.away_book()
        seen = []
        for _ in range(5):
            order = self.sent(machine.next_step(*books))
            seen.append(order)
            machine.record(make.result(order, "NOT_ACCEPTED"))
        assert {order.limit for order in seen} == {seen[0].limit}
        assert {order.role for order in seen} == {"hedge"}
        assert len({order.client_id for order in seen}) == 5

    def test_hedge_completes_a_partial_hedge(self, make, long):
        machine = long("buy_home")
        books = make.home_book(), make.away_book()
        first = self.sent(machine.next_step(*books))
        machine.record(make.result(first, "EXPIRED", "0.004"))
        second = self.sent(machine.next_step(*books))
        assert second.quantity == Decimal("0.00599")
        machine.record(make.result(second, "FILLED", "0.00599"))
        assert machine.next_step(*books) == TwoLegEnd(closed=False)

    def test_what_one_venue_refuses_as_too_small_goes_to_the_other(self, make, begin):
        """0.00004 BTC is 5,840 KRW: enough for upbit, below binance's 5 USDT."""
        machine, buy, sell = begin("entry", "buy_home")
        machine.record(make.result(buy, "EXPIRED", "0.00004"))
        machine.record(make.result(sell, "REJECTED"))
        order = self.sent(machine.next_step(make.home_book(), make.away_book()))
        assert (order.market, order.role, order.quantity) == (make.home.market, "unwind", Decimal("0.00004"))

    def test_too_small_for_both_is_left(self, make, begin):
        machine, buy, sell = begin("entry", "buy_home")
        machine.record(make.result(buy, "EXPIRED", "0.00003"))
        machine.record(make.result(sell, "REJECTED"))
        assert machine.next_step(make.home_book(), make.away_book()) == TwoLegEnd(closed=True)

    def test_order_that_its_limit_makes_too_small_is_not_sent(self, make, begin):
        """5,010 KRW at the touch, 4,990 at the limit: every venue would refuse it, for ever."""
        machine, buy, sell = begin("entry", "buy_home")
        quantity = make.home.rules.round_quantity(Decimal(5010) / Decimal(make.home_book().best_bid))
        machine.record(make.result(buy, "EXPIRED", quantity))
        machine.record(make.result(sell, "REJECTED"))
        assert machine.next_step(make.home_book(), make.away_book()) == TwoLegEnd(closed=True)

    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    def test_position_an_exit_could_not_trade_is_over(self, make, begin, direction):
        """Worth 5.01 USDT at the mid: an exit's limits stand behind it, and binance takes nothing below 5."""
        machine, buy, sell = begin("entry", direction)
        sold = Decimal("0.00005")
        machine.record(make.result(buy, "EXPIRED", gross(buy, sold)))
        machine.record(make.result(sell, "EXPIRED", sold))
        assert machine.next_step(make.home_book(), make.away_book(100_200.0)) == TwoLegEnd(closed=True)
        assert machine.next_step(make.home_book(), make.away_book(110_000.0)) == TwoLegEnd(closed=False)


def test_venue_that_never_fills_is_tried_on_with_new_ids(make, begin):
    """It does not give up while something is open; whoever drives it bounds the time."""
    machine, buy, sell = begin()
    machine.record(make.result(buy, "FILLED", NET))
    machine.record(make.result(sell, "REJECTED"))
    ids = set()
    for _ in range(100):
        step = machine.next_step(make.home_book(), make.away_book())
        assert isinstance(step, SendOrders)
        ids.add(step.orders[0].client_id)
        machine.record(make.result(step.orders[0], "REJECTED"))
    assert len(ids) == 100
    assert machine.imbalance == NET


def test_market_without_minimums_still_comes_to_an_end(make, begin, execution):
    """Nothing left is nothing to send, whatever the venue would take."""
    machine, buy, sell = begin()
    rules = replace(make.home.rules, quantity_min=Decimal(0), notional_min=Decimal(0))
    pair = replace(make.pair, home=replace(make.home, rules=rules), away=replace(make.away, rules=rules))
    machine = TwoLeg(machine.intent, pair, None, execution)
    machine.record(make.result(buy, "FILLED", NET))
    machine.record(make.result(sell, "FILLED", NET))
    assert isinstance(machine.next_step(make.home_book(), make.away_book()), TwoLegEnd)


class TestNews:
    @pytest.mark.parametrize(
        ("state", "quantity", "is_news"),
        [("UNKNOWN", 0, False), ("ACCEPTED", 0, True), ("FILLED", NET, True), ("UNKNOWN", "0.001", True)],
    )
    def test_against_what_was_recorded(self, make, begin, state, quantity, is_news):
        machine, buy, _ = begin("entry", "buy_home")
        assert machine.is_news(make.result(buy, "UNKNOWN"))
        machine.record(make.result(buy, "UNKNOWN"))
        assert machine.is_news(make.result(buy, state, quantity)) is is_news
