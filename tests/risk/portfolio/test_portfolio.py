"""The state: what each event does to it, and what it refuses to believe."""

from decimal import Decimal
from typing import get_args

import pytest
from msgspec.structs import replace

from arbshard.errors import LedgerDamaged
from arbshard.ledger.events import (
    AccountOpened,
    ClosesOrdered,
    CoinConfirmed,
    Deposited,
    DifferenceFound,
    DifferenceResolved,
    Event,
    Halted,
    Hold,
    IntentConcluded,
    LeaderBegan,
    LimitsChanged,
    LimitsScaled,
    OrderReported,
    PairReleased,
    PairSetApart,
    PositionClosed,
    PositionOpened,
    RefusalsCounted,
    Resumed,
    ShardFenced,
    ShardGranted,
    ShardJoined,
    Started,
    Stopped,
    StrayFound,
    StrayGone,
    TransferAnnounced,
    TransferEnded,
    VenueStateChanged,
)
from arbshard.model.money import ONE
from arbshard.model.order import Order
from arbshard.model.refusal import Refusal
from arbshard.risk.portfolio.holdings import Balance
from arbshard.risk.portfolio.state import GrantedShard, PortfolioState
from arbshard.wire.messages import Approved, Extend
from support import world as w


@pytest.fixture
def world():
    return w.World()


def held(world) -> dict:
    return {account: one.held for account, one in world.state.balances.items() if one.held}


def test_a_fresh_ledger_has_its_opening_balances() -> None:
    world = w.World(ready=False)
    world.start()
    assert world.state.session == 1
    assert world.state.balances.totals() == (
        ("binance", "USDT", Decimal(70_000)),
        ("upbit", "KRW", Decimal(100_000_000)),
    )


def test_an_approval_holds_what_both_orders_can_spend(world) -> None:
    world.submit(world.entry(direction="buy_home"))
    assert held(world) == {("upbit", "KRW"): Decimal(500250), ("binance", "BTC"): Decimal("0.5")}
    balance = world.state.balance("upbit", "KRW")
    assert balance.available == Decimal(100_000_000) - Decimal(500250)


def test_a_fill_spends_its_hold_first(world) -> None:
    intent = world.entry(direction="buy_home")
    world.submit(intent)
    fill = w.make_fill(intent.home, Decimal("0.2"))
    world.report(intent, w.OrderResult(intent.home, "PARTIAL", (fill,)))
    krw = world.state.balance("upbit", "KRW")
    assert krw.total == Decimal(100_000_000) - 200_000 - 100
    assert krw.held == Decimal(500250) - 200_100
    assert krw.available == Decimal(100_000_000) - Decimal(500250)
    assert world.state.balance("upbit", "BTC") == Balance(Decimal("4.2"))


def test_a_final_order_holds_nothing_more(world) -> None:
    intent = world.entry(direction="buy_home")
    world.submit(intent)
    world.report(intent, w.filled(intent.home, Decimal("0.2")))
    assert held(world) == {("binance", "BTC"): Decimal("0.5")}
    world.report(intent, w.expired(intent.away))
    assert held(world) == {}


def test_after_a_round_trip_nothing_is_held_and_nothing_open(world) -> None:
    position = world.round_trip()
    assert held(world) == {}
    assert world.state.positions == {}
    assert world.state.get_symbol_positions("BTC") == ()
    assert world.state.trades == world.state.busy == {}
    assert world.state.closed == {position.position_id: position}


def test_positions_and_orders_by_symbol(world) -> None:
    position = world.open_position("BTC")
    assert world.state.per_symbol_positions == {"BTC": {position.position_id: position}}
    assert world.state.get_symbol_positions("BTC") == (position,)
    assert world.state.get_total_symbol_position_value("BTC") == position.entry_notional
    assert world.state.get_total_symbol_position_value("ETH") == 0
    assert world.state.get_symbol_orders("BTC") == ()
    intent = world.entry("ETH")
    world.submit(intent)
    assert [one.order for one in world.state.get_symbol_orders("ETH")] == [intent.home, intent.away]
    assert list(world.state.per_symbol_orders) == ["ETH"]
    assert world.state.exposure == position.entry_notional + Decimal(350) * 1401


def test_a_position_does_not_move_before_its_intent_has_ended(world) -> None:
    position = world.open_position()
    leave = world.exit_of(position)
    world.submit(leave)
    world.report(leave, w.filled(leave.home))
    assert world.state.get_symbol_positions("BTC") == (position,)  # a successor adds the fills itself


def test_doubted_ends_are_counted(world) -> None:
    position = world.open_position()
    leave = world.exit_of(position)
    world.submit(leave)
    from arbshard.model.order import OrderResult

    world.report(leave, OrderResult(leave.home, "EXPIRED"), OrderResult(leave.away, "EXPIRED"))
    settled = world.conclude(leave, done=True)
    assert settled.position.state == "OPEN"
    assert world.state.results.doubted == {"BTC": 1}
    assert world.state.positions == {position.position_id: position}


