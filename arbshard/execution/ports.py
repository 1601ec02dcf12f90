"""Defines what an executor needs from outside: venues to send to, risk to ask, books to read, time to wait."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

from arbshard.errors import ArbshardError
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.intent import ApartCause, FxQuote, Intent
from arbshard.model.market import Leg
from arbshard.model.order import Order, OrderResult
from arbshard.wire.messages import Approved, Refused, Settled


class OrderPort(Protocol):
    """Sends orders to the venues."""

    def add_legs(self, legs: Iterable[Leg]) -> None:
        """Use the rules and fees of these legs from now on."""
        ...

    async def send(self, order: Order) -> OrderResult:
        """Send an IOC order and wait for its end. The state is UNKNOWN when no end was reported in time."""
        ...

    async def ask(self, order: Order) -> OrderResult:
        """Return the state of an order whose final state is not known."""
        ...


class Fenced(ArbshardError):
    """Is raised when risk knows a newer incarnation of this shard: this process must end."""


class IntentOver(ArbshardError):
    """Is raised when risk has no such open intent, because a person has ended it. ``RiskPort.conclude`` returns what
    is left.
    """


class RiskPort(Protocol):
    """Asks risk until it answers. Raises ``Fenced`` when this shard has been replaced.

    What risk refuses to book of an open intent is asked again and again, while its pair is set apart.
    """

    async def submit(self, intent: Intent) -> Approved | Refused:
        """Ask for approval."""
        ...

    async def extend(self, intent_id: str, order: Order) -> Approved | Refused:
        """Record a hedge or unwind before it is sent. It is refused when it cannot be paid for. Raises
        ``IntentOver``.
        """
        ...

    async def report(self, intent_id: str, result: OrderResult) -> None:
        """Record the state of an order. Raises ``IntentOver``."""
        ...

    async def set_apart(self, pair: str, cause: ApartCause, reason: str, intent_id: str) -> None:
        """Set the pair apart: it enters nothing until a person releases it."""
        ...

    async def conclude(self, intent_id: str, mark: Decimal, fx: FxQuote, *, done: bool) -> Settled:
        """Release the holds and settle the position."""
        ...


class BookPort(Protocol):
    """Provides the newest books."""

    def tradable(self, leg: Leg) -> OrderBookSnapshot | None:
        """Return the newest good book of a live market; None when there is none, or when it may be out of date."""
        ...

    def tradable_fx(self) -> FxQuote | None:
        """Return the FX rate if an entry may be made at it: of a live market, valid, not older than the limit."""
        ...

    def fx(self) -> FxQuote | None:
        """Return the last FX rate that is known, with its age: it values what is over. None while none is known."""
        ...
