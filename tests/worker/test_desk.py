"""The desk: one intent per pair at a time, and a mirror of what risk says."""

import asyncio
from decimal import Decimal
from functools import partial
from types import SimpleNamespace

import pytest

from arbshard.config import Config, StrategyConfig
from arbshard.engine.closing import close_now
from arbshard.engine.edge import find_edge
from arbshard.engine.engine import ArbitrageEngine, Entry, Exit
from arbshard.execution.executor import BaseExecutor, IntentOutcome
from arbshard.execution.plan import plan_exit
from arbshard.execution.ports import Fenced
from arbshard.model.intent import OpenIntent, Retry
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Funded, Refused, Settled, Welcome
from arbshard.worker.desk import Desk
from support.funds import Funds, funds_of

ALL = (
    ("upbit", "KRW", Decimal("1000000.5")),
    ("upbit", "BTC", Decimal("0.3")),
    ("binance", "USDT", Decimal(700)),
    ("binance", "BTC", Decimal("0.4")),
)


class Executor(BaseExecutor):
    """Keeps positions as every executor does, and ends an intent when the test sets ``end``."""

    def __init__(self, pair=None):
        super().__init__(pair, None, None, None, Config().execution, None, None)
        self.intents = []
        self.befores = []
        self.residues = []
        self.resumed = []
        self.end = asyncio.Event()
        self.outcome = None

    async def execute(self, intent, decided_ns=None, seen_ns=0):
        self.intents.append(intent)
        return await self._ended(intent)

    async def resume(self, taken_over):
        self.resumed.append(taken_over)
        return await self._ended(taken_over.intent)

    async def _ended(self, intent):
        self.residues.append(self._residue)
        held = {position.position_id: position for position in self.get_positions()}
        self.befores.append(held.get(intent.position_id))
        await self.end.wait()
        self.end.clear()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome.settled is not None:
            self._settle(self.outcome.settled)
        return self.outcome


class Executors:
    def __init__(self):
        self.made = {}

    def create_paper_executor(self, pair, paper):
        return self.made.setdefault(pair.base, Executor(pair))

    def get_executor(self, base):
        return self.made.get(base)

    def get_all_executors(self):
        return self.made


class Risk:
    def __init__(self):
        self.funds = []
        self.go_on = asyncio.Event()
        self.answer: Funded | None = Funded(ALL)
        self.begun = []

    def begin(self, intent):
        self.begun.append(intent)

    async def fund(self, pair, home_price):
        self.funds.append((pair, home_price))
        await self.go_on.wait()
        return self.answer


class LiveExecutors(Executors):
    def __init__(self):
        super().__init__()
        self.given = {}

    def create_live_executor(self, pair, port, live, observer):
        self.given[pair.base] = (port, live, observer)
        return self.create_paper_executor(pair, None)


@pytest.fixture
async def room(make, clock):
    """A desk with all that is around it; nothing of it survives the test."""
    config = Config(strategy=StrategyConfig(cooldown_ms=500.0))
    eth = make.other_pair()
    engine = ArbitrageEngine([make.pair, eth], make.fx_leg, config)
    counts = []
    meter = SimpleNamespace(count=counts.append)
    failures = []
    executors, risk = Executors(), Risk()
    desk = Desk(engine, executors, risk, config, clock, meter, failures.append)
    around = SimpleNamespace(
        desk=desk, engine=engine, executors=executors, risk=risk, clock=clock, counts=counts,
        failures=failures, btc=engine.pairs["BTC"], eth=engine.pairs["ETH"], funds=partial(funds_of, engine),
    )  # fmt: skip
    yield around
    await desk.close()


async def turn():
    for _ in range(5):
        await asyncio.sleep(0)


