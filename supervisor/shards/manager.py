"""``ShardManager`` decides which shard owns which pair in the running system.

It carries out what ``assignments`` decides, and answers people's orders about it. ``run`` makes it once all is up,
and calls ``step`` at each tick.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

import msgspec
from msgspec.structs import replace

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.config.run import PAIRS_MAX
from arbshard.errors import ArbshardError, FrameError, SharedMemoryError, UsageError
from arbshard.log import get_logger
from arbshard.model.cluster_note import ShardPlace
from arbshard.model.market import Leg
from arbshard.model.money import exact
from arbshard.model.phase import WorkerState
from arbshard.model.rundir import RunFiles
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksReader, BooksWriter
from arbshard.shm.pages import PageReader
from arbshard.venues.registry import get_venue
from arbshard.wire import control
from supervisor.control import ControlServer
from supervisor.feeds.routing import route
from supervisor.feeds.venue import VenueFeed
from supervisor.preflight import FindUniverse, ReadListings
from supervisor.processes.health import PageHealth
from supervisor.processes.process_supervisor import ProcessSupervisor
from supervisor.rundir import write_whole
from supervisor.shards.absent import AbsentPairs
from supervisor.shards.assignments import Assignments, ChangeFailed, ShardChange
from supervisor.shards.balance import Judge, PairMove, plan_moves, ratio
from supervisor.shards.carried import carried_by, lost_pairs
from supervisor.shards.changes import Add, FillShard, ListingRequest, Move, Remove
from supervisor.shards.listing import ListingWatch
from supervisor.shards.loads import LoadMeter

_SAMPLE_NS = 1_000_000_000
_SEARCH_S = 30.0
"""How long the venues may take to state what they list, in seconds."""
_MORE_PAIRS = 128
"""Number of pairs that can be added while the run goes on."""


class OtherHosts(Protocol):
    """Is what a run on several hosts knows of the other ones: ``cluster.role.HostRole``."""

    @property
    def leads(self) -> bool:
        """Return whether this host decides for all."""
        ...

    @property
    def leader(self) -> str:
        """Return the name of the leader's host; empty while none is known."""
        ...

    def is_granted(self, shard: int) -> bool:
        """Return whether this host holds the shard."""
        ...

    def place_of(self, shard: int) -> ShardPlace | None:
        """Return where another host runs the shard; None where that is not known."""
        ...


def slots_for(pairs: int) -> int:
    """Return the number of slots of a feed that begins with so many pairs: room for more, and the FX market."""
    return 1 + 2 * min(max(pairs, PAIRS_MAX), pairs + _MORE_PAIRS)


