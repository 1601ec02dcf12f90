"""What cost users of other engines money, one test each."""

from decimal import Decimal

import msgspec
import pytest

from arbshard.config import Config
from arbshard.engine.engine import ArbitrageEngine, Entry
from arbshard.engine.quality import View
from arbshard.errors import FrameError
from arbshard.execution.plan import plan_entry
from arbshard.execution.two_leg import Ask, Pause, SendOrders, TwoLeg, TwoLegEnd
from arbshard.ledger.events import IntentApproved, OrderReported
from arbshard.model.order import OrderResult
from arbshard.model.refusal import Refusal
from arbshard.venues.registry import get_venue
from arbshard.wire.messages import Approved, Conclude, Noted, Refused, Report, Submit
from support import world as w
from support.funds import give
from support.two_leg import NOW

WIDE = 100.0
MS = 1_000_000


@pytest.fixture
def engine(make):
    one = ArbitrageEngine([make.pair], make.fx_leg, Config())
    give(one, one.pairs["BTC"])
    one.observe(0, make.view(make.fx_book()))
    return one


def look(engine, make, gap, now_ns=None, home_ns=None, away_ns=None):
    now_ns = now_ns or make.now_ns
    home = make.home_book(gap, received_ns=home_ns or now_ns)
    away = make.away_book(received_ns=away_ns or now_ns)
    engine.observe(1, make.view(home))
    engine.observe(2, make.view(away))
    return engine.evaluate(engine.pairs["BTC"], now_ns)


def run_to_the_end(machine, make, fill=Decimal(1)):
    """Let every follow-up fill (its share ``fill``); returns the follow-ups and the last step."""
    followed = []
    for _ in range(50):
        step = machine.next_step(make.home_book(), make.away_book(), NOW)
        if isinstance(step, TwoLegEnd):
            return followed, step
        assert isinstance(step, SendOrders), step
        for order in step.orders:
            followed.append(order)
            machine.record(
                make.result(order, "FILLED" if fill == 1 else "EXPIRED", order.quantity * fill), NOW
            )
    raise AssertionError("no end")


def test_a_cancel_crosses_a_fill(make):
    """The venue says canceled, and the fill that was on its way arrives with it: the difference is hedged."""
    intent = make.intent("entry", "buy_home", "0.002")
    machine = TwoLeg(intent, make.pair, None, Config().execution)
    machine.next_step(make.home_book(), make.away_book(), NOW)
    machine.record(make.result(intent.home, "FILLED", "0.002"), NOW)
    machine.record(OrderResult(intent.away, "UNKNOWN"), NOW)
    assert isinstance(machine.next_step(make.home_book(), make.away_book(), NOW), Ask)
    machine.record(make.result(intent.away, "CANCELED", "0.0008"), NOW)
    step = machine.next_step(make.home_book(), make.away_book(), NOW)
    assert isinstance(step, SendOrders)
    (hedge,) = step.orders
    assert (hedge.side, hedge.role, hedge.quantity) == ("sell", "hedge", Decimal("0.0012"))
    machine.record(make.result(hedge, "FILLED", hedge.quantity), NOW)
    assert machine.next_step(make.home_book(), make.away_book(), NOW) == TwoLegEnd(closed=False)
    assert machine.imbalance == 0


def test_the_second_opportunity_comes_before_the_first_is_confirmed(engine, make):
    assert isinstance(look(engine, make, -WIDE), Entry)
    engine.pairs["BTC"].busy = True
    assert look(engine, make, -2 * WIDE) is None
    world = w.World()
    assert isinstance(world.submit(world.entry()), Approved)
    second = world.submit(world.entry())
    assert isinstance(second, Refused)
    assert second.reason is Refusal.PAIR_BUSY


@pytest.mark.parametrize("direction", ["buy_home", "buy_away"])
@pytest.mark.parametrize("rejected", ["home", "away"])
def test_one_leg_fills_and_the_other_is_rejected(make, direction, rejected):
    intent = make.intent("entry", direction, "0.002")
    machine = TwoLeg(intent, make.pair, None, Config().execution)
    machine.next_step(make.home_book(), make.away_book(), NOW)
    good, bad = (intent.away, intent.home) if rejected == "home" else (intent.home, intent.away)
    machine.record(make.result(good, "FILLED", good.quantity), NOW)
    machine.record(OrderResult(bad, "REJECTED", detail="insufficient funds"), NOW)
    assert machine.imbalance != 0
    followed, _ = run_to_the_end(machine, make)
    assert followed
    assert followed[0].side == bad.side
    assert abs(machine.imbalance) < make.away.rules.lot


def test_a_venue_that_goes_dark_with_one_leg_filled_leaves_nothing_naked(make):
    """The other venue's book lives on: the leg is taken back there within seconds, and is not forgotten before."""
    intent = make.intent("entry", "buy_home", "0.002")
    machine = TwoLeg(intent, make.pair, None, Config().execution)
    machine.next_step(make.home_book(), make.away_book(), NOW)
    machine.record(make.result(intent.home, "FILLED", "0.002"), NOW)
    machine.record(OrderResult(intent.away, "REJECTED"), NOW)
    assert isinstance(machine.next_step(make.home_book(), None, NOW), Pause)
    step = machine.next_step(make.home_book(), None, NOW + 2_000_000_000)
    assert isinstance(step, SendOrders)
    assert (step.orders[0].role, step.orders[0].market) == ("unwind", make.home.market)


