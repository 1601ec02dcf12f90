"""Requests and replies: once, twice, late, from the wrong incarnation, after a restart."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.model.intent import FxQuote
from arbshard.model.refusal import Refusal
from arbshard.risk.core import mode_of
from arbshard.risk.portfolio.holdings import Balance
from arbshard.wire.messages import (
    Approved,
    Conclude,
    Done,
    Extend,
    Fund,
    Funded,
    Noted,
    Refused,
    Report,
    SetApart,
    Settled,
    Submit,
    Welcome,
)
from arbshard.wire.reconciliation import EndIntent
from support import world as w


@pytest.fixture
def world():
    return w.World()


def quiet(world, request):
    """The reply to a request that must make no event and change nothing."""
    events, before = len(world.events), world.state.state_hash()
    reply = world.ask(request)
    assert len(world.events) == events
    assert world.state.state_hash() == before
    return reply


def extend(world, intent, n: int = 1, quantity: str = "0.1", **changes) -> Extend:
    order = w.Order(
        f"{intent.intent_id}-h{n}", intent.home.market, "sell", Decimal(quantity), Decimal(999_000), "hedge"
    )
    return Extend(0, world.epoch, intent.intent_id, replace(order, **changes))


def let_buy(world, intent) -> None:
    """The leg that buys is filled, so that there is something to sell."""
    world.report(intent, w.filled(intent.home if intent.home.side == "buy" else intent.away))


# hello


def test_a_fresh_worker_is_told_that_there_is_nothing() -> None:
    world = w.World(ready=False)
    world.start()
    welcome = world.ask(world.hello())
    assert isinstance(welcome, Welcome)
    assert (welcome.session, welcome.positions, welcome.intents, welcome.funded) == (1, (), (), ())
    assert ("upbit", "KRW", Decimal(100_000_000)) in welcome.available
    assert len(welcome.available) == len(set(welcome.available)) == 6  # two quotes, two coins on two venues


def test_a_successor_is_told_everything_of_its_pairs(world) -> None:
    position = world.open_position("BTC")
    leave = world.exit_of(position)
    world.submit(leave)
    world.report(leave, w.filled(leave.home))
    hedge = extend(world, leave, role="unwind").order
    world.ask(Extend(0, 1, leave.intent_id, hedge))
    world.open_position("ETH")
    welcome = world.ask(replace(world.hello(2), pairs=("BTC",)))
    assert welcome.positions == (position,)
    (taken,) = welcome.intents
    assert taken.intent == leave
    assert [(one.order, one.state) for one in taken.orders] == [
        (leave.home, "FILLED"),
        (leave.away, "INTENT"),
        (hedge, "INTENT"),
    ]
    assert welcome.funded == ("BTC",)
    assert {currency for _, currency, _ in welcome.available} == {"KRW", "USDT", "BTC"}


def test_only_the_newest_incarnation_may_speak(world) -> None:
    intent = world.entry()
    assert isinstance(world.submit(intent), Approved)
    assert isinstance(world.ask(world.hello(3)), Welcome)
    result = w.filled(intent.home)
    for request in (
        world.hello(2),
        Submit(0, 1, world.entry("ETH")),
        Report(0, 1, intent.intent_id, result),
        Conclude(0, 1, intent.intent_id, Decimal(1), w.FX, False),
        extend(world, intent),
        Fund(0, 1, "BTC", Decimal(1)),
    ):
        reply = quiet(world, request)
        assert isinstance(reply, Refused), request
        assert reply.reason is Refusal.STALE_EPOCH, request
    assert isinstance(world.ask(Report(0, 3, intent.intent_id, result)), Noted)


def test_who_has_not_said_hello_is_not_heard(world) -> None:
    for shard, epoch in ((0, 2), (1, 1)):
        reply = quiet(world, Fund(shard, epoch, "BTC", Decimal(1)))
        assert reply.reason is Refusal.STALE_EPOCH


def test_a_repeated_hello_makes_no_event(world) -> None:
    assert isinstance(quiet(world, world.hello()), Welcome)


def test_hello_with_a_pair_that_is_not_traded(world) -> None:
    """The worker may have a newer universe than risk: its other pairs are not kept waiting."""
    reply = world.ask(replace(world.hello(5), pairs=("BTC", "XRP")))
    assert isinstance(reply, Welcome)
    assert (reply.funded, reply.strangers) == (("BTC",), ("XRP",))


def test_the_fence_stands_after_a_restart_of_risk(world) -> None:
    world.ask(world.hello(3))
    again = world.restart()
    assert quiet(again, again.hello(2)).reason is Refusal.STALE_EPOCH
    assert isinstance(quiet(again, again.hello(3)), Welcome)


# fund


def test_inventory_is_opened_once_for_ever() -> None:
    world = w.World(ready=False)
    world.start()
    world.ask(world.hello())
    funded = world.ask(Fund(0, 1, "BTC", Decimal(3_000_000)))
    assert funded == Funded(
        (
            ("upbit", "KRW", Decimal(100_000_000)),
            ("upbit", "BTC", Decimal("1.33333333")),
            ("binance", "USDT", Decimal(70_000)),
            ("binance", "BTC", Decimal("1.33333333")),
        )
    )
    assert quiet(world, Fund(0, 1, "BTC", Decimal(1))) == funded
    again = world.restart()
    assert quiet(again, Fund(0, 1, "BTC", Decimal(1))) == funded
    assert len([event for event in again.events if getattr(event, "why", "") == "opening"]) == 2


@pytest.mark.parametrize(
    ("base", "price", "reason"),
    [
        ("XRP", Decimal(1), Refusal.UNKNOWN_PAIR),
        ("BTC", Decimal(0), Refusal.MALFORMED),
        ("BTC", Decimal("NaN"), Refusal.MALFORMED),
    ],
)
def test_inventory_that_cannot_be_opened(world, base, price, reason) -> None:
    assert quiet(world, Fund(0, 1, base, price)).reason is reason


# extend


def test_on_paper_a_hedge_spends_nothing_that_is_not_there() -> None:
    world = w.World(config=w.with_paper(inventory_notional=Decimal(600_000)))
    intent = world.entry(direction="buy_away")  # sells 0.5 of 0.6 at home
    world.submit(intent)
    let_buy(world, intent)
    reply = quiet(world, extend(world, intent, quantity="0.3"))
    assert (reply.reason, reply.detail) == (Refusal.BALANCE, "upbit BTC: 0.3 needed, 0.1 free")
    assert reply.available[1] == ("upbit", "BTC", Decimal("0.1"))
    request = extend(world, intent, quantity="0.1")  # as the worker then asks
    assert isinstance(world.ask(request), Approved)
    world.report(intent, w.filled(request.order), w.filled(intent.home))
    assert world.state.balance("upbit", "BTC") == Balance()


def test_live_a_hedge_is_recorded_with_what_is_free(make_desk) -> None:
    """The venue decides whether it suffices."""
    desk = make_desk()
    desk.venues.held[w.HOME, "BTC"] = Decimal("0.6")
    desk.state()
    world, intent = desk.world, desk.world.entry(direction="buy_away")
    world.submit(intent)
    let_buy(world, intent)
    request = extend(world, intent, quantity="0.3")
    reply = world.ask(request)
    assert isinstance(reply, Approved)
    assert reply.available[1] == ("upbit", "BTC", Decimal(0))
    assert world.state.balance("upbit", "BTC").held == Decimal("0.6")
    world.report(intent, w.filled(request.order), w.expired(intent.home))
    assert world.state.balance("upbit", "BTC").total == Decimal("0.3")
    assert world.state.balance("upbit", "BTC").held == 0


@pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
@pytest.mark.parametrize("quantity", ["0.3", "0.1"])
def test_what_an_approval_says_is_left_is_what_is_left(direction, quantity) -> None:
    """It is asked for once, before the decision; what the approval itself holds is subtracted."""
    world = w.World()
    pair = world.pairs["BTC"]
    intent = world.entry(direction=direction)
    before = world.core.guard.available_to_enter(pair)
    approved = world.submit(intent)
    assert approved.available == world.core.guard.available_to_enter(pair) != before
    let_buy(world, intent)
    extended = world.ask(extend(world, intent, quantity=quantity))
    assert isinstance(extended, Approved)
    assert extended.available == world.core.guard.available_to_enter(pair)
    assert world.submit(intent).available == extended.available


def test_a_hedge_passes_whatever_the_limits_and_the_phase_say() -> None:
    world = w.World(
        config=w.with_limits(
            daily_loss_max=Decimal(1), open_intents_max=1, symbol_notional_max=Decimal(600_000)
        )
    )
    intent = world.entry()
    world.submit(intent)
    let_buy(world, intent)
    world.phase = w.Phase.DRAINING
    assert isinstance(world.ask(extend(world, intent, quantity="0.4")), Approved)


def test_a_repeated_hedge_is_recorded_once(world) -> None:
    intent = world.entry()
    world.submit(intent)
    let_buy(world, intent)
    request = extend(world, intent)
    first = world.ask(request)
    assert isinstance(first, Approved)
    assert quiet(world, request) == first
    assert quiet(world.restart(), request) == first


def test_hedges_that_are_refused(world) -> None:
    intent = world.entry()
    world.submit(intent)
    let_buy(world, intent)
    assert isinstance(world.ask(extend(world, intent)), Approved)
    for request, reason in (
        (extend(world, intent, quantity="0.2"), Refusal.MALFORMED),
        (extend(world, intent, n=2, role="leg"), Refusal.MALFORMED),
        (replace(extend(world, intent, n=3), intent_id="s1-0-1-77"), Refusal.UNKNOWN_INTENT),
    ):
        assert quiet(world, request).reason is reason


def test_a_hedge_of_what_is_not_naked_is_refused(world) -> None:
    """Finding 17: to buy 3000 coins for an intent of which nothing was filled was approved."""
    intent = world.entry()
    world.submit(intent)
    reply = quiet(world, extend(world, intent, quantity="3000", side="buy"))
    assert reply.reason is Refusal.MALFORMED
    assert reply.detail.endswith("buy 3000 does not take away an imbalance of 0")


def test_a_worker_may_not_know_of_a_late_fill(world) -> None:
    """It hedges what was open when the order ended; a fill that came after that is booked all the same."""
    intent = world.entry()
    world.submit(intent)
    let_buy(world, intent)
    world.report(intent, w.filled(intent.home, Decimal("0.2")))
    late = w.make_fill(intent.home, Decimal("0.25"), n=1)
    world.report(intent, w.OrderResult(intent.home, "EXPIRED", (late,)))
    for quantity, is_approved in (("0.3", False), ("0.2995", True), ("0.04", True)):
        n = 1 if quantity == "0.2995" else 2
        reply = world.ask(extend(world, intent, n=n, quantity=quantity))
        assert isinstance(reply, Approved) is is_approved, quantity
    world.report(intent, w.expired(extend(world, intent, quantity="0.2995").order))
    world.report(intent, w.expired(extend(world, intent, n=2, quantity="0.04").order))
    world.conclude(intent)
    assert not world.core._late


# report


def test_a_fill_is_booked_once_however_often_it_is_reported(world) -> None:
    intent = world.entry()
    world.submit(intent)
    first, second = (w.make_fill(intent.home, Decimal("0.2"), n=n) for n in (0, 1))
    partial = Report(0, 1, intent.intent_id, w.OrderResult(intent.home, "PARTIAL", (first,)))
    final = Report(0, 1, intent.intent_id, w.OrderResult(intent.home, "EXPIRED", (first, second)))
    world.ask(partial)
    assert quiet(world, partial) == Noted(intent.intent_id)
    world.ask(final)
    assert world.events[-1].fills == (second,)
    assert quiet(world, final) == Noted(intent.intent_id)
    assert quiet(world, partial) == Noted(intent.intent_id)  # late: the order stays at its end
    assert world.state.balance("upbit", "BTC").total == Decimal("3.6")


def test_a_final_state_is_never_left(world) -> None:
    intent = world.entry()
    world.submit(intent)
    world.report(intent, w.expired(intent.home))
    for state in ("SENT", "ACCEPTED", "UNKNOWN", "CANCELED"):
        quiet(world, Report(0, 1, intent.intent_id, w.OrderResult(intent.home, state)))
    assert world.state.get_symbol_orders("BTC")[0].state == "EXPIRED"


def test_a_fill_heard_of_after_the_end_is_a_fact_all_the_same(world) -> None:
    intent = world.entry()
    world.submit(intent)
    world.report(intent, w.expired(intent.home))
    late = w.make_fill(intent.home, Decimal("0.1"))
    world.report(intent, w.OrderResult(intent.home, "PARTIAL", (late,)))
    result = world.state.get_symbol_orders("BTC")[0]
    assert (result.state, result.fills) == ("EXPIRED", (late,))
    assert world.state.balance("upbit", "BTC").total == Decimal("3.9")


def test_unknown_is_noted_and_cleared_up_later(world) -> None:
    intent = world.entry()
    world.submit(intent)
    world.report(intent, w.OrderResult(intent.home, "UNKNOWN"))
    world.report(intent, w.filled(intent.home))
    assert world.state.get_symbol_orders("BTC")[0].state == "FILLED"


def test_details_and_the_promised_price_are_kept(world) -> None:
    intent = world.entry()
    world.submit(intent)
    world.report(intent, w.OrderResult(intent.home, "SENT", decision_price=Decimal(99)))
    world.report(intent, w.OrderResult(intent.home, "REJECTED", detail="no", fault="market"))
    result = world.state.get_symbol_orders("BTC")[0]
    assert (result.detail, result.decision_price, result.fault) == ("no", Decimal(99), "market")
    assert world.events[-1].fault == "market"
    world.report(
        intent, w.OrderResult(intent.home, "REJECTED", fills=(w.make_fill(intent.home, Decimal("0.1")),))
    )
    assert world.state.get_symbol_orders("BTC")[0].fault == "market"  # the end stays as it was first reported


def test_reports_that_are_refused(world) -> None:
    intent = world.entry()
    world.submit(intent)
    other = w.filled(replace(intent.home, client_id=f"{intent.intent_id}-h7"))
    for intent_id, result, reason in (
        ("s1-0-1-99", w.filled(intent.home), Refusal.UNKNOWN_INTENT),
        (intent.intent_id, other, Refusal.MALFORMED),
        (intent.intent_id, w.filled(intent.home, Decimal("0.6")), Refusal.MALFORMED),
    ):
        assert quiet(world, Report(0, 1, intent_id, result)).reason is reason


def test_late_repeats_for_an_intent_that_is_over(world) -> None:
    intent = world.entry()
    world.carry_out(intent)
    assert quiet(world, Report(0, 1, intent.intent_id, w.filled(intent.home))) == Noted(intent.intent_id)
    assert quiet(world, Report(0, 1, intent.intent_id, w.OrderResult(intent.home, "SENT"))) == Noted(
        intent.intent_id
    )
    news = w.OrderResult(intent.home, "FILLED", (w.make_fill(intent.home, n=5),))
    reply = quiet(world, Report(0, 1, intent.intent_id, news))
    assert (reply.reason, reply.detail) == (Refusal.UNKNOWN_INTENT, f"{intent.intent_id} is over")


# conclude


def test_nothing_filled_leaves_no_position(world) -> None:
    intent = world.entry()
    world.submit(intent)
    world.report(intent, w.expired(intent.home), w.expired(intent.away))
    settled = world.conclude(intent, done=True)
    assert settled.position is None
    assert settled.available[0] == ("upbit", "KRW", Decimal(100_000_000))
    assert "BTC" not in world.state.results.run


def test_a_repeated_conclusion_is_answered_as_before(world) -> None:
    intent = world.entry()
    world.submit(intent)
    world.report(intent, w.filled(intent.home), w.filled(intent.away))
    settled = world.conclude(intent)
    assert settled.position.state == "OPEN"
    request = Conclude(0, 1, intent.intent_id, Decimal(5), w.FX, True)
    assert quiet(world, request) == settled
    assert quiet(world.restart(), request) == settled


def test_no_conclusion_while_an_order_is_unclear(world) -> None:
    intent = world.entry()
    world.submit(intent)
    world.report(intent, w.filled(intent.home), w.OrderResult(intent.away, "UNKNOWN"))
    reply = quiet(world, Conclude(0, 1, intent.intent_id, Decimal(5), w.FX, True))
    assert (reply.reason, reply.detail) == (
        Refusal.MALFORMED,
        f"{intent.intent_id}-a0 is UNKNOWN, not final",
    )


def test_conclusions_that_are_refused(world) -> None:
    intent = world.entry()
    world.submit(intent)
    world.report(intent, w.filled(intent.home), w.filled(intent.away))
    for intent_id, mark, fx, reason in (
        ("s1-0-1-99", Decimal(1), w.FX, Refusal.UNKNOWN_INTENT),
        (intent.intent_id, Decimal(0), w.FX, Refusal.MALFORMED),
        (intent.intent_id, Decimal("NaN"), w.FX, Refusal.MALFORMED),
        (intent.intent_id, Decimal(1), FxQuote(Decimal(1), Decimal("Infinity")), Refusal.MALFORMED),
    ):
        assert quiet(world, Conclude(0, 1, intent_id, mark, fx, False)).reason is reason


def test_a_leg_is_never_forgotten(world) -> None:
    intent = world.entry()
    world.submit(intent)
    world.report(intent, w.filled(intent.home), w.expired(intent.away))
    settled = world.conclude(intent, done=True)
    assert isinstance(settled, Settled)
    assert settled.position.state == "OPEN"
    assert settled.position.short_base == Decimal("0.5")


def test_the_session_continues_its_count(world) -> None:
    assert world.restart().restart().state.session == 3


def test_modes() -> None:
    from arbshard.config import Config

    assert mode_of(Config()) == "sim-paper"
    assert mode_of(Config(data="public")) == "public-paper"


# a pair that is not traded in this run any more


def test_a_pair_of_an_earlier_run_is_neither_entered_nor_hedged_nor_settled(world) -> None:
    """Its open trade stays as it is until a run trades the pair again: nothing knows its rules here."""
    entry = world.entry("ETH")
    assert isinstance(world.submit(entry), Approved)
    world.report(entry, w.filled(entry.home), w.filled(entry.away))
    world.core.set_universe(w.make_universe("BTC"), world.now_ms)
    requests = (
        Submit(0, world.epoch, world.entry("ETH")),
        extend(world, entry),
        Conclude(0, world.epoch, entry.intent_id, w.HOME_PRICE, w.FX, False),
    )
    for request in requests[1:]:
        reply = quiet(world, request)
        assert isinstance(reply, Refused), request
        assert reply.reason is Refusal.UNKNOWN_PAIR
    reply = world.ask(requests[0])
    assert isinstance(reply, Refused)
    assert reply.reason is Refusal.UNKNOWN_PAIR
    assert entry.intent_id in world.state.trades
    world.core.set_universe(w.make_universe("BTC", "ETH"), world.now_ms)
    assert isinstance(world.ask(requests[2]), Settled)


# what may be spent


def test_each_decision_asks_once_what_may_be_spent_and_says_what_is_left(world, monkeypatch) -> None:
    asked = []
    available = world.core.guard.available
    monkeypatch.setattr(
        world.core.guard, "available", lambda pair: asked.append(pair.base) or available(pair)
    )

    def decide(request, expected):
        asked.clear()
        reply = world.ask(request)
        assert isinstance(reply, expected), reply
        assert asked == ["BTC"], type(request).__name__
        assert reply.available == world.core.guard.available_to_enter(world.pairs["BTC"])

    entry = world.entry()
    decide(Submit(0, 1, entry), Approved)
    decide(Submit(0, 1, entry), Approved)  # again
    decide(Submit(0, 1, world.entry()), Refused)
    let_buy(world, entry)
    hedge = extend(world, entry)
    decide(hedge, Approved)
    decide(hedge, Approved)  # again
    world.report(entry, w.filled(entry.home), w.filled(hedge.order))
    decide(Conclude(0, 1, entry.intent_id, w.HOME_PRICE, w.FX, done=False), Settled)
    decide(Fund(0, 1, "BTC", w.HOME_PRICE), Funded)


def test_an_exit_that_a_person_ends_pauses_like_one_that_ends_by_itself() -> None:
    """It has cost as much; repeated at once, it would cost more than the position within an hour."""
    waits = []
    for is_ended_by_hand in (False, True):
        world = w.World()
        position = world.open_position("BTC")
        leaving = world.exit_of(position)
        assert isinstance(world.submit(leaving), Approved)
        rejected = w.OrderResult(leaving.away, "REJECTED", detail="-1013: filter", fault="order")
        world.report(leaving, rejected, w.expired(leaving.home))
        if is_ended_by_hand:
            world.ask(SetApart(0, 1, "BTC", "stuck", "the venue refuses orders", leaving.intent_id))
            assert isinstance(world.tell(EndIntent("BTC", "it goes nowhere")), Done)
        else:
            world.conclude(leaving)
        assert world.state.attempts["BTC", "exit"].tries == 1
        again = world.submit(replace(world.exit_of(position), lead="away"))
        assert isinstance(again, Refused)
        assert again.reason is Refusal.EXIT_WAITS
        waits.append(again.exit_retry.wait_ms)
    assert waits[0] == waits[1] > 0
