"""Calls one venue, reads the limits in every answer, keeps the connection warm and the venue's time.

``port`` uses it; a session knows nothing of orders.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import NamedTuple

from arbshard.clock import Clock
from arbshard.errors import VenueError
from arbshard.execution.live.errors import understand
from arbshard.execution.live.rate_limiter import RateLimiter
from arbshard.log import get_logger
from arbshard.model.order import OrderFault
from arbshard.venues.base.client import (
    Answer,
    LogonLost,
    NoAnswer,
    PreparedCall,
    VenueClient,
    Veto,
    Withheld,
)
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.states import Meaning
from arbshard.venues.registry import get_adapter

_SKEW_TOLD_MS = 500
"""A clock that is off by more than this, in ms, is logged."""


class CallResult(NamedTuple):
    """Is the result of a call."""

    meaning: Meaning
    detail: str
    body: bytes = b""
    fault: OrderFault = ""


class VenueSession:
    """Calls one venue. ``count`` adds one to a counter by name."""

    def __init__(
        self, venue: str, client: VenueClient, gate: RateLimiter, clock: Clock, count: Callable[[str], None]
    ) -> None:
        self.venue = venue
        self.skew_ms = 0
        """How far the venue's clock is ahead of ours in ms, where it states its time."""
        self._client = client
        self._orders = get_adapter(venue).orders
        self._gate = gate
        self._clock = clock
        self._count = count
        self._is_warm = True
        self._is_refused = False
        self._clock_off = asyncio.Event()

    def call(
        self,
        request: VenueRequest,
        on_sent: Callable[[], None] | None = None,
        prepared: PreparedCall | None = None,
        objection: Veto | None = None,
    ) -> Coroutine[None, None, CallResult]:
        """Carry out ``request``, whose cost has been admitted; ``prepared`` is the same, signed before. Never raises
        for what the venue does.

        The request may be sent in this call, before the result is awaited; otherwise ``objection`` may keep it from
        being sent later (``VenueClient.call``).
        """
        return self._judge(self._client.call(request, on_sent, prepared, objection))

    async def _judge(self, coming: Coroutine[None, None, Answer]) -> CallResult:
        try:
            answer = await coming
        except Withheld as error:
            self._count("withheld")
            return CallResult("not_accepted", str(error))
        except NoAnswer as error:
            if isinstance(error, LogonLost):
                self._count("logons_lost")
            if error.sent:
                return CallResult("unknown", str(error))
            return CallResult("not_accepted", str(error), fault="busy")
        self._gate.read_limits(self.venue, answer)
        said = understand(self.venue, answer.status, answer.body)
        if said.clock_off:
            self._clock_off.set()
        refuses = said.fault == "venue"
        if refuses and not self._is_refused:
            get_logger().error("the venue refuses our calls", venue=self.venue, detail=said.detail)
        self._is_refused = refuses
        return CallResult(said.meaning, said.detail, answer.body, said.fault)

    def prepare(self, request: VenueRequest) -> PreparedCall | None:
        """Sign ``request`` without making the call."""
        return self._client.prepare(request)

    async def keep_open(self) -> None:
        """Keep open the connections that calls do not open by themselves. Runs until cancelled, if there are any."""
        await self._client.keep_open()

    async def connect(self, connections: int) -> None:
        """Open so many connections; waits for the rate budget."""
        request = self._orders.warm()
        if await self._gate.admit(_times(connections, request.cost)):
            await asyncio.gather(*(self._warm(request) for _ in range(connections)))

    async def warm(self, connections: int) -> None:
        """Use so many connections for a cheap call, and learn the venue's time where it states it."""
        request = self._orders.warm()
        # Without room in the budget the connections are in use, and warm already.
        if self._gate.spare(_times(connections, request.cost)):
            await asyncio.gather(*(self._warm(request) for _ in range(connections)))

    async def keep_warm(self, connections: int, every_s: float) -> None:
        """Call ``warm`` every ``every_s`` seconds, and at once when the venue finds our time wrong. Runs until
        cancelled.
        """
        while True:
            try:
                async with asyncio.timeout(every_s):
                    await self._clock_off.wait()
            except TimeoutError:
                pass  # nothing was wrong, and the next use is due
            self._clock_off.clear()
            await self.warm(connections)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _warm(self, request: VenueRequest) -> None:
        before_ms = self._clock.wall_ms()
        answer = await self.call(request)
        after_ms = self._clock.wall_ms()
        is_warm = answer.meaning == "accepted"
        if not is_warm:
            self._count("warm_failed")
        if is_warm is not self._is_warm:
            get_logger().warning("venue line", venue=self.venue, up=is_warm, detail=answer.detail)
        self._is_warm = is_warm
        if is_warm:
            self._set_clock(answer.body, before_ms, after_ms)

    def _set_clock(self, body: bytes, before_ms: int, after_ms: int) -> None:
        try:
            server_ms = self._orders.time_of(body)
        except VenueError as error:
            get_logger().warning("the venue's time cannot be read", venue=self.venue, error=str(error))
            return
        if server_ms is None:
            return
        skew_ms = server_ms - (before_ms + after_ms) // 2
        if abs(skew_ms - self.skew_ms) > _SKEW_TOLD_MS:
            get_logger().warning("clock skew", venue=self.venue, ahead_ms=skew_ms)
        self.skew_ms = skew_ms
        self._client.set_clock(skew_ms)


def _times(count: int, cost: Mapping[str, int]) -> dict[str, int]:
    return {window: count * amount for window, amount in cost.items()}
