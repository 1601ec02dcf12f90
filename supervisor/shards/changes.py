"""Defines the changes that a run can make while it goes on: pairs move, come, go. Pure; ``assignments`` runs one at
a time.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import NoReturn

from msgspec.structs import replace
from typing_extensions import override

from arbshard.model.market import Pair
from arbshard.model.universe import Universe
from supervisor.shards.assignments import Assignments, ChangeFailed
from supervisor.shards.balance import fill

_LET_GO_NS = 20_000_000_000
"""How long a shard may take to let a pair go, in ns; an intent under way has to end first."""
_TAKE_NS = 5_000_000_000
"""How long a change waits for a pair to be taken up, in ns; the pair is its new owner's in any case."""
_CLOSE_NS = 60_000_000_000
"""How long positions of a pair that leaves may take to be closed, in ns."""
_COME_UP_NS = 20_000_000_000
_NAMES_SHOWN = 8

Steps = Generator[None, int, str]
"""Each ``yield`` waits for the next step and receives its time (monotonic ns)."""


class _Change:
    """Is the base of changes: ``run`` is the change from first to last, as a generator."""

    what = ""

    def __init__(self) -> None:
        self._steps: Steps | None = None

    def run(self, assignments: Assignments, now_ns: int) -> Steps:
        """Make the change. Return what was achieved. Raises ``ChangeFailed``."""
        raise NotImplementedError

    def advance(self, assignments: Assignments, now_ns: int) -> str | None:
        """Continue the generator, as ``assignments.ShardChange`` does."""
        try:
            if self._steps is None:
                self._steps = self.run(assignments, now_ns)
                next(self._steps)
            else:
                self._steps.send(now_ns)
        except StopIteration as end:
            return str(end.value)
        return None


def _until_carried_out(
    assignments: Assignments, shards: Iterable[int], serial: int, now_ns: int, wait_ns: int
) -> Generator[None, int, list[int]]:
    """Wait for ``shards``. Return those that have not carried ``serial`` out in time."""
    asked = tuple(shards)
    deadline_ns = now_ns + wait_ns
    while left := assignments.waits_for(asked, serial):
        if now_ns > deadline_ns or assignments.is_ending:
            return left
        now_ns = yield
    return []


def _insist(assignments: Assignments, after: Callable[[], Universe]) -> Generator[None, int, int]:
    """Publish, now or as soon as it can be done: pairs that are on their way must not stay there."""
    while True:
        try:
            return assignments.publish(after())
        except ChangeFailed:
            yield


def _hand_over(
    assignments: Assignments, places: Mapping[str, int], now_ns: int
) -> Generator[None, int, tuple[list[str], list[str]]]:
    """Move each base to its shard. Return (those that are there now, those whose shard did not let go)."""
    owners = assignments.universe.owners()
    before = {base: owners[base] for base in places}
    serial = assignments.publish(assignments.universe.without_shard(places))
    late = yield from _until_carried_out(assignments, before.values(), serial, now_ns, _LET_GO_NS)
    after = {base: before[base] if before[base] in late else shard for base, shard in places.items()}
    dead = [base for base, shard in after.items() if assignments.environment.is_given_up(shard)]
    if dead and assignments.living():
        after |= assignments.shards_for(dead)
    serial = yield from _insist(assignments, lambda: assignments.universe.on_shards(after))
    kept = [base for base in places if before[base] in late]
    now_ns = yield
    yield from _until_carried_out(assignments, after.values(), serial, now_ns, _TAKE_NS)
    return [base for base in places if base not in kept], kept


