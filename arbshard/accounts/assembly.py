"""Assembles the accounts process from its ports: ``main`` gives real ones, the simulation virtual ones.

With all ports the same code watches the venues, beats, follows the universe and ends.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from arbshard.accounts.markets import MarketTables
from arbshard.accounts.meter import AccountsMeter
from arbshard.accounts.orders import VenueOrders
from arbshard.accounts.rest_client import Asker
from arbshard.accounts.statements import Statements, StatementTransport
from arbshard.accounts.watch import VenueWatch
from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.crashpoint import reach
from arbshard.data.stream import Opener
from arbshard.execution.live.connecting import in_turn
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.log import get_logger
from arbshard.repeat import BackgroundTasks, repeat
from arbshard.shm.budget import Budget
from arbshard.shm.pages import PageWriter
from arbshard.venues.base.client import VenueClient
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter
from arbshard.wire import order_events
from arbshard.wire.order_events import OrderEvent

BEAT_S = 0.05
LAST_STATEMENT_S = 3.0
"""How long the venues may take to state the accounts when the process ends, in seconds."""
RISK_TIMEOUT_MS = 1000
RISK_TRIES = 2


class EventPublisher(Protocol):
    """Sends order events to the workers: ``wire.bus.Publisher``."""

    def publish(self, topic: bytes, payload: bytes, /) -> bool:
        """Send if a worker has subscribed to ``topic``. Return whether one has."""
        ...


class AccountsPorts(NamedTuple):
    """Holds what the process needs from outside. The code that makes them closes them."""

    config: Config
    keys: Mapping[str, Keys]
    """Keys by venue, with the same venues as ``clients``."""
    tag: str
    """Beginning of the names of our orders at the venues."""
    pid: int
    page: PageWriter
    markets: MarketTables
    publisher: EventPublisher
    risk: StatementTransport
    budget: Budget
    clients: Mapping[str, VenueClient]
    opener: Opener
    """Opens private streams."""
    clock: Clock
    is_orphan: Callable[[], bool]
    """Returns whether the supervisor has died."""
    beat_s: float = BEAT_S


class Announcer:
    """Publishes order events to the worker of the shard that made the order."""

    def __init__(self, publisher: EventPublisher, meter: AccountsMeter) -> None:
        self._publisher = publisher
        self._meter = meter

    def publish(self, event: OrderEvent) -> None:
        """Send ``event`` to the worker of its shard. It is counted when no worker has subscribed."""
        reach("before_publish")
        topic = order_events.topic_of(event.client_id)
        if topic is None or not self._publisher.publish(topic, order_events.encode(event)):
            self._meter.count("unreceived")


class AccountsProcess:
    """Is one incarnation. It is made and run in the running loop."""

    def __init__(self, ports: AccountsPorts) -> None:
        self._ports = ports
        self._meter = AccountsMeter(ports.page)
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._watches = _watches(ports, self._meter)

    def stop(self, code: int) -> None:
        """End with this exit code; the first request counts."""
        if not self._end.done():
            self._end.set_result(code)

    async def run(self) -> int:
        """Watch until ``stop`` is called, or until a part fails. Return the exit code."""
        self._meter.set("pid", self._ports.pid)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop, 0)
        tasks = BackgroundTasks(self._failed)
        for watch in self._watches:
            tasks.start(watch.run())
        tasks.start(self._beat())
        self._meter.set("ready", 1)
        get_logger().info("watching accounts", venues=tuple(self._ports.clients))
        try:
            code = await self._end
            if code == 0:
                await _last_statements(self._watches)
            return code
        finally:
            await tasks.close()

    def _failed(self, error: BaseException) -> None:
        get_logger().error("watching ended in a defect", exc_info=error)
        self.stop(1)

    async def _beat(self) -> None:
        """Show that the loop is alive, and check whether the supervisor is and whether pairs have come.

        A supervisor that is merely silent is no reason to stop: what the venues state of our orders is needed all
        the more.
        """
        ports = self._ports
        due_ns = ports.clock.monotonic_ns() + int(ports.beat_s * 1e9)

        def turn() -> float | None:
            nonlocal due_ns
            now_ns = ports.clock.monotonic_ns()
            self._meter.beat(now_ns, max(now_ns - due_ns, 0))
            ports.markets.follow()
            if ports.is_orphan():
                get_logger().error("the supervisor is dead")
                self.stop(4)
                return None
            due_ns = now_ns + int(ports.beat_s * 1e9)
            return ports.beat_s

        await repeat(turn, first_after_s=ports.beat_s)


async def _last_statements(watches: Sequence[VenueWatch]) -> None:
    """Send the last statements after the workers have ended: risk closes its books with them."""
    try:
        async with asyncio.timeout(LAST_STATEMENT_S):
            await asyncio.gather(*(watch.state() for watch in watches))
    except TimeoutError:
        get_logger().warning("no last statements in time")


def _watches(ports: AccountsPorts, meter: AccountsMeter) -> list[VenueWatch]:
    """Return one watch for each venue."""
    announcer, statements = Announcer(ports.publisher, meter), Statements(ports.risk, meter)
    gate = RateLimiter(ports.budget, ports.config.live, ports.clock, meter.count)
    return [
        VenueWatch(
            get_adapter(name).account,
            ports.config,
            ports.keys[name],
            Asker(name, client, gate),
            VenueOrders(name, ports.tag, ports.markets.of(name)),
            announcer.publish,
            statements.send,
            client.set_clock,
            meter.of(name),
            ports.clock,
            in_turn(ports.opener, name, ports.budget, ports.clock),
        )
        for name, client in ports.clients.items()
    ]
