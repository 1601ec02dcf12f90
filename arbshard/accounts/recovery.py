"""After a stream was lost: asks the venue what happened to our orders meanwhile, and tells it like the stream would.

Workers ask about their own orders too; this only makes sure that nobody waits for an event that will not come.
Fills are not told here, only how much was executed: who needs them asks for them.
"""

from collections.abc import Callable

from arbshard.accounts.orders import VenueOrders
from arbshard.accounts.rest_client import Questioned
from arbshard.venues.base.account import AccountVenue, HeardOrder

_UNFINISHED_MAX = 50
"""Orders asked about one by one; one that is open longer is told by the list of open orders."""
_SYMBOLS_MAX = 5
_MARGIN_MS = 120_000
"""A connection that died silently is noticed by its pings, so long after at the latest."""


async def open_orders(venue: AccountVenue, asker: Questioned, *, urgent: bool = False) -> list[HeardOrder]:
    """All open orders. Raises ``VenueUnavailable``, ``FrameError``."""
    found: list[HeardOrder] = []
    page = 1
    while (request := venue.orders_call(page)) is not None:
        answer = await asker.ask(request, urgent=urgent)
        orders = venue.orders_of(answer.body)
        found += orders
        if len(orders) < venue.orders_per_page:
            break
        page += 1
    return found


async def recover(
    venue: AccountVenue,
    asker: Questioned,
    orders: VenueOrders,
    since_ms: int,
    tell: Callable[[HeardOrder], None],
) -> int:
    """Tell how our orders stand that may have changed since then (wall time of the venue); how many those are.

    Raises ``VenueUnavailable``, ``FrameError``; what was told until then stays told.
    """
    found: dict[str, HeardOrder] = {}
    unfinished = orders.unfinished()[-_UNFINISHED_MAX:]
    for one in await open_orders(venue, asker, urgent=True):
        found[one.venue_order_id] = one
    for call in venue.recent_calls(orders.recent_symbols(_SYMBOLS_MAX), since_ms - _MARGIN_MS):
        answer = await asker.ask(call, urgent=True)
        for one in venue.orders_of(answer.body):
            found[one.venue_order_id] = one
    for waiting in unfinished:
        if waiting.venue_order_id not in found:
            answer = await asker.ask(venue.order_call(waiting.symbol, waiting.venue_order_id), urgent=True)
            one = venue.order_of(answer.body)
            found[one.venue_order_id] = one
    for one in found.values():
        tell(one)
    return len(found)
