"""What ``arbshard reconcile`` and risk say to each other: where venues and ledger differ. Part of ``messages``."""

from decimal import Decimal

import msgspec

from arbshard.model.money import ZERO
from arbshard.model.transfer import AdjustmentKind


class ShowReconciliation(msgspec.Struct, frozen=True, tag=True):
    """Where do venues and ledger differ? Answer: ``Reconciliation``."""


class AcceptDifference(msgspec.Struct, frozen=True, tag=True):
    """Book what the venue says of a currency. Answer: ``Done`` or ``Denied``."""

    venue: str
    currency: str
    reason: str
    kind: AdjustmentKind = "unexplained"
    """What the difference is; ``fee`` and ``unexplained`` count as results."""
    price: Decimal | None = None
    """Worth of one unit in reporting currency; None: as the books have it."""


class EndIntent(msgspec.Struct, frozen=True, tag=True):
    """End the open intent of a pair that is set apart, with what is booked of it. Answer: ``Done`` or ``Denied``."""

    symbol: str
    """The pair, by base or either market's name."""
    reason: str


class VenueStatement(msgspec.Struct, frozen=True):
    """The newest statement of a venue. 0 for never in this session.

    Wall times are for people. Ages go by the monotonic times, which every process of the machine can compare.
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
    """A currency of which venue and ledger say different amounts. Its pairs are blocked."""

    venue: str
    currency: str
    stated: Decimal
    """By the venue, free and locked."""
    booked: Decimal
    """By the ledger, when both were compared."""
    since_ms: int
    pairs: tuple[str, ...]
    """Blocked by it; of a quote currency, all pairs that are priced in it."""
    uncertain: Decimal = ZERO
    """How much more of it orders under way may explain: it can be accepted when this is 0."""


class StrayOrder(msgspec.Struct, frozen=True):
    """An open order of ours that no open intent owns. Its pair is blocked until it is gone."""

    venue: str
    client_id: str
    """Ours, without the tag."""
    symbol: str
    remaining: Decimal
    since_ms: int
    pair: str
    """Empty for a market that is not traded in this run."""


class UnknownOrder(msgspec.Struct, frozen=True):
    """An order of an open intent whose fate at the venue is not known."""

    venue: str
    client_id: str
    symbol: str
    pair: str
    since_ms: int
    """When its intent was decided."""


class Reconciliation(msgspec.Struct, frozen=True, tag=True):
    """Where venues and ledger differ."""

    tag: str
    """Of the ledger: see ``Welcome``."""
    statements: tuple[VenueStatement, ...]
    """Of every venue of the run; none on paper."""
    differences: tuple[Difference, ...]
    strays: tuple[StrayOrder, ...]
    unknown: tuple[UnknownOrder, ...]
    rounding: tuple[tuple[str, str, Decimal], ...] = ()
    """(venue, currency, what the venue's rounding of fills has brought, or cost where it is below 0)."""
