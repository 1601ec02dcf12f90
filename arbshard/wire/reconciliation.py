"""Defines the messages between ``arbshard reconcile`` and risk about differences of venues and ledger. Part of
``messages``.
"""

from decimal import Decimal

import msgspec

from arbshard.model.money import ZERO
from arbshard.model.transfer import AdjustmentKind


class ShowReconciliation(msgspec.Struct, frozen=True, tag=True):
    """Asks where venues and ledger differ. Answer: ``Reconciliation``."""


class AcceptDifference(msgspec.Struct, frozen=True, tag=True):
    """Asks to book what the venue states of a currency. Answer: ``Done`` or ``Denied``."""

    venue: str
    currency: str
    reason: str
    kind: AdjustmentKind = "unexplained"
    """What the difference is; ``fee`` and ``unexplained`` count as results."""
    price: Decimal | None = None
    """Value of one unit in reporting currency; None: as the books state it."""


class EndIntent(msgspec.Struct, frozen=True, tag=True):
    """Asks to end the open intent of a pair that is set apart, with what is booked of it. Answer: ``Done`` or
    ``Denied``.
    """

    symbol: str
    """The pair, by base or either market's name."""
    reason: str


class VenueStatement(msgspec.Struct, frozen=True):
    """Describes the newest statement of a venue. A time is 0 for never in this session.

    Wall times are for people. Ages are measured with the monotonic times, which every process of the machine can
    compare.
    """

    venue: str
    at_ms: int
    settled: bool
    compared_ms: int
    """Since when every currency has been compared with the ledger at least once: the oldest of all comparisons."""
    open_orders: int
    read_ns: int = 0
    """Monotonic time of ``at_ms``."""
    compared_ns: int = 0
    """Monotonic time of ``compared_ms``."""
    trouble: str = ""
    """Why entries wait for statements of this venue, as a sentence; empty when they do not."""


class Difference(msgspec.Struct, frozen=True):
    """Is a currency of which venue and ledger state different amounts. Its pairs are blocked."""

    venue: str
    currency: str
    stated: Decimal
    """Amount that the venue states, free and locked."""
    booked: Decimal
    """Amount in the ledger when both were compared."""
    since_ms: int
    pairs: tuple[str, ...]
    """Pairs that it blocks; for a quote currency, all pairs that are priced in it."""
    uncertain: Decimal = ZERO
    """How much more of it orders under way may explain: it can be accepted when this is 0."""


class StrayOrder(msgspec.Struct, frozen=True):
    """Is an open order of ours that no open intent owns. Its pair is blocked until it is gone."""

    venue: str
    client_id: str
    """Our name of the order, without the tag."""
    symbol: str
    remaining: Decimal
    since_ms: int
    pair: str
    """The pair; empty for a market that is not traded in this run."""


class UnknownOrder(msgspec.Struct, frozen=True):
    """Is an order of an open intent whose outcome at the venue is not known."""

    venue: str
    client_id: str
    symbol: str
    pair: str
    since_ms: int
    """Wall time in ms at which its intent was decided."""


class Reconciliation(msgspec.Struct, frozen=True, tag=True):
    """Is the answer that says where venues and ledger differ."""

    tag: str
    """Tag of the ledger, as in ``Welcome``."""
    statements: tuple[VenueStatement, ...]
    """Statements of every venue of the run; none on paper."""
    differences: tuple[Difference, ...]
    strays: tuple[StrayOrder, ...]
    unknown: tuple[UnknownOrder, ...]
    rounding: tuple[tuple[str, str, Decimal], ...] = ()
    """(venue, currency, what the venue's rounding of fills has brought, or cost where it is below 0)."""
