"""Which pairs are this shard's, and the way from one universe to the next. Looked at by ``loop`` on its timer.

A pair that is no longer ours does nothing new, is let come to its end, and is then forgotten. A pair that has come is
traded once risk has said what there is to carry on with. ``serial`` is the universe that is fully carried out: the
supervisor gives a pair to its next shard only when the one before has shown it, so no pair has two owners.
"""

import asyncio
from collections.abc import Callable, Container, Iterable
from typing import Protocol

from msgspec.structs import replace

from arbshard.engine.engine import ArbitrageEngine
from arbshard.errors import SharedMemoryError
from arbshard.log import get_logger
from arbshard.model.market import Pair
from arbshard.shm.universe import ShardUniverse
from arbshard.wire.messages import Welcome
from arbshard.worker.desk import Desk
from arbshard.worker.feed import ShardFeed

_ADOPT_AGAIN_NS = 100_000_000


class UniverseFeed(Protocol):
    """Where universes come from: ``shm.universe.UniverseFile``."""

    @property
    def serial(self) -> int:
        """Of the newest one."""
        ...

    def load_shard(self, shard: int, known: Container[str], since: int) -> ShardUniverse:
        """What the shard must know, and has not known since that serial. Raises ``SharedMemoryError``."""
        ...


class Adopter(Protocol):
    """Whom to ask about pairs that have come: ``risk_link.RiskLink``."""

    async def adopt(self, pairs: tuple[str, ...]) -> Welcome | None:
        """What there is to carry on with; None when they are not ours, for risk."""
        ...


class Membership:
    """The pairs of one running worker."""

    def __init__(
        self,
        shard: int,
        source: UniverseFeed,
        risk: Adopter,
        engine: ArbitrageEngine,
        feed: ShardFeed,
        desk: Desk,
        on_carried_out: Callable[[int, int], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """``on_carried_out`` is told each serial that is carried out, and how many pairs there are then."""
        self._shard = shard
        self._source = source
        self._risk = risk
        self._engine = engine
        self._feed = feed
        self._desk = desk
        self._on_carried_out = on_carried_out
        self._on_failure = on_failure
        # The engine was made from a universe that may have been replaced since: the first look reads the newest.
        self._target = ShardUniverse(-1, frozenset(engine.pairs), frozenset(), {})
        self._adopting: asyncio.Task[None] | None = None
        self._adopt_again_ns = 0
        self.serial = -1
        """Of the newest universe that is fully carried out; -1 before the first look."""

    @property
    def leaving(self) -> frozenset[str]:
        """Pairs that are being closed and taken out: nothing is entered."""
        return self._target.leaving

    @property
    def is_settled(self) -> bool:
        """Whether the newest universe is carried out, but for what is still being closed."""
        has_all = self._target.mine == self._engine.pairs.keys() and not self._desk.has_suspended
        return has_all and self._source.serial <= self._target.serial

    def poll(self, now_ns: int) -> None:
        """Go on with what is to be done; takes as long as reading the file when there is a newer one."""
        if self._source.serial > self._target.serial:
            self._load()
        if self.serial == self._target.serial and not self._desk.has_suspended:
            return
        for base in [base for base in self._engine.pairs if base not in self._target.mine]:
            self._let_go(base)
        for base in self._target.mine:
            if base in self._engine.pairs and self._desk.is_suspended(base) and self._desk.is_adopted(base):
                self._desk.activate(base)  # given back before it was let go
        wanted = self._unadopted()
        if wanted and self._adopting is None and now_ns >= self._adopt_again_ns:
            self._adopt_again_ns = now_ns + _ADOPT_AGAIN_NS
            self._adopting = asyncio.ensure_future(self._adopt(wanted))
            self._adopting.add_done_callback(self._adopted)
        # An answer that is still to come would be of before: nothing is shown until it is there.
        is_still = not wanted and self._adopting is None and self._engine.pairs.keys() == self._target.mine
        if is_still and all(self._desk.is_flat(base) for base in self._target.leaving):
            self.serial = self._target.serial
            self._on_carried_out(self.serial, len(self._engine.pairs))

    async def close(self) -> None:
        """Stop asking."""
        if self._adopting is not None:
            self._adopting.cancel()
            await asyncio.gather(self._adopting, return_exceptions=True)

    def _load(self) -> None:
        known = self._engine.pairs.keys()
        try:
            self._target = self._source.load_shard(self._shard, known, self._target.serial)
        except SharedMemoryError as error:
            get_logger().error("the universe cannot be read", error=str(error))  # and is tried again
            return
        for pair in self._target.revised.values():
            self._desk.revise(pair)
        get_logger().info(
            "universe",
            serial=self._target.serial,
            come=sorted(self._target.new),
            go=sorted(known - self._target.mine),
            leaving=sorted(self._target.leaving),
            revised=sorted(self._target.revised),
        )

    def _let_go(self, base: str) -> None:
        """Hold a pair that is not ours, and forget it once nothing of it is under way."""
        if not self._desk.is_suspended(base):
            self._desk.suspend(base)
        if self._desk.is_idle(base):
            pair = self._engine.pairs[base].pair
            self._desk.forget(base)
            self._engine.remove(base)
            self._feed.remove((pair.home, pair.away))

    def _strangers(self) -> tuple[str, ...]:
        """Pairs of the engine that risk did not know as ours."""
        suspended = (base for base in self._engine.pairs if self._desk.is_suspended(base))
        return tuple(base for base in suspended if not self._desk.is_adopted(base))

    def _unadopted(self) -> tuple[str, ...]:
        strangers = [base for base in self._strangers() if base in self._target.mine]
        return (*strangers, *(base for base in self._target.new if base not in self._engine.pairs))

    async def _adopt(self, wanted: tuple[str, ...]) -> None:
        welcome = await self._risk.adopt(wanted)
        if welcome is None:
            return  # asked again, unless a newer universe takes them away
        # A newer universe may have been loaded meanwhile; what it has taken away is nobody's until we show it.
        mine = [base for base in wanted if base in self._target.mine]
        for base in mine:
            if base not in self._engine.pairs:
                self._take(self._target.new[base])
        self._desk.adopt(_of(welcome, mine), mine)

    def _take(self, pair: Pair) -> None:
        legs = (pair.home, pair.away)
        self._engine.add(pair)
        self._feed.add(legs)
        for leg in legs:  # its books are there already
            view = self._feed.read(leg.slot)
            if view is not None:
                self._engine.observe(leg.slot, view)

    def _adopted(self, task: asyncio.Task[None]) -> None:
        self._adopting = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)


def _of(welcome: Welcome, bases: Iterable[str]) -> Welcome:
    """``welcome`` as far as it concerns ``bases``."""
    kept = frozenset(bases)
    return replace(
        welcome,
        positions=tuple(one for one in welcome.positions if one.pair in kept),
        intents=tuple(one for one in welcome.intents if one.intent.pair in kept),
        funded=tuple(base for base in welcome.funded if base in kept),
        residues=tuple(one for one in welcome.residues if one[0] in kept),
        retries=tuple(one for one in welcome.retries if one[0] in kept),
    )
