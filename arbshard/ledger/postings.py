"""Double entry: what an event moves between accounts. Pure; ``store`` writes the lines beside the event.

Every amount is written twice, once where it arrives and once where it comes from, so the lines of an event add up
to zero in each currency:

    ====================  =================================================================
    ``venue:<name>``      what we own there
    ``trade:<name>:…``    the other side of all fills of one market
    ``fees:<name>``       what the venue has kept
    ``deposits:<name>``   the other side of what was put in
    ====================  =================================================================
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from arbshard.ledger.events import Deposited, Event, OrderReported
from arbshard.model.order import Fill


class Posting(NamedTuple):
    """One line: ``amount`` of ``currency`` comes to ``account`` (negative: leaves it)."""

    account: str
    currency: str
    amount: Decimal


def venue_account(venue: str) -> str:
    """The account of what we own on ``venue``."""
    return f"venue:{venue}"


def postings_of(event: Event) -> list[Posting]:
    """The lines of ``event``; empty for an event that moves nothing."""
    if isinstance(event, OrderReported):
        return [line for fill in event.fills for line in _of_fill(fill)]
    if isinstance(event, Deposited):
        return list(_moved(event.venue, f"deposits:{event.venue}", event.currency, event.amount))
    return []


def _of_fill(fill: Fill) -> Iterable[Posting]:
    market = fill.market
    sign = 1 if fill.side == "buy" else -1
    trade = f"trade:{market.venue}:{market.symbol}"
    yield from _moved(market.venue, trade, market.base, sign * fill.quantity)
    yield from _moved(market.venue, trade, market.quote, -sign * fill.quantity * fill.price)
    if fill.fee:
        yield from _moved(market.venue, f"fees:{market.venue}", fill.fee_currency, -fill.fee)


def _moved(venue: str, other: str, currency: str, amount: Decimal) -> tuple[Posting, Posting]:
    return Posting(venue_account(venue), currency, amount), Posting(other, currency, -amount)
