"""Defines an order as the exchange keeps it, its fills, and the events about both.

``matching`` changes orders; the venues print them.
"""

import operator
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Literal, NamedTuple

from arbshard.exchanges.accounts.wallet import WalletBalance
from arbshard.model.money import ZERO

Side = Literal["buy", "sell"]
SimOrderKind = Literal["limit", "market"]
TimeInForce = Literal["gtc", "ioc", "fok", "post_only"]
SimOrderStatus = Literal["open", "done", "canceled"]
Ended = Literal["", "filled", "user", "ioc", "fok", "post_only", "no_liquidity", "dust"]
"""Why an order is over: filled completely; canceled by its owner; the rest of an ioc; a fok that could not be filled
completely; a post_only that would have taken; a market order that found no more depth; money left that buys less
than one lot.
"""


class Ticket(NamedTuple):
    """Describes an order as a customer requests it, already checked by the venue.

    Exactly one of ``quantity`` and ``funds`` is given.
    """

    symbol: str
    side: Side
    kind: SimOrderKind
    tif: TimeInForce = "gtc"
    price: Decimal | None = None
    """Worst price: always for ``limit``; optional for ``market`` (Upbit's best-price orders)."""
    quantity: Decimal | None = None
    """Base to trade, in whole lots."""
    funds: Decimal | None = None
    """Quote to spend without fee; for market buys."""
    client_id: str = ""
    venue_kind: str = ""
    """The venue's own name for the kind of order; it is only printed."""
    self_trade: str = ""
    """The venue's own name for its self-trade rule; it is only printed."""
    asked_funds: Decimal | None = None
    """Quote that was requested where the venue converted it to a quantity; it is only printed."""


class SimFill(NamedTuple):
    """Describes one execution."""

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
    """Holds an order and its fills. Amounts are exact; base and quote are those of its market."""

    number: int
    """Number of the order; older orders have smaller ones."""
    id: str
    """The venue's id."""
    ticket: Ticket
    base: str
    quote: str
    created_ms: int
    updated_ms: int
    executed: Decimal = ZERO
    executed_funds: Decimal = ZERO
    fee_paid: Decimal = ZERO
    """Fees paid, in the currency of the fills' fees, which is the same for all fills of an order."""
    held: Decimal = ZERO
    """Amount that is locked in the wallet for this order now, in ``held_currency``."""
    status: SimOrderStatus = "open"
    ended: Ended = ""
    fills: list[SimFill] = field(default_factory=list)
    fee_rate: Decimal = ZERO
    """The fee as a share, as it was when the order was placed."""
    cancel_id: str = ""
    """The customer's own id of the cancel, where the venue has such; it is only printed."""

    @property
    def symbol(self) -> str:
        """Return the market's symbol."""
        return self.ticket.symbol

    @property
    def client_id(self) -> str:
        """Return the customer's own id; empty for none."""
        return self.ticket.client_id

    @property
    def side(self) -> Side:
        """Return whether the order buys or sells."""
        return self.ticket.side

    @property
    def kind(self) -> SimOrderKind:
        """Return whether it is a limit or a market order."""
        return self.ticket.kind

    @property
    def tif(self) -> TimeInForce:
        """Return the time in force."""
        return self.ticket.tif

    @property
    def price(self) -> Decimal | None:
        """Return the worst price, if there is one."""
        return self.ticket.price

    @property
    def quantity(self) -> Decimal | None:
        """Return the base that was requested; None for an order by funds."""
        return self.ticket.quantity

    @property
    def funds(self) -> Decimal | None:
        """Return the quote that was requested; None for an order by quantity."""
        return self.ticket.funds

    @property
    def remaining(self) -> Decimal:
        """Return the base that is not executed; 0 for an order by funds."""
        return ZERO if self.ticket.quantity is None else self.ticket.quantity - self.executed

    @property
    def remaining_funds(self) -> Decimal:
        """Return the quote that is not spent; 0 for an order by quantity."""
        return ZERO if self.ticket.funds is None else self.ticket.funds - self.executed_funds

    @property
    def held_currency(self) -> str:
        """Return which currency the order locks: quote to buy, base to sell."""
        return self.quote if self.ticket.side == "buy" else self.base

    @property
    def is_open(self) -> bool:
        """Return whether more fills may come."""
        return self.status == "open"

    def as_taken_on(self) -> "SimOrder":
        """Return a copy as the order was before it was matched, except that it holds nothing."""
        return SimOrder(
            self.number, self.id, self.ticket, self.base, self.quote, self.created_ms, self.created_ms,
            fee_rate=self.fee_rate,
        )  # fmt: skip

    def snapshot(self) -> "SimOrder":
        """Return a copy that does not change any more."""
        taken = SimOrder(*_FIELDS(self))  # copy.copy costs ten times as much, several times for each order
        taken.fills = self.fills.copy()
        return taken


_FIELDS = operator.attrgetter(*(field.name for field in fields(SimOrder)))

ChangeKind = Literal["new", "trade", "done", "canceled"]


class OrderChanged(NamedTuple):
    """Reports that an order is new, had a fill, or is over.

    The last fill of an order that is filled completely gives ``trade``, with the status ``done`` already, and then
    ``done``.
    """

    kind: ChangeKind
    order: SimOrder
    """The order as it was then."""
    fill: SimFill | None
    """The fill of a ``trade``; None for other kinds."""
    at_ms: int


class WalletChanged(NamedTuple):
    """Reports balances that changed, as they were then."""

    balances: tuple[WalletBalance, ...]
    at_ms: int


AccountEvent = OrderChanged | WalletChanged
