"""Adds what a worker needs with ``mode = "live"``: clients, budget, and the venues' private events.

``main`` makes it before the worker introduces itself to risk, so that the first order need not wait for it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import structlog

from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.data.clients import open_order_client
from arbshard.data.stream import open_stream
from arbshard.errors import LedgerError, ProtocolError
from arbshard.execution.live.account_part import AccountPart
from arbshard.execution.live.connecting import ORDERS_SHARE, in_turn
from arbshard.execution.live.port import LivePort
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.execution.live.venue_session import VenueSession
from arbshard.execution.ports import BookPort
from arbshard.log import get_logger
from arbshard.model.market import Leg
from arbshard.model.rundir import RunFiles
from arbshard.shm.budget import Budget
from arbshard.venues.base.client import VenueClient
from arbshard.venues.keys import Keys
from arbshard.venues.registry import rate_windows
from arbshard.wire import order_events
from arbshard.wire.bus import BusMessage, Subscriber


class OrderEvents(Protocol):
    """Receives the order events of one shard, as the accounts process publishes them: ``wire.bus.Subscriber``."""

    @property
    def lost(self) -> int:
        """Return how many messages are known to be lost."""
        ...

    def start(self, on_message: Callable[[BusMessage], None], /) -> None:
        """Call ``on_message`` for each message from now on."""
        ...

    def close(self) -> None:
        """Receive nothing more."""
        ...


class LivePorts(NamedTuple):
    """Holds what a worker's live side needs from outside. ``LiveSide`` closes all of it."""

    clients: Mapping[str, VenueClient]
    """Clients by venue."""
    events: OrderEvents
    budget: Budget


def open_live_ports(
    config: Config, keys: Mapping[str, Keys], files: RunFiles, clock: Clock, shard: int
) -> LivePorts:
    """Open the real ports. Raises ``UsageError`` for settings that cannot work."""
    budget = Budget.open(files.dir, f"worker-{shard}", rate_windows(config.venues.traded))
    if config.cluster is not None:
        budget.account_part = AccountPart(files.cluster_page, config.cluster, clock.monotonic_ns)
    name = f"worker-{shard}"
    return LivePorts(
        {
            venue: open_order_client(
                venue, config, key, clock, in_turn(open_stream, venue, budget, clock, ORDERS_SHARE), name
            )
            for venue, key in keys.items()
        },
        Subscriber(files.accounts_endpoint, (order_events.topic(shard),)),
        budget,
    )


def open_live_side(
    config: Config,
    keys: Mapping[str, Keys],
    files: RunFiles,
    clock: Clock,
    shard: int,
    legs: Iterable[Leg],
    books: BookPort,
    count: Callable[[str], None],
    on_failure: Callable[[BaseException], None],
    is_fenced: Callable[[], bool],
) -> "LiveSide":
    """Make the live side over real ports. Raises ``UsageError`` for settings that cannot work."""
    ports = open_live_ports(config, keys, files, clock, shard)
    return LiveSide(config, ports, clock, legs, books, count, on_failure, is_fenced)


class LiveSide:
    """Carries a worker's real orders. ``count`` adds one to a counter by name; close it in the same loop."""

    def __init__(
        self,
        config: Config,
        ports: LivePorts,
        clock: Clock,
        legs: Iterable[Leg],
        books: BookPort,
        count: Callable[[str], None],
        on_failure: Callable[[BaseException], None],
        is_fenced: Callable[[], bool],
    ) -> None:
        self._config = config
        self._count = count
        if config.live.dry_run:
            structlog.contextvars.bind_contextvars(orders="DRY RUN")  # on every line of the log from here on
        self._budget = ports.budget
        gate = RateLimiter(ports.budget, config.live, clock, count)
        lines = {
            venue: VenueSession(venue, client, gate, clock, count) for venue, client in ports.clients.items()
        }
        self.port = LivePort(legs, lines, gate, books, config.live, clock, count, on_failure, is_fenced)
        self._events = ports.events
        self._lost = 0

    async def start(self, tag: str) -> None:
        """Connect. ``tag`` is the ledger's. Raises ``LedgerError`` for a ledger without one."""
        if not tag:
            raise LedgerError(
                "risk gave no tag: orders of this ledger could not be distinguished from others'"
            )
        self.port.tag = tag
        self._events.start(self._apply_event)
        await self.port.start()
        get_logger().info("live", dry_run=self._config.live.dry_run, tag=tag)

    async def close(self) -> None:
        """Close connections and files."""
        self._events.close()
        await self.port.close()
        self._budget.close()

    def _apply_event(self, message: BusMessage) -> None:
        if self._events.lost != self._lost:  # the venue is asked for what they contained
            self._lost = self._events.lost
            self._count("events_lost")
        try:
            event = order_events.decode(message.parts[0])
        except (ProtocolError, IndexError) as error:
            self._count("events_bad")
            get_logger().error("bad order event", error=str(error))
            return
        self._count("events")
        self.port.tracker.apply(
            event.client_id,
            event.state,
            event.filled,
            event.fills,
            event.venue_order_id,
            event.detail,
            event.fault,
        )
