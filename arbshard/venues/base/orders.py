"""Defines ``OrderVenue``: the requests that send an order and ask for its state, and how answers are read. Pure.

The module ``orders`` of a venue's folder implements it; ``execution.live`` uses it. Answers and private events must
book the same fills: their ids come from ``ids``, and fees are the venue's own amounts, never computed from a rate.
"""

from collections.abc import Mapping, Sequence
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
"""Errors that a reader of answers must turn into a ``VenueError`` by ``unreadable_order``."""


class OrderStatus(NamedTuple):
    """Is the state of an order according to one answer."""

    venue_order_id: str
    state: OrderState
    """UNKNOWN if the venue's name of the state is in no table."""
    filled: Decimal
    """Quantity of the base executed so far. ``fills`` may add up to less if the answer does not list them all."""
    fills: tuple[Fill, ...]
    state_name: str = ""
    """The venue's own name of the state."""
    fault: OrderFault = ""
    """Why the venue refused the order; empty if it did not."""


class OrderVenue(Protocol):
    """Makes a venue's requests about orders and reads the answers.

    Prices and quantities are on the venue's grid already.
    """

    @property
    def order_cost(self) -> Mapping[str, int]:
        """Return what an order costs of the venue's rate limits, by window."""
        ...

    def place(self, order: Order, name: str) -> VenueRequest:
        """Make the request that sends ``order`` as an IOC limit order with ``name`` as its client order id."""
        ...

    def rehearse(self, order: Order, name: str) -> VenueRequest | None:
        """Make the request that has ``order`` checked and not carried out; None where the venue has no such call."""
        ...

    def find(self, market: Market, name: str) -> VenueRequest:
        """Make the request for the state of the order whose client order id is ``name``."""
        ...

    def read(self, order: Order, body: bytes) -> OrderStatus:
        """Read the answer to placing or finding ``order``. Raises ``VenueError`` for one that cannot be read."""
        ...

    def trades(self, market: Market, venue_order_id: str) -> VenueRequest | None:
        """Make the request for the fills of an order; None where the venue lists them with the order."""
        ...

    def read_trades(self, order: Order, body: bytes) -> tuple[Fill, ...]:
        """Read the answer to ``trades``. Raises ``VenueError`` for one that cannot be read."""
        ...

    def warm(self) -> VenueRequest:
        """Make a cheap public request that keeps the connection open."""
        ...

    def time_of(self, body: bytes) -> int | None:
        """Return the venue's time (wall milliseconds) in the answer to ``warm``; None where the answer has no time.

        Raises ``VenueError`` for an answer that cannot be read.
        """
        ...


def make_fill(
    order: Order, trade_id: str | int, quantity: Decimal, price: Decimal, fee: Decimal, currency: str
) -> Fill:
    """Make a fill of ``order`` from an execution that its venue reports.

    Raises ``VenueError`` for an invalid amount.
    """
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
    """Return ``value`` if it is finite and not negative. Raises ``VenueError`` otherwise."""
    if not value.is_finite() or value < ZERO:  # "NaN" reads as a decimal, too
        raise VenueError(f"{order.market}: an answer with {value} in the place of an amount")
    return value


def shares(total: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """Divide ``total`` in proportion to ``weights``. The parts add up to it exactly; without weights there are no
    parts.

    The sum of the parts so far is rounded to 20 decimals after each part and never exceeds ``total``. So no part is
    below 0, and none has more decimals than risk books. If a fee is proportional to the weights, each part is
    exact, whatever trades follow.
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
    """Return the one-line error for an answer about ``order`` whose form its venue does not document."""
    return VenueError(f"{order.market}: an answer that cannot be read: {error}")
