"""The hand-over of pairs with everything real that decides: assignments and changes, membership, desk, risk's core.

Only what is between them is replaced: pages, file and word are fields here, and orders fill when the test says so.
"""

import asyncio
from types import SimpleNamespace

import msgspec
from msgspec.structs import replace

from arbshard.config import Config, StrategyConfig
from arbshard.engine.closing import Closing
from arbshard.engine.edge import Edge
from arbshard.engine.engine import ArbitrageEngine, Entry, Exit
from arbshard.errors import RequestTimeout
from arbshard.execution.executor import BaseExecutor, IntentOutcome
from arbshard.model.phase import Phase
from arbshard.model.universe import Universe
from arbshard.risk.core import RiskCore
from arbshard.risk.portfolio.state import PortfolioState
from arbshard.shm.universe import UniverseFile
from arbshard.wire.messages import Refused, decode_request, encode
from arbshard.worker.desk import Desk
from arbshard.worker.feed import ShardFeed
from arbshard.worker.membership import Membership
from arbshard.worker.risk_link import RiskLink
from supervisor.shards.assignments import Assignments
from support import world

NOW_NS = 1_000_000_000_000
CONFIG = Config(strategy=StrategyConfig(cooldown_ms=0.0))


async def turns(count=12):
    for _ in range(count):
        await asyncio.sleep(0)


class Codec:
    def top_of_book(self, frame, received_ns):
        raise AssertionError("no frame comes here")

    decode = top_of_book


class Executor(BaseExecutor):
    """Both legs fill as soon as ``advance`` is set."""

    def __init__(self, pair, risk):
        super().__init__(pair, None, risk, None, Config().execution, None, None)
        self.risk = risk
        self.advance = asyncio.Event()

    async def execute(self, intent, decided_ns=None, seen_ns=0):
        reply = await self.risk.submit(intent)
        if isinstance(reply, Refused):
            return IntentOutcome(reply, None)
        return await self._finish(intent)

    async def resume(self, taken_over):
        return await self._finish(taken_over.intent)

    async def _finish(self, intent):
        await self.advance.wait()
        self.advance.clear()
        for order in (intent.home, intent.away):
            await self.risk.report(intent.intent_id, world.filled(order))
        done = intent.kind == "exit"
        settled = await self.risk.conclude(intent.intent_id, world.HOME_PRICE, intent.fx, done=done)
        self._settle(settled)
        return IntentOutcome(None, settled)


class Executors:
    def __init__(self, risk):
        self.risk = risk
        self.made = {}

    def create_paper_executor(self, pair, paper):
        self.made[pair.base] = Executor(pair, self.risk)
        return self.made[pair.base]

    def get_executor(self, base):
        return self.made.get(base)

    def get_all_executors(self):
        return self.made

    def remove_executor(self, base):
        del self.made[base]


