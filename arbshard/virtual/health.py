"""Checks what must come true in time: after the last fault the system trades again, and nothing is stuck."""

from arbshard.virtual.faults import Faults
from arbshard.virtual.oracle import Oracle
from arbshard.virtual.stand_ins import VirtualWorld
from arbshard.virtual.system import VirtualSupervisor
from arbshard.virtual.worker import VirtualWorker

RECOVERED_NS = 45_000_000_000
"""Time after the last fault within which the system recovers."""
_LAG_NS = 1_000_000_000
"""Time within which a worker has evaluated a frame that was received."""
_SETTLED_NS = 2_000_000_000
_CHANGED_NS = 400_000_000_000
"""Longest time of changes of the universe in ns: several may wait for each other, each until its pairs are closed."""
NAKED_NS = 5_000_000_000
"""Longest time in ns that one leg of an intent is open while nothing goes wrong: an order takes a tenth of a second,
a venue that refuses is tried again after ``retry_ms``, and an intent may need six orders at most. An intent that both
venues have refused is tried with longer pauses; ``budgets`` bounds that.
"""
_REPLACED_NS = 2_000_000_000
"""Time in ns after which a stopped worker that counts as stuck is replaced."""
_ENDED_NS = 10_000_000_000
"""Time in ns after ``stop_timeout_s`` within which a run that ends in order has ended."""