def test_an_unwound_entry_never_was_an_open_position(world) -> None:
    intent = world.entry()
    closed = world.carry_out(
        intent, w.expired(intent.home), w.filled(intent.away, Decimal("0.01")), done=True
    )
    assert closed.reason == "entry_unwound"
    assert world.state.positions == {}
    totals = world.state.results.run["BTC"]
    assert (totals.entries, totals.exits) == (1, 1)
    assert world.state.results.residue == {("binance", "BTC"): Decimal("0.00999")}


def test_a_new_run_keeps_positions_and_begins_its_own_results(world) -> None:
    position = world.open_position()
    world.stop()
    again = world.restart("run-2")
    assert again.state.session == 2
    assert again.state.positions == {position.position_id: position}
    assert again.state.results.run == {}
    assert again.state.results.lifetime[""].entries == 1


def test_a_restart_of_risk_within_a_run_keeps_the_results_of_the_run(world) -> None:
    world.open_position()
    again = world.restart()
    assert again.state.session == 2
    assert again.state.results.run == world.state.results.run != {}
    assert again.state.results.approved == world.state.results.approved != {}


def test_shards_keep_their_epochs_within_a_run_only(world) -> None:
    assert world.restart("run-1").state.shards[0].epoch == 1
    assert world.restart("run-2").state.shards == {}


def test_a_grant_refuses_the_epochs_of_every_older_one(world) -> None:
    state = world.state
    state.apply(ShardGranted(at_ms=1, shard=0, host="b", grant=4))
    assert state.shards[0].lowest == 4_000
    assert state.shards[0].is_fenced
    state.apply(ShardJoined(at_ms=2, shard=0, epoch=4_001, pid=1))
    assert not state.shards[0].is_fenced
    state.apply(ShardFenced(at_ms=3, shard=0, epoch=4_001, reason="no beat"))
    state.apply(ShardGranted(at_ms=4, shard=0, host="a", grant=5))
    assert state.shards[0].lowest == 5_000
    assert state.grants == {0: GrantedShard("a", 5)}
    with pytest.raises(LedgerDamaged, match="joined at the fenced epoch 4002"):
        state.apply(ShardJoined(at_ms=5, shard=0, epoch=4_002, pid=1))


@pytest.mark.parametrize("grant", [4, 5])
def test_a_grant_whose_number_does_not_grow_is_damage(grant) -> None:
    state = PortfolioState()
    state.apply(ShardGranted(at_ms=1, shard=2, host="b", grant=5))
    with pytest.raises(LedgerDamaged, match=f"grant {grant} of shard 2 follows its grant 5"):
        state.apply(ShardGranted(at_ms=2, shard=2, host="a", grant=grant))


@pytest.mark.parametrize("term", [6, 7])
def test_a_term_that_does_not_grow_is_damage(term) -> None:
    state = PortfolioState()
    state.apply(LeaderBegan(at_ms=1, term=7, host="a"))
    assert (state.term, state.leader) == (7, "a")
    with pytest.raises(LedgerDamaged, match=f"term {term} follows term 7"):
        state.apply(LeaderBegan(at_ms=2, term=term, host="b"))


def test_grants_and_term_outlive_the_run(world) -> None:
    world.state.apply(ShardGranted(at_ms=1, shard=0, host="b", grant=4))
    world.state.apply(LeaderBegan(at_ms=1, term=7, host="a"))
    world.events += [
        ShardGranted(at_ms=1, shard=0, host="b", grant=4),
        LeaderBegan(at_ms=1, term=7, host="a"),
    ]
    state = world.restart("run-2").state
    assert (state.term, state.grants) == (7, {0: GrantedShard("b", 4)})


def reported(world, intent, **changes) -> OrderReported:
    made = OrderReported(
        at_ms=1,
        intent_id=intent.intent_id,
        pair="BTC",
        client_id=intent.home.client_id,
        state="ACCEPTED",
        detail="",
        decision_price=Decimal(0),
        fills=(),
    )
    return replace(made, **changes)


def test_events_that_contradict_the_state(world) -> None:
    intent = world.entry()
    world.submit(intent)
    approved = world.events[-1]
    fill = w.make_fill(intent.home, Decimal("0.1"))
    state = world.state
    state.apply(reported(world, intent, fills=(fill,)))
    before = state.state_hash()
    for event, said in (
        (approved, "while BTC was busy"),
        (reported(world, intent, intent_id="nobody"), "intent nobody is not open"),
        (reported(world, intent, client_id="x"), "x is not an order of"),
        (reported(world, intent, fills=(fill,)), "booked twice"),
        (Started(at_ms=1, session=7, run="r", mode="m", version="v", reporting="KRW"), "session 7 follows"),
        (Stopped(at_ms=1, balances=()), "balances at the stop"),
        (
            IntentConcluded(
                at_ms=1,
                intent_id=intent.intent_id,
                pair="BTC",
                mark=Decimal(1),
                fx=w.FX,
                done=False,
                position_id="",
                position_state=None,
            ),
            "not what it states",
        ),
    ):
        with pytest.raises(LedgerDamaged, match=said):
            state.apply(event)
        assert state.state_hash() == before, said