class Worker:
    """One incarnation."""

    def __init__(self, room, shard, epoch):
        self.room, self.shard, self.epoch = room, shard, epoch
        self.carried_out = -1
        self.failures = []
        universe = msgspec.json.decode(room.path.read_bytes(), type=Universe)
        pairs = universe.pairs_of(shard)
        slots = SimpleNamespace(read=lambda slot: None)
        legs = [leg for pair in pairs for leg in (pair.home, pair.away)]
        self.feed = ShardFeed(slots, None, legs, {"upbit": Codec(), "binance": Codec()})
        self.engine = ArbitrageEngine(pairs, universe.fx, CONFIG)
        self.link = RiskLink(self, shard, epoch, lambda: None)
        self.executors = Executors(self.link)
        meter = SimpleNamespace(count=lambda name: None)
        self.desk = Desk(
            self.engine, self.executors, self.link, CONFIG, room.clock, meter, self.failures.append
        )
        self.file = UniverseFile(room, room.path)
        self.membership = Membership(
            shard, self.file, self.link, self.engine, self.feed, self.desk, self._shown, self.failures.append
        )
        self.greeting = asyncio.ensure_future(self._greet())

    async def request(self, payload, *, priority=0):
        """Implements ``Transport``: risk is there or it is not."""
        await asyncio.sleep(0)
        if self.room.risk is None:
            await asyncio.sleep(0)
            raise RequestTimeout("risk is down")
        return self.room.ask(payload)

    async def _greet(self):
        welcome = await self.link.hello(1, tuple(self.engine.pairs))
        self.desk.take_over(welcome, self.shard, self.epoch)

    def _shown(self, serial, pairs):
        self.carried_out = serial

    @property
    def is_up(self):
        return self.greeting.done() and not self.greeting.cancelled()

    def look(self):
        if self.is_up:
            self.greeting.result()
            self.membership.poll(self.room.now_ns)

    def close_what_leaves(self):
        """As the loop does it on its timer."""
        for base in sorted(self.membership.leaving):
            state = self.engine.pairs.get(base)
            if state is not None and state.held:
                self.trade(base)

    def active(self):
        """Pairs it may do something new with."""
        bases = self.engine.pairs if self.is_up else ()
        return {base for base in bases if self.desk.is_adopted(base) and not self.desk.is_suspended(base)}

    def under_way(self):
        return {base for base in self.engine.pairs if not self.desk.is_idle(base)}

    def trade(self, base):
        """Enter, or leave what is held."""
        state = self.engine.pairs.get(base) if self.is_up else None
        if state is None or state.busy or not self.desk.is_adopted(base):
            return
        if base in self.membership.leaving and not state.held:
            return
        fx = (float(world.FX.bid), float(world.FX.ask))
        home, away = float(world.HOME_PRICE), float(world.AWAY_PRICE)
        if state.held:
            held = state.held[0]
            closing = Closing(held.long_base, held.short_base, away, home, 0.0, 0.0, is_whole=True)
            direction = "buy_away" if held.buy_is_home else "buy_home"
            self.desk.act(state, Exit(state.pair, held.position_id, direction, "manual", closing, fx))
        else:
            edge = Edge(0.5, 0.4995, away, home, away, home, 25.0, 30.0, 490_000.0)
            self.desk.act(state, Entry(state.pair, "buy_away", edge, fx))

    async def kill(self):
        self.greeting.cancel()
        await self.membership.close()
        await self.desk.close()
        await asyncio.gather(self.greeting, return_exceptions=True)