def entry(make):
    edge = find_edge(
        make.home_book(-100.0).asks, make.away_book().bids,
        ArbitrageEngine([make.pair], make.fx_leg, Config()).pairs["BTC"].buy_home,
        1390.0, entry_bps=0.0, min_edge_bps=0.0, cost_max=1e6, sell_max=1.0,
    )  # fmt: skip
    assert edge is not None
    return Entry(make.pair, "buy_home", edge, make.fx)


def leaving(make, room, position_id="s1-0-1-0"):
    held = next(held for held in room.btc.held if held.position_id == position_id)
    closing = close_now(held, make.home_book(), make.away_book(), make.fx, room.btc.buy_away)
    return Exit(make.pair, position_id, "buy_away", "take_profit", closing, make.fx)


def welcome(positions=(), intents=(), funded=(), available=()):
    return Welcome(5, tuple(positions), tuple(intents), tuple(funded), tuple(available))


async def finish(room, base, outcome):
    executor = room.executors.made[base]
    executor.outcome = outcome
    executor.end.set()
    await turn()


class TestTakeOver:
    async def test_begins_with_what_risk_knows(self, make, room):
        position = make.position()
        room.desk.take_over(welcome([position], funded=["BTC"], available=ALL), shard=2, epoch=9)
        assert [held.position_id for held in room.btc.held] == [position.position_id]
        assert room.desk.open_positions == 1
        assert room.executors.made["BTC"].get_positions() == (position,)
        assert room.executors.made["ETH"].get_positions() == ()
        assert room.funds(room.btc) == Funds(1_000_000.5, 0.3, 700.0, 0.4)
        assert room.funds(room.eth) is None
        assert sorted(room.executors.made) == ["BTC", "ETH"]
        assert room.desk.busy == 0

    async def test_intent_without_outcome_is_carried_on(self, make, room):
        taken_over = OpenIntent(make.intent(), ())
        room.desk.take_over(welcome(intents=[taken_over]), shard=0, epoch=2)
        assert room.btc.busy
        assert room.desk.busy == 1
        await turn()
        executor = room.executors.made["BTC"]
        assert executor.resumed == [taken_over]
        assert executor.befores == [None]
        opened = make.position(position_id="s1-0-1-1")
        await finish(room, "BTC", IntentOutcome(None, Settled("s1-0-1-1", opened, ())))
        assert not room.btc.busy
        assert room.desk.open_positions == 1

    async def test_exit_is_carried_on_with_its_position(self, make, room):
        position = make.position()
        taken_over = OpenIntent(make.intent("exit", "buy_away"), ())
        room.desk.take_over(welcome([position], [taken_over]), shard=0, epoch=2)
        await turn()
        assert room.executors.made["BTC"].befores == [position]


