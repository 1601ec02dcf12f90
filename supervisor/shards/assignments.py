"""``Assignments`` states who owns which pair, and makes every change of it while the run goes on, one after the
other.

Pure: it acts through ``Environment``, and the time is an argument. ``manager`` calls ``step`` at each tick of the
supervisor. A pair changes hands in two steps: out of its shard, and into the next one only when the first has shown
that it no longer uses the pair, so it never has two owners. It never stays without one either: a shard that does not
let go in time gets its pair back, and the pairs of a shard that was given up are given to the others.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec.structs import replace

from arbshard.errors import ArbshardError
from arbshard.model.market import Pair
from arbshard.model.universe import Universe
from arbshard.wire.control import ChangeLine, ChangeState
from supervisor.shards.balance import spread
from supervisor.shards.slots import SlotPool

QUEUE_MAX = 32
_KEPT = 32
"""Number of changes that are over and still shown."""


class Environment(Protocol):
    """Is what changes act on."""

    def publish(self, before: Universe, after: Universe) -> None:
        """Make ``after`` the universe in force: file, routing, and the serial in the header of the books.

        Raises ``ChangeFailed`` when the file cannot be written; then all is as before.
        """
        ...

    def carried_out(self, shard: int) -> int:
        """Return the serial that the shard's running worker has carried out; -1 while none is up."""
        ...

    def incarnation(self, shard: int) -> int:
        """Return the epoch of the shard's running worker; -1 while none is up."""
        ...

    def is_given_up(self, shard: int) -> bool:
        """Return whether its worker has ended and is not restarted; it does nothing any more then."""
        ...

    def risk_serial(self) -> int:
        """Return the serial that risk uses; -1 while it is not up."""
        ...

    def loads(self) -> dict[str, float]:
        """Return frames per second by base, as far as they are known."""
        ...

    def alert(self, line: str) -> None:
        """Report something that a person should know."""
        ...


class ChangeFailed(ArbshardError):
    """Is raised when a change cannot be carried out, with the reason. Nothing of the change is left."""

    def __init__(self, why: str, *, is_usage: bool = False) -> None:
        """Make the error. ``is_usage``: the person must ask for something else."""
        super().__init__(why)
        self.is_usage = is_usage


class ShardChange(Protocol):
    """Is one change, under way from its first ``advance`` to its last."""

    what: str
    """A description for people: ``move SOL to shard 2``."""

    def advance(self, assignments: "Assignments", now_ns: int) -> str | None:
        """Do what can be done now. Return None while it is not over, then what was achieved. Raises
        ``ChangeFailed``.
        """
        ...


class _Ticket:
    def __init__(self, number: int, change: ShardChange) -> None:
        self.number = number
        self.change = change
        self.state: ChangeState = "queued"
        self.text = ""

    def line(self) -> ChangeLine:
        return ChangeLine(self.number, self.change.what, self.state, self.text)


