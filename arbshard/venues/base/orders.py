"""``OrderVenue``: how a venue is asked to carry out an order and how it stands, and what the answers say. Pure.

The room ``orders`` of a venue's folder implements it; ``execution.live`` uses it. Answers and private events must
book the same fills: their ids come from ``ids``, and fees are the venue's own amounts, never computed from a rate.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from arbshard.errors import VenueError
from arbshard.model.market import Market
from arbshard.model.money import ZERO
from arbshard.model.order import Fill, Order, OrderFault, OrderState
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.frame import UNREADABLE
from arbshard.venues.ids import fill_id

_PART = Decimal("1e-20")
UNREADABLE_ORDER = (*UNREADABLE, ArithmeticError)
"""What a reader of answers must turn into ``VenueError``: see ``unreadable_order``."""


class OrderStatus(NamedTuple):
    """How an order stands, by one answer."""

    venue_order_id: str
    state: OrderState
    """UNKNOWN for a word that is in no table."""
    filled: Decimal
    """Base executed so far; ``fills`` may say less when the answer does not list them all."""
    fills: tuple[Fill, ...]
    word: str = ""
    """The venue's own word for the state."""
    fault: OrderFault = ""
    """Why the venue refused the order; empty if it did not."""


class OrderVenue(Protocol):
    """A venue's side of an order. Prices and quantities come here on the venue's grid already."""

    def place(self, order: Order, name: str) -> VenueRequest:
        """Send ``order`` as an IOC limit order that its venue will call ``name``."""
        ...

    def rehearse(self, order: Order, name: str) -> VenueRequest | None:
        """Have ``order`` checked, and not carried out; None where the venue has no such call."""
        ...

    def find(self, market: Market, name: str) -> VenueRequest:
        """Ask how the order called ``name`` stands."""
        ...

    def read(self, order: Order, body: bytes) -> OrderStatus:
        """The answer to placing or finding ``order``. Raises ``VenueError`` for one that cannot be read."""
        ...

    def trades(self, market: Market, venue_order_id: str) -> VenueRequest | None:
        """Ask for the fills of an order; None where the venue tells them with the order."""
        ...

    def read_trades(self, order: Order, body: bytes) -> tuple[Fill, ...]:
        """The answer to ``trades``. Raises ``VenueError`` for one that cannot be read."""
        ...

    def warm(self) -> VenueRequest:
        """Something cheap and public that keeps the connection open."""
        ...

    def time_of(self, body: bytes) -> int | None:
        """The venue's time (wall ms) in the answer to ``warm``; None where it does not tell.

        Raises ``VenueError`` for an answer that cannot be read.
        """
        ...


def make_fill(
    order: Order, trade_id: str | int, quantity: Decimal, price: Decimal, fee: Decimal, currency: str
) -> Fill:
    """An execution of ``order`` as its venue tells it. Raises ``VenueError`` for what may not be booked."""
    return Fill(
        fill_id=fill_id(order.market, trade_id),
        client_id=order.client_id,
        market=order.market,
        side=order.side,
        quantity=amount_of(order, quantity),
        price=amount_of(order, price),
        fee=amount_of(order, fee),
        fee_currency=currency,
    )


def amount_of(order: Order, value: Decimal) -> Decimal:
    """``value``, if it may be booked. Raises ``VenueError``."""
    if not value.is_finite() or value < ZERO:  # "NaN" reads as a decimal, too
        raise VenueError(f"{order.market}: an answer with {value} in the place of an amount")
    return value


def shares(total: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """``total`` divided by ``weights``; the parts add up to it exactly. No weights, no parts.

    What has been given out after each part is rounded to 20 decimals, and never above ``total``, so that no part is
    below 0 and none has more decimals than risk books. A fee that is proportional to the weights is given out exactly
    so, whatever trades follow.
    """
    whole = sum(weights, ZERO)
    parts: list[Decimal] = []
    weighed = given = ZERO
    for weight in weights[:-1]:
        weighed += weight
        until = min((total * weighed / whole).quantize(_PART), total) if whole else ZERO
        parts.append(until - given)
        given = until
    return [*parts, total - given] if weights else []


def unreadable_order(order: Order, error: Exception) -> VenueError:
    """The one line for an answer about ``order`` that is not what its venue documents."""
    return VenueError(f"{order.market}: an answer that cannot be read: {error}")