class Room:
    """Supervisor, workers and risk of one run. Implements ``Environment``."""

    def __init__(self, folder, bases=("BTC", "ETH", "SOL", "XRP"), shards=3, spare_slots=4):
        self.path = folder / "universe.json"
        self.now_ns = NOW_NS
        self.clock = SimpleNamespace(
            monotonic_ns=lambda: self.now_ns, wall_ms=lambda: self.now_ns // 1_000_000
        )
        split = tuple(tuple(bases[n::shards]) for n in range(shards))
        universe = replace(world.make_universe(*bases), shards=split)
        self.path.write_bytes(msgspec.json.encode(universe))
        self.word = 0
        self.alerts = []
        self.cleared = []
        self.full = 0
        """So many times the file cannot be written."""
        self.given_up = set()
        self.late = set()
        """Shards whose timer does not come."""
        self.epochs = dict.fromkeys(range(shards), 0)
        self.workers = {}
        self.events = []
        self.risk = None
        self.start_risk()
        self.assignments = Assignments(universe, 1 + 2 * len(bases) + spare_slots, self)
        for shard in range(shards):
            self.start_worker(shard)

    # what the supervisor reaches

    def publish(self, before, after):
        from supervisor.shards.assignments import ChangeFailed

        if self.full:
            self.full -= 1
            raise ChangeFailed("disk full")
        self.path.write_bytes(msgspec.json.encode(after))
        self.word = after.serial

    def carried_out(self, shard):
        worker = self.workers.get(shard)
        return worker.carried_out if worker is not None and worker.is_up else -1

    def incarnation(self, shard):
        return self.workers[shard].epoch if self.carried_out(shard) >= 0 else -1

    def is_given_up(self, shard):
        return shard in self.given_up

    def risk_serial(self):
        return self.risk_seen if self.risk is not None else -1

    def loads(self):
        return {pair.base: 10.0 for pair in self.assignments.universe.pairs}

    def alert(self, line):
        self.alerts.append(line)

    @property
    def universe(self):
        """The word."""
        return self.word

    # what happens to the processes

    def start_risk(self):
        state = PortfolioState()
        for event in self.events:
            state.apply(event)
        state.commit()
        universe = msgspec.json.decode(self.path.read_bytes(), type=Universe)
        self.risk = RiskCore(CONFIG, universe, state)
        self.risk_seen = universe.serial
        self._keep(self.risk.start(self.now_ms, "run-1", "test"))
        for pair in universe.pairs:
            self.fund(pair)

    def fund(self, pair):
        """Have its inventory opened, by whatever means."""
        if pair.base not in self.risk.state.funded:
            from arbshard.risk.booking import inventory_deposits

            deposits = inventory_deposits(pair, world.HOME_PRICE, CONFIG.paper, self.now_ms)
            for event in deposits:
                self.risk.state.apply(event)
            self._keep(deposits)

    def stop_risk(self):
        self.risk = None

    @property
    def now_ms(self):
        return self.now_ns // 1_000_000

    def ask(self, payload):
        if self.word > self.risk_seen:  # as risk.service does before each batch
            universe = msgspec.json.decode(self.path.read_bytes(), type=Universe)
            self._keep(self.risk.set_universe(universe, self.now_ms))
            self.risk_seen = universe.serial
            for pair in universe.pairs:
                self.fund(pair)
        reply, events = self.risk.handle(decode_request(payload), self.now_ms, Phase.RUNNING)
        self._keep(events)
        return encode(reply)

    def _keep(self, events):
        self.risk.commit()
        self.events += events

    def start_worker(self, shard):
        self.epochs[shard] += 1
        self.workers[shard] = Worker(self, shard, self.epochs[shard])

    async def kill_worker(self, shard):
        worker = self.workers.pop(shard, None)
        if worker is not None:
            await worker.kill()

    # time

    async def step(self, ms=25):
        """One tick of everybody."""
        self.now_ns += ms * 1_000_000
        self.assignments.step(self.now_ns)
        await turns()
        for shard, worker in list(self.workers.items()):
            if shard not in self.late:
                worker.look()
                worker.close_what_leaves()
        await turns()
        self.check()

    def finish_trades(self):
        for worker in self.workers.values():
            for base in worker.under_way():
                if base in worker.executors.made:
                    worker.executors.made[base].advance.set()

    def check(self):
        """What must hold at every moment."""
        failures = [failure for worker in self.workers.values() for failure in worker.failures]
        assert not failures, failures
        seen, at_work = {}, {}
        for shard, worker in self.workers.items():
            for base in worker.active():
                assert base not in seen, f"{base} is traded by shards {seen[base]} and {shard}"
                seen[base] = shard
            for base in worker.under_way():
                assert base not in at_work, f"{base} is at work in shards {at_work[base]} and {shard}"
                at_work[base] = shard

    async def settle(self, rounds=200):
        """No more faults: all comes to rest."""
        if self.risk is None:
            self.start_risk()
        self.full = 0
        self.late.clear()
        for shard in self.epochs:
            if shard not in self.workers and shard not in self.given_up:
                self.start_worker(shard)
        for _ in range(rounds):
            self.finish_trades()
            await self.step()
        assert self.assignments.is_idle, self.assignments.changes
        self.check_at_rest()

    def check_at_rest(self):
        """Every pair has one owner, who knows what risk knows, and nothing is left under way."""
        universe, state = self.assignments.universe, self.risk.state
        assert universe.unassigned() == ()
        assert universe.leaving == ()
        assert not state.trades, list(state.trades)
        for base, shard in universe.owners().items():
            assert shard not in self.given_up, (base, shard)
            worker = self.workers[shard]
            assert base in worker.active(), f"{base} is not traded by its shard {shard}"
            held = {held.position_id for held in worker.engine.pairs[base].held}
            assert held == {position.position_id for position in state.get_symbol_positions(base)}
            executor = worker.desk._executors.get_executor(base)
            assert executor.get_positions() == state.get_symbol_positions(base)
        replayed = PortfolioState()
        for event in self.events:
            replayed.apply(event)
        assert replayed.state_hash() == state.state_hash()

    async def close(self):
        for shard in list(self.workers):
            await self.kill_worker(shard)