class TestAct:
    @pytest.fixture(autouse=True)
    def begun(self, make, room):
        room.desk.take_over(welcome([make.position()], funded=["BTC"], available=ALL), shard=2, epoch=9)

    async def test_entry(self, make, room):
        room.desk.act(room.btc, entry(make))
        assert len(room.risk.begun) == 1  # in the call, before the task of the intent begins
        assert room.btc.busy
        await turn()
        executor = room.executors.made["BTC"]
        (intent,) = executor.intents
        assert (intent.kind, intent.intent_id, intent.decided_ms) == (
            "entry",
            "s5-2-9-1",
            room.clock.wall_ms(),
        )
        assert executor.befores == [None]
        assert room.counts == ["opportunities"]

    async def test_exit_gets_its_position(self, make, room):
        room.desk.act(room.btc, leaving(make, room))
        await turn()
        executor = room.executors.made["BTC"]
        (intent,) = executor.intents
        assert (intent.kind, intent.position_id) == ("exit", "s1-0-1-0")
        assert executor.befores == [make.position()]
        assert room.counts == []

    async def test_ids_are_never_used_twice(self, make, room):
        seen = []
        for _ in range(3):
            room.desk.act(room.btc, entry(make))
            await turn()
            await finish(room, "BTC", IntentOutcome(None, Settled("x", None, ())))
        seen = [intent.intent_id for intent in room.executors.made["BTC"].intents]
        assert seen == ["s5-2-9-1", "s5-2-9-2", "s5-2-9-3"]

    async def test_never_two_at_once(self, make, room):
        room.desk.act(room.btc, entry(make))
        with pytest.raises(AssertionError):
            room.desk.act(room.btc, entry(make))

    async def test_settled_entry_is_held(self, make, room):
        room.desk.act(room.btc, entry(make))
        await turn()
        opened = make.position(position_id="s5-2-9-1")
        left = (("upbit", "KRW", Decimal(9)),)
        await finish(room, "BTC", IntentOutcome(None, Settled("s5-2-9-1", opened, left)))
        assert [held.position_id for held in room.btc.held] == ["s1-0-1-0", "s5-2-9-1"]
        assert room.funds(room.btc) == Funds(9.0, 0.3, 700.0, 0.4)  # only what the reply concerns
        assert not room.btc.busy
        assert room.btc.rest_until_ns == room.clock.monotonic_ns() + 500_000_000
        assert room.btc.exit_rest_until_ns == 0

    @pytest.mark.parametrize(("state", "left"), [("CLOSED", 0), ("OPEN", 1)])
    async def test_settled_exit(self, make, room, state, left):
        """Partly filled, a position stays open, with what is left of it."""
        room.desk.act(room.btc, leaving(make, room))
        await turn()
        after = make.position(quantity="0.0004", state=state)
        await finish(room, "BTC", IntentOutcome(None, Settled("s5-2-9-1", after, ())))
        assert room.desk.open_positions == len(room.btc.held) == left
        if left:
            assert room.btc.held[0].long_base == 0.0004

    async def test_what_a_closed_position_left_over_is_for_the_next_exit(self, make, room):
        room.desk.act(room.btc, entry(make))
        await turn()
        left_over = Settled("s5-2-9-1", None, (), Decimal("0.00007"))
        await finish(room, "BTC", IntentOutcome(None, left_over))
        room.desk.act(room.btc, leaving(make, room))
        await turn()
        assert room.executors.made["BTC"].residues == [Decimal(0), Decimal("0.00007")]
        plain = plan_exit(leaving(make, room), make.position(), "x", 0, Config().execution)
        assert room.executors.made["BTC"].intents[-1].away.quantity < plain.away.quantity

    async def test_nothing_filled_changes_nothing(self, make, room):
        room.desk.act(room.btc, entry(make))
        await turn()
        await finish(room, "BTC", IntentOutcome(None, Settled("s5-2-9-1", None, ())))
        assert room.desk.open_positions == 1
        assert not room.btc.busy

    async def test_refused_entry_rests(self, make, room):
        room.desk.act(room.btc, entry(make))
        await turn()
        left = (("binance", "BTC", Decimal(0)),)
        await finish(room, "BTC", IntentOutcome(Refused(Refusal.BALANCE, "", left), None))
        assert room.counts == ["opportunities", "refused"]
        assert room.funds(room.btc) == Funds(1_000_000.5, 0.3, 700.0, 0.0)
        assert room.btc.rest_until_ns == room.clock.monotonic_ns() + 500_000_000
        assert room.btc.exit_rest_until_ns == 0
        assert not room.btc.busy

    async def test_refused_exit_rests_and_keeps_the_position(self, make, room):
        room.desk.act(room.btc, leaving(make, room))
        await turn()
        await finish(room, "BTC", IntentOutcome(Refused(Refusal.PAIR_BUSY, ""), None))
        assert room.btc.exit_rest_until_ns == room.clock.monotonic_ns() + 500_000_000
        assert room.desk.open_positions == 1

    async def test_refused_exits_are_asked_about_more_seldom(self, make, room):
        """They cost nothing but the question; half a second at first, half a minute at the longest."""
        pauses_s = []
        for _ in range(9):
            room.desk.act(room.btc, leaving(make, room))
            await turn()
            await finish(room, "BTC", IntentOutcome(Refused(Refusal.BALANCE, ""), None))
            pauses_s.append((room.btc.exit_rest_until_ns - room.clock.monotonic_ns()) / 1e9)
        assert pauses_s == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]

    async def test_exit_that_achieved_nothing_rests_as_long_as_risk_says(self, make, room):
        room.desk.act(room.btc, leaving(make, room))
        await turn()
        position = room.executors.made["BTC"].get_positions()[0]
        retry = Retry("exit", 3, 8000, "home", is_small=True)
        settled = Settled("s1-0-1-1", position, ALL, exit_retry=retry)
        await finish(room, "BTC", IntentOutcome(None, settled))
        assert room.btc.exit_rest_until_ns == room.clock.monotonic_ns() + 8_000_000_000
        assert room.executors.made["BTC"].exit_retry == retry
        room.desk.act(room.btc, leaving(make, room))
        await turn()
        assert room.executors.made["BTC"].intents[-1].lead == "home"

    async def test_order_of_a_person_ends_the_pauses(self, make, room):
        room.btc.exit_rest_until_ns = 10**18
        room.desk.renew(["BTC", "XRP"])
        assert room.btc.exit_rest_until_ns == 0

    async def test_end_of_the_run_ends_the_pauses_of_all_pairs(self, make, room):
        room.btc.exit_rest_until_ns = room.eth.exit_rest_until_ns = 10**18
        room.desk.end_exit_pauses()
        assert room.btc.exit_rest_until_ns == room.eth.exit_rest_until_ns == 0

    @pytest.mark.parametrize("error", [Fenced("newer"), RuntimeError("defect")])
    async def test_failure_is_told_and_the_pair_stays_busy(self, make, room, error):
        """Nobody knows how its orders stand: nothing new may be sent."""
        room.desk.act(room.btc, entry(make))
        await turn()
        await finish(room, "BTC", error)
        assert room.failures == [error]
        assert room.btc.busy

    async def test_pairs_are_independent(self, make, room):
        room.desk.act(room.btc, entry(make))
        await turn()
        assert not room.eth.busy
        assert room.desk.busy == 1

    async def test_close_gives_up_quietly_what_is_under_way(self, make, room):
        room.desk.act(room.btc, entry(make))
        await turn()
        await room.desk.close()
        assert room.failures == []
        assert room.btc.busy

    async def test_close_gives_up_what_has_not_even_begun(self, make, room):
        room.desk.act(room.btc, entry(make))
        await room.desk.close()
        assert room.executors.made["BTC"].intents == []