def test_a_retried_message_trades_twice():
    """Lost replies make workers repeat themselves: each thing happens once."""
    world = w.World()
    intent = world.entry()
    submit = Submit(world.shard, world.epoch, intent)
    assert isinstance(world.ask(submit), Approved)
    free = world.state.balance("binance", "USDT").available
    assert isinstance(world.ask(submit), Approved)
    assert world.state.balance("binance", "USDT").available == free
    report = Report(world.shard, world.epoch, intent.intent_id, w.filled(intent.away))
    assert isinstance(world.ask(report), Noted)
    total = world.state.balance("binance", "USDT").total
    assert isinstance(world.ask(report), Noted)
    assert world.state.balance("binance", "USDT").total == total
    world.ask(Report(world.shard, world.epoch, intent.intent_id, w.filled(intent.home)))
    conclude = Conclude(world.shard, world.epoch, intent.intent_id, w.HOME_PRICE, w.FX, False)
    first = world.ask(conclude)
    assert world.ask(conclude) == first
    assert isinstance(world.ask(submit), Refused), "an intent that is over must not send its orders again"
    assert sum(isinstance(event, IntentApproved) for event in world.events) == 1
    assert sum(isinstance(event, OrderReported) for event in world.events) == 2


def test_residue_below_the_other_venues_minimum_does_not_stop_the_pair(engine, make):
    """0.00004 BTC is 5,800 KRW: enough for Upbit, too little for Binance. The position ends, the pair goes on."""
    position = make.position("buy_home", "0.001")
    intent = make.intent("exit", "buy_away", "0.001")
    machine = TwoLeg(intent, make.pair, position, Config().execution)
    machine.next_step(make.home_book(), make.away_book(), NOW)
    machine.record(make.result(intent.home, "EXPIRED", "0.00096"), NOW)
    machine.record(make.result(intent.away, "EXPIRED", Decimal("0.00096") / Decimal("0.999")), NOW)
    assert machine.next_step(make.home_book(), make.away_book(), NOW) == TwoLegEnd(closed=True)
    engine.set_positions(engine.pairs["BTC"], [], make.now_ns, make.now_ms)
    assert isinstance(look(engine, make, -WIDE), Entry)


@pytest.mark.parametrize("gap", [-WIDE, WIDE])
def test_quantities_are_right_although_the_two_quotes_differ(engine, make, gap):
    """An order limit in KRW bounds a purchase in USDT by its worth in KRW, and both legs are the same coins."""
    trade = look(engine, make, gap)
    assert isinstance(trade, Entry)
    intent = plan_entry(trade, "s1-0-1-1", make.now_ms)
    bought, sold = (intent.home, intent.away) if gap < 0 else (intent.away, intent.home)
    rate = 1 if gap < 0 else Decimal(1391)
    worth = bought.quantity * bought.limit * rate
    assert 500_000 < worth < 1_001_000
    kept = Decimal(1) if gap < 0 else Decimal("0.999")
    assert sold.quantity == pytest.approx(bought.quantity * kept, abs=Decimal("0.00001"))
    assert sold.quantity <= bought.quantity * kept


def test_a_missing_fx_rate_is_not_taken_as_1(make):
    engine = ArbitrageEngine([make.pair], make.fx_leg, Config())
    give(engine, engine.pairs["BTC"])
    assert look(engine, make, -WIDE) is None
    assert engine.pairs["BTC"].refusal is Refusal.FX_MISSING
    engine.observe(0, make.view(make.fx_book(received_ns=make.now_ns - 6_000 * MS)))
    assert look(engine, make, -WIDE) is None
    assert engine.pairs["BTC"].refusal is Refusal.FX_STALE
    engine.observe(0, make.view(make.fx_book()))
    assert isinstance(look(engine, make, -WIDE), Entry)


def test_a_frozen_book_is_not_traded_for_minutes(engine, make):
    """One venue's stream stands still while its connection is up: refused from the first second and a half on."""
    frozen_ns = make.now_ns
    for second in range(1, 120):
        now_ns = frozen_ns + second * 1_000 * MS
        engine.observe(0, make.view(make.fx_book(received_ns=now_ns)))
        trade = look(engine, make, -WIDE, now_ns, home_ns=now_ns, away_ns=frozen_ns)
        if second * 1000 > 1500:
            assert trade is None
            assert engine.pairs["BTC"].refusal is Refusal.BOOK_STALE


def test_nothing_is_bought_dear_and_sold_cheap_after_a_crossed_book(engine, make):
    """A crossed frame shows a gap that is not there. It is counted, and the market waits for a good one."""
    upbit = get_venue("upbit")
    unit = {"ap": 140_000_000, "bp": 146_000_000, "as": 1.0, "bs": 1.0}
    frame = msgspec.json.encode(
        {"ty": "orderbook", "cd": "KRW-BTC", "tms": 1, "obu": [unit], "st": "REALTIME"}
    )
    with pytest.raises(FrameError, match="crossed"):
        upbit.decode(frame, make.now_ns)
    assert isinstance(look(engine, make, -WIDE), Entry)
    engine.observe(1, View(None, live=True, bad=True))
    assert engine.evaluate(engine.pairs["BTC"], make.now_ns) is None
    assert engine.pairs["BTC"].refusal is Refusal.BOOK_BAD
