"""Schedules faults: which kind comes when is drawn from the seed, and ``rates`` defines how often each comes.

``venue_faults``, ``process_faults`` and ``unkind`` carry the faults out. Orders of an operator come at any time like
faults, so they are drawn here too.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.virtual.process_faults import ProcessFaults
from arbshard.virtual.rates import FACTOR, UNKIND_LIVE_PER_HOUR, UNKIND_PER_HOUR, FaultLevel, kinds_of
from arbshard.virtual.spells import Spell, VirtualSpells
from arbshard.virtual.stand_ins import VirtualWorld
from arbshard.virtual.system import VirtualSupervisor
from arbshard.virtual.venue_faults import VirtualVenueFaults
from arbshard.wire import control

_UNKIND = {**UNKIND_PER_HOUR, **UNKIND_LIVE_PER_HOUR}
_ONLY_SHARE = 0.25
"""The rate of all faults together, as a share of the usual one, where only some kinds are wanted."""


class Faults:
    """Draws faults and carries them out; several may last at the same time."""

    def __init__(
        self,
        world: VirtualWorld,
        network: NetworkConditions,
        random: Random,
        supervisor: Callable[[], VirtualSupervisor | None],
        command: Callable[[Random], str],
    ) -> None:
        """Make the schedule.

        ``supervisor`` returns the supervisor that runs now. ``command`` sends an operator's command to risk and
        returns it as text.
        """
        self._world = world
        self._random = random
        self._supervisor = supervisor
        self._command = command
        self.spells = VirtualSpells(world.loop, world.trace)
        self.processes = ProcessFaults(world, network, random, supervisor, self.spells)
        self._rooms = (self.processes, VirtualVenueFaults(world, network, random, self.spells), world.unkind)
        self.counts: Counter[str] = Counter()

    @property
    def active(self) -> int:
        """Return how many faults last at the moment; one that waits at a crash point counts twice."""
        return len(self.spells) + len(self.processes.plans)

    @property
    def was_unkind(self) -> bool:
        """Return whether an exchange has been unkind: pairs may wait for a person, or pause for a long time."""
        return any(kind in _UNKIND for kind in self.counts)

    async def run(self, level: FaultLevel, only: tuple[str, ...] = ()) -> None:
        """Cause faults of ``level`` until cancelled; only the kinds in ``only``, if any are named."""
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
        """Cause one fault of ``kind`` now, and count it unless there is nothing that it can affect."""
        disturbs = kind not in _UNKIND
        made = self._begin(kind)
        said = self.spells.begin(made, disturbs=disturbs) if isinstance(made, Spell) else made
        if said:
            self.counts[kind] += 1
            self.spells.mark(f"{kind} {said}", disturbs=disturbs)

    def calm(self) -> None:
        """End all faults that last, and drop those that are planned."""
        self.processes.calm()
        self.spells.end_all()

    def trade_all(self) -> None:
        """Order the pairs added that were taken out."""
        supervisor = self._supervisor()
        traded = {pair.base for pair in supervisor.universe.pairs} if supervisor is not None else set()
        missing = [pair.base for pair in self._world.universe.pairs if pair.base not in traded]
        if missing:
            self.spells.mark(self._order(control.AddSymbols(tuple(missing))))

    def _begin(self, kind: str) -> Spell | str | None:
        match kind:
            case "command":
                return self._command(self._random)
            case "move":
                return self._move()
            case "symbols":
                return self._change_symbols()
        room = next(room for room in self._rooms if hasattr(room, kind))
        made: Spell | str | None = getattr(room, kind)()
        return made

    def _order(self, order: control.ControlOrder) -> str:
        """Send an order to the supervisor.

        Returns the order and the kind of its answer as text, or an empty text while the supervisor takes no orders.
        """
        supervisor = self._supervisor()
        if supervisor is None or not supervisor.is_running or supervisor.control is None:
            return ""
        process = supervisor.process
        if process.stopped or not process.alive:
            return ""
        answer = process.context.copy().run(supervisor.control.ask, order)
        return f"{order!r}: {type(answer).__name__}"

    def _move(self) -> str:
        """Move pairs to another shard, or balance the shards."""
        if self._random.random() < 0.2:
            return self._order(control.BalanceShards())
        bases = [pair.base for pair in self._world.universe.pairs]
        chosen = tuple(self._random.sample(bases, self._random.randint(1, max(1, len(bases) // 2))))
        return self._order(control.MovePairs(chosen, self._random.randrange(self._world.config.run.shards)))

    def _change_symbols(self) -> str:
        """Take a pair out; if some are out already, add all of them."""
        supervisor = self._supervisor()
        if supervisor is None:
            return ""
        traded = {pair.base for pair in supervisor.universe.pairs}
        missing = [pair.base for pair in self._world.universe.pairs if pair.base not in traded]
        if missing:
            return self._order(control.AddSymbols(tuple(missing)))
        base = self._random.choice(self._world.universe.pairs).base
        # Nothing closes positions that are kept before the run after this one.
        return self._order(control.RemoveSymbols((base,), keep_positions=False))