class TestFund:
    async def test_each_pair_once_when_its_price_is_known(self, make, room):
        room.desk.take_over(welcome(), shard=0, epoch=1)
        room.desk.fund()
        assert room.risk.funds == []
        book = make.home_book()
        room.engine.observe(1, make.view(book))
        room.desk.fund()
        room.desk.fund()
        await turn()
        assert room.risk.funds == [("BTC", Decimal(str(book.best_bid)))]
        assert room.funds(room.btc) is None
        room.risk.go_on.set()
        await turn()
        assert room.funds(room.btc) == Funds(1_000_000.5, 0.3, 700.0, 0.4)
        room.desk.fund()
        await turn()
        assert len(room.risk.funds) == 1

    async def test_not_yet_is_asked_again(self, make, room, monkeypatch):
        """Live, the venues have not stated yet what we own there."""
        monkeypatch.setattr("arbshard.worker.desk._FUND_AGAIN_S", 0.0)
        room.desk.take_over(welcome(), shard=0, epoch=1)
        room.engine.observe(1, make.view(make.home_book()))
        room.risk.go_on.set()
        room.risk.answer = None
        room.desk.fund()
        await turn()
        assert room.funds(room.btc) is None
        room.risk.answer = Funded(ALL)
        room.desk.fund()
        await turn()
        assert len(room.risk.funds) == 2
        assert room.funds(room.btc) == Funds(1_000_000.5, 0.3, 700.0, 0.4)

    async def test_not_what_was_funded_before(self, make, room):
        room.desk.take_over(welcome(funded=["BTC"], available=ALL), shard=0, epoch=1)
        room.engine.observe(1, make.view(make.home_book()))
        room.desk.fund()
        await turn()
        assert room.risk.funds == []


