"""Whatever risk refuses concerns a pair and never the process: a real desk and executors over risk's real core."""

import asyncio
from decimal import Decimal, localcontext
from types import SimpleNamespace
from typing import ClassVar

import pytest
from msgspec.structs import replace

from arbshard.config import Config, PaperConfig
from arbshard.engine.edge import Edge
from arbshard.engine.engine import ArbitrageEngine, Entry
from arbshard.execution.executor import BaseExecutor, ExecutorFactory
from arbshard.ledger.events import IntentConcluded, OrderReported, PairSetApart
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.money import MONEY_CONTEXT
from arbshard.model.order import OrderResult
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import (
    Adopt,
    Conclude,
    Denied,
    Done,
    Extend,
    Fund,
    Hello,
    Instructions,
    Refused,
    Report,
    Resume,
    SetApart,
    Submit,
    decode_request,
    encode,
)
from arbshard.wire.reconciliation import EndIntent
from arbshard.worker.assembly import Trader
from arbshard.worker.spare import Assignment
from support import world as w
from support.virtual_time import LoopClock, run

CONFIG = Config(mode="paper")
MANY_DECIMALS = Decimal("0." + "3" * 47)
"""A fee that the ledger cannot hold."""


class Books:
    """Two deep books that stay as they are."""

    def tradable(self, leg):
        price = float(w.HOME_PRICE if leg.market.venue == w.HOME else w.AWAY_PRICE)
        market = leg.market
        return OrderBookSnapshot(
            market.venue, market.symbol, ((price * 0.9999, 1e6),), ((price * 1.0001, 1e6),), None, 1
        )

    def tradable_fx(self):
        return w.FX

    def fx(self):
        return w.FX


class Port:
    """Fills everything but what ``script`` says, by the end of the client id."""

    def __init__(self, script):
        self.script = script

    async def send(self, order):
        await asyncio.sleep(0.01)
        make = self.script.get((order.market.base, order.client_id[-2:]), w.filled)
        return make(order)

    ask = send


class Executors(ExecutorFactory):
    script: ClassVar = {}

    def create_paper_executor(self, pair, paper: PaperConfig):
        made = BaseExecutor(
            pair, Port(self.script), self._risk, self._books, self._execution, self._clock, self._observer
        )
        self._executors[pair.base] = made
        return made


class Desk:
    """One incarnation of a shard's worker, as far as it trades."""

    def __init__(self, world, script, refuse=lambda request: None, shard=0, epoch=1):
        self.world, self.refuse, self.shard, self.epoch = world, refuse, shard, epoch
        self.failures = []
        self.asked = []
        bases = world.universe.shards[shard]
        self.engine = ArbitrageEngine([world.pairs[base] for base in bases], world.universe.fx, CONFIG)
        meter = SimpleNamespace(
            followed=lambda outcome: None,
            count=lambda name: None,
            approved=lambda ns: None,
            order_done=lambda result: None,
            answered=lambda venue, ns: None,
            late=lambda: None,
        )
        factory = type("Scripted", (Executors,), {"script": script})
        self.trader = Trader(
            Assignment(shard, epoch), self.engine, CONFIG, LoopClock(), self, Books(), meter,
            self.failures.append, factory,
        )  # fmt: skip

    async def request(self, payload, *, priority=0):
        """Implements ``RiskTransport``."""
        await asyncio.sleep(0.001)
        request = decode_request(payload)
        self.asked.append(request)
        refused = self.refuse(request)
        with localcontext(MONEY_CONTEXT):
            return encode(refused if refused is not None else self.world.ask(request))

    async def begin(self):
        self.trader.take_over(await self.trader.introduce(1))

    def enter(self, base):
        state = self.engine.pairs[base]
        edge = Edge(0.5, 0.4995, 700.0, 1e6, 700.0, 1e6, 25.0, 30.0, 490_000.0)
        self.trader.desk.act(state, Entry(state.pair, "buy_away", edge, (1399.0, 1401.0)))


class FirstTwo:
    """Refuses each kind of request twice."""

    def __init__(self, kinds, reason):
        self.kinds, self.reason = kinds, reason
        self.count = {}

    def __call__(self, request):
        kind = type(request)
        self.count[kind] = self.count.get(kind, 0) + 1
        if kind in self.kinds and self.count[kind] <= 2:
            return Refused(self.reason, "because the test says so")
        return None


REASONS = [reason for reason in Refusal if reason is not Refusal.STALE_EPOCH]


def half_hedged(base="BTC"):
    """The home leg fills, the away leg does not, and the first hedge does: every kind of request comes up."""
    return {(base, "a0"): w.expired}


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.name)
@pytest.mark.parametrize(
    "kind",
    [Hello, Fund, Submit, Extend, Report, Conclude, Instructions, SetApart, Adopt],
    ids=lambda k: k.__name__,
)
def test_no_refusal_of_any_request_ends_the_worker(kind, reason):
    world = w.World()
    desk = Desk(world, half_hedged(), FirstTwo((kind,), reason))

    async def trade():
        await desk.begin()
        risk = desk.trader.risk
        await risk.instructions()
        for base in ("BTC", "ETH"):
            while await risk.fund(base, w.HOME_PRICE) is None:
                await asyncio.sleep(0.25)
        while await risk.adopt(("ETH",)) is None:
            await asyncio.sleep(0.1)
        await risk.set_apart("ETH", "stuck", "a test", "")
        world.tell(Resume("", ("ETH",))) if "ETH" in world.state.standing.apart else None
        for _ in range(3 if kind is Submit else 1):
            desk.enter("BTC")
            await asyncio.sleep(60)
        desk.enter("ETH")
        await asyncio.sleep(5)

    run(trade())
    assert desk.failures == []
    assert world.state.get_symbol_positions("ETH"), "the other pair has traded"
    if reason is Refusal.UNKNOWN_INTENT and kind in (Report, Extend):
        return  # to the worker the intent is over; risk, which has not ended it, keeps it open
    (position,) = world.state.get_symbol_positions("BTC")
    assert abs(position.imbalance) < Decimal("0.001")  # the hedge was booked, too
    apart = [event.cause for event in world.events if isinstance(event, PairSetApart) and event.pair == "BTC"]
    if kind is Extend and reason is Refusal.BALANCE:
        assert apart == ["stuck"]  # neither venue's order could be paid for
    else:
        assert apart == (["bad_report"] if kind in (Report, Extend, Conclude) else [])


