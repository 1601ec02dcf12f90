"""Trades that achieved nothing: what is remembered of them, and how the next one may be made."""

from decimal import ROUND_DOWN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.ledger.events import PairSetApart
from arbshard.model.order import Order, OrderResult
from arbshard.risk.portfolio.attempts import Attempts, retry_of
from arbshard.wire.messages import Approved, Extend, Settled
from support import world as w

EXECUTION = Config().execution
ENOUGH_MS = 1000 * (int(EXECUTION.pause_max_s) + 1)
HALF = w.QUANTITY / 2
REFUSED = ("rejected", "funds", "busy")
OUTCOMES = ("filled", "expired", *REFUSED)


def result_of(order, outcome):
    match outcome:
        case "filled":
            return w.filled(order)
        case "half":
            return w.filled(order, order.quantity / 2)
        case "expired":
            return w.expired(order)
        case "withheld":
            return OrderResult(order, "NOT_ACCEPTED", detail="not sent: the leg before it decides")
        case "busy":
            return OrderResult(order, "NOT_ACCEPTED", detail="overloaded", fault="busy")
        case "rejected":
            return OrderResult(order, "REJECTED", detail="off the tick", fault="order")
        case "funds":
            return OrderResult(order, "REJECTED", detail="no coins", fault="funds")
    raise AssertionError(outcome)


def take_back(world, intent, filled, imbalance=Decimal(0)):
    """The unwind of a leg that was filled. ``imbalance``: of the position before."""
    changes = [amount for coin, amount in w.make_fill(filled).changes() if coin == "BTC"]
    excess = imbalance + sum(changes)
    side = "sell" if excess > 0 else "buy"
    quantity = abs(excess).quantize(Decimal("0.00001"), ROUND_DOWN)
    order = Order(filled.client_id[:-1] + "1", filled.market, side, quantity, filled.limit, "unwind")
    assert isinstance(world.ask(Extend(world.shard, world.epoch, intent.intent_id, order)), Approved)
    world.report(intent, w.filled(order))


def leave(world, home, away):
    """Try to close the open position; both legs end as said, and a leg filled alone is taken back."""
    (position,) = world.state.get_symbol_positions("BTC")
    world.tick(ENOUGH_MS)
    known = world.state.attempts.get(("BTC", "exit"))
    lead = known.lead if known is not None else "both"
    intent = replace(world.exit_of(position, reason="manual"), lead=lead)
    approved = world.submit(intent)
    assert isinstance(approved, Approved), approved
    legs = {"home": (intent.home, home), "away": (intent.away, away)}
    if lead != "both" and legs[lead][1] != "filled":
        other = "away" if lead == "home" else "home"
        legs[other] = (legs[other][0], "withheld")
    world.report(intent, *(result_of(*leg) for leg in legs.values()))
    filled = [order for order, outcome in legs.values() if outcome == "filled"]
    if len(filled) == 1:
        take_back(world, intent, filled[0], position.imbalance)
    settled = world.conclude(intent, done=len(filled) == 2)
    assert isinstance(settled, Settled), settled
    return settled.position


def attempts(world):
    return world.state.attempts.get(("BTC", "exit"))


