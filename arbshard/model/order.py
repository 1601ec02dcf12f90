"""Defines orders and fills: one instruction to one venue, and its outcome."""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.market import Market, Side
from arbshard.model.money import ZERO

OrderState = Literal[
    "INTENT",
    "SENT",
    "ACCEPTED",
    "PARTIAL",
    "FILLED",
    "CANCELED",
    "REJECTED",
    "EXPIRED",
    "NOT_ACCEPTED",
    "UNKNOWN",
]
"""``REJECTED``: the venue examined the order and refused it. ``NOT_ACCEPTED``: the order was not sent, or the venue
did not examine it (rate limit, overload, clock, key), so nothing was learned about its price. ``CANCELED`` and
``EXPIRED``: the venue had the order and ended it before all of it was executed. ``UNKNOWN``: ask the venue.
"""
OrderFault = Literal["", "busy", "order", "funds", "market", "venue"]
"""What the venue's answer to an order implies for another try. Each venue's room ``states`` decides it by its codes.

Empty: the venue accepted the order, or nothing was learned about the venue. ``busy``: rate limit, overload, clock,
or the order never reached the venue; an order like it may be sent after a pause. ``order``: price, quantity, minimum
or maximum, so such an order is refused until the market's rules are read again. ``funds``: the venue's account has
too little. ``market``: the market accepts no orders (suspended, cancel-only, delisted, not permitted). ``venue``:
the venue accepts none of our orders (key, permission, address, region, ban).
"""
FINAL_STATES: frozenset[str] = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED", "NOT_ACCEPTED"})

OrderRole = Literal["leg", "hedge", "unwind"]
"""``leg``: one of the two of an intent. ``hedge``: completes the lagging leg. ``unwind``: takes the leading leg
back. The last two only reduce exposure.
"""


class Order(msgspec.Struct, frozen=True):
    """Is an IOC limit order, with ``quantity`` in base units and ``limit`` in quote units."""

    client_id: str
    """Unique for ever, derived from the intent id: ``<intent>-h0`` (home leg), ``-a0``, ``-h1`` (next) …"""
    market: Market
    side: Side
    quantity: Decimal
    limit: Decimal
    role: OrderRole = "leg"


class Fill(msgspec.Struct, frozen=True):
    """Is one execution. ``fee`` is an amount of ``fee_currency`` and never negative here."""

    fill_id: str
    """Unique for ever: ``<client_id>:<n>`` on paper, the venue's trade id live."""
    client_id: str
    market: Market
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str

    def changes(self) -> tuple[tuple[str, Decimal], ...]:
        """Return each (currency, amount) by which the venue balance changes, fee included; at most three entries."""
        sign = 1 if self.side == "buy" else -1
        return (
            (self.market.base, sign * self.quantity),
            (self.market.quote, -sign * self.quantity * self.price),
            (self.fee_currency, -self.fee),
        )


class OrderResult(msgspec.Struct, frozen=True):
    """Is an order's state, final or not, with all its fills so far."""

    order: Order
    state: OrderState
    fills: tuple[Fill, ...] = ()
    detail: str = ""
    """Why it was rejected, as the venue states it; empty otherwise."""
    decision_price: Decimal = ZERO
    """Average price the book promised for this quantity when the decision was made; 0 if not known."""
    fault: OrderFault = ""
    """Why the venue did not accept the order; empty for an accepted order."""
    matched_ns: int = 0
    """Monotonic time in ns at which the paper venue compared the order with a book; 0 without
    ``paper.record_times``.
    """
    book_ns: int = 0
    """Monotonic time in ns at which that book was received; 0 without one."""

    @property
    def filled(self) -> Decimal:
        """Return the base quantity executed, before fees."""
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def is_final(self) -> bool:
        """Return whether the state is final."""
        return self.state in FINAL_STATES
