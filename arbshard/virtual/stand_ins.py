"""What a virtual supervisor has in place of sockets: a silent bus, feeds that connect to virtual exchanges, orders
given without a socket. And what all of it stands in.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import NamedTuple

from arbshard.config import Config
from arbshard.errors import VenueUnavailable
from arbshard.model.market import Pair
from arbshard.model.universe import Universe
from arbshard.shm.books import BooksWriter
from arbshard.shm.doorbell import ShardNotifier
from arbshard.venues.base.client import Answer
from arbshard.venues.registry import AWAY, HOME, get_venue
from arbshard.virtual.audit import Audit
from arbshard.virtual.clock import VirtualClock
from arbshard.virtual.exchange import Exchanges
from arbshard.virtual.ledger import Disk
from arbshard.virtual.loop import VirtualLoop
from arbshard.virtual.network import Port
from arbshard.virtual.oracle import Oracle
from arbshard.virtual.trace import Trace
from arbshard.wire import control
from arbshard.wire.bus import Publisher
from supervisor.control import ControlServer
from supervisor.feeds.markets import Markets
from supervisor.feeds.venue import VenueFeed
from supervisor.shards.changes import Listing
from supervisor.shards.loads import LoadMeter
from supervisor.shards.manager import ShardManager, Surroundings

_LISTING_S = 0.3


class Timing(NamedTuple):
    """How often idle processes look up, and how long they take to start; seconds."""

    worker_timer_s: float = 0.33
    risk_tick_s: float = 0.33
    worker_boot_s: tuple[float, float] = (0.03, 0.5)
    """The least of it: a spare takes over."""
    risk_boot_s: tuple[float, float] = (0.2, 0.6)


class World(NamedTuple):
    """What was there before the system and outlives it."""

    loop: VirtualLoop
    clock: VirtualClock
    config: Config
    universe: Universe
    exchanges: Exchanges
    disk: Disk
    port: Port
    oracle: Oracle
    audit: Audit
    trace: Trace
    random: Random
    timing: Timing


class QuietBus(Publisher):
    """A bus that nobody has subscribed to."""

    def __init__(self) -> None:  # the parent's would bind a socket
        self.published = self.unwanted = 0

    def wanted(self, topic: bytes) -> bool:
        """See ``Publisher``."""
        del topic
        return False

    def publish(self, topic: bytes, payload: bytes | tuple[bytes, ...]) -> bool:
        """See ``Publisher``."""
        del topic, payload
        self.unwanted += 1
        return False

    def close(self) -> None:
        """Nothing is open."""


class VirtualMarkets(Markets):
    """The venues' feeds, connecting to virtual exchanges."""

    def __init__(
        self,
        world: World,
        books: BooksWriter,
        notifiers: Sequence[ShardNotifier],
        alert: Callable[[str], None],
    ) -> None:  # the parent's feeds would open sockets
        bus = QuietBus()
        self.feeds = {
            name: VenueFeed(
                get_venue(name),
                world.config.venues.get(name),
                world.universe,
                books,
                notifiers,
                bus,
                world.clock,
                world.config.run.receiver,
                world.exchanges.open_stream,
                fetch=_no_rest,
                alert=alert,
            )
            for name in (HOME, AWAY)
        }
        self._frames = 0


async def _no_rest(address: str) -> Answer:
    raise VenueUnavailable(f"{address}: the virtual exchanges have no REST")


class VirtualLoads(LoadMeter):
    """Of frames alone: the real machine knows nothing of virtual processes."""

    def sample(self, universe: Universe, pids: Mapping[int, int], now_ns: int) -> None:
        """See ``LoadMeter``."""
        del pids
        super().sample(universe, {}, now_ns)


class VirtualShardManager(ShardManager):
    """Finds pairs to add in the universe the run began with."""

    listed: tuple[Pair, ...] = ()

    def __init__(self, universe: Universe, around: Surroundings) -> None:
        super().__init__(universe, around)
        self._meter = VirtualLoads(around.books.sequence)

    async def _search(self, names: tuple[str, ...], listing: Listing) -> None:
        await asyncio.sleep(_LISTING_S)
        listing.pairs = tuple(pair for pair in self.listed if any(pair.answers_to(name) for name in names))


class VirtualControl(ControlServer):
    """Takes orders without a socket."""

    def __init__(self) -> None:  # the parent's would bind one
        self._handlers = {}

    def tell(self, order: control.Order) -> control.Answer:
        """What a person would be answered."""
        return self._answer(control.encode(order))
