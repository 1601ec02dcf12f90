"""An intent is one opportunity that is submitted for approval, with both legs in one request."""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.model.market import Direction
from arbshard.model.order import Order, OrderResult

_HALF = Decimal("0.5")

IntentKind = Literal["entry", "exit"]
EntryReason = Literal["net_edge"]
ExitReason = Literal[
    "take_profit",
    "spread_reversal",
    "stop_loss",
    "max_hold",
    "manual",
    "kill_switch",
    "shutdown",
    "one_leg",
    "warned",
]
"""``one_leg``: a person has the leg on the usable venue closed alone, which leaves the other one naked. ``warned``:
a venue warns of the market or the coin, and the rule for that is to close.
"""
BY_HAND: frozenset[ExitReason] = frozenset(("manual", "kill_switch", "one_leg"))
"""Reasons that a person has given."""
LeadingLeg = Literal["both", "home", "away"]
"""Which legs are sent first: both at once, or one alone."""
HaltLevel = Literal["reduce_only", "stopped"]
"""How much a halt stops. ``reduce_only``: entries. ``stopped``: exits too, except those that a person orders."""
CloseReason = ExitReason | Literal["entry_unwound"]
"""``entry_unwound``: one leg of the entry filled, the other could not be filled, and the first was taken back."""
RETURNED: frozenset[CloseReason] = frozenset(("take_profit", "spread_reversal"))
"""Positions closed for these reasons: the gap had come back."""
NOT_RETURNED: frozenset[CloseReason] = frozenset(("stop_loss", "max_hold"))
"""Positions closed for these reasons: the gap had not come back. All other reasons say nothing about the gap."""
ApartCause = Literal["stuck", "exits_fail", "bad_report", "position_loss", "identity", "no_reversion"]
"""Why a pair is set apart. ``stuck``: an intent has spent its budgets and one of its legs is open. ``exits_fail``:
exits cost too much or failed too often. ``bad_report``: risk refused what a worker reported of an intent.
``position_loss``: an open position has lost too much. ``no_reversion``: too many of the pair's last positions were
closed before its gap had come back."""
CLOSED_BY_HAND: frozenset[ApartCause] = frozenset(("exits_fail", "position_loss", "identity"))
"""With these causes, positions of the pair are closed only when a person orders it."""


class FxQuote(msgspec.Struct, frozen=True):
    """States what one away quote (USDT) brings and costs in home quote (KRW)."""

    bid: Decimal
    ask: Decimal
    age_ms: int = 0
    """How long ago the rate was last known to hold. What is over is valued at the last known rate, however old."""

    @property
    def mid(self) -> Decimal:
        """Return the mean of both sides."""
        return (self.bid + self.ask) * _HALF

    def value(self, amount: Decimal) -> Decimal:
        """Return ``amount`` of away quote in home quote, at the side that is worse for us."""
        return amount * (self.bid if amount >= 0 else self.ask)


class Intent(msgspec.Struct, frozen=True):
    """Is a pair of IOC limit orders that belong together."""

    intent_id: str
    """Unique for ever: ``s<session>-<shard>-<epoch>-<n>``; at most 24 characters of ``[a-z0-9-]``."""
    kind: IntentKind
    pair: str
    """The base of the pair."""
    direction: Direction
    """The direction of this trade: an exit has the reverse of its position's entry."""
    position_id: str
    """Entry: the intent's own id, under which the position will be known. Exit: the position to close."""
    home: Order
    away: Order
    reason: EntryReason | ExitReason
    edge_bps: float
    """Entry: net edge of this trade. Exit: net result of the whole round trip, if the books stay as seen."""
    fx: FxQuote
    decided_ms: int
    """Wall time of the decision, in milliseconds."""
    lead: LeadingLeg = "both"
    """The leg that is sent first and alone; what it fills is then completed on the other venue."""
    decided_ns: int = 0
    """Monotonic time of the decision, in ns; 0 without ``paper.record_times``."""
    seen_ns: tuple[int, int, int] = (0, 0, 0)
    """Monotonic times of receipt of the books (home, away, FX) that the decision used; 0 for none."""

    def order(self, venue: str) -> Order:
        """Return the leg on ``venue``."""
        return self.home if self.home.market.venue == venue else self.away


class Retry(msgspec.Struct, frozen=True):
    """States how the next trade of one kind of a pair may be made, after trades in a row that achieved nothing."""

    kind: IntentKind
    tries: int
    """Number of trades in a row that achieved nothing, at a cost or against a refusal."""
    wait_ms: int
    """Pause in milliseconds before the next one, from the receipt of this message."""
    lead: LeadingLeg = "both"
    """Exits: the leg that has to be sent first, because it failed last time."""
    is_small: bool = False
    """Exits: whether the next one only tests with the smallest order whether the venue takes orders again."""
    why: str = ""
    """What failed."""


class OpenIntent(msgspec.Struct, frozen=True):
    """Is an intent without an outcome, with what is known of its orders. A successor takes it over."""

    intent: Intent
    orders: tuple[OrderResult, ...]
    """Both legs first, then hedges and unwinds in the order they were sent."""