class Assignments:
    """Holds the universe in force, and the queue of changes to it."""

    def __init__(self, universe: Universe, slot_count: int, environment: Environment) -> None:
        self.universe = universe
        self.environment = environment
        self._slot_count = slot_count
        self.slots = SlotPool(slot_count, (leg.slot for leg in universe.legs()))
        self.is_ending = False
        """Whether the run is stopping: waiting changes are given up, and every pair gets an owner at once."""
        self._queue: deque[_Ticket] = deque()
        self._current: _Ticket | None = None
        self._over: deque[_Ticket] = deque(maxlen=_KEPT)
        self._numbers = 0
        self._has_no_shard = False

    # What other parts ask.

    @property
    def is_idle(self) -> bool:
        """Return whether no change waits or is under way."""
        return self._current is None and not self._queue

    @property
    def can_revise(self) -> bool:
        """Return whether no change is under way, so that rules may change between two of them."""
        return self._current is None and not self.is_ending

    @property
    def changes(self) -> tuple[ChangeLine, ...]:
        """Return the changes that are over, under way and waiting, oldest first."""
        current = (self._current,) if self._current is not None else ()
        return tuple(ticket.line() for ticket in (*self._over, *current, *self._queue))

    def living(self) -> dict[int, Sequence[str]]:
        """Return the bases by shard, of the shards that are not given up."""
        shards = enumerate(self.universe.shards)
        return {shard: bases for shard, bases in shards if not self.environment.is_given_up(shard)}

    def pairs(self) -> dict[str, Pair]:
        """Return all pairs by base."""
        return {pair.base: pair for pair in self.universe.pairs}

    # What happens.

    def queue(self, change: ShardChange, *, first: bool = False) -> int | None:
        """Queue a change. Return its number, or None when too many wait."""
        if len(self._queue) >= QUEUE_MAX and not first:
            return None
        self._numbers += 1
        ticket = _Ticket(self._numbers, change)
        if first:
            self._queue.appendleft(ticket)
        else:
            self._queue.append(ticket)
        return self._numbers

    def step(self, now_ns: int) -> None:
        """Continue the change under way, or begin the next one."""
        if self._current is None:
            self._reassign_orphans()
            if not self._queue:
                return
            self._current = self._queue.popleft()
            self._current.state = "running"
        ticket = self._current
        try:
            achieved = ticket.change.advance(self, now_ns)
        except ChangeFailed as error:
            ticket.state = "refused" if error.is_usage else "failed"
            ticket.text = str(error)
        else:
            if achieved is None:
                return
            ticket.state, ticket.text = "done", achieved
        self._over.append(ticket)
        self._current = None

    def end(self, now_ns: int) -> None:
        """Handle that the run stops: give up waiting changes, and make sure that every pair has an owner."""
        self.is_ending = True
        current, self._current = self._current, None
        self.drop("the run is stopping")
        self._current = current
        if self._current is not None:
            self.step(now_ns)
        unassigned = self.universe.unassigned()
        if unassigned:
            shards = self.living() or dict(enumerate(self.universe.shards))
            try:
                self.publish(self.universe.on_shards(spread(unassigned, shards, self.environment.loads())))
            except ChangeFailed as error:
                self.environment.alert(f"{', '.join(unassigned)}: {error}")

    def adopt(self, universe: Universe) -> None:
        """Go on with a universe that another host has made, and that is in force here already."""
        before = {leg.slot for leg in self.universe.legs()}
        now = {leg.slot for leg in universe.legs()}
        self.slots = SlotPool(self._slot_count, before | now)
        self.slots.free(before - now, universe.serial)
        self.universe = universe

    def drop(self, why: str) -> None:
        """Give up the change under way and those that wait."""
        if self._current is not None:
            self._queue.appendleft(self._current)
            self._current = None
        for ticket in self._queue:
            ticket.state, ticket.text = "failed", why
        self._over.extend(self._queue)
        self._queue.clear()

    # What changes use.

    def publish(self, universe: Universe) -> int:
        """Put ``universe`` in force. Return its serial. Raises ``ChangeFailed``: then the one before is still in
        force.
        """
        given_up = [n for n in range(len(universe.shards)) if self.environment.is_given_up(n)]
        after = replace(universe, given_up=tuple(given_up))
        assert after.may_follow(self.universe), after.shards
        self.environment.publish(self.universe, after)
        self.universe = after
        return after.serial

    def waits_for(self, shards: Iterable[int], serial: int) -> list[int]:
        """Return those of ``shards`` that have not carried out ``serial`` and still may."""
        return [
            shard
            for shard in dict.fromkeys(shards)
            if not self.environment.is_given_up(shard) and self.environment.carried_out(shard) < serial
        ]

    def passed(self) -> int:
        """Return the serial that risk and all workers have carried out."""
        shards = range(len(self.universe.shards))
        living = [self.environment.carried_out(n) for n in shards if not self.environment.is_given_up(n)]
        return min([self.environment.risk_serial(), *living])

    def shards_for(self, bases: Iterable[str]) -> dict[str, int]:
        """Return a shard for each of ``bases``. Raises ``ChangeFailed`` when every shard is given up."""
        living = self.living()
        if not living:
            raise ChangeFailed("every shard is given up")
        return spread(bases, living, self.environment.loads())

    def _reassign_orphans(self) -> None:
        """Move pairs of a shard that was given up. Their positions must be managed, so this comes before all else."""
        orphaned = [
            base
            for shard, bases in enumerate(self.universe.shards)
            if self.environment.is_given_up(shard)
            for base in bases
        ]
        if not orphaned or not self.living():
            if orphaned and not self._has_no_shard:
                self.environment.alert(f"every shard is given up: no process trades {', '.join(orphaned)}")
            self._has_no_shard = bool(orphaned)
            return
        self._has_no_shard = False
        places = self.shards_for(orphaned)
        try:
            self.publish(self.universe.on_shards(places))
        except ChangeFailed:
            return  # the next step tries again
        said = ", ".join(f"{base} to {shard}" for base, shard in places.items())
        self.environment.alert(f"pairs of a shard that was given up are moved: {said}")
