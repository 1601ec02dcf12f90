"""Pairs that come and go, with desk and engine as they are; risk and the universe say what the test says."""

import asyncio
from decimal import Decimal
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from arbshard.config import Config
from arbshard.engine.engine import ArbitrageEngine
from arbshard.errors import SharedMemoryError
from arbshard.execution.executor import BaseExecutor
from arbshard.model.intent import Retry
from arbshard.shm.universe import ShardUniverse
from arbshard.wire.messages import Welcome
from arbshard.worker.desk import Desk
from arbshard.worker.feed import ShardFeed
from arbshard.worker.membership import Membership

MS = 1_000_000


class Source:
    def __init__(self, pairs):
        self.pairs = {pair.base: pair for pair in pairs}
        self.serial = 0
        self.bases = ("BTC",)
        self.leaving = ()
        self.is_broken = False
        self.loads = 0
        self.revised = {}
        self.since = []

    def set(self, *bases, leaving=()):
        self.serial += 1
        self.bases, self.leaving = bases, leaving

    def load_shard(self, shard, known, since):
        self.loads += 1
        if self.is_broken:
            raise SharedMemoryError("cut")
        self.since.append(since)
        new = {base: self.pairs[base] for base in self.bases if base not in known}
        return ShardUniverse(self.serial, frozenset(self.bases), frozenset(self.leaving), new, self.revised)


class Risk:
    def __init__(self):
        self.asked = []
        self.answer = Welcome(1, (), (), (), ())
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def adopt(self, pairs):
        self.asked.append(pairs)
        await self.go_on.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Executors:
    def __init__(self):
        self.made = {}
        self.legs = []

    def create_paper_executor(self, pair, paper):
        port = SimpleNamespace(add_legs=self.legs.extend)
        return self.made.setdefault(pair.base, BaseExecutor(pair, port, *[None] * 5))

    def get_all_executors(self):
        return self.made

    def get_executor(self, base):
        return self.made.get(base)

    def remove_executor(self, base):
        del self.made[base]


class Codec:
    def top_of_book(self, frame, received_ns):
        return SimpleNamespace(received_ns=received_ns, frame=frame)

    decode = top_of_book


@pytest.fixture
async def room(make, clock):
    config = Config()
    eth = make.other_pair("ETH", (3, 4))
    engine = ArbitrageEngine([make.pair], make.fx_leg, config)
    frames = {}
    slots = SimpleNamespace(read=frames.get)
    feed = ShardFeed(slots, None, [make.pair.home, make.pair.away], {"upbit": Codec(), "binance": Codec()})
    failures, shown, counts = [], [], []
    desk = Desk(
        engine, Executors(), Risk(), config, clock, SimpleNamespace(count=counts.append), failures.append
    )
    desk.take_over(Welcome(1, (), (), ("BTC",), ()), 0, 1)
    source, risk = Source((make.pair, eth)), Risk()
    one = Membership(
        0,
        source,
        risk,
        engine,
        feed,
        desk,
        lambda serial, pairs: shown.append((serial, pairs)),
        failures.append,
    )
    yield SimpleNamespace(
        one=one, source=source, risk=risk, engine=engine, feed=feed, desk=desk, frames=frames, eth=eth,
        shown=shown, failures=failures, now_ns=0,
    )  # fmt: skip
    await one.close()
    await desk.close()


async def look(room, ms=20):
    room.now_ns += ms * MS
    room.one.poll(room.now_ns)
    for _ in range(4):
        await asyncio.sleep(0)


async def test_the_first_look_reads_the_newest_and_shows_it(room):
    await look(room)
    assert (room.source.loads, room.shown) == (1, [(0, 1)])
    await look(room)
    assert room.source.loads == 1
    assert room.one.is_settled


async def test_changed_rules_take_effect_in_engine_executor_and_port_also_while_an_intent_is_under_way(
    room, make
):
    await look(room)
    state, executor = room.engine.pairs["BTC"], room.desk._executors.get_executor("BTC")
    revised = []
    executor._machine = SimpleNamespace(revise=revised.append)
    rules = replace(make.pair.away.rules, lot=make.pair.away.rules.lot * 100)
    changed = replace(make.pair, away=replace(make.pair.away, rules=rules))
    room.source.revised = {"BTC": changed}
    room.source.set("BTC")
    state.busy = True
    await look(room)
    assert room.source.since == [-1, 0]
    assert state.pair == executor.pair == changed
    assert state.buy_home.sell_lot == float(rules.lot)
    assert revised == [changed]
    assert room.desk._executors.legs == [changed.home, changed.away]
    assert room.shown[-1] == (1, 1)


async def test_a_pair_that_comes_is_asked_about_and_its_books_are_there(room):
    await look(room)
    room.source.set("BTC", "ETH")
    room.frames.update({3: (8, 77, True, b"h"), 4: (6, 78, True, b"a")})
    await look(room)
    assert room.risk.asked == [("ETH",)]
    state = room.engine.pairs["ETH"]
    assert (state.home.top.received_ns, state.away.top.received_ns) == (77, 78)
    assert not state.busy
    await look(room)
    assert room.shown == [(0, 1), (1, 2)]


