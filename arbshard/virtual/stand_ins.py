"""Provides what a virtual supervisor has in place of sockets, and the world in which all processes of a simulation
run.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from yarl import URL

from arbshard.config import Config
from arbshard.errors import VenueUnavailable
from arbshard.exchanges.embedded import listing_of
from arbshard.model.universe import Universe
from arbshard.venues.base.client import Answer
from arbshard.virtual.accounts import LiveWorld
from arbshard.virtual.audit import Audit
from arbshard.virtual.clock import VirtualClock
from arbshard.virtual.exchange import VirtualExchanges
from arbshard.virtual.ledger import Disk
from arbshard.virtual.loop import VirtualLoop
from arbshard.virtual.network import Port
from arbshard.virtual.oracle import Oracle
from arbshard.virtual.trace import Trace
from arbshard.virtual.unkind import Unkind
from arbshard.wire import control
from arbshard.wire.bus import Prefixes, Publisher
from arbshard.wire.replies import Handler

_CALL_S = 0.1
"""Time in seconds that a venue takes to answer a public call."""


class Timing(NamedTuple):
    """Defines how often idle processes wake up, and how long they take to start, in seconds."""

    worker_timer_s: float = 0.33
    risk_tick_s: float = 0.33
    worker_boot_s: tuple[float, float] = (0.2, 0.5)
    """Shortest and longest start of a worker that no spare replaces."""
    risk_boot_s: tuple[float, float] = (0.2, 0.6)
    supervisor_tick_s: float = 0.19
    """Interval of the supervisor's tick. The watchdog attributes a pause of 300 ms to the machine."""
    supervisor_beat_s: float = 0.38
    """Interval of the supervisor's beat. Children wait a second for a beat before they stop."""
    supervisor_note_s: float = 1.0


class VirtualWorld(NamedTuple):
    """Holds what exists before the system and outlives it."""

    loop: VirtualLoop
    clock: VirtualClock
    config: Config
    universe: Universe
    exchanges: VirtualExchanges
    unkind: Unkind
    disk: Disk
    port: Port
    oracle: Oracle
    audit: Audit
    trace: Trace
    random: Random
    timing: Timing
    live: LiveWorld | None = None
    """The accounts at the venues; None on paper."""


class QuietBus(Publisher):
    """Is a bus that has no subscribers."""

    def __init__(self) -> None:  # the parent's would bind a socket
        self.published = self.unwanted = 0

    def start(self) -> None:
        """Do nothing: no process can subscribe."""

    def on_subscriptions(self, callback: Callable[[Prefixes], None]) -> None:
        """Do nothing: there will be no subscriptions."""
        del callback

    def wanted(self, topic: bytes) -> bool:
        """Return False: no process subscribes to ``topic``."""
        del topic
        return False

    def publish(self, topic: bytes, payload: bytes | tuple[bytes, ...]) -> bool:
        """Count the message and drop it. Returns False."""
        del topic, payload
        self.unwanted += 1
        return False

    def close(self) -> None:
        """Do nothing: no socket is open."""


async def no_rest(address: str) -> Answer:
    """Implements ``venues.base.client.Fetch`` for exchanges without REST."""
    raise VenueUnavailable(f"{address}: the virtual exchanges have no REST")


class VirtualFetch:
    """Performs public calls to one venue, which the embedded venue's REST answers. Implements
    ``venues.base.client.ClosableFetch``.
    """

    def __init__(self, venue: str, world: VirtualWorld) -> None:
        self._venue = venue
        self._world = world
        self._calls = 0

    async def __call__(self, address: str) -> Answer:
        """Return the venue's response to a GET of ``address``. Raises ``VenueUnavailable`` during an outage, and when
        the venue loses the call.
        """
        exchanges, clock = self._world.exchanges, self._world.clock
        trading, path = exchanges.trading.get(self._venue), URL(address).raw_path_qs
        if trading is not None:
            trading.leaves("call", path)
        await asyncio.sleep(_CALL_S)
        if not exchanges.venues[self._venue].is_reachable:
            raise VenueUnavailable(f"{self._venue}: connection refused")
        if trading is not None and (refused := trading.public_refusal(address)) is not None:
            return refused
        self._calls += 1
        said = listing_of(self._venue, exchanges.world, path, self._calls, clock.wall_ms())
        return Answer(said.status, said.body, {})

    async def close(self) -> None:
        """Do nothing: no connection is open."""


class VirtualServer:
    """Implements ``supervisor.control.Server``: takes orders without a socket."""

    bad = 0

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def start(self, on_error: Callable[[Exception], None]) -> None:
        """Do nothing: the server answers from the beginning."""

    def close(self) -> None:
        """Do nothing: no socket is open."""

    def ask(self, order: control.ControlOrder) -> control.ControlAnswer:
        """Return the answer to an order of a person."""
        return control.decode_answer(self._handler([control.encode(order)])[0])
