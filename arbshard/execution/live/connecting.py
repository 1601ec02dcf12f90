"""Keeps the private connections of a host within the venues' limits of attempts to connect, and away from a venue
that refuses this address.

The workers of a host and its accounts process connect from one address. What they have tried is counted in
``shm.budget``, so all of them share one limit; the market data has a part of its own (``ConnectionRules.connects``).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from arbshard.clock import Clock
from arbshard.data.address_block import AddressBlock
from arbshard.data.stream import HandshakeRefused, OnMessage, Opener, Receiver, Stream, Target
from arbshard.log import get_logger
from arbshard.shm.budget import Budget
from arbshard.venues.registry import get_adapter

ORDERS_SHARE = 0.8
"""Share of the limit that connections for orders may use; without one orders go over REST. The rest is for the
private streams, which nothing replaces.
"""
_PAUSE_S = 0.25
_PAUSE_MAX_S = 5.0


def in_turn(opener: Opener, venue: str, budget: Budget, clock: Clock, share: float = 1.0) -> Opener:
    """Return an opener that waits until one more attempt is within ``share`` of the limits of ``venue``, and until
    the venue refuses neither calls nor attempts to connect. All processes learn of an attempt that was refused so.
    """
    block = AddressBlock(venue, clock, budget)
    cost = get_adapter(venue).limits.connect

    async def wait() -> None:
        pause_s = _PAUSE_S
        while block.connects_left_s() or not budget.spend(cost, share, clock.monotonic_ns()):
            if pause_s == _PAUSE_S:
                get_logger().warning("a connection waits for the venue's limits", venue=venue)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    @asynccontextmanager
    async def open_in_turn(
        target: Target, on_message: OnMessage, now_ns: Callable[[], int], receiver: Receiver
    ) -> AsyncIterator[Stream]:
        await wait()
        async with AsyncExitStack() as opened:
            try:
                stream = await opened.enter_async_context(opener(target, on_message, now_ns, receiver))
            except HandshakeRefused as error:
                block.learn(error.answer, is_handshake=True)
                raise
            yield stream

    return open_in_turn
