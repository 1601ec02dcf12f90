"""An order as the exchange keeps it, its fills, and what is said of both when they change.

``matching`` changes orders; the venues print them.
"""

import operator
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Literal, NamedTuple

from arbshard.exchanges.accounts.wallet import WalletBalance
from arbshard.model.money import ZERO

Side = Literal["buy", "sell"]
Kind = Literal["limit", "market"]
TimeInForce = Literal["gtc", "ioc", "fok", "post_only"]
Status = Literal["open", "done", "canceled"]
Ended = Literal["", "filled", "user", "ioc", "fok", "post_only", "no_liquidity", "dust"]
"""Why an order is over: used up; canceled by its owner; the rest of an ioc; a fok that could not be filled whole; a
post_only that would have taken; a market order that found no more depth; money left that buys less than one lot."""


class Ticket(NamedTuple):
    """What a customer asks for, checked by the venue already. Exactly one of ``quantity`` and ``funds`` is given."""

    symbol: str
    side: Side
    kind: Kind
    tif: TimeInForce = "gtc"
    price: Decimal | None = None
    """Worst price: always for ``limit``; optional for ``market`` (Upbit's best-price orders)."""
    quantity: Decimal | None = None
    """Base, whole lots."""
    funds: Decimal | None = None
    """Quote to spend without fee; for market buys."""
    client_id: str = ""
    venue_kind: str = ""
    """The venue's own word for the kind of order; printed, never looked at."""
    self_trade: str = ""
    """The venue's own word for its self-trade rule; printed, never looked at."""
    asked_funds: Decimal | None = None
    """Quote that was asked for where the venue made a quantity of it; printed, never looked at."""


class SimFill(NamedTuple):
    """One execution."""

    trade_id: str
    price: Decimal
    quantity: Decimal
    funds: Decimal
    """Price times quantity, exact."""
    fee: Decimal
    fee_currency: str
    is_maker: bool
    at_ms: int


@dataclass(slots=True)
class SimOrder:
    """An order. Amounts are exact; base and quote as in its market."""

    number: int
    """Counts up; older orders have smaller ones."""
    id: str
    """As the venue names it."""
    ticket: Ticket
    base: str
    quote: str
    created_ms: int
    updated_ms: int
    executed: Decimal = ZERO
    executed_funds: Decimal = ZERO
    fee_paid: Decimal = ZERO
    """In the currency of the fills' fees, which is the same for all fills of an order."""
    held: Decimal = ZERO
    """Locked in the wallet for this order now, in ``held_currency``."""
    status: Status = "open"
    ended: Ended = ""
    fills: list[SimFill] = field(default_factory=list)
    fee_rate: Decimal = ZERO
    """The fee as a share, as it was when the order was placed."""
    cancel_id: str = ""
    """The customer's own id of the cancel, where the venue has such; printed, never looked at."""

    @property
    def symbol(self) -> str:
        """Its market."""
        return self.ticket.symbol

    @property
    def client_id(self) -> str:
        """The customer's own id; empty for none."""
        return self.ticket.client_id

    @property
    def side(self) -> Side:
        """Buy or sell."""
        return self.ticket.side

    @property
    def kind(self) -> Kind:
        """Limit or market."""
        return self.ticket.kind

    @property
    def tif(self) -> TimeInForce:
        """How long it may wait."""
        return self.ticket.tif

    @property
    def price(self) -> Decimal | None:
        """Worst price, if there is one."""
        return self.ticket.price

    @property
    def quantity(self) -> Decimal | None:
        """Base asked for; None for an order by funds."""
        return self.ticket.quantity

    @property
    def funds(self) -> Decimal | None:
        """Quote asked for; None for an order by quantity."""
        return self.ticket.funds

    @property
    def remaining(self) -> Decimal:
        """Base not executed; 0 for an order by funds."""
        return ZERO if self.ticket.quantity is None else self.ticket.quantity - self.executed

    @property
    def remaining_funds(self) -> Decimal:
        """Quote not spent; 0 for an order by quantity."""
        return ZERO if self.ticket.funds is None else self.ticket.funds - self.executed_funds

    @property
    def held_currency(self) -> str:
        """What the order locks: quote to buy, base to sell."""
        return self.quote if self.ticket.side == "buy" else self.base

    @property
    def is_open(self) -> bool:
        """Whether more may come."""
        return self.status == "open"

    def as_taken_on(self) -> "SimOrder":
        """A copy as it was before it met the book, except that it holds nothing."""
        return SimOrder(
            self.number, self.id, self.ticket, self.base, self.quote, self.created_ms, self.created_ms,
            fee_rate=self.fee_rate,
        )  # fmt: skip

    def snapshot(self) -> "SimOrder":
        """A copy that stays as it is."""
        taken = SimOrder(*_FIELDS(self))  # copy.copy costs ten times as much, several times for each order
        taken.fills = self.fills.copy()
        return taken


_FIELDS = operator.attrgetter(*(field.name for field in fields(SimOrder)))

ChangeKind = Literal["new", "trade", "done", "canceled"]


class OrderChanged(NamedTuple):
    """An order is new, had a fill, or is over.

    The last fill of an order that is used up gives ``trade``, with the status already ``done``, and then ``done``.
    """

    kind: ChangeKind
    order: SimOrder
    """As it was then."""
    fill: SimFill | None
    """Of ``trade`` only."""
    at_ms: int


class WalletChanged(NamedTuple):
    """Balances that changed, as they were then."""

    balances: tuple[WalletBalance, ...]
    at_ms: int


Event = OrderChanged | WalletChanged