def conclusion_of(world) -> int:
    """Where in the events the first conclusion stands."""
    return next(n for n, event in enumerate(world.events) if isinstance(event, IntentConcluded))


def replayed(events) -> PortfolioState:
    state = PortfolioState()
    for event in events:
        state.apply(event)
    return state


def test_a_conclusion_must_be_followed_by_its_statement(world) -> None:
    world.open_position()
    world.stop()
    at = conclusion_of(world)
    with pytest.raises(LedgerDamaged, match="no statement"):
        replayed(world.events[: at + 1] + world.events[at + 2 :])


def test_a_statement_must_be_what_the_fills_add_up_to(world) -> None:
    world.open_position()
    at = conclusion_of(world) + 1
    stated = world.events[at]
    assert isinstance(stated, PositionOpened)
    for wrong in (
        replace(stated, position=replace(stated.position, fees=Decimal(1))),
        replace(stated, intent_id="s1-0-1-99"),
        PositionClosed(at_ms=1, intent_id=stated.intent_id, position=stated.position),
    ):
        with pytest.raises(LedgerDamaged, match=r"is not what its fills|is stated as"):
            replayed([*world.events[:at], wrong])


def test_a_statement_out_of_nothing(world) -> None:
    world.open_position()
    with pytest.raises(LedgerDamaged, match="is not what its fills"):
        world.state.apply(world.events[-1])


def test_an_extension_is_recorded_once(world) -> None:
    intent = world.entry()
    world.submit(intent)
    trade = world.state.trades[intent.intent_id]
    with pytest.raises(LedgerDamaged, match="recorded before"):
        world.state.add_symbol_order(trade, intent.home, Hold("x", "upbit", "KRW", Decimal(0)))


def test_what_is_remembered_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr("arbshard.risk.portfolio.state.CLOSED_KEPT", 2)
    monkeypatch.setattr("arbshard.risk.portfolio.state.OUTCOMES_KEPT", 3)
    monkeypatch.setattr("arbshard.risk.portfolio.state.REFUSALS_KEPT", 2)
    world = w.World()
    for _ in range(4):
        world.round_trip()
    open_one = world.entry()
    world.submit(open_one)
    for _ in range(5):
        world.now_ms += 10_000  # repeated sooner, a refusal is only counted
        world.submit(world.entry())
    state = world.state
    assert [one.position_id for one in state.closed.values()] == ["s1-0-1-5", "s1-0-1-7"]
    assert list(state.outcomes) == ["s1-0-1-6", "s1-0-1-7", "s1-0-1-8"]
    assert list(state.refusals) == ["s1-0-1-13", "s1-0-1-14"]
    assert state.spent == {"s1-0-1": 12}
    assert world.restart().state.closed == state.closed
    assert replayed(world.events).state_hash() == state.state_hash()


def test_a_rollback_takes_everything_back(world) -> None:
    world.open_position("ETH")
    before = world.state.state_hash()
    intent = world.entry()
    core = world.core
    for request in (
        w.Submit(0, 1, intent),
        w.Report(0, 1, intent.intent_id, w.filled(intent.home)),
        w.Report(0, 1, intent.intent_id, w.filled(intent.away)),
        w.Conclude(0, 1, intent.intent_id, Decimal(1_000_000), w.FX, False),
        w.Submit(0, 1, world.entry()),
        w.Hello(1, 3, 9, ("BTC",)),
    ):
        core.handle(request, world.now_ms, world.phase)
    core.start(world.now_ms, "run-9", "v")
    core.stop(world.now_ms)
    assert world.state.state_hash() != before
    assert not world.state.is_settled
    core.rollback()
    assert world.state.state_hash() == before
    assert world.state.is_settled
    assert world.carry_out(intent).state == "OPEN"


def test_what_is_overdrawn_is_not_free() -> None:
    assert Balance(Decimal(5), Decimal(7)).available == 0


def test_refusals_are_counted_by_symbol_but_not_for_strangers(world) -> None:
    stranger = replace(world.entry(), pair="XRP")
    world.submit(stranger)
    world.submit(world.entry("ETH"))
    world.submit(world.entry("ETH"))
    assert world.state.results.refused == {("", Refusal.UNKNOWN_PAIR): 1, ("ETH", Refusal.PAIR_BUSY): 1}