class TestExits:
    @pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
    @pytest.mark.parametrize("failed", ["home", "away"])
    def test_a_rejected_leg_goes_first_and_small_and_the_trade_has_cost_two_fees(self, direction, failed):
        world = w.World()
        world.open_position(direction=direction)
        leave(world, *("rejected", "filled") if failed == "home" else ("filled", "rejected"))
        known = attempts(world)
        assert known is not None
        assert (known.tries, known.lead, known.is_small) == (1, failed, True)
        fees = 2 * Decimal("0.001" if failed == "home" else "0.0005") * w.HOME_PRICE * w.QUANTITY
        assert abs(known.cost - fees) < fees / 10
        assert known.why.endswith("off the tick")

    @pytest.mark.parametrize("first", ["home", "away"])
    @pytest.mark.parametrize("outcome", REFUSED)
    def test_a_first_leg_that_is_refused_costs_nothing_and_counts(self, outcome, first):
        world = w.World()
        world.open_position()
        legs = ("rejected", "filled") if first == "home" else ("filled", "rejected")
        leave(world, *legs)
        cost = attempts(world).cost
        for tries in range(2, 12):
            leave(world, *(outcome if leg == "rejected" else leg for leg in legs))
            known = attempts(world)
            assert (known.tries, known.cost, known.lead) == (tries, cost, first)

    def test_two_legs_that_find_no_price_cost_nothing_and_double_the_pause(self):
        world = w.World()
        world.open_position()
        for tries, wait_s in ((1, 2), (2, 4), (3, 8), (4, 16)):
            leave(world, "expired", "expired")
            known = attempts(world)
            assert (known.tries, known.cost, known.lead, known.is_small) == (tries, 0, "both", False)
            assert retry_of(known, "exit", EXECUTION).wait_ms == wait_s * 1_000
            assert known.why == "neither leg found a price within its bounds"
        leave(world, "filled", "filled")
        assert attempts(world) is None

    @pytest.mark.parametrize("first", ["home", "away"])
    def test_a_first_leg_that_finds_no_price_costs_nothing_and_doubles_the_pause(self, first):
        world = w.World()
        world.open_position()
        leave(world, *("rejected", "filled") if first == "home" else ("filled", "rejected"))
        cost = attempts(world).cost
        for tries, wait_s in ((2, 4), (3, 8), (4, 16), (5, 32)):
            leave(world, "expired", "expired")
            known = attempts(world)
            assert (known.tries, known.cost, known.lead, known.is_small) == (tries, cost, first, False)
            assert retry_of(known, "exit", EXECUTION).wait_ms == wait_s * 1_000
            assert known.why == f"its {first} leg found no price within its bounds"

    @pytest.mark.parametrize("found", ["expired", "busy"])
    @pytest.mark.parametrize("first", ["home", "away"])
    def test_a_first_leg_goes_first_again_after_its_worker_has_ended(self, first, found):
        """A successor finds both legs expired on paper, and neither at its venue live, also the one not sent."""
        world = w.World()
        position = world.open_position()
        leave(world, *("rejected", "filled") if first == "home" else ("filled", "rejected"))
        before = attempts(world)
        world.tick(ENOUGH_MS)
        intent = replace(world.exit_of(position, reason="manual"), lead=first)
        assert isinstance(world.submit(intent), Approved)
        world.report(intent, result_of(intent.home, found), result_of(intent.away, found))
        world.conclude(intent)
        known = attempts(world)
        assert (known.lead, known.is_small, known.tries) == (first, True, before.tries + 1)

    @pytest.mark.parametrize("first", ["home", "away"])
    def test_a_first_leg_that_is_filled_too_little_for_a_hedge_ends_the_pause(self, first):
        world = w.World()
        position = world.open_position()
        leave(world, *("rejected", "filled") if first == "home" else ("filled", "rejected"))
        world.tick(ENOUGH_MS)
        intent = replace(world.exit_of(position, reason="manual"), lead=first)
        assert isinstance(world.submit(intent), Approved)
        legs = (intent.home, intent.away) if first == "home" else (intent.away, intent.home)
        some = w.filled(legs[0], Decimal("0.00001"))
        world.report(intent, replace(some, state="EXPIRED"), result_of(legs[1], "withheld"))
        world.conclude(intent)
        known = attempts(world)
        assert (known.tries, known.lead, known.is_small) == (1, first, False), "the other leg was never sent"
        assert retry_of(known, "exit", EXECUTION).wait_ms == 0

    @pytest.mark.parametrize("outcome", REFUSED)
    def test_two_venues_that_refuse_count_and_cost_nothing(self, outcome):
        world = w.World()
        world.open_position()
        leave(world, outcome, outcome)
        assert (attempts(world).tries, attempts(world).cost) == (1, 0)

    def test_an_exit_that_moved_ends_the_pause_and_one_that_closed_ends_all(self):
        world = w.World()
        position = world.open_position()
        leave(world, "rejected", "filled")
        world.tick(ENOUGH_MS)
        intent = replace(world.exit_of(position, reason="manual"), lead="home")
        assert isinstance(world.submit(intent), Approved)
        world.report(intent, result_of(intent.home, "half"), result_of(intent.away, "half"))
        world.conclude(intent)
        assert retry_of(attempts(world), "exit", EXECUTION).wait_ms == 0
        assert not attempts(world).is_small
        left = leave(world, "filled", "filled")
        assert left.state == "CLOSED"
        assert attempts(world) is None

    @given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.sampled_from(OUTCOMES)), max_size=8))
    def test_whatever_comes_tries_never_fall_without_progress_and_costs_never_below_zero(self, outcomes):
        world = w.World()
        world.open_position()
        for home, away in outcomes:
            before = attempts(world) or Attempts(0)
            position = leave(world, home, away)
            if position.state == "CLOSED":
                assert attempts(world) is None
                break
            after = attempts(world) or Attempts(0)
            assert after.tries >= before.tries
            assert after.cost >= before.cost >= 0
            if "filled" not in (home, away):
                assert after.cost == before.cost
        assert world.restart().state.attempts == world.state.attempts