class TestLive:
    def test_every_pair_gets_an_executor_on_the_same_port(self, make, clock):
        looks = []
        config = Config(mode="live")
        engine = ArbitrageEngine([make.pair, make.other_pair()], make.fx_leg, config)
        executors, port, meter = (
            LiveExecutors(),
            SimpleNamespace(
                add_legs=lambda legs: None,
                has_room_for_entry=lambda pair: pair is make.pair,
                look_at_limits=lambda: looks.append("live"),
            ),
            SimpleNamespace(),
        )
        desk = Desk(engine, executors, Risk(), config, clock, meter, [].append, port)
        desk.take_over(welcome(), shard=0, epoch=1)
        desk.look_at_limits()
        assert looks == ["live"]
        assert executors.given == dict.fromkeys(("BTC", "ETH"), (port, config.live, meter))
        assert [desk.may_send_entry(pair) for pair in (make.pair, make.other_pair())] == [True, False]

    async def test_on_paper_no_entry_waits_for_rate_limits(self, make, room):
        room.desk.look_at_limits()
        assert room.desk.may_send_entry(make.pair)

    @pytest.mark.parametrize(("mode", "port"), [("live", None), ("paper", object())])
    def test_real_orders_need_a_port_and_paper_has_none(self, make, clock, mode, port):
        config = Config(mode=mode)
        engine = ArbitrageEngine([make.pair], make.fx_leg, config)
        with pytest.raises(AssertionError):
            Desk(engine, Executors(), Risk(), config, clock, SimpleNamespace(), [].append, port)


async def test_an_exit_that_cannot_be_paid_for_goes_in_part(make, room):
    """Risk says what may be spent; the largest part that both venues take is asked for once, under a new id."""
    position = make.position("buy_home", "0.01")
    room.desk.take_over(welcome([position], funded=("BTC",), available=ALL), 0, 1)
    executor = room.executors.made["BTC"]
    there = tuple(
        (venue, what, Decimal("0.004") if (venue, what) == ("upbit", "BTC") else Decimal(10) ** 7)
        for venue, what, _ in ALL
    )
    answers = [
        IntentOutcome(Refused(Refusal.BALANCE, "too little", there), None),
        IntentOutcome(None, Settled("x", position, ALL)),
    ]
    ended = executor._ended

    async def next_answer(intent):
        executor.outcome = answers[len(executor.intents) - 1]
        executor.end.set()
        return await ended(intent)

    executor._ended = next_answer
    room.desk.act(room.btc, leaving(make, room, position.position_id))
    await turn()
    whole, part = executor.intents
    largest_lot = Decimal("0.00001")
    assert Decimal("0.004") - largest_lot < part.home.quantity <= Decimal("0.004")
    assert part.away.quantity < whole.away.quantity / 2
    assert part.intent_id != whole.intent_id
    assert part.reason == whole.reason
    assert not room.failures
    assert room.desk.is_idle("BTC")


async def test_an_exit_of_which_nothing_can_be_paid_for_stays_refused(make, room):
    position = make.position("buy_home", "0.01")
    room.desk.take_over(welcome([position], funded=("BTC",), available=ALL), 0, 1)
    executor = room.executors.made["BTC"]
    executor.outcome = IntentOutcome(Refused(Refusal.BALANCE, "nothing", ()), None)
    executor.end.set()
    room.desk.act(room.btc, leaving(make, room, position.position_id))
    await turn()
    assert len(executor.intents) == 1
    assert room.btc.exit_rest_until_ns > 0
