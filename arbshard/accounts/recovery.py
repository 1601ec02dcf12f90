"""Asks the venue after a stream was lost what happened to our orders meanwhile, and reports it like the stream
would.

Workers ask about their own orders too; this only ensures that none waits for an event that will not come. Fills are
not reported here, only how much was executed: workers ask for the fills that they need.
"""

from collections.abc import Callable

from arbshard.accounts.orders import VenueOrders
from arbshard.accounts.rest_client import Questioned
from arbshard.venues.base.account import AccountVenue, ReportedOrder

_UNFINISHED_MAX = 50
"""Number of orders asked about one by one; an older open order is in the list of open orders."""
_SYMBOLS_MAX = 5
_MARGIN_MS = 120_000
"""Margin in ms: the pings notice a connection that died silently at the latest after this time."""


async def open_orders(venue: AccountVenue, asker: Questioned, *, urgent: bool = False) -> list[ReportedOrder]:
    """Return all open orders. Raises ``VenueUnavailable`` or ``FrameError``."""
    found: list[ReportedOrder] = []
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
    tell: Callable[[ReportedOrder], None],
) -> int:
    """Report our orders that may have changed since ``since_ms`` (wall time of the venue). Return their number.

    Raises ``VenueUnavailable`` or ``FrameError``; what was reported until then stays valid.
    """
    found: dict[str, ReportedOrder] = {}
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