def every_kind_of_event() -> list[Event]:
    """A history in which each kind of event occurs."""
    world = w.World(bases=("BTC", "ETH"))
    world.round_trip("BTC", home_out=Decimal(1_001_000))
    held = world.open_position("ETH")
    leave = world.exit_of(held)
    world.carry_out(leave, w.filled(leave.home, Decimal("0.2")), w.expired(leave.away))
    world.submit(world.entry("BTC", quantity=Decimal(10) ** 9))
    intent = world.entry("BTC")
    world.submit(intent)
    world.report(intent, w.filled(intent.away))
    hedge = Order(
        f"{intent.intent_id}-h1", intent.home.market, "sell", Decimal("0.4"), Decimal(999_000), "hedge"
    )
    world.ask(Extend(0, 1, intent.intent_id, hedge))
    world.stop()
    world.start("run-2")
    announced = TransferAnnounced(
        at_ms=13,
        transfer_id="t1",
        source="upbit",
        target="binance",
        currency="ETH",
        amount=ONE,
        fee=Decimal(0),
        price=Decimal(9),
        reason="",
    )
    return [
        *world.events,
        Halted(at_ms=1, cause="operator", reason="lunch"),
        Resumed(at_ms=2, reason="back", acknowledged=("drawdown 1 5",)),
        ClosesOrdered(at_ms=3, pairs=("ETH",), reason="manual"),
        PairSetApart(at_ms=3, pair="ETH", cause="stuck", reason="no hedge", intent_id="s1-0-1-9"),
        VenueStateChanged(
            at_ms=6, venue="upbit", symbol="KRW-ETH", state="refuses", why="market_offline", fault="market"
        ),
        PairReleased(at_ms=4, pair="ETH", reason="looked into"),
        CoinConfirmed(at_ms=4, pair="ETH", ratio=Decimal("1.5"), reason="one contract"),
        LimitsChanged(at_ms=4, symbol="ETH", changes=(("symbol_positions_max", "3"),)),
        LimitsScaled(at_ms=5, symbol="", factor=Decimal("0.5"), cause="x"),
        RefusalsCounted(at_ms=6, counts=(("ETH", Refusal.HALTED, 7),)),
        ShardFenced(at_ms=7, shard=0, epoch=1, reason="no beat"),
        LeaderBegan(at_ms=7, term=3, host="a"),
        ShardGranted(at_ms=7, shard=0, host="b", grant=4),
        AccountOpened(at_ms=8, venue="upbit"),
        DifferenceFound(at_ms=9, venue="upbit", currency="KRW", stated=Decimal(7), booked=Decimal(9)),
        StrayFound(at_ms=10, venue="upbit", client_id="x", symbol="KRW-ETH", remaining=ONE, pair="ETH"),
        DifferenceResolved(at_ms=11, venue="upbit", currency="KRW", how="agrees"),
        StrayGone(at_ms=12, venue="upbit", client_id="x", pair="ETH"),
        announced,
        Deposited(at_ms=14, venue="upbit", currency="ETH", amount=-ONE, why="transfer", transfer="t1"),
        TransferEnded(
            at_ms=15, transfer_id="t1", currency="ETH", how="lost", fee=ONE, value=Decimal(-9), day=3
        ),
    ]


def test_every_event_can_be_taken_back_whole() -> None:
    """Whoever assigns a field without remembering it first is found here."""
    state = PortfolioState()
    kinds = set()
    for event in every_kind_of_event():
        before = state.state_hash()
        state.apply(event)
        after = state.state_hash()
        state.rollback()
        assert state.is_settled
        assert state.state_hash() == before, event
        state.apply(event)
        assert state.state_hash() == after, event
        state.commit()
        kinds.add(type(event))
    assert kinds == set(get_args(Event))


@pytest.mark.parametrize("kind", ["entry", "exit"])
def test_a_conclusion_that_does_not_fit_its_position_is_damage(world, kind) -> None:
    """An entry of a position that is there, and an exit of one that is not."""
    opened = world.open_position()
    intent = world.exit_of(opened) if kind == "exit" else world.entry("ETH")
    assert isinstance(world.submit(intent), Approved)
    world.report(intent, w.filled(intent.home), w.filled(intent.away))
    before = len(world.events)
    if kind == "exit":
        del world.state.positions[opened.position_id]
    else:
        world.state.positions[intent.position_id] = opened
    event = IntentConcluded(
        at_ms=world.now_ms,
        intent_id=intent.intent_id,
        pair=intent.pair,
        mark=w.HOME_PRICE,
        fx=w.FX,
        done=False,
        position_id="",
        position_state=None,
    )
    with pytest.raises(LedgerDamaged, match=f"does not fit an {kind}"):
        world.state.apply(event)
    assert len(world.events) == before
