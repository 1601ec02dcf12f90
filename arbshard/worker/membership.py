"""Decides which pairs are this shard's, and moves from one universe to the next. ``loop`` polls it on its timer.

A pair that is no longer ours starts nothing new, is allowed to come to its end, and is then forgotten. A pair that
has come is traded once risk has reported what has to be continued. ``serial`` is the universe that is fully carried
out: the supervisor gives a pair to its next shard only when the one before has shown it, so no pair has two owners.
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
    """Is where universes come from: ``shm.universe.UniverseFile``."""

    @property
    def serial(self) -> int:
        """Return the serial of the newest universe."""
        ...

    def load_shard(self, shard: int, known: Container[str], since: int) -> ShardUniverse:
        """Return what the shard must know and has not known since that serial. Raises ``SharedMemoryError``."""
        ...


class Adopter(Protocol):
    """Answers what has to be continued of pairs that have come: ``risk_link.RiskLink``."""

    async def adopt(self, pairs: tuple[str, ...]) -> Welcome | None:
        """Return what has to be continued of ``pairs``; None if they are not this shard's for risk."""
        ...


class Membership:
    """Keeps the pairs of one running worker."""

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
        """Begin with the engine's pairs.

        ``on_carried_out`` is called with each serial that is carried out and the number of pairs then.
        """
        self._shard = shard
        self._source = source
        self._risk = risk
        self._engine = engine
        self._feed = feed
        self._desk = desk
        self._on_carried_out = on_carried_out
        self._on_failure = on_failure
        # The engine was made from a universe that may have been replaced since: the first poll reads the newest.
        self._target = ShardUniverse(-1, frozenset(engine.pairs), frozenset(), {})
        self._adopting: asyncio.Task[None] | None = None
        self._adopt_again_ns = 0
        self.serial = -1
        """Serial of the newest universe that is fully carried out; -1 before the first poll."""

    @property
    def leaving(self) -> frozenset[str]:
        """Return the pairs that are being closed and removed: nothing is entered."""
        return self._target.leaving

    @property
    def is_settled(self) -> bool:
        """Return whether the newest universe is carried out, except for what is still being closed."""
        has_all = self._target.mine == self._engine.pairs.keys() and not self._desk.has_suspended
        return has_all and self._source.serial <= self._target.serial

    def poll(self, now_ns: int) -> None:
        """Continue with what is to be done. It takes as long as reading the file when there is a newer universe."""
        if self._source.serial > self._target.serial:
            self._load()
        if self.serial == self._target.serial and not self._desk.has_suspended:
            return
        for base in [base for base in self._engine.pairs if base not in self._target.mine]:
            self._let_go(base)
        for base in self._target.mine:
            if base in self._engine.pairs and self._desk.is_suspended(base) and self._desk.is_adopted(base):
                self._desk.activate(base)  # it came back before it was forgotten
        wanted = self._unadopted()
        if wanted and self._adopting is None and now_ns >= self._adopt_again_ns:
            self._adopt_again_ns = now_ns + _ADOPT_AGAIN_NS
            self._adopting = asyncio.ensure_future(self._adopt(wanted))
            self._adopting.add_done_callback(self._adopted)
        # An answer that is still to come would be about an older universe: nothing is shown until it is there.
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
            get_logger().error("the universe cannot be read", error=str(error))  # it is tried again
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
        """Suspend a pair that is not ours, and forget it once nothing of it is under way."""
        if not self._desk.is_suspended(base):
            self._desk.suspend(base)
        if self._desk.is_idle(base):
            pair = self._engine.pairs[base].pair
            self._desk.forget(base)
            self._engine.remove(base)
            self._feed.remove((pair.home, pair.away))

    def _strangers(self) -> tuple[str, ...]:
        """Return the pairs of the engine that risk did not know as ours."""
        suspended = (base for base in self._engine.pairs if self._desk.is_suspended(base))
        return tuple(base for base in suspended if not self._desk.is_adopted(base))

    def _unadopted(self) -> tuple[str, ...]:
        strangers = [base for base in self._strangers() if base in self._target.mine]
        return (*strangers, *(base for base in self._target.new if base not in self._engine.pairs))

    async def _adopt(self, wanted: tuple[str, ...]) -> None:
        welcome = await self._risk.adopt(wanted)
        if welcome is None:
            return  # risk is asked again, unless a newer universe takes the pairs away
        # A newer universe may have been loaded meanwhile; a pair it took away has no owner until we show its serial.
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
    """Return ``welcome`` as far as it concerns ``bases``."""
    kept = frozenset(bases)
    return replace(
        welcome,
        positions=tuple(one for one in welcome.positions if one.pair in kept),
        intents=tuple(one for one in welcome.intents if one.intent.pair in kept),
        funded=tuple(base for base in welcome.funded if base in kept),
        residues=tuple(one for one in welcome.residues if one[0] in kept),
        retries=tuple(one for one in welcome.retries if one[0] in kept),
    )
