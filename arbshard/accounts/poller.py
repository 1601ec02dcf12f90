"""Reads balances and open orders of one venue, again and again, and makes statements of them for risk.

A statement is settled when the balances read twice are the same and the private stream was on all the while and
reported no change. Open orders are requested only when something is locked: an order always locks something.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from arbshard.accounts.fees import FeeReader
from arbshard.accounts.meter import VenueMeter
from arbshard.accounts.recovery import open_orders
from arbshard.accounts.rest_client import Questioned
from arbshard.accounts.wallets import WalletReader
from arbshard.clock import Clock
from arbshard.errors import FrameError, VenueUnavailable
from arbshard.log import get_logger
from arbshard.venues.base.account import AccountVenue, ReportedOrder, VenueBalance
from arbshard.wire.messages import Statement

CLOCK_EVERY_NS = 30_000_000_000
_SOON_S = 0.3
"""Pause in seconds after activity, until the last of its events has come."""
_PAUSE_MAX_S = 60.0


class Sight(NamedTuple):
    """Is what the stream knows at a moment: when two are equal, nothing happened between them."""

    is_up: bool
    changes: int


class Poller:
    """Makes statements while ``run`` is not cancelled."""

    def __init__(
        self,
        venue: AccountVenue,
        asker: Questioned,
        look: Callable[[], Sight],
        send: Callable[[Statement], Awaitable[None]],
        set_clock: Callable[[int], None],
        meter: VenueMeter,
        clock: Clock,
        every_s: float,
        wallets: WalletReader,
        fees: FeeReader,
    ) -> None:
        """Begin. ``set_clock`` receives how far (ms) the venue's clock is ahead of ours."""
        self._venue = venue
        self._asker = asker
        self._look = look
        self._send = send
        self._set_clock = set_clock
        self._meter = meter
        self._clock = clock
        self._every_s = every_s
        self._wallets = wallets
        self._fees = fees
        self._active = asyncio.Event()
        self._clock_ns = 0
        self._failures = 0

    def nudge(self) -> None:
        """Note that something happened in the account."""
        self._active.set()

    async def run(self) -> None:
        """Make statements until cancelled."""
        while True:
            await self._turn()
            await self._pause()

    async def statement(self) -> Statement:
        """Return the present state of the account. Raises ``VenueUnavailable`` or ``FrameError``."""
        wallets, fees = await self._wallets.report(), await self._fees.fees()
        sight = self._look()
        # The time is taken before the reading: what risk books later than this may be missing in it.
        at_ms, read_ns = self._clock.wall_ms(), self._clock.monotonic_ns()
        before = await self._balances()
        orders = await self._orders(before)
        after = await self._balances()
        settled = sight.is_up and before == after and self._look() == sight
        return Statement(
            venue=self._venue.name,
            at_ms=at_ms,
            balances=tuple((currency, one.free, one.locked) for currency, one in sorted(after.items())),
            open_orders=tuple((order.client_id, order.symbol, order.remaining) for order in orders),
            settled=settled,
            read_ns=read_ns,
            wallets=wallets,
            fees=fees,
        )

    async def measure_clock(self) -> None:
        """Learn how far the venue's clock is ahead. Raises ``VenueUnavailable``, ``FrameError``."""
        before_ms = self._clock.wall_ms()
        answer = await self._asker.ask(self._venue.clock_call())
        after_ms = self._clock.wall_ms()
        said_ms, off_ms = self._venue.clock_of(answer.body, answer.headers)
        ahead_ms = said_ms - (before_ms + after_ms) // 2
        self._clock_ns = self._clock.monotonic_ns()
        self._meter.set("skew_ms", ahead_ms)
        # A clock that states whole seconds shows no smaller difference.
        self._set_clock(ahead_ms if abs(ahead_ms) > off_ms else 0)

    async def state(self) -> None:
        """Make a statement now, whatever comes of it."""
        await self._turn()

    async def _turn(self) -> None:
        self._meter.count("polls")
        try:
            if not self._clock_ns or self._clock.monotonic_ns() - self._clock_ns > CLOCK_EVERY_NS:
                await self.measure_clock()
            statement = await self.statement()
        except (VenueUnavailable, FrameError) as error:
            self._failures += 1
            self._clock_ns = 0  # a wrong clock may be the cause, so it is measured again
            self._meter.count("poll_errors")
            if self._failures == 1:
                get_logger().warning("no balances", venue=self._venue.name, why=str(error))
            return
        if self._failures:
            get_logger().info("balances again", venue=self._venue.name, failures=self._failures)
        self._failures = 0
        self._meter.count("statements")
        if not statement.settled:
            self._meter.count("unsettled")
            self._active.set()  # so that another statement follows soon
        self._meter.set("statement_ms", statement.at_ms)
        await self._send(statement)

    async def _pause(self) -> None:
        """Wait until the next turn is due: at half the usual time when something happened."""
        if self._failures:
            await asyncio.sleep(min(self._every_s * self._failures, _PAUSE_MAX_S))
            return
        await asyncio.sleep(self._every_s / 2)
        try:
            async with asyncio.timeout(self._every_s / 2):
                await self._active.wait()
        except TimeoutError:
            return  # nothing happened, and the next turn is due
        self._active.clear()
        await asyncio.sleep(min(_SOON_S, self._every_s / 2))

    async def _balances(self) -> dict[str, VenueBalance]:
        answer = await self._asker.ask(self._venue.balances_call())
        return self._venue.balances_of(answer.body)

    async def _orders(self, balances: dict[str, VenueBalance]) -> list[ReportedOrder]:
        if not any(one.locked for one in balances.values()):
            return []
        orders = await open_orders(self._venue, self._asker)
        for order in orders:
            if order.state == "UNKNOWN":
                self._meter.count("unknown_words")
                get_logger().error("unknown order state", venue=self._venue.name, state=order.state_name)
        return orders