class ShardManager:
    """Is the ``assignments.Environment`` of a run."""

    def __init__(
        self,
        universe: Universe,
        *,
        config: Config,
        files: RunFiles,
        books: BooksWriter,
        feeds: Mapping[str, VenueFeed],
        processes: ProcessSupervisor,
        clock: Clock,
        alert: Callable[[str], None],
        held: Callable[[], frozenset[str]],
        open_pairs: Callable[[], frozenset[str] | None],
        on_universe: Callable[[Universe], None],
        find_universe: FindUniverse,
        read_listings: ReadListings,
        cpu_s: Callable[[int], float | None],
        wake_workers: Callable[[], None],
        others: OtherHosts | None = None,
    ) -> None:
        """Begin. ``held``: bases with an open position. ``open_pairs``: those, and bases with an intent under way, by
        the risk process that decides now; None while it shows nothing. ``on_universe`` is called with each universe
        that comes into force.

        ``cpu_s``: seconds of CPU time that a process has used, by its pid. ``wake_workers``: lets the workers read a
        new universe at once. ``others``: None where one host runs all shards; otherwise the feeds carry no pair yet.
        """
        self._config = config
        self._files = files
        self._books = books
        self._feeds = feeds
        self._processes = processes
        self._clock = clock
        self.alert = alert
        self._held = held
        self._on_universe = on_universe
        self._wake_workers = wake_workers
        self._find_universe = find_universe
        shards = range(len(universe.shards))
        self._pages = [PageHealth(self._files.worker_page(n), "state", WorkerState.RUNNING) for n in shards]
        self._risk_page = PageHealth(self._files.risk_page, "ready", 1)
        self._meter = LoadMeter(self._books.sequence, cpu_s)
        self._judge = Judge(self._config.run.rebalance_s)
        self._sampled_ns = 0
        self._others = others
        self._has_led = False
        self._shards_here: frozenset[int] | None = None if others is None else frozenset()
        """The shards whose markets the feeds carry; None for all."""
        self._carried = universe if others is None else carried_by(universe, frozenset(), None)
        """The part of the universe that the feeds carry."""
        self._searches: set[asyncio.Task[None]] = set()
        self.assignments = Assignments(universe, self._books.slot_count, self)
        self._listing = ListingWatch(
            config, read_listings, self.assignments, self._price_of, clock, self.alert
        )
        self._absent: AbsentPairs | None = None
        """None where the venues are not asked again, and in a cluster: a new leader does not know which pairs were
        taken out.
        """
        every_s = config.venues.listing_every_s
        if others is None and every_s:
            self._absent = AbsentPairs(self._find, open_pairs, config.run.symbols, every_s, alert)

    def register(self, desk: ControlServer) -> None:
        """Register the handlers of orders about shards."""
        desk.on(control.ShowShards, lambda _: self._show())
        desk.on(control.MovePairs, self._move)
        desk.on(control.BalanceShards, self._balance)
        desk.on(control.AddSymbols, self._add)
        desk.on(control.RemoveSymbols, self._remove)
        desk.on(control.RestartShard, self._restart)

    def step(self, now_ns: int) -> None:
        """Continue changes; read listings and measure now and then; begin a balancing that is due."""
        leads = self._others is None or self._others.leads
        if leads:
            if not self._has_led and self._others is not None:
                self._take_over()
            self.assignments.step(now_ns)
            risk = self._processes.get("risk")
            if risk is None:  # the run only records, or risk has just become this host's
                self._listing.step(now_ns, 0)
            elif risk.pid and self._risk_page.is_up(risk.pid):
                self._listing.step(now_ns, self._risk_page.value("listing_wanted", risk.pid))
        elif self._has_led:
            self.assignments.drop("another host leads the cluster now")
        self._has_led = leads
        if now_ns - self._sampled_ns >= _SAMPLE_NS:
            self._sampled_ns = now_ns
            self._sample(now_ns, leads=leads)

    def end(self, now_ns: int) -> None:
        """Handle that the run stops: give every pair an owner that closes it."""
        for search in self._searches:
            search.cancel()
        self._listing.close()
        if self._others is None or self._others.leads:
            self.assignments.end(now_ns)

    def close(self) -> None:
        """Close the pages, and cancel a reading."""
        self._listing.close()
        for page in (*self._pages, self._risk_page):
            page.close()

    # These methods are for a run on several hosts.

    def hold(self, shards: frozenset[int]) -> None:
        """Carry the markets of these shards from now on, and no others."""
        if shards != self._shards_here:
            self._shards_here = shards
            self._route(self.assignments.universe)

    def adopt(self, universe: Universe) -> bool:
        """Put the universe in force that another host has made. Raises ``ChangeFailed`` when it cannot be written.

        Return whether workers have to begin anew with it, because it does not follow the one before: a leader made
        that one and was lost before another host had it.
        """
        before = self.assignments.universe
        slots = {leg.market: leg.slot for leg in before.legs()}
        is_other = any(slots.get(leg.market, leg.slot) != leg.slot for leg in universe.legs())
        self.publish(before, universe)
        self.assignments.adopt(universe)
        return is_other

    def _sample(self, now_ns: int, *, leads: bool) -> None:
        """Measure, and begin a change that is due when none is under way."""
        pids = {
            child.shard: child.pid
            for child in self._processes.children
            if child.shard is not None and child.pid
        }
        self._meter.sample(self._carried, pids, now_ns)
        if not leads or not self.assignments.is_idle or self._processes.ending:
            return
        # A run that only records has no risk, and changes no pairs.
        if self._absent is not None and self._processes.get("risk") is not None:
            add = self._absent.step(self.assignments.universe, now_ns)
            if add is not None:
                self.assignments.queue(add)
                return
        busiest = max(self._meter.cpu.values(), default=0.0)
        if self._judge.is_due(ratio(self._measured(), self.loads()), busiest, now_ns):
            plan = self._plan()
            if plan:
                self.assignments.queue(_move_of(plan, "uneven load"))

    def _take_over(self) -> None:
        """Go on with the universe of a former leader: what that one had not finished is undone."""
        universe = self.assignments.universe
        unassigned = universe.unassigned()
        if not lost_pairs(universe):
            return
        try:
            places = self.assignments.shards_for(unassigned)
            self.assignments.publish(universe.with_leaving(()).on_shards(places))
        except ChangeFailed as error:
            self.alert(
                f"the former leader's change of {', '.join(lost_pairs(universe))} cannot be undone: {error}"
            )
            return
        self.alert(
            f"the former leader's change of {', '.join(lost_pairs(universe))} was not finished and is undone"
        )

    def _measured(self) -> dict[int, Sequence[str]]:
        """Return the bases by shard, of the shards whose load this host can measure: those that it holds."""
        living, others = self.assignments.living(), self._others
        if others is None:
            return living
        return {shard: bases for shard, bases in living.items() if others.is_granted(shard)}

    # These methods implement ``Environment``.

    def publish(self, before: Universe, after: Universe) -> None:
        """Write the universe, and route the feeds' frames by it. Raises ``ChangeFailed``."""
        try:
            write_whole(self._files.universe, msgspec.json.encode(after))
        except OSError as error:
            raise ChangeFailed(f"{self._files.universe}: cannot be written: {error.strerror}") from error
        self._route(after)
        named = {leg.slot for leg in after.legs()}
        for leg in before.legs():
            if leg.slot not in named:
                self._books.clear(leg.slot)
        self._books.set_universe(after.serial)
        self._wake_workers()
        self._on_universe(after)

    def _route(self, universe: Universe) -> None:
        """Have the feeds carry the markets of ``universe``, or those of this host's shards."""
        before, after = self._carried, universe
        if self._shards_here is not None:
            after = carried_by(universe, self._shards_here, before)
        self._carried = after
        for name, feed in self._feeds.items():
            route(name, feed, before, after)

    def carried_out(self, shard: int) -> int:
        """Return the serial that the shard's running worker has carried out; -1 while none is up."""
        if self._others is not None and not self._others.is_granted(shard):
            place = self._others.place_of(shard)
            return place.universe if place is not None else -1
        child = self._processes.get(f"worker-{shard}")
        page = self._pages[shard]
        if child is None or not child.pid or not page.is_up(child.pid):
            return -1
        return page.value("universe", child.pid)

    def incarnation(self, shard: int) -> int:
        """Return the epoch of the shard's running worker; -1 while none is up."""
        if self._others is not None and not self._others.is_granted(shard):
            place = self._others.place_of(shard)
            return place.epoch if place is not None else -1
        child = self._processes.get(f"worker-{shard}")
        return child.epoch if child is not None and self.carried_out(shard) >= 0 else -1

    def is_given_up(self, shard: int) -> bool:
        """Return whether the shard's worker was given up; of several hosts another one gets the shard then."""
        if self._others is not None:
            return False
        child = self._processes.get(f"worker-{shard}")
        return child is not None and child.state == "quarantined"

    def risk_serial(self) -> int:
        """Return the serial that risk uses; -1 while it is not up."""
        risk = self._processes.get("risk")
        if risk is None or not risk.pid or not self._risk_page.is_up(risk.pid):
            return -1
        return self._risk_page.value("universe", risk.pid)

    def loads(self) -> dict[str, float]:
        """Return frames per second by base, as far as they are known."""
        return self._meter.frames_s

    # These methods answer orders.

    def _show(self) -> control.Shards:
        universe = self.assignments.universe
        owners = universe.owners()
        rates = self.loads()
        shards = tuple(
            control.ShardLine(
                shard=shard,
                bases=bases,
                frames_s=round(sum(rates.get(base, 0.0) for base in bases), 1),
                cpu=round(self._meter.cpu.get(shard, 0.0), 3),
                loop_gap_us=self._loop_gap_us(shard),
                serial=self.carried_out(shard),
            )
            for shard, bases in enumerate(universe.shards)
        )
        pairs = tuple(
            control.PairLine(
                base=pair.base,
                home=pair.home.market.symbol,
                away=pair.away.market.symbol,
                shard=owners.get(pair.base, -1),
                frames_s=round(rates.get(pair.base, 0.0), 1),
                is_leaving=pair.base in universe.leaving,
            )
            for pair in universe.pairs
        )
        imbalance = round(ratio(self._measured(), rates), 2)
        return control.Shards(universe.serial, shards, pairs, self.assignments.changes, imbalance)

    def _price_of(self, leg: Leg) -> Decimal | None:
        """Return the bid in the newest book of a market; None without one."""
        try:
            with BooksReader.attach(self._files.books) as books:
                found = books.read(leg.slot)
            if found is None:
                return None
            _, received_ns, _, frame = found
            return exact(get_venue(leg.market.venue).decode(frame, received_ns).best_bid)
        except (SharedMemoryError, FrameError):
            return None  # there is no book to compare with yet, or its newest frame is bad

    def _loop_gap_us(self, shard: int) -> float:
        try:
            with PageReader.attach(self._files.worker_page(shard)) as page:
                gaps = page.histogram("loop_gap")
        except SharedMemoryError:
            return 0.0  # not made yet
        return round(gaps.percentile_ns(99) / 1000, 1) if gaps.count else 0.0

    def _move(self, order: control.MovePairs) -> control.ControlAnswer:
        self._require_shard(order.shard)
        if self.is_given_up(order.shard):
            raise UsageError(
                f"shard {order.shard} is given up: 'arbshard shards restart {order.shard}' first"
            )
        bases = self._bases(order.symbols)
        owners = self.assignments.universe.owners()
        away = [base for base in bases if owners.get(base) != order.shard]
        if not away:
            return control.ControlDone(f"in shard {order.shard} already: {', '.join(bases)}")
        return self._put(Move(dict.fromkeys(away, order.shard)))

    def _balance(self, order: control.BalanceShards) -> control.ControlAnswer:
        plan = self._plan()
        even = f"the fullest shard has {ratio(self._measured(), self.loads()):.2f} times the mean load"
        if not plan:
            return control.ControlDone(f"nothing to move: {even}")
        move = _move_of(plan, "by hand")
        if order.dry_run:
            return control.ControlDone(f"{even}; would {move.what}")
        return self._put(move)

    def _add(self, order: control.AddSymbols) -> control.ControlAnswer:
        if not order.symbols:
            raise UsageError("name the pairs to add")
        pairs = self.assignments.universe.pairs
        known = [name for name in order.symbols if any(pair.answers_to(name) for pair in pairs)]
        if known:
            raise UsageError(f"traded already: {', '.join(known)}")
        return self._put(Add(order.symbols, self._find))

    def _remove(self, order: control.RemoveSymbols) -> control.ControlAnswer:
        bases = self._bases(order.symbols)
        if len(bases) == len(self.assignments.universe.pairs):
            raise UsageError("these are the last pairs of the run: stop it instead")
        return self._put(Remove(bases, keep_positions=order.keep_positions))

    def _restart(self, order: control.RestartShard) -> control.ControlAnswer:
        self._require_shard(order.shard)
        if self._others is not None:
            return self._replace_worker(order.shard, self._others)
        if self._processes.ending:
            raise UsageError("the run is stopping")
        child = self._processes.get(f"worker-{order.shard}")
        before = child.epoch if child is not None else 0
        self._processes.restart(f"worker-{order.shard}")

        def is_up() -> bool:
            return child is not None and child.epoch > before and self.carried_out(order.shard) >= 0

        return self._put(FillShard(order.shard, is_up, self._held))

    def _replace_worker(self, shard: int, others: OtherHosts) -> control.ControlAnswer:
        """Restart a worker of this host, in a run on several."""
        if not others.is_granted(shard):
            raise UsageError(f"this host does not run shard {shard}: see 'arbshard status'")
        return control.ControlDone(self._processes.restart(f"worker-{shard}"))

    def _put(self, change: ShardChange) -> control.ControlAnswer:
        if self._processes.ending:
            raise UsageError("the run is stopping")
        if self._others is not None and not self._others.leads:
            leader = self._others.leader
            where = f"type it on host '{leader}'" if leader else "no leader is known now"
            raise UsageError(
                f"this host does not lead the cluster, and the leader changes the pairs: {where}"
            )
        number = self.assignments.queue(change)
        if number is None:
            raise UsageError("too many changes wait: try again later")
        return control.Accepted(number, change.what)

    def _plan(self) -> list[PairMove]:
        return plan_moves(self._measured(), self.loads(), self._held())

    def _require_shard(self, shard: int) -> None:
        count = len(self.assignments.universe.shards)
        if not 0 <= shard < count:
            raise UsageError(f"no shard {shard}: there are 0 to {count - 1}")

    def _bases(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the bases that ``names`` mean, each once. Raises ``UsageError``."""
        pairs = self.assignments.universe.pairs
        bases: dict[str, None] = {}
        for name in names:
            base = next((pair.base for pair in pairs if pair.answers_to(name)), None)
            if base is None:
                raise UsageError(f"{name} is not traded in this run")
            bases[base] = None
        if not bases:
            raise UsageError("name the pairs")
        return tuple(bases)

    def _find(self, names: Sequence[str]) -> ListingRequest:
        listing = ListingRequest()
        search = asyncio.get_running_loop().create_task(self._search(tuple(names), listing))
        self._searches.add(search)

        def found(task: asyncio.Task[None]) -> None:
            self._searches.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                get_logger().error("looking for pairs ended in a defect", exc_info=error)
                listing.problem = f"a defect of ours: {error!r}"

        search.add_done_callback(found)
        return listing

    async def _search(self, names: tuple[str, ...], listing: ListingRequest) -> None:
        config = replace(self._config, run=replace(self._config.run, max_pairs=PAIRS_MAX))
        try:
            found = await self._find_universe(config, names, _SEARCH_S, self.alert)
        except ArbshardError as error:
            listing.problem, listing.is_usage = str(error), isinstance(error, UsageError)
        else:
            listing.universe = found


def _move_of(plan: Sequence[PairMove], why: str) -> Move:
    return Move({move.base: move.to for move in plan}, why)
