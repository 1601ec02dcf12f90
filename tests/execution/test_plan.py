"""From floats to exact orders: lots, ticks, ids, and never a price worse than what was decided on."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.config import ExecutionConfig
from arbshard.engine.closing import close_now
from arbshard.engine.edge import find_edge, terms_of
from arbshard.engine.engine import Entry, Exit, held_of
from arbshard.execution.plan import affordable, base_kept, make_order, part_of_exit, plan_entry, plan_exit
from arbshard.model.intent import Retry
from arbshard.model.market import TickBand, reverse
from arbshard.model.money import exact

DIRECTIONS = ["buy_home", "buy_away"]
CLIENT_ID = re.compile(r"^[a-z0-9-]{1,36}$")
LONGEST_ID = "s9999-63-99999-999999999"


def is_multiple(value, step):
    return value % step == 0


@pytest.fixture(scope="module")
def enter(make):
    def at(direction, gap, cost_max, pair=None, size=0.02):
        pair = pair or make.pair
        home, away = make.home_book(gap, size=size), make.away_book(size=size)
        buys_home = direction == "buy_home"
        edge = find_edge(
            home.asks if buys_home else away.asks,
            away.bids if buys_home else home.bids,
            terms_of(pair, direction),
            make.fx[0] if buys_home else make.fx[1],
            entry_bps=0.0,
            min_edge_bps=0.0,
            cost_max=cost_max,
            sell_max=1e9,
        )
        assert edge is not None
        return Entry(pair, direction, edge, make.fx)

    return at


@pytest.fixture(scope="module")
def leave(make):
    def at(position, gap=0.0, home=None, away=None):
        home, away = home or make.home_book(gap), away or make.away_book()
        back = reverse(position.direction)
        closing = close_now(held_of(position), home, away, make.fx, terms_of(make.pair, back))
        return Exit(make.pair, position.position_id, back, "take_profit", closing, make.fx)

    return at


class TestEntry:
    @pytest.mark.parametrize("direction", DIRECTIONS)
    @given(gap=st.floats(60, 400), cost_max=st.floats(20_000, 20_000_000), size=st.floats(0.001, 0.05))
    def test_orders_are_what_was_decided(self, make, enter, direction, gap, cost_max, size):
        trade = enter(direction, -gap if direction == "buy_home" else gap, cost_max, size=size)
        intent = plan_entry(trade, "s1-0-1-1", make.now_ms)
        buy, sell = (intent.home, intent.away) if direction == "buy_home" else (intent.away, intent.home)
        buy_leg, sell_leg = (make.home, make.away) if direction == "buy_home" else (make.away, make.home)
        assert (buy.side, sell.side) == ("buy", "sell")
        assert (buy.market, sell.market) == (buy_leg.market, sell_leg.market)
        for order, leg in ((buy, buy_leg), (sell, sell_leg)):
            assert is_multiple(order.quantity, leg.rules.lot)
            assert is_multiple(order.limit, leg.rules.tick_at(order.limit))
            assert order.quantity > 0
            assert order.role == "leg"
        # Never worse for us than the worst price the walk touched.
        assert buy.limit <= exact(trade.edge.buy_worst)
        assert sell.limit >= exact(trade.edge.sell_worst)
        assert float(buy.quantity) == pytest.approx(trade.edge.buy_quantity, rel=1e-12)
        # Never sells more than the buy brings; what is left over is less than one lot.
        arrives = buy.quantity * base_kept(buy_leg)
        assert 0 <= arrives - sell.quantity < sell_leg.rules.lot

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_intent_says_what_it_is(self, make, enter, direction):
        trade = enter(direction, -200.0 if direction == "buy_home" else 200.0, 1e6)
        intent = plan_entry(trade, "s3-1-2-77", 1234)
        assert (intent.intent_id, intent.position_id) == ("s3-1-2-77", "s3-1-2-77")
        assert (intent.kind, intent.pair, intent.direction) == ("entry", "BTC", direction)
        assert (intent.reason, intent.edge_bps, intent.decided_ms) == ("net_edge", trade.edge.net_bps, 1234)
        assert intent.fx == make.quote
        assert (intent.home.client_id, intent.away.client_id) == ("s3-1-2-77-h0", "s3-1-2-77-a0")

    def test_quantities_beyond_a_floats_reach_stay_exact(self, make, enter):
        """Coins worth a fraction of a won: 8 decimals of 100 million of them need 16 digits."""
        lot_of_one = replace(make.away, rules=replace(make.away.rules, lot=Decimal(1)))
        pair = replace(make.pair, away=lot_of_one)
        trade = enter("buy_away", 200.0, 1e30, pair=pair, size=17_000_001.0)
        intent = plan_entry(trade, "s1-0-1-1", make.now_ms)
        assert intent.away.quantity > 80_000_000
        assert intent.home.quantity == intent.away.quantity * Decimal("0.999")

    def test_limit_off_the_tick_is_rounded_in_our_favour(self, make):
        buy = make_order(make.home, "buy", Decimal(1), Decimal(146_000_999), "x-h0", "leg")
        sell = make_order(make.home, "sell", Decimal(1), Decimal(146_000_001), "x-h0", "leg")
        assert (buy.limit, sell.limit) == (Decimal(146_000_000), Decimal(146_001_000))

    def test_limit_takes_the_tick_of_its_band(self, make):
        bands = (TickBand(Decimal(1000), Decimal(1)), TickBand(Decimal(0), Decimal("0.1")))
        leg = replace(make.home, rules=replace(make.home.rules, ticks=bands))
        assert make_order(leg, "buy", Decimal(1), Decimal("1000.97"), "x", "leg").limit == Decimal(1000)
        assert make_order(leg, "buy", Decimal(1), Decimal("999.97"), "x", "leg").limit == Decimal("999.9")
        assert make_order(leg, "sell", Decimal(1), Decimal("999.97"), "x", "leg").limit == Decimal(1000)


class TestExit:
    @pytest.mark.parametrize("direction", DIRECTIONS)
    @given(
        quantity=st.integers(1, 6_000_000).map(lambda n: Decimal(n) * Decimal("0.00000001")),
        gap=st.floats(-200, 200),
        slippage=st.floats(0, 100),
    )
    def test_all_that_is_open_and_not_too_far_behind(self, make, leave, direction, quantity, gap, slippage):
        position = make.position(direction, quantity)
        trade = leave(position, gap)
        intent = plan_exit(
            trade, position, "s1-0-1-2", make.now_ms, ExecutionConfig(exit_slippage_bps=slippage)
        )
        sell, buy = (intent.home, intent.away) if direction == "buy_home" else (intent.away, intent.home)
        sell_leg, buy_leg = (make.home, make.away) if direction == "buy_home" else (make.away, make.home)
        assert (sell.side, buy.side) == ("sell", "buy")
        slip = Decimal(str(slippage)) / 10_000
        assert exact(trade.closing.sell_worst) * (1 - slip) <= sell.limit <= exact(trade.closing.sell_worst)
        assert exact(trade.closing.buy_worst) * (1 + slip) >= buy.limit
        tick = buy_leg.rules.tick_at(buy.limit)
        assert (
            buy.limit > exact(trade.closing.buy_worst) * (1 + slip) - tick
        )  # no further ahead than the tick
        for order, leg in ((sell, sell_leg), (buy, buy_leg)):
            assert is_multiple(order.quantity, leg.rules.lot)
            assert is_multiple(order.limit, leg.rules.tick_at(order.limit))
        # Sells what it has, to the lot; buys back all it owes, up to one lot more.
        assert sell.quantity == max(sell_leg.rules.round_quantity(quantity), sell_leg.rules.lot)
        arrives = buy.quantity * base_kept(buy_leg)
        assert quantity <= arrives < quantity + buy_leg.rules.lot

    def test_buy_is_grossed_up_for_a_fee_in_the_coin(self, make, leave):
        """0.00999 owed at 10 bps: 0.01 bought, 0.00001 of it kept as the fee."""
        position = make.position("buy_home", "0.00999")
        intent = plan_exit(leave(position), position, "s1-0-1-2", make.now_ms, ExecutionConfig())
        assert intent.away.quantity == Decimal("0.01")
        assert intent.home.quantity == Decimal("0.00999")

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_intent_says_what_it_is(self, make, leave, direction):
        position = make.position(direction)
        trade = leave(position)
        intent = plan_exit(trade, position, "s3-1-2-78", 1234, ExecutionConfig())
        assert (intent.kind, intent.position_id) == ("exit", position.position_id)
        assert intent.direction == reverse(direction)
        assert (intent.reason, intent.edge_bps) == ("take_profit", trade.closing.net_bps)
        assert (intent.fx, intent.decided_ms) == (make.quote, 1234)
        assert (intent.home.client_id, intent.away.client_id) == ("s3-1-2-78-h0", "s3-1-2-78-a0")

    @pytest.mark.parametrize(("long", "short"), [("0.001", "0"), ("0", "0.001")])
    def test_one_sided_position_still_makes_two_valid_orders(self, make, leave, long, short):
        position = make.position("buy_home", long, short)
        intent = plan_exit(leave(position), position, "s1-0-1-2", make.now_ms, ExecutionConfig())
        assert intent.home.quantity >= make.home.rules.lot
        assert intent.away.quantity >= make.away.rules.lot


class TestSmallestExit:
    """After a venue has refused an exit, the leg that failed goes first, with the smallest order of both venues."""

    RETRY = Retry("exit", 1, 1000, "away", is_small=True)

    def plan(self, make, leave, direction, quantity, slippage, retry=RETRY, residue="0"):
        position = make.position(direction, quantity)
        execution = ExecutionConfig(exit_slippage_bps=slippage)
        trade = leave(position)
        return plan_exit(trade, position, "s1-0-1-2", make.now_ms, execution, Decimal(residue), retry)

    @pytest.mark.parametrize("direction", DIRECTIONS)
    @given(quantity=st.decimals("0.00012", "0.05", places=5), slippage=st.floats(0, 100))
    def test_both_venues_take_it_and_what_is_left(self, make, leave, direction, quantity, slippage):
        small = self.plan(make, leave, direction, quantity, slippage)
        whole = self.plan(make, leave, direction, quantity, slippage, retry=None)
        assert (small.lead, whole.lead) == ("away", "both")
        for leg, part, all_of_it in (
            (make.home, small.home, whole.home),
            (make.away, small.away, whole.away),
        ):
            assert leg.rules.accepts(part.limit, part.quantity)
            assert part.limit == all_of_it.limit
            assert is_multiple(part.quantity, leg.rules.lot)
            left = all_of_it.quantity - part.quantity
            # What is left can be traded later, also when prices have fallen by a tenth.
            assert left == 0 or leg.rules.accepts(part.limit * Decimal("0.9"), left)

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_it_is_small_and_the_same_on_both_venues(self, make, leave, direction):
        small = self.plan(make, leave, direction, "0.05", 10.0)
        bought, leg = (small.home, make.home) if small.home.side == "buy" else (small.away, make.away)
        sold = small.away if bought is small.home else small.home
        assert sold.quantity < Decimal("0.0002")
        assert 0 <= bought.quantity * base_kept(leg) - sold.quantity < leg.rules.lot

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_what_left_over_coins_make_up_for_is_not_bought(self, make, leave, direction):
        """A short leg that the residue nearly covers stays small: it is not made larger for the test."""
        small = self.plan(make, leave, direction, "0.01", 10.0, residue="0.00999")
        bought, leg = (small.home, make.home) if small.home.side == "buy" else (small.away, make.away)
        assert bought.quantity * base_kept(leg) - Decimal("0.00001") < leg.rules.lot

    def test_a_leg_that_a_person_closes_alone_keeps_its_place(self, make, leave):
        position = make.position("buy_home", "0.01")
        trade = leave(position)._replace(lead="home")
        plan = plan_exit(trade, position, "s1-0-1-2", make.now_ms, ExecutionConfig(), retry=self.RETRY)
        assert plan.lead == "home"


class TestLargestOrder:
    """What one order may have, on either venue, bounds both legs."""

    @pytest.fixture
    def small(self, make):
        rules = replace(make.away.rules, quantity_max=Decimal("0.0005"))
        return replace(make.pair, away=replace(make.away, rules=rules))

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_entry(self, make, enter, small, direction):
        trade = enter(direction, -200.0 if direction == "buy_home" else 200.0, 1e7, pair=small)
        intent = plan_entry(trade, "s1-0-1-1", 0)
        assert Decimal("0.00049") <= intent.away.quantity <= Decimal("0.0005")
        assert Decimal("0.00049") <= intent.home.quantity <= Decimal("0.0005")

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_exit(self, make, leave, small, direction):
        position = make.position(direction, "0.001")
        trade = leave(position)._replace(pair=small)
        intent = plan_exit(trade, position, "s1-0-1-2", 0, ExecutionConfig())
        assert intent.home.quantity == intent.away.quantity == Decimal("0.0005")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_client_ids_fit_every_venue(make, enter, leave, direction):
    """At most 36 characters of a-z, 0-9 and '-', also for the longest intent id and late follow-ups."""
    assert len(LONGEST_ID) == 24
    entry = plan_entry(enter(direction, -200.0 if direction == "buy_home" else 200.0, 1e6), LONGEST_ID, 0)
    position = make.position(direction)
    leaving = plan_exit(leave(position), position, LONGEST_ID, 0, ExecutionConfig())
    for order in (entry.home, entry.away, leaving.home, leaving.away):
        assert CLIENT_ID.match(order.client_id)
        assert len(order.client_id) + len("999999999") <= 36


def test_base_kept(make):
    assert base_kept(make.home) == 1
    assert base_kept(make.away) == Decimal("0.999")


@pytest.fixture(scope="module")
def intent(make):
    return make.intent("exit", "buy_away", "0.01")  # sells at home, buys away


class TestWhatCanBePaidFor:
    def available(self, make, **changes):
        home, away = make.home.market, make.away.market
        amounts = {"home_coins": "1", "home_money": "1e9", "away_coins": "1", "away_money": "1e6"} | changes
        return (
            (home.venue, home.base, Decimal(amounts["home_coins"])),
            (home.venue, home.quote, Decimal(amounts["home_money"])),
            (away.venue, away.base, Decimal(amounts["away_coins"])),
            (away.venue, away.quote, Decimal(amounts["away_money"])),
        )

    def test_all_of_it(self, make, intent) -> None:
        assert affordable(intent.home, make.home, self.available(make)) == intent.home
        part = part_of_exit(intent, make.pair, self.available(make), "s1-0-1-9")
        assert part is not None
        assert (part.home.quantity, part.away.quantity) == (intent.home.quantity, intent.away.quantity)
        assert (part.intent_id, part.position_id) == ("s1-0-1-9", intent.position_id)
        assert (part.home.client_id, part.away.client_id) == ("s1-0-1-9-h0", "s1-0-1-9-a0")

    def test_a_leg_too_small_to_be_sent_stays_as_it_is(self, make, intent) -> None:
        lot = replace(intent.away, quantity=make.away.rules.lot)
        small = replace(intent, away=lot)
        part = part_of_exit(
            small, make.pair, self.available(make, home_coins="0.005", away_money="0"), "s1-0-1-9"
        )
        assert part is not None
        assert Decimal("0.00499") < part.home.quantity <= Decimal("0.005")
        assert part.away.quantity == lot.quantity
        assert part.away.client_id == "s1-0-1-9-a0"

    @given(st.decimals("0.001", "0.02", places=6), st.decimals("10", "2000", places=2))
    def test_both_legs_by_the_same_quantity_and_never_more_than_there_is(
        self, make, intent, coins, money
    ) -> None:
        available = self.available(make, home_coins=coins, away_money=money)
        part = part_of_exit(intent, make.pair, available, "s1-0-1-9")
        if part is None:
            smallest = min(coins / intent.home.quantity, money / (intent.away.quantity * intent.away.limit))
            assert smallest < Decimal("0.05")  # less than a venue takes
            return
        assert part.home.quantity <= coins
        assert part.away.quantity * part.away.limit <= money
        lots = make.home.rules.lot + make.away.rules.lot
        shares = part.home.quantity / intent.home.quantity, part.away.quantity / intent.away.quantity
        assert abs(shares[0] - shares[1]) * intent.home.quantity <= lots
        full = min(
            coins / intent.home.quantity, money / (intent.away.quantity * intent.away.limit), Decimal(1)
        )
        assert min(shares) >= full - 2 * lots / intent.home.quantity  # the largest part
        for leg, order in ((make.home, part.home), (make.away, part.away)):
            assert leg.rules.accepts(order.limit, order.quantity)
            assert is_multiple(order.quantity, leg.rules.lot)

    @given(
        st.decimals("0.003", "0.03", places=5),
        st.decimals("0", "0.00001", places=8),
        st.decimals("0.5", "0.99", places=4),
    )
    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_a_part_leaves_no_more_over_than_the_whole_exit(self, make, direction, size, more, share) -> None:
        whole = make.intent("exit", direction, str(size))
        whole = replace(whole, home=replace(whole.home, quantity=size + more))
        bought, leg = (whole.home, make.home) if whole.home.side == "buy" else (whole.away, make.away)
        unit = bought.limit * (1 + (0 if leg.fees.buy_fee_in_base else leg.fees.buy_bps / 10_000))
        where = "home_money" if leg is make.home else "away_money"
        available = self.available(make, **{where: bought.quantity * unit * share})
        part = part_of_exit(whole, make.pair, available, "s1-0-1-9")
        assert part is not None

        def left(intent):
            home_buys = intent.home.side == "buy"
            buy, sell = (intent.home, intent.away) if home_buys else (intent.away, intent.home)
            return buy.quantity * base_kept(leg) - sell.quantity

        assert abs(left(part) - left(whole)) <= min(make.home.rules.lot, make.away.rules.lot)

    @pytest.mark.parametrize("short", ["home_coins", "away_money"])
    def test_nothing_when_one_venue_would_not_take_it(self, make, intent, short) -> None:
        assert (
            part_of_exit(intent, make.pair, self.available(make, **{short: "0.000001"}), "s1-0-1-9") is None
        )

    def test_nothing_when_the_cut_of_one_leg_makes_the_other_too_small(self, make, intent) -> None:
        """Both are paid for by themselves; equal parts of both are below the minimum of one venue."""
        at_least = replace(make.home.rules, quantity_min=Decimal("0.006"))
        pair = replace(make.pair, home=replace(make.home, rules=at_least))
        money = intent.away.limit * Decimal("0.005")
        available = self.available(make, away_money=money)
        assert affordable(intent.away, pair.away, available) is not None
        assert part_of_exit(intent, pair, available, "s1-0-1-9") is None

    def test_the_fee_is_paid_for_too(self, make) -> None:
        order = make.intent("entry", "buy_home", "0.01").home
        unit = order.limit * (1 + make.home.fees.buy_bps / 10_000)
        just = self.available(make, home_money=unit * order.quantity)
        assert affordable(order, make.home, just) == order
        less = affordable(order, make.home, self.available(make, home_money=unit * order.quantity - 1))
        assert less is not None
        assert less.quantity * unit <= unit * order.quantity - 1
        assert less.client_id == order.client_id