class TestCost:
    """Of one position: the pair is set apart before another exit like the last goes beyond the limit."""

    @given(cost_bps=st.floats(3, 80), first=st.sampled_from(["home", "away"]), exits=st.integers(1, 6))
    def test_it_stays_within_the_limit_unless_the_first_exit_alone_is_dearer(self, cost_bps, first, exits):
        """Each time the leg that goes first is filled, and the other venue rejects its own."""
        config = Config()
        config = replace(config, execution=replace(config.execution, exit_cost_bps_max=cost_bps))
        world = w.World(config=config)
        notional = world.open_position().entry_notional
        limit = notional * Decimal(repr(cost_bps)) / 10_000
        dearest = cost = Decimal(0)
        for _ in range(exits):
            if "BTC" in world.state.standing.apart:
                break
            leave(world, *("filled", "rejected") if first == "home" else ("rejected", "filled"))
            known = attempts(world)
            first = known.lead
            dearest, cost = max(dearest, known.cost - cost), known.cost
        apart = [event.cause for event in world.events if isinstance(event, PairSetApart)]
        assert apart in ([], ["exits_fail"])
        slack = notional / 1000  # prices and quantities of the two venues differ a little
        assert cost <= max(limit, dearest) + slack
        assert apart or cost + dearest <= limit + slack


class TestEntries:
    def enter(self, world, home, away):
        world.tick(ENOUGH_MS)
        intent = world.entry()
        approved = world.submit(intent)
        assert isinstance(approved, Approved), approved
        world.report(intent, result_of(intent.home, home), result_of(intent.away, away))
        filled = [o for o, outcome in ((intent.home, home), (intent.away, away)) if outcome == "filled"]
        if len(filled) == 1:
            take_back(world, intent, filled[0])
        world.conclude(intent, done=len(filled) == 1)
        return world.state.attempts.get(("BTC", "entry"))

    def test_one_that_was_taken_back_counts_and_one_that_stays_ends_it(self):
        world = w.World()
        assert self.enter(world, "filled", "expired").tries == 1
        assert self.enter(world, "rejected", "rejected").tries == 2
        assert self.enter(world, "expired", "expired").tries == 2
        assert self.enter(world, "filled", "filled") is None


class TestRetry:
    def test_there_is_none_after_none(self):
        assert retry_of(None, "exit", EXECUTION) is None

    @given(st.integers(1, 10_000))
    def test_the_pause_doubles_up_to_the_longest(self, tries):
        wait_ms = retry_of(Attempts(tries), "exit", EXECUTION).wait_ms
        longer_ms = retry_of(Attempts(tries + 1), "exit", EXECUTION).wait_ms
        assert wait_ms >= EXECUTION.pause_s * 1000
        assert longer_ms == min(2 * wait_ms, EXECUTION.pause_max_s * 1000)

    def test_it_carries_the_leg_and_the_reason(self):
        retry = retry_of(Attempts(3, lead="away", is_small=True, why="because"), "exit", EXECUTION)
        assert (retry.kind, retry.lead, retry.is_small, retry.why) == ("exit", "away", True, "because")
