"""What goes wrong, when: a schedule drawn from the seed, and how each fault is done to the virtual machine."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from decimal import Decimal
from random import Random
from typing import NamedTuple

from arbshard.exchanges.accounts.order import Ticket
from arbshard.venues.registry import HOME
from arbshard.virtual.children import VirtualChild
from arbshard.virtual.loop import Killed, VirtualLoop, VirtualProcess
from arbshard.virtual.network import Straggler
from arbshard.virtual.rates import (
    ACCOUNTS_POINTS,
    FACTOR,
    LIVE_WORKER_POINTS,
    RISK_POINTS,
    STRAGGLERS,
    UNKIND_LIVE_PER_HOUR,
    UNKIND_PER_HOUR,
    WAKE_POINTS,
    WORKER_POINTS,
    Level,
    kinds_of,
)
from arbshard.virtual.settings import TAG
from arbshard.virtual.stand_ins import VirtualWorld
from arbshard.virtual.system import VirtualSupervisor
from arbshard.virtual.trading import TradingVenue
from arbshard.virtual.unkind import Spell
from arbshard.virtual.venue_books import STRAY
from arbshard.virtual.weather import Weather
from arbshard.wire import control

_UNKIND = {**UNKIND_PER_HOUR, **UNKIND_LIVE_PER_HOUR}
_ONLY_SHARE = 0.25
"""Of all faults, where only some kinds are wanted: so often those come."""
_LEAST = Decimal("0.00000001")
_POINT_WAIT_S = 30.0
"""How long a process is awaited at the point where it is to die."""


class PlannedFault(NamedTuple):
    """What is to befall a process when it comes to a point."""

    child: str
    point: str
    wakes: bool = False
    """It is stopped there, is fenced, and wakes; otherwise it dies."""


class Faults:
    """Does them, one after the other, several at a time."""

    def __init__(
        self,
        world: VirtualWorld,
        weather: Weather,
        random: Random,
        supervisor: Callable[[], VirtualSupervisor | None],
        say: Callable[[Random], str],
    ) -> None:
        """``supervisor``: the one that runs now; ``say`` has an operator say
        something, and tells what.
        """
        self._world = world
        self._loop: VirtualLoop = world.loop
        self._weather = weather
        self._random = random
        self._supervisor = supervisor
        self._say = say
        self._context = copy_context()
        """Of the world: what is planned inside a process would stop with it."""
        self._plans: list[PlannedFault] = []
        self._spells: dict[int, asyncio.Task[None]] = {}
        self._unkind: set[int] = set()
        """Those of the spells in which only the exchanges are unkind."""
        self._number = 0
        self._is_over = False
        self.counts: Counter[str] = Counter()
        self.last_ns = world.loop.now_ns
        """When a fault last began or ended (monotonic)."""
        self.disturbed_ns = self.last_ns
        """Likewise of those that befall processes, network or machine: an unkind exchange disturbs nothing."""

    @property
    def active(self) -> int:
        """Faults that last at the moment."""
        return len(self._spells) + len(self._plans)

    @property
    def was_unkind(self) -> bool:
        """Whether an exchange has been unkind: pairs may wait for a person, or pause for long."""
        return any(kind in _UNKIND for kind in self.counts)

    @property
    def disturbing(self) -> bool:
        """Whether any of them befalls processes, network or machine."""
        return len(self._spells) > len(self._unkind) or bool(self._plans)

    async def run(self, level: Level, only: tuple[str, ...] = ()) -> None:
        """Faults of ``level`` until cancelled; of the kinds in ``only``, if any are named."""
        every = kinds_of(is_live=self._world.live is not None)
        rates = {kind: rate for kind, rate in every.items() if not only or kind in only}
        total = sum(every.values()) * FACTOR[level] * (_ONLY_SHARE if only else 1.0)
        if not total or not rates:
            return
        kinds, weights = tuple(rates), tuple(rates.values())
        while True:
            await asyncio.sleep(self._random.expovariate(total) * 3600)
            self.do(self._random.choices(kinds, weights)[0])

    def do(self, kind: str) -> None:
        """One fault of ``kind``, now."""
        what = self._unkindly(kind) if kind in _UNKIND else getattr(self, f"_{kind}")()
        if what:
            self.counts[kind] += 1
            self._mark(f"{kind} {what}", disturbs=kind not in _UNKIND)

    def calm(self) -> None:
        """End all that lasts; nothing new comes."""
        self._is_over = True
        self._plans.clear()
        for spell in tuple(self._spells.values()):
            spell.cancel()

    def trade_all(self) -> None:
        """Have pairs added that were taken out."""
        supervisor = self._supervisor()
        traded = {pair.base for pair in supervisor.universe.pairs} if supervisor is not None else set()
        missing = [pair.base for pair in self._world.universe.pairs if pair.base not in traded]
        if missing:
            self._mark(self._order(control.AddSymbols(tuple(missing))))

    def reached(self, point: str) -> None:
        """A process has come to a crash point. See ``crashpoint``. Raises ``Killed`` when it is to die there."""
        process = self._loop.current_process()
        supervisor = self._supervisor()
        if process is None or supervisor is None:
            return
        for plan in self._plans:
            child = supervisor.child(plan.child)
            if plan.point == point and child is not None and child.process is process:
                self._plans.remove(plan)
                if plan.wakes:
                    self._stop_and_wake(supervisor, child)
                else:
                    self._die_at(supervisor, child, point)
                return

    def _die_at(self, supervisor: VirtualSupervisor, child: VirtualChild, point: str) -> None:
        self._mark(f"died {child.name}.{child.epoch} {point}")
        risk = supervisor.risk
        if point == "after_commit" and risk is not None and risk.core is not None:
            risk.core.commit()  # the disk has it: so much of the dead state is what a replay must find
        child.die()
        raise Killed

    def _mark(self, what: str, *, disturbs: bool = True) -> None:
        self.last_ns = self._loop.now_ns
        if disturbs:
            self.disturbed_ns = self.last_ns
        self._world.trace.note("fault", what)

    def _unkindly(self, kind: str) -> str:
        """Have the exchanges be unkind."""
        made: Spell | str | None = getattr(self._world.unkind, kind)()
        if isinstance(made, Spell):
            said = self._for(*made)
            self._unkind.add(self._number)
            return said
        return made or ""

    def _for(self, seconds: float, begin: Callable[[], None], end: Callable[[], None], what: str) -> str:
        """Let something last for a while."""
        begin()
        self._number += 1
        number = self._number

        async def spell() -> None:
            try:
                await asyncio.sleep(seconds)
            finally:
                end()
                del self._spells[number]
                self._mark(f"over {what}", disturbs=number not in self._unkind)
                self._unkind.discard(number)

        self._spells[number] = self._loop.create_task(spell(), context=self._context)
        return f"{what} {seconds:.3f}"

    # connections

    def _cut(self) -> str:
        streams = [one for venue in self._world.exchanges.venues.values() for one in venue.connections]
        if not streams:
            return ""
        stream = self._random.choice(streams)
        stream.cut("connection reset")
        return f"#{stream.number}"

    def _stall(self) -> str:
        streams = [one for venue in self._world.exchanges.venues.values() for one in venue.connections]
        if not streams:
            return ""
        stream = self._random.choice(streams)

        def set_silent(is_silent: bool) -> None:
            stream.is_silent = is_silent

        seconds = self._random.choice((1.0, 3.0, 10.0, 40.0)) * self._random.uniform(0.5, 1.5)
        return self._for(seconds, lambda: set_silent(True), lambda: set_silent(False), f"#{stream.number}")

    def _outage(self) -> str:
        venue = self._world.exchanges.venues[self._random.choice(tuple(self._world.exchanges.venues))]

        def begin() -> None:
            venue.is_reachable = False
            for stream in tuple(venue.connections):
                stream.cut("the venue is gone")

        def end() -> None:
            venue.is_reachable = True

        return self._for(self._random.uniform(0.5, 20.0), begin, end, venue.name)

    def _slow_frames(self) -> str:
        most_ns = int(self._random.uniform(50, 1200) * 1e6)

        def set_slow(slow_ns: int) -> None:
            self._weather.frame_slow_ns = slow_ns

        seconds = self._random.uniform(1.0, 20.0)
        return self._for(seconds, lambda: set_slow(most_ns), lambda: set_slow(0), f"by {most_ns}")

    def _slow_requests(self) -> str:
        most_ns = int(self._random.uniform(20, 900) * 1e6)

        def set_slow(slow_ns: int) -> None:
            self._weather.request_slow_ns = slow_ns

        seconds = self._random.uniform(1.0, 20.0)
        return self._for(seconds, lambda: set_slow(most_ns), lambda: set_slow(0), f"by {most_ns}")

    def _lossy(self) -> str:
        lost, doubled = self._random.uniform(0.02, 0.4), self._random.uniform(0.0, 0.3)

        def set_shares(lost_share: float, doubled_share: float) -> None:
            self._weather.lost_share, self._weather.doubled_share = lost_share, doubled_share

        seconds = self._random.uniform(2.0, 20.0)
        return self._for(
            seconds,
            lambda: set_shares(lost, doubled),
            lambda: set_shares(0.0, 0.0),
            f"{lost:.3f} {doubled:.3f}",
        )

    def _late_fills(self) -> str:
        share = self._random.uniform(0.05, 0.3)

        def set_share(late_share: float) -> None:
            self._weather.late_share = late_share

        seconds = self._random.uniform(20.0, 120.0)
        return self._for(seconds, lambda: set_share(share), lambda: set_share(0.0), f"{share:.3f}")

    def _straggler(self) -> str:
        """A request of a worker that is killed arrives after its successor has begun."""
        child = self._a_worker()
        if child is None:
            return ""
        port, loop = self._world.port, self._loop

        def kept(sender: VirtualProcess) -> None:
            loop.call_soon(self._kill_sender, sender, context=self._context)

        straggler = Straggler(
            child.name, self._random.choice(STRAGGLERS), int(self._random.uniform(0, 2e6)), kept
        )

        def begin() -> None:
            port.stragglers[straggler] = None

        def end() -> None:
            del port.stragglers[straggler]

        return self._for(_POINT_WAIT_S, begin, end, f"{straggler.shard} {straggler.kind}")

    def _kill_sender(self, sender: VirtualProcess) -> None:
        supervisor = self._supervisor()
        child = supervisor.child(sender.name.partition(".")[0]) if supervisor is not None else None
        if child is not None and child.process is sender:
            self._mark(f"died {sender.name} with a request on its way")
            child.die()

    # live orders

    def _a_venue(self) -> TradingVenue:
        venues = self._world.exchanges.trading
        return venues[self._random.choice(tuple(venues))]

    def _at_venue(self, name: str, seconds: float, **settings: object) -> str:
        """A fault of a venue's own switchboard for a while."""
        venue = self._a_venue()
        return self._for(
            seconds,
            lambda: venue.set_faults({"set": {name: settings}}),
            lambda: venue.set_faults({"set": {name: {"share": self._usual_share(name)}}}),
            f"{venue.name} {settings}",
        )

    def _usual_share(self, name: str) -> float:
        return self._world.config.sim.faults.reject.share if name == "reject" else 0.0

    def _slow_calls(self) -> str:
        most_ns = int(self._random.choice((200, 1_000, 4_000)) * self._random.uniform(0.5, 1.0) * 1e6)

        def set_slow(slow_ns: int) -> None:
            self._weather.call_slow_ns = slow_ns

        seconds = self._random.uniform(2.0, 20.0)
        return self._for(seconds, lambda: set_slow(most_ns), lambda: set_slow(0), f"by {most_ns}")

    def _silent_calls(self) -> str:
        share = self._random.uniform(0.05, 0.4)

        def set_share(lost_share: float) -> None:
            self._weather.call_lost_share = lost_share

        seconds = self._random.uniform(2.0, 20.0)
        return self._for(seconds, lambda: set_share(share), lambda: set_share(0.0), f"{share:.3f}")

    def _lost_calls(self) -> str:
        share = round(self._random.uniform(0.05, 0.6), 3)
        return self._at_venue("lost_request", self._random.uniform(2.0, 20.0), share=share, calls="all")

    def _lost_answers(self) -> str:
        share = round(self._random.uniform(0.05, 0.6), 3)
        return self._at_venue("lost_reply", self._random.uniform(2.0, 20.0), share=share, calls="all")

    def _server_errors(self) -> str:
        share = round(self._random.uniform(0.05, 0.6), 3)
        return self._at_venue("error_500", self._random.uniform(2.0, 20.0), share=share, calls="all")

    def _rate_limits(self) -> str:
        share = round(self._random.uniform(0.05, 0.4), 3)
        status, wait_s = self._random.choice(((429, 1), (429, 3), (418, 5)))
        return self._at_venue(
            "rate_limited", self._random.uniform(1.0, 10.0), share=share, status=status, retry_after_s=wait_s
        )

    def _refusals(self) -> str:
        share = round(self._random.uniform(0.1, 0.5), 3)
        return self._at_venue("reject", self._random.uniform(5.0, 40.0), share=share)

    def _disordered_events(self) -> str:
        kind = self._random.choice(("late_event", "duplicate_event"))
        share = round(self._random.uniform(0.1, 0.7), 3)
        return self._at_venue(kind, self._random.uniform(10.0, 60.0), share=share)

    def _cut_private(self) -> str:
        streams = [
            one
            for venue in self._world.exchanges.venues.values()
            for one in venue.connections
            if one.is_private
        ]
        if not streams:
            return ""
        stream = self._random.choice(streams)
        stream.cut("connection reset")
        return f"#{stream.number}"

    def _kill_live_worker_at(self) -> str:
        return self._kill_at(self._a_worker(), LIVE_WORKER_POINTS)

    def _kill_accounts(self) -> str:
        return self._kill(self._child("accounts"))

    def _kill_accounts_at(self) -> str:
        return self._kill_at(self._child("accounts"), ACCOUNTS_POINTS)

    def _stop_accounts(self) -> str:
        return self._stop(
            self._child("accounts"), self._random.choice((0.1, 0.6, 2.0)) * self._random.uniform(0.5, 1.5)
        )

    def _by_hand(self) -> str:
        """Somebody moves money or coins, or trades at the venue's own screen."""
        venue = self._a_venue()
        currencies = [one for one in venue.account.wallet.balances() if one.free]
        one = self._random.choice(currencies)
        share = Decimal(self._random.randint(-300, 300)) / 10_000
        amount = (one.free * share).quantize(_LEAST)
        if not amount:
            return ""
        venue.deposit(one.currency, amount)
        return f"{venue.name} {one.currency} {amount}"

    def _stray(self) -> str:
        """An order of ours waits at a venue, and nobody owns it: of a ledger that was lost, say."""
        venue = self._a_venue()
        pair = self._random.choice(self._world.universe.pairs)
        leg = pair.home if pair.home.market.venue == venue.name else pair.away
        rules, market = leg.rules, leg.market
        top = self._world.exchanges.best_ask(venue.name, market.symbol)
        # Too dear to be filled: a few times the price.
        price = rules.round_price(top * 3, "sell")
        quantity = rules.round_quantity(
            Decimal(50_000) / (top if venue.name == HOME else top * 1_400) + rules.lot
        )
        self._number += 1
        name = f"{TAG}-s999-0-1-{self._number}{STRAY}"
        order = venue.place_by_hand(
            Ticket(market.symbol, "sell", "limit", "gtc", price, quantity, client_id=name)
        )
        if order is None:
            return ""
        return self._for(
            self._random.uniform(30.0, 180.0),
            lambda: None,
            lambda: venue.cancel_by_hand(order),
            f"{venue.name} {name}",
        )

    # processes

    def _child(self, name: str) -> VirtualChild | None:
        supervisor = self._supervisor()
        child = supervisor.child(name) if supervisor is not None and supervisor.process.alive else None
        return child if child is not None and child.pid else None

    def _a_worker(self) -> VirtualChild | None:
        return self._child(f"worker-{self._random.randrange(self._world.config.run.shards)}")

    def _kill(self, child: VirtualChild | None) -> str:
        if child is None:
            return ""
        child.die()
        return f"{child.name}.{child.epoch}"

    def _kill_worker(self) -> str:
        return self._kill(self._a_worker())

    def _kill_risk(self) -> str:
        return self._kill(self._child("risk"))

    def _kill_at(self, child: VirtualChild | None, points: tuple[str, ...]) -> str:
        if child is None:
            return ""
        return self._await_at(PlannedFault(child.name, self._random.choice(points)))

    def _await_at(self, plan: PlannedFault) -> str:
        self._plans.append(plan)

        def forget() -> None:
            if plan in self._plans:
                self._plans.remove(plan)

        return self._for(_POINT_WAIT_S, lambda: None, forget, f"{plan.child} {plan.point}")

    def _kill_worker_at(self) -> str:
        return self._kill_at(self._a_worker(), WORKER_POINTS)

    def _kill_risk_at(self) -> str:
        return self._kill_at(self._child("risk"), RISK_POINTS)

    def _stop(self, child: VirtualChild | None, seconds: float) -> str:
        if child is None or child.process.stopped:
            return ""
        loop, process = self._loop, child.process
        what = f"{child.name}.{child.epoch}"
        return self._for(
            seconds, lambda: loop.stop_process(process), lambda: loop.continue_process(process), what
        )

    def _stop_worker(self) -> str:
        return self._stop(
            self._a_worker(), self._random.choice((0.1, 0.6, 2.0, 6.0)) * self._random.uniform(0.5, 1.5)
        )

    def _stop_risk(self) -> str:
        return self._stop(
            self._child("risk"), self._random.choice((0.1, 0.6, 2.0)) * self._random.uniform(0.5, 1.5)
        )

    def _stop_supervisor(self) -> str:
        supervisor = self._supervisor()
        if supervisor is None or not supervisor.process.alive or supervisor.process.stopped:
            return ""
        seconds = self._random.choice((0.3, 2.0, 8.0)) * self._random.uniform(0.5, 1.5)
        return self._pause_supervisor(supervisor, seconds)

    def _pause_supervisor(self, supervisor: VirtualSupervisor, seconds: float) -> str:
        loop, process = self._loop, supervisor.process
        return self._for(
            seconds,
            lambda: loop.stop_process(process),
            lambda: loop.continue_process(process),
            supervisor.name,
        )

    def _slow_callback(self) -> str:
        """A callback of a process takes long: its loop stands still, and the process lives."""
        supervisor = self._supervisor()
        if supervisor is None or not supervisor.process.alive:
            return ""
        seconds = self._random.choice((0.2, 0.5, 1.2, 3.0)) * self._random.uniform(0.5, 1.0)
        match self._random.randrange(3):
            case 0:
                process: VirtualProcess | None = supervisor.process
            case 1:
                process = risk.process if (risk := self._child("risk")) is not None else None
            case _:
                process = worker.process if (worker := self._a_worker()) is not None else None
        if process is None or not process.alive:
            return ""
        taken_ns = int(seconds * 1e9)
        return self._for(seconds, lambda: self._loop.hold(process, taken_ns), lambda: None, process.name)

    def _wake_fenced(self) -> str:
        """In the middle of a trade a worker stands still; once it is fenced, and not yet killed, it wakes."""
        child = self._a_worker()
        if child is None:
            return ""
        return self._await_at(PlannedFault(child.name, self._random.choice(WAKE_POINTS), wakes=True))

    def _stop_and_wake(self, supervisor: VirtualSupervisor, child: VirtualChild) -> None:
        stuck_s = self._world.config.run.stuck_after_ms / 1000
        said = self._stop(child, stuck_s + self._random.uniform(0.5, 0.75))
        if said:
            self._mark(f"stopped {said}")
            self._loop.call_later(stuck_s + 0.05, self._pause_if_running, supervisor, context=self._context)

    def _pause_if_running(self, supervisor: VirtualSupervisor) -> None:
        if supervisor.is_running and not supervisor.process.stopped and not self._is_over:
            self._mark(f"stop_supervisor {self._pause_supervisor(supervisor, 0.75)}")

    def _kill_supervisor(self) -> str:
        supervisor = self._supervisor()
        if supervisor is None or not supervisor.process.alive:
            return ""
        self._loop.kill(supervisor.process)
        return supervisor.name

    def _restart(self) -> str:
        supervisor = self._supervisor()
        if supervisor is None or not supervisor.is_running:
            return ""
        keeps = self._random.random() < 0.5
        supervisor.request_stop(keep_positions=keeps)
        return f"{supervisor.name} {'keeps' if keeps else 'closes'}"

    # who trades what

    def _order(self, order: control.Order) -> str:
        supervisor = self._supervisor()
        if supervisor is None or not supervisor.is_running or supervisor.control is None:
            return ""
        process = supervisor.process
        if process.stopped or not process.alive:
            return ""
        answer = process.context.copy().run(supervisor.control.ask, order)
        return f"{order!r}: {type(answer).__name__}"

    def _move(self) -> str:
        if self._random.random() < 0.2:
            return self._order(control.BalanceShards())
        bases = [pair.base for pair in self._world.universe.pairs]
        chosen = tuple(self._random.sample(bases, self._random.randint(1, max(1, len(bases) // 2))))
        return self._order(control.MovePairs(chosen, self._random.randrange(self._world.config.run.shards)))

    def _symbols(self) -> str:
        supervisor = self._supervisor()
        if supervisor is None:
            return ""
        traded = {pair.base for pair in supervisor.universe.pairs}
        missing = [pair.base for pair in self._world.universe.pairs if pair.base not in traded]
        if missing:
            return self._order(control.AddSymbols(tuple(missing)))
        base = self._random.choice(self._world.universe.pairs).base
        # Positions that are kept are closed by nobody: that is for the run after this one.
        return self._order(control.RemoveSymbols((base,), keep_positions=False))

    # machine

    def _clock_jump(self) -> str:
        span_ms = self._random.choice((50, 1_000, 30_000, 7_200_000))
        jump_ms = int(span_ms * self._random.uniform(-1.0, 1.0))
        self._world.clock.jump(jump_ms)
        return f"{jump_ms} ms"

    def _disk_full(self) -> str:
        disk = self._world.disk

        def set_full(is_full: bool) -> None:
            disk.is_full = is_full

        return self._for(
            self._random.uniform(0.5, 15.0), lambda: set_full(True), lambda: set_full(False), "disk"
        )

    def _no_room(self) -> str:
        """The machine starts no process for a while, and just then one is needed and no spare is left."""
        loop = self._loop

        def set_full(is_full: bool) -> None:
            loop.has_no_room = is_full

        supervisor = self._supervisor()
        for spare in tuple(supervisor.host.spares) if supervisor is not None else ():
            spare.die()

        seconds = self._random.choice((1.0, 10.0, 40.0)) * self._random.uniform(0.5, 1.5)
        said = self._for(seconds, lambda: set_full(True), lambda: set_full(False), "processes")
        victim = self._a_worker() if self._random.random() < 0.7 else self._child("risk")
        return f"{said} {self._kill(victim)}"

    def _command(self) -> str:
        return self._say(self._random)