class Health:
    """Checks once a second that the system has recovered from faults."""

    def __init__(self, world: VirtualWorld, faults: Faults) -> None:
        self._oracle: Oracle = world.oracle
        self._loop = world.loop
        self._faults = faults
        self._spells = faults.spells
        self._live = world.live
        self._stuck_ns = int(world.config.run.stuck_after_ms * 1e6) + _REPLACED_NS
        self._unkind = world.unkind
        self._listing_ns = int(world.config.venues.listing_every_s * 1e9)
        self._stop_ns = int(world.config.run.stop_timeout_s * 1e9) + _ENDED_NS
        self._ending_since_ns = 0
        """Monotonic time at which the run was asked to end in order; 0 while it was not."""
        self._changing_since_ns = self._loop.now_ns
        self._busy_since_ns: dict[str, int] = {}
        self._well_since_ns = self._loop.now_ns
        """Time since when at most one fault lasts and all else is well (monotonic ns)."""

    def check(self, supervisor: VirtualSupervisor | None) -> None:
        """Report what should have recovered by now and has not."""
        now_ns = self._loop.now_ns
        if self._is_ending(supervisor, now_ns) or self._is_refused():
            self._spells.last_ns = now_ns
        self._look_for_stuck(supervisor, now_ns)
        self._look_at_changes(supervisor, now_ns)
        is_disturbed = self._spells.disturbing or now_ns - self._spells.disturbed_ns < RECOVERED_NS
        self._oracle.budgets.judge_naked(
            ((one.intent_id, one.worth) for one in self._oracle.books.naked()), 1.0, is_disturbed=is_disturbed
        )
        if self._faults.active or now_ns - self._spells.last_ns < RECOVERED_NS:
            self._busy_since_ns.clear()
            return
        if supervisor is None or not supervisor.is_running:
            self._say("the system is not running")
            return
        if supervisor.risk is None or not supervisor.risk.is_ready:
            self._say("risk is not ready")
            return
        self._look_at_shards(supervisor, now_ns)
        self._look_at_intents(now_ns)
        unassigned = supervisor.universe.unassigned()
        if unassigned:
            self._say(f"{', '.join(unassigned)}: in no shard")

    def _look_at_intents(self, now_ns: int) -> None:
        """Check that no leg is open for long, and that every intent ends."""
        for naked in self._oracle.books.naked():
            trouble_ns = self._oracle.budgets.last_trouble_ns(naked.intent_id, now_ns)
            for_ns = now_ns - max(naked.since_ns, self._spells.last_ns, trouble_ns)
            if for_ns > NAKED_NS and not self._oracle.budgets.is_asked(naked.intent_id):
                self._oracle.differs(
                    f"naked: {naked.intent_id} has {naked.worth:.0f} KRW on one leg for {for_ns / 1e9:.0f} s"
                )
        for intent_id, (_, since_ns) in self._oracle.open.items():
            if now_ns - since_ns > RECOVERED_NS and not self._oracle.budgets.is_asked(intent_id):
                self._say(f"{intent_id} has no outcome after {(now_ns - since_ns) / 1e9:.0f} s")

    def _is_refused(self) -> bool:
        """Return whether a venue refuses this address: a ban lasts longer than the fault that brought it about."""
        live = self._live
        return live is not None and any(venue.refuses_for_s for venue in live.venues.values())

    def _is_ending(self, supervisor: VirtualSupervisor | None, now_ns: int) -> bool:
        """Return whether the run ends in order, and may still close what is open."""
        if supervisor is None or not supervisor.is_ending:
            self._ending_since_ns = 0
            return False
        self._ending_since_ns = self._ending_since_ns or now_ns
        return now_ns - self._ending_since_ns < self._stop_ns

    def _look_at_changes(self, supervisor: VirtualSupervisor | None, now_ns: int) -> None:
        """Check that a change of the universe ends: it may take a long time, but not forever."""
        if supervisor is None or not supervisor.is_changing or self._faults.active:
            self._changing_since_ns = now_ns
            return
        self._spells.last_ns = max(self._spells.last_ns, now_ns - RECOVERED_NS // 2)
        if now_ns - self._changing_since_ns > _CHANGED_NS:
            self._say(f"a change of the universe goes on for {_CHANGED_NS / 1e9:.0f} s")

    def _look_at_shards(self, supervisor: VirtualSupervisor, now_ns: int) -> None:
        for shard, bases in enumerate(supervisor.universe.shards):
            worker = supervisor.worker(shard)
            if worker is None or worker.engine is None or not worker.trading_since_ns:
                self._say(f"shard {shard} does not trade")
            elif now_ns - worker.trading_since_ns > _SETTLED_NS:
                self._look_at(worker, bases, now_ns)

    def _look_for_stuck(self, supervisor: VirtualSupervisor | None, now_ns: int) -> None:
        """Check that a stopped worker is replaced while everything else works."""
        risk = supervisor.risk if supervisor is not None else None
        is_well = risk is not None and risk.is_ready and self._faults.active == 1
        if supervisor is None or not supervisor.is_running or not is_well:
            self._well_since_ns = now_ns
            return
        for shard in range(len(supervisor.universe.shards)):
            worker = supervisor.worker(shard)
            if worker is None or not worker.process.stopped or not worker.trading_since_ns:
                continue
            still_ns = now_ns - max(worker.process.stopped_ns, self._well_since_ns)
            if still_ns > self._stuck_ns:
                self._oracle.differs(
                    f"liveness: shard {shard} is stopped for {still_ns / 1e9:.1f} s and is not replaced"
                )

    def _look_at(self, worker: VirtualWorker, bases: tuple[str, ...], now_ns: int) -> None:
        assert worker.engine is not None
        fresh = self._oracle.fresh
        for base in bases:
            state = worker.engine.pairs.get(base)
            if state is None:
                self._say(f"shard {worker.shard} has not taken {base}")
                continue
            for leg, view in ((state.pair.home, state.home), (state.pair.away, state.away)):
                listed_ns = self._unkind.listed_ns(leg.market.symbol)
                if listed_ns and now_ns - listed_ns < self._listing_ns + RECOVERED_NS:
                    continue  # a new listing is noticed when the venue's listing is read next
                true_ns = fresh.received_ns[leg.market.symbol]
                seen_ns = view.top.received_ns if view.top is not None else 0
                if true_ns - seen_ns > _LAG_NS or now_ns - true_ns > RECOVERED_NS:
                    self._say(
                        f"{leg.market.symbol}: seen {(now_ns - seen_ns) / 1e6:.0f} ms ago, "
                        f"received {(now_ns - true_ns) / 1e6:.0f} ms ago"
                    )
                elif not view.live:
                    self._say(f"{leg.market.symbol} is not live for shard {worker.shard}")
            if not state.may_act:
                since_ns = self._busy_since_ns.setdefault(base, now_ns)
                if now_ns - since_ns > RECOVERED_NS and not any(
                    intent.pair == base for intent, _ in self._oracle.open.values()
                ):
                    self._say(f"{base} is busy with nothing for {(now_ns - since_ns) / 1e9:.0f} s")
            else:
                self._busy_since_ns.pop(base, None)
            if not state.is_funded:
                self._say(f"{base} is not funded")

    def _say(self, what: str) -> None:
        self._oracle.differs(f"liveness: {what}, though nothing went wrong for {RECOVERED_NS / 1e9:.0f} s")
