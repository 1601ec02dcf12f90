"""Watches one venue's account: its private stream, what is asked after a loss of it, and the polling of balances.

``assembly`` makes one per venue. Each of its three tasks ends only by being cancelled, or by a defect.
"""

import asyncio
from collections.abc import Awaitable, Callable

from arbshard.accounts.fees import FeeReader
from arbshard.accounts.meter import VenueMeter
from arbshard.accounts.orders import VenueOrders
from arbshard.accounts.poller import Poller, Sight
from arbshard.accounts.recovery import recover
from arbshard.accounts.rest_client import Questioned
from arbshard.accounts.stream import PrivateStream
from arbshard.accounts.wallets import WalletReader
from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.data.stream import Opener, open_stream
from arbshard.errors import FrameError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.venues.base.account import AccountVenue, ReportedBalances, ReportedOrder
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter
from arbshard.wire.messages import Statement
from arbshard.wire.order_events import OrderEvent

_RECOVER_TRIES = 5
_RECOVER_PAUSE_S = 1.0


class VenueWatch:
    """Is the ``stream.StreamListener`` of one venue."""

    def __init__(
        self,
        venue: AccountVenue,
        config: Config,
        keys: Keys,
        asker: Questioned,
        orders: VenueOrders,
        publish: Callable[[OrderEvent], None],
        send: Callable[[Statement], Awaitable[None]],
        set_clock: Callable[[int], None],
        meter: VenueMeter,
        clock: Clock,
        opener: Opener = open_stream,
    ) -> None:
        """Begin. ``set_clock`` receives how far (ms) the venue's clock is ahead of ours, to sign with its time.

        Raises ``UsageError``.
        """
        self._venue = venue
        self._asker = asker
        self._orders = orders
        self._publish = publish
        self._meter = meter
        self._balance_changes = 0
        self._came_up = asyncio.Event()
        self._sign_ahead = set_clock
        live, settings = config.live, config.venues.get(venue.name)
        self._stream: PrivateStream | None = None
        if venue.address(settings) is not None:
            self._stream = PrivateStream(
                venue, settings, keys, self, meter, clock, live.recv_window_ms, config.run.receiver, opener
            )
        wallets = WalletReader(venue, asker, orders.markets, meter, clock, config.warnings.wallets_every_s)
        rules = get_adapter(venue.name).rules
        fees = FeeReader(venue.name, rules, asker, orders.markets, settings, meter, clock)
        self._poller = Poller(
            venue,
            asker,
            self._look,
            send,
            self._set_clock,
            meter,
            clock,
            live.reconcile_every_s,
            wallets,
            fees,
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            await self._poller.measure_clock()  # the subscription is signed with the venue's time
        except (VenueUnavailable, FrameError) as error:
            get_logger().warning("the venue's time is not known", venue=self._venue.name, why=str(error))
        async with asyncio.TaskGroup() as tasks:
            if self._stream is None:
                self._meter.set("stream_up", 1)  # nothing can be missed: workers ask about their orders
            else:
                tasks.create_task(self._stream.run(), name=f"{self._venue.name}-stream")
            tasks.create_task(self._poller.run(), name=f"{self._venue.name}-poller")
            if self._stream is not None:
                tasks.create_task(self._recover(self._stream), name=f"{self._venue.name}-recovery")

    async def state(self) -> None:
        """Send risk one more statement of the account, the last of a run."""
        await self._poller.state()

    def on_up(self) -> None:
        """Handle that the stream is on: orders are asked about, and a statement is made soon."""
        self._came_up.set()
        self._poller.nudge()

    def on_order(self, report: ReportedOrder) -> None:
        """Publish what is new about an order, and count the rest."""
        if report.state == "UNKNOWN":
            self._meter.count("unknown_words")
            get_logger().error("unknown order state", venue=self._venue.name, state=report.state_name)
        repeated, foreign = self._orders.repeated, self._orders.foreign
        event = self._orders.update(report)
        self._poller.nudge()
        if event is not None:
            self._meter.count("events")
            self._publish(event)
        elif self._orders.foreign != foreign:
            self._meter.count("foreign")
        elif self._orders.repeated != repeated:
            self._meter.count("repeated")

    def on_balances(self, report: ReportedBalances) -> None:
        """Note that balances changed, so that a statement is made soon."""
        self._balance_changes += len(report.balances)
        self._poller.nudge()

    def _look(self) -> Sight:
        is_up = self._stream is None or self._stream.is_up
        return Sight(is_up, self._orders.changes + self._balance_changes)

    def _set_clock(self, ahead_ms: int) -> None:
        if self._stream is not None:
            self._stream.ahead_ms = ahead_ms
        self._sign_ahead(ahead_ms)

    async def _recover(self, stream: PrivateStream) -> None:
        while True:
            await self._came_up.wait()
            self._came_up.clear()
            for number in range(_RECOVER_TRIES):
                try:
                    since_ms = stream.lost_ms + stream.ahead_ms
                    reported = await recover(self._venue, self._asker, self._orders, since_ms, self.on_order)
                except (VenueUnavailable, FrameError) as error:
                    self._meter.count("poll_errors")
                    get_logger().warning("orders not recovered", venue=self._venue.name, why=str(error))
                    await asyncio.sleep(_RECOVER_PAUSE_S * (number + 1))
                else:
                    get_logger().info("orders since the loss", venue=self._venue.name, reported=reported)
                    break