def test_a_newer_incarnation_ends_it():
    world = w.World()
    desk = Desk(world, {}, lambda request: None)

    async def trade():
        await desk.begin()
        world.ask(world.hello(epoch=2))
        desk.enter("BTC")
        await asyncio.sleep(5)

    run(trade())
    assert [type(error).__name__ for error in desk.failures] == ["Fenced"]


def bad_fee(order):
    fill = replace(w.make_fill(order), fee=MANY_DECIMALS)
    return OrderResult(order, "FILLED", (fill,))


def booked(world, base):
    return [event for event in world.events if isinstance(event, OrderReported) and event.pair == base]


@pytest.mark.parametrize("spoiled", ["h0", "a0", "a1"])
def test_a_poisoned_report_sets_its_pair_apart_and_everything_else_goes_on(spoiled):
    """The successor that resumes the intent meets the same report, and goes on likewise."""
    world = w.World()
    script = {("BTC", spoiled): bad_fee}
    if spoiled == "a1":
        script |= half_hedged()
    desk = Desk(world, script)
    successor = Desk(world, script, epoch=2)

    async def trade():
        await desk.begin()
        desk.enter("BTC")
        await asyncio.sleep(1)
        desk.enter("ETH")
        await asyncio.sleep(120)
        await desk.trader.desk.close()
        await successor.begin()
        await asyncio.sleep(120)
        assert successor.trader.desk.busy == 1  # the intent stays open

    run(trade())
    assert desk.failures == successor.failures == []
    assert world.state.get_symbol_positions("ETH")
    apart = world.state.standing.apart["BTC"]
    assert (apart.cause, apart.intent_id) == ("bad_report", world.state.busy["BTC"])
    assert "MALFORMED" in apart.reason
    assert str(MANY_DECIMALS)[:20] in apart.reason
    assert sum(isinstance(event, PairSetApart) for event in world.events) == 1
    # Asked again with growing pauses: not more than twice a minute in the end.
    reports = [one for one in desk.asked if isinstance(one, Report) and one.result.fills]
    assert len(reports) < 14
    # Nothing was done as if the fill had been booked.
    assert not any(event.fills for event in booked(world, "BTC") if event.client_id.endswith(spoiled))
    assert not [one for one in desk.asked if isinstance(one, Conclude) and one.intent_id == apart.intent_id]


def test_a_pair_that_moves_does_not_poison_the_shard_it_comes_to():
    world = w.World()
    script = {("BTC", "h0"): bad_fee}
    desk = Desk(world, script)
    moved = replace(world.universe, shards=((), ("BTC", "ETH")), given_up=(0,))

    async def trade():
        await desk.begin()
        desk.enter("BTC")
        await asyncio.sleep(5)
        await desk.trader.desk.close()
        world.universe = moved
        world.core.set_universe(moved, world.now_ms)
        other = Desk(world, script, shard=1)
        await other.begin()
        await asyncio.sleep(60)
        other.enter("ETH")
        await asyncio.sleep(5)
        return other

    other = run(trade())
    assert other.failures == []
    assert world.state.get_symbol_positions("ETH")
    assert "BTC" in world.state.busy


@pytest.mark.parametrize("again", [False, True], ids=["the worker that met it", "its successor"])
def test_a_person_ends_the_intent_with_what_is_booked(again):
    """Then the pair can be released; what the venue did beyond that is a difference of the balances."""
    world = w.World()
    script = {("BTC", "a0"): bad_fee}
    desk = Desk(world, script)

    async def trade():
        now = desk
        await now.begin()
        now.enter("BTC")
        await asyncio.sleep(5)
        if again:
            await now.trader.desk.close()
            now = Desk(world, script, epoch=2)
            await now.begin()
            await asyncio.sleep(5)
        assert world.tell(EndIntent("ETH", "")) == Denied(
            "ETH is not set apart: its intents come to their end by themselves"
        )
        assert isinstance(world.tell(EndIntent("NOPE", "")), Denied)
        answer = world.tell(EndIntent("BTCUSDT", "the fee is wrong"))
        assert isinstance(answer, Done), answer
        assert world.tell(EndIntent("BTC", "")) == Denied("BTC has no open intent")
        assert answer.text.endswith("its position is open; BTC stays set apart")
        await asyncio.sleep(40)
        assert now.trader.desk.busy == 0  # the worker has heard of it
        assert not now.failures
        world.tell(Resume("", ("BTC",)))
        return now

    now = run(trade())
    (position,) = now.engine.pairs["BTC"].held
    (stored,) = world.state.get_symbol_positions("BTC")
    assert position.position_id == stored.position_id
    ended = [event for event in booked(world, "BTC") if event.detail.startswith("ended by hand")]
    assert [(event.client_id[-2:], event.state) for event in ended] == [("a0", "EXPIRED")]
    assert isinstance(world.events[-3], IntentConcluded)
    assert all(balance.held == 0 for _, balance in world.state.balances.items())
    assert w.World.restart(world).state.state_hash()  # what was stored can be replayed