def _named(bases: Sequence[str]) -> str:
    more = len(bases) - _NAMES_SHOWN
    return ", ".join(bases[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _placed(places: Mapping[str, int]) -> str:
    """Return a text such as ``SOL, ETH to shard 2; BTC to shard 0``."""
    by_shard: dict[int, list[str]] = {}
    for base, shard in places.items():
        by_shard.setdefault(shard, []).append(base)
    return "; ".join(f"{_named(bases)} to shard {shard}" for shard, bases in by_shard.items())


def _moved(assignments: Assignments, bases: Iterable[str]) -> str:
    owners = assignments.universe.owners()
    return _placed({base: owners[base] for base in bases})


class Move(_Change):
    """Gives pairs to other shards."""

    def __init__(self, places: Mapping[str, int], why: str = "") -> None:
        super().__init__()
        self._places = dict(places)
        self.what = f"move {_placed(places)}{f' ({why})' if why else ''}"

    @override
    def run(self, assignments: Assignments, now_ns: int) -> Steps:
        owners = assignments.universe.owners()
        wanted = {
            base: shard
            for base, shard in self._places.items()
            if base in owners and owners[base] != shard and base not in assignments.universe.leaving
        }
        if not wanted:
            return "nothing to move any more"
        moved, kept = yield from _hand_over(assignments, wanted, now_ns)
        if kept:
            done = f"; moved {_moved(assignments, moved)}" if moved else ""
            raise ChangeFailed(f"not let go of in time, so left where it was: {_named(kept)}{done}")
        return f"moved {_moved(assignments, moved)}"


class FillShard(_Change):
    """Moves pairs to a shard that has come back."""

    def __init__(self, shard: int, is_up: Callable[[], bool], held: Callable[[], frozenset[str]]) -> None:
        """Begin. ``is_up``: whether the shard has come back. ``held``: bases that are better left where they are."""
        super().__init__()
        self._shard = shard
        self._is_up = is_up
        self._held = held
        self.what = f"restart shard {shard}"

    @override
    def run(self, assignments: Assignments, now_ns: int) -> Steps:
        deadline_ns = now_ns + _COME_UP_NS
        while not self._is_up():
            # Its pairs wait for the end of this change to be moved.
            if assignments.environment.is_given_up(self._shard):
                raise ChangeFailed(f"shard {self._shard} was given up again")
            if now_ns > deadline_ns or assignments.is_ending:
                raise ChangeFailed(f"shard {self._shard} did not come up")
            now_ns = yield
        if assignments.universe.shards[self._shard]:
            return f"shard {self._shard} is up"
        plan = fill(self._shard, assignments.living(), assignments.environment.loads(), self._held())
        moved: list[str] = []
        if plan:
            moved, _ = yield from _hand_over(assignments, {move.base: move.to for move in plan}, now_ns)
        return f"shard {self._shard} is up and has {_named(moved) or 'no pair: there are too few'}"


class ListingRequest:
    """Is what the venues were asked for: filled in when they have answered."""

    def __init__(self) -> None:
        self.universe: Universe | None = None
        self.problem: str = ""
        self.is_usage = False


class Add(_Change):
    """Adds new pairs. ``find`` begins to ask the venues for them by name."""

    def __init__(self, names: Sequence[str], find: Callable[[Sequence[str]], ListingRequest]) -> None:
        super().__init__()
        self._names = tuple(names)
        self._find = find
        self.what = f"add {_named(names)}"

    @override
    def run(self, assignments: Assignments, now_ns: int) -> Steps:
        listing = self._find(self._names)
        while listing.universe is None and not listing.problem:
            now_ns = yield
            if assignments.is_ending:
                raise ChangeFailed("the run is stopping")
        if listing.problem:
            raise ChangeFailed(listing.problem, is_usage=listing.is_usage)
        assert listing.universe is not None
        known, found = assignments.pairs(), listing.universe.pairs
        if again := [pair.base for pair in found if pair.base in known]:
            raise ChangeFailed(f"traded already: {_named(again)}", is_usage=True)
        slots = assignments.slots.reserve(2 * len(found), assignments.passed())
        if slots is None:
            raise ChangeFailed("no free slot: this run has room for no more pairs", is_usage=True)
        pairs = [_in_slots(pair, slots.pop(0), slots.pop(0)) for pair in found]
        bases = [pair.base for pair in pairs]
        try:
            serial = assignments.publish(
                assignments.universe.with_pairs(pairs, listing.universe).on_shards(
                    assignments.shards_for(bases)
                )
            )
        except ChangeFailed:
            assignments.slots.free((leg.slot for pair in pairs for leg in (pair.home, pair.away)), serial=0)
            raise
        owners = assignments.universe.owners()
        yield from _until_carried_out(assignments, (owners[base] for base in bases), serial, now_ns, _TAKE_NS)
        return f"added {_moved(assignments, bases)}, for this run: the configuration is as it was"


def _in_slots(pair: Pair, home: int, away: int) -> Pair:
    return replace(pair, home=replace(pair.home, slot=home), away=replace(pair.away, slot=away))


class Remove(_Change):
    """Takes pairs out of the run, closed before unless their positions are kept."""

    def __init__(self, bases: Sequence[str], *, keep_positions: bool) -> None:
        super().__init__()
        self._bases = tuple(bases)
        self._keeps = keep_positions
        self.what = f"remove {_named(bases)}{', positions kept' if keep_positions else ''}"

    @override
    def run(self, assignments: Assignments, now_ns: int) -> Steps:
        known = assignments.pairs()
        bases = [base for base in self._bases if base in known]
        if not bases:
            return "gone already"
        if len(bases) == len(known):
            raise ChangeFailed("these are the last pairs of the run: stop it instead", is_usage=True)
        if not self._keeps:
            yield from self._close(assignments, bases, now_ns)
            now_ns = yield
        before = assignments.universe.owners()
        owners = {base: before[base] for base in bases}
        shards = owners.values()
        # Only an owner that has taken a pair over knows what is under way with it. A pair that has just come from a
        # shard that was given up may have an open intent; an owner that never had the pair would let go at once.
        absent = yield from _until_carried_out(
            assignments, shards, assignments.universe.serial, now_ns, _LET_GO_NS
        )
        incarnations = {shard: assignments.environment.incarnation(shard) for shard in shards}
        if absent or min(incarnations.values()) < 0:
            why = "not taken over by their shard in time" if absent else "their shard was given up"
            yield from self._stay(assignments, owners, why)
        try:
            serial = assignments.publish(assignments.universe.without_shard(bases))
        except ChangeFailed:
            # Without this the pairs could not be entered again.
            yield from _insist(assignments, lambda: assignments.universe.with_leaving(()))
            raise
        now_ns = yield
        late = yield from _until_carried_out(assignments, shards, serial, now_ns, _LET_GO_NS)
        # A shard that let go has nothing under way. What a worker that died had is its successor's, which must be
        # the owner.
        died = [
            shard
            for shard, epoch in incarnations.items()
            if epoch != assignments.environment.incarnation(shard)
        ]
        if late or died:
            why = "not let go of in time" if late else "their worker was replaced meanwhile"
            yield from self._stay(assignments, owners, why)
        legs = [leg for base in bases for leg in (known[base].home, known[base].away)]
        serial = yield from _insist(assignments, lambda: assignments.universe.without_pairs(bases))
        assignments.slots.free((leg.slot for leg in legs), serial)
        kept = ", positions kept" if self._keeps else ""
        return f"removed {_named(bases)}{kept}, for this run: the configuration is as it was"

    def _stay(
        self, assignments: Assignments, owners: dict[str, int], why: str
    ) -> Generator[None, int, NoReturn]:
        """Give the pairs back to their owners, allow entries again, and raise ``ChangeFailed``."""
        if assignments.universe.leaving or assignments.universe.unassigned():
            yield from _insist(assignments, lambda: assignments.universe.with_leaving(()).on_shards(owners))
        raise ChangeFailed(f"{why}, so still traded")

    def _close(
        self, assignments: Assignments, bases: Sequence[str], now_ns: int
    ) -> Generator[None, int, None]:
        """Wait until all that leaves is flat, which a shard shows by carrying this out."""
        owners = assignments.universe.owners()
        shards = [owners[base] for base in bases]
        serial = assignments.publish(assignments.universe.with_leaving(bases))
        now_ns = yield
        late = yield from _until_carried_out(assignments, shards, serial, now_ns, _CLOSE_NS)
        lost = [shard for shard in shards if assignments.environment.is_given_up(shard)]
        if late or lost:
            yield from _insist(assignments, lambda: assignments.universe.with_leaving(()))
            why = "their shard was given up" if lost else "not closed in time"
            raise ChangeFailed(f"{why}, so still traded; --keep-positions takes pairs out as they are")
