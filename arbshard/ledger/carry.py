"""Says what verification carries from one period into the next: ``rebook`` computes it, and each archive stores it.

It holds what the fills up to the end of a period have left open. ``verify`` begins a period with it, so that a
period can be verified without the events before it.
"""

from decimal import Decimal

import msgspec

from arbshard.model.intent import Intent
from arbshard.model.order import Fill, Order, OrderState


class CarriedHolding(msgspec.Struct, frozen=True):
    """Is an open position whose amounts were added up leg by leg."""

    position_id: str
    entry: Intent
    home_base: Decimal
    home_quote: Decimal
    away_base: Decimal
    away_quote: Decimal
    fees: Decimal
    other_fees: Decimal
    away_cost: Decimal | None = None
    """None in archives of older programs."""


class CarriedOrder(msgspec.Struct, frozen=True):
    """Is an order of an intent that is under way."""

    order: Order
    state: OrderState


class CarriedIntent(msgspec.Struct, frozen=True):
    """Is an approved intent without an outcome."""

    intent: Intent
    orders: tuple[CarriedOrder, ...]
    fills: tuple[Fill, ...]


class Carry(msgspec.Struct, frozen=True):
    """Holds everything that is open at the end of a period."""

    holdings: tuple[CarriedHolding, ...] = ()
    intents: tuple[CarriedIntent, ...] = ()
    halted: bool = False
    stopped: bool = False
    """Whether the halt stops exits too."""
    apart: tuple[str, ...] = ()
    """Pairs that are set apart."""
    refusing: tuple[tuple[str, str], ...] = ()
    """(venue, symbol) of each venue or market that refuses orders; an empty symbol means the whole venue."""
    differences: tuple[tuple[str, str], ...] = ()
    """(venue, currency) that venue and ledger do not agree on."""
    strays: tuple[tuple[str, str, str], ...] = ()
    """(venue, client id, pair) of orders that no open intent owns."""
