"""Records what a system decided, in a form by which two runs over the same frames can be compared.

``DecisionLog`` receives every event of risk's ledger. It makes one line of each decision (approval with pair,
direction, sizes, limit prices and FX; refusal; hedge or unwind; state of an order, with its fills; end of an intent;
halts and pairs set apart). Ids differ between runs and are left out: an intent is named by its pair and its number
among the intents of the pair. Statements that are derived from fills, and marks of equity, are not decisions.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from hashlib import blake2b

import msgspec

from arbshard.ledger.events import (
    ClosesOrdered,
    Event,
    Halted,
    IntentApproved,
    IntentConcluded,
    IntentRefused,
    OrderExtended,
    OrderReported,
    PairReleased,
    PairSetApart,
    PositionClosed,
    PositionOpened,
    Resumed,
    VenueStateChanged,
)
from arbshard.model.intent import FxQuote, Intent
from arbshard.model.money import ZERO, plain
from arbshard.model.order import Fill, Order

BY_PERSONS = ("halted operator", "resumed", "closes ", "released")
"""Beginnings of lines about what persons ordered. A backtest does not repeat these orders, except for the closing of
positions.
"""


class DecisionLine(msgspec.Struct, frozen=True):
    """Represents one decision as a line that can be compared."""

    at_ms: int
    """Wall time at which risk decided."""
    pair: str
    """Base of the pair; empty where the decision concerns no pair."""
    what: str
    """Everything else, as text."""

    def __str__(self) -> str:
        return f"{self.at_ms} {self.pair} {self.what}"


class DecisionLog:
    """Makes comparable lines of events, which it receives in their order."""

    def __init__(self, keep: bool = False) -> None:
        """Make an empty log. ``keep`` is whether all lines are kept, to compare them."""
        self._hash = blake2b(digest_size=16)
        self._keep = keep
        self._names: dict[str, str] = {}
        self._numbers: dict[str, tuple[str, int]] = {}
        self._counts: dict[str, int] = {}
        self._fx: FxQuote | None = None
        self._entries: dict[str, Decimal] = {}
        self.lines: list[DecisionLine] = []
        self.count = 0
        self.entries = 0
        """Number of positions that were opened."""
        self.exits = 0
        """Number of positions that were closed."""
        self.wins = 0
        self.fees = ZERO
        """Fees of all fills, in reporting currency."""

    @property
    def hash(self) -> str:
        """Return the hash over all lines so far."""
        return self._hash.hexdigest()

    def number_of(self, intent_id: str) -> tuple[str, int] | None:
        """Return the pair of an approved intent, and its number among those of the pair, from 1; None if it is
        unknown.
        """
        return self._numbers.get(intent_id)

    def add(self, events: Iterable[Event]) -> None:
        """Add events that were stored."""
        for event in events:
            self._tally(event)
            line = self._line_of(event)
            if line is not None:
                self.count += 1
                self._hash.update(f"{line}\n".encode())
                if self._keep:
                    self.lines.append(line)

    def _tally(self, event: Event) -> None:
        match event:
            case IntentApproved():
                self._fx = event.intent.fx
            case OrderReported():
                self.fees += sum((self._worth(fill) for fill in event.fills), ZERO)
            case PositionOpened():
                self.entries += 1
            case PositionClosed():
                self.exits += 1
                self.wins += (event.position.pnl or ZERO) > 0

    def _worth(self, fill: Fill) -> Decimal:
        """Return the fee of ``fill`` in the home quote, at the FX rate of the newest intent."""
        fee = fill.fee if fill.fee_currency != fill.market.base else fill.fee * fill.price
        is_home = fill.market.quote == "KRW"
        return fee if is_home or self._fx is None else fee * self._fx.mid

    def _line_of(self, event: Event) -> DecisionLine | None:
        match event:
            case IntentApproved():
                pair, what = event.intent.pair, self._approved(event.intent)
            case IntentRefused():
                pair, what = event.pair, f"refused {event.intent_kind} {event.reason.name}"
            case OrderExtended() | OrderReported() | IntentConcluded():
                pair, what = event.pair, self._carried_out(event)
            case PairSetApart():
                pair, what = event.pair, f"apart {event.cause}"
            case PairReleased():
                pair, what = event.pair, "released"
            case Halted():
                pair, what = "", f"halted {event.cause} {event.level}"
            case Resumed():
                pair, what = "", "resumed"
            case ClosesOrdered():
                pair, what = "", f"closes {' '.join(event.pairs)} {event.reason}"
            case VenueStateChanged():
                pair, what = "", f"venue {event.venue} {event.symbol} {event.state}"
            case _:
                return None
        return DecisionLine(event.at_ms, pair, what)

    def _approved(self, intent: Intent) -> str:
        number = self._counts[intent.pair] = self._counts.get(intent.pair, 0) + 1
        self._numbers[intent.intent_id] = intent.pair, number
        name = self._names[intent.intent_id] = f"{intent.kind} {number}"
        return (
            f"approved {name} {intent.direction} {intent.reason} {intent.lead} home {_terms(intent.home)} "
            f"away {_terms(intent.away)} fx {plain(intent.fx.bid)}/{plain(intent.fx.ask)}"
        )

    def _carried_out(self, event: OrderExtended | OrderReported | IntentConcluded) -> str:
        name = self._names.get(event.intent_id, "of an earlier intent")
        match event:
            case OrderExtended():
                return f"extended {name} {event.order.role} {_terms(event.order)}"
            case OrderReported():
                fills = " ".join(_fill(fill) for fill in event.fills)
                order = event.client_id.rpartition("-")[2]
                return f"order {name} {order} {event.state} [{fills}] {event.fault}".rstrip()
            case IntentConcluded():
                return f"concluded {name} {event.position_state or 'nothing filled'}"


def _terms(order: Order) -> str:
    return f"{order.side} {plain(order.quantity)} at {plain(order.limit)}"


def _fill(fill: Fill) -> str:
    return f"{plain(fill.quantity)} at {plain(fill.price)} fee {plain(fill.fee)} {fill.fee_currency}"


class DecisionDifference(msgspec.Struct, frozen=True):
    """Describes the first difference of two logs, for one pair."""

    pair: str
    number: int
    """The position of the line among those of the pair, from 0."""
    ours: DecisionLine | None
    theirs: DecisionLine | None
    """The two lines at this position; None where a log has ended."""

    @property
    def why(self) -> str:
        """Return an explanation of the difference."""
        if self.ours is None or self.theirs is None:
            where = "recorded" if self.ours is None else "made here"
            return f"it was {where} only"
        later_ms = self.ours.at_ms - self.theirs.at_ms
        when = f"{abs(later_ms):,} ms {'later' if later_ms > 0 else 'earlier'} here"
        kinds = {self.ours.what.split(" ", 1)[0], self.theirs.what.split(" ", 1)[0]}
        if kinds == {"order"}:
            return f"the order was answered {when}, and met another book or found another share of it"
        if kinds == {"approved"}:
            return f"it was decided {when}, on other books"
        return f"another step followed, {when}"


def differences(
    ours: Sequence[DecisionLine], theirs: Sequence[DecisionLine], within_ms: int
) -> list[DecisionDifference]:
    """Return the first difference of each pair.

    Lines are equal if their texts are equal and their times differ by ``within_ms`` at most.
    """
    found = []
    for pair in dict.fromkeys(line.pair for line in (*ours, *theirs)):
        left = [line for line in ours if line.pair == pair]
        right = [line for line in theirs if line.pair == pair]
        for number in range(max(len(left), len(right))):
            one = left[number] if number < len(left) else None
            other = right[number] if number < len(right) else None
            if (
                one is None
                or other is None
                or one.what != other.what
                or abs(one.at_ms - other.at_ms) > within_ms
            ):
                found.append(DecisionDifference(pair, number, one, other))
                break
    return found