async def test_a_pair_that_comes_is_left_as_risk_wants_it_after_exits_that_failed(room):
    """What became of it at its former owner is known to risk, and goes with the pair."""
    await look(room)
    room.source.set("BTC", "ETH")
    retry = Retry("exit", tries=2, wait_ms=3000, lead="away", is_small=True, why="rejected")
    room.risk.answer = Welcome(1, (), (), (), (), retries=(("ETH", retry), ("SOL", retry)))
    await look(room)
    assert room.desk._executors.get_executor("ETH").exit_retry == retry
    rest_ns = room.engine.pairs["ETH"].exit_rest_until_ns - room.desk._clock.monotonic_ns()
    assert rest_ns == 3000 * MS
    assert room.engine.pairs["BTC"].exit_rest_until_ns == 0


async def test_a_pair_that_goes_is_forgotten_when_idle(room):
    await look(room)
    room.source.set()
    await look(room)
    assert room.shown[-1] == (1, 0)
    assert room.engine.pairs == {}
    assert room.feed.read(room.source.pairs["BTC"].home.slot) is None
    assert room.desk.open_positions == 0


async def test_a_pair_with_an_intent_under_way_is_held_until_its_end(room):
    await look(room)
    room.engine.pairs["BTC"].busy = True
    room.source.set()
    await look(room)
    await look(room)
    assert room.shown == [(0, 1)]
    assert not room.one.is_settled
    assert room.engine.pairs["BTC"].busy
    room.engine.pairs["BTC"].busy = False  # its end
    await look(room)
    assert room.shown[-1] == (1, 0)


async def test_a_pair_that_is_given_back_before_it_was_let_go(room):
    await look(room)
    room.engine.pairs["BTC"].busy = True
    room.source.set()
    await look(room)
    room.source.set("BTC")
    await look(room)
    assert room.risk.asked == [], "it was never forgotten"
    assert room.shown[-1] == (2, 1)
    assert room.engine.pairs["BTC"].busy, "its intent goes on"
    assert not room.desk.is_suspended("BTC")


async def test_risk_that_does_not_think_so_is_asked_again(room):
    await look(room)
    room.source.set("BTC", "ETH")
    room.risk.answer = None
    await look(room)
    await look(room)
    assert len(room.risk.asked) == 1, "not at every tick"
    await look(room, ms=150)
    assert len(room.risk.asked) == 2
    assert "ETH" not in room.engine.pairs
    assert room.shown == [(0, 1)]
    room.risk.answer = Welcome(1, (), (), (), ())
    await look(room, ms=150)
    await look(room)
    assert room.shown[-1] == (1, 2)


async def test_nothing_is_shown_while_an_answer_of_before_is_to_come(room):
    await look(room)
    room.risk.go_on.clear()
    room.source.set("BTC", "ETH")
    await look(room)
    room.source.set("BTC")
    await look(room)
    assert room.shown == [(0, 1)]
    room.risk.go_on.set()
    await look(room)
    await look(room)
    assert room.shown[-1] == (2, 1)
    assert "ETH" not in room.engine.pairs


async def test_a_stranger_of_the_welcome_is_held_and_asked_about(make, room):
    room.engine.add(room.eth)
    room.feed.add((room.eth.home, room.eth.away))
    room.desk.take_over(Welcome(1, (), (), (), (), strangers=("ETH",)), 0, 1)
    assert room.engine.pairs["ETH"].suspended
    assert not room.engine.pairs["BTC"].suspended
    room.source.set("BTC", "ETH")
    await look(room)
    assert room.risk.asked == [("ETH",)]
    await look(room)
    assert room.engine.pairs["ETH"].may_act
    assert room.shown[-1] == (1, 2)


async def test_a_stranger_that_is_not_ours_is_let_go(room):
    room.engine.add(room.eth)
    room.feed.add((room.eth.home, room.eth.away))
    room.desk.take_over(Welcome(1, (), (), (), (), strangers=("ETH",)), 0, 1)
    await look(room)
    assert room.engine.pairs.keys() == {"BTC"}
    assert room.shown == [(0, 1)]


async def test_what_leaves_is_shown_only_once_it_is_flat(make, room):
    await look(room)
    room.desk._executors.get_executor("BTC").take_over([make.position(position_id="p")])
    room.source.set("BTC", leaving=("BTC",))
    await look(room)
    assert room.one.leaving == {"BTC"}
    assert room.shown == [(0, 1)]
    room.desk._executors.get_executor("BTC").take_over([])
    await look(room)
    assert room.shown[-1] == (1, 1)


async def test_a_pair_brings_its_position(make, room):
    await look(room)
    room.source.set()
    await look(room)
    room.risk.answer = Welcome(1, (make.position(),), (), ("BTC",), (), residues=(("BTC", Decimal("0.1")),))
    room.source.set("BTC")
    await look(room)
    assert [held.position_id for held in room.engine.pairs["BTC"].held] == [make.position().position_id]
    assert room.desk.open_positions == 1


async def test_a_file_that_cannot_be_read_is_read_again(room):
    room.source.is_broken = True
    await look(room)
    assert room.shown == []
    room.source.is_broken = False
    await look(room)
    assert room.shown == [(0, 1)]


async def test_a_defect_is_told(room):
    await look(room)
    room.risk.answer = RuntimeError("no")
    room.source.set("BTC", "ETH")
    await look(room)
    assert [str(failure) for failure in room.failures] == ["no"]
