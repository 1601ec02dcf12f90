"""Defines what the ledger stores: one struct per kind of event, stored as JSON text that a person can read.

``arbshard.risk`` decides and writes events; ``risk.portfolio`` is the state that they add up to. An event holds all
that is needed to repeat its effect, so that a replay needs neither configuration nor clock. A change that older
programs would misread raises ``SCHEMA_VERSION``. A ledger of an older version is continued under its own version: it
has none of the newer events, or an older program that meets one says that it cannot read it.

Version 2 added reconciliation with the venues, adjustments, and fees in other coins.

Version 3 added fenced shards.

Version 4 allows earlier periods to be in archives, so that the events do not begin with number 1
(``ledger.period``).

Clusters added ``LeaderBegan`` and ``ShardGranted`` without a new version: no ledger of a single host has them.

Version 5 gives orders that were not accepted a state of their own, ``NOT_ACCEPTED``. Older programs called them
``CANCELED`` and gave the reason in ``detail``; ``decode_event`` reads such an event as it was meant.
"""

from decimal import Decimal
from typing import Literal

import msgspec

from arbshard.errors import LedgerDamaged
from arbshard.model.intent import ApartCause, ExitReason, FxQuote, HaltLevel, Intent, IntentKind
from arbshard.model.money import ZERO
from arbshard.model.order import Fill, Order, OrderFault, OrderState
from arbshard.model.position import Position, PositionState
from arbshard.model.refusal import Refusal
from arbshard.model.transfer import TransferEnd

SCHEMA_VERSION = 5

SUPERVISOR_VANISHED = "the supervisor vanished"
"""Reason of a run that was cut off because its supervisor was killed or crashed; its risk process closed
the ledger.
"""

Amounts = tuple[tuple[str, str, Decimal], ...]
"""A row is (venue, currency, amount)."""


class Hold(msgspec.Struct, frozen=True):
    """Is an amount set aside for one order, until the order has spent it or is final."""

    client_id: str
    venue: str
    currency: str
    amount: Decimal


class _Event(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    at_ms: int
    """Wall time at which risk decided, in milliseconds."""


class Started(_Event, frozen=True, kw_only=True):
    """Records that risk has begun to work with this ledger."""

    session: int
    """Number of the start; the first start of this ledger is 1."""
    run: str
    """Identity of the run: shards keep their epochs when risk alone was restarted within it."""
    mode: str
    version: str
    reporting: str


class Stopped(_Event, frozen=True, kw_only=True):
    """Records that risk has closed the ledger. ``balances`` are the totals of all accounts."""

    balances: Amounts
    cut_off: str = ""
    """Why the run did not end in order, though the ledger did; empty after an orderly end."""


class ShardJoined(_Event, frozen=True, kw_only=True):
    """Records that a new incarnation of a shard has joined; older ones are refused from here on."""

    shard: int
    epoch: int
    pid: int


class ShardFenced(_Event, frozen=True, kw_only=True):
    """Records that a shard's incarnation does not do its work: it and older ones are refused from here on."""

    shard: int
    epoch: int
    """The last epoch that is refused."""
    reason: str
    """The end of a sentence, for people."""


class LeaderBegan(_Event, frozen=True, kw_only=True):
    """Records that a host has begun to lead a cluster: its risk decides for all hosts from here on."""

    term: int
    """Number of the leadership, which grows."""
    host: str


class ShardGranted(_Event, frozen=True, kw_only=True):
    """Records that a host of a cluster may run a shard, and no other host any more.

    Its epochs begin with ``grant * 1000 + 1``; lower ones are refused from here on.
    """

    shard: int
    host: str
    grant: int
    """Number of the grant, which grows for each shard."""


DepositKind = Literal[
    "opening",
    "inventory",
    "adjustment",
    "rounding",
    "deposit",
    "withdrawal",
    "transfer",
    "fee",
    "unexplained",
]


class Deposited(_Event, frozen=True, kw_only=True):
    """Records that a balance has changed otherwise than by trading."""

    venue: str
    currency: str
    amount: Decimal
    """Negative for what was taken out."""
    why: DepositKind
    """``opening`` and ``inventory``: what a ledger begins with. ``deposit`` and ``withdrawal``: from and to outside.
    ``transfer``: from or to another venue, so the other side is the account of transfers under way. ``fee`` and
    ``unexplained``: a person accepted what the venue says, and it counts as a result. ``adjustment``: the same in
    ledgers of older programs, which did not ask for the reason; it counts as no result. ``rounding``: the venue's
    rounding of fills.
    """
    pair: str = ""
    """The pair whose inventory it is; empty otherwise."""
    reason: str = ""
    """The reason that the person gave who accepted or announced it, as a sentence."""
    transfer: str = ""
    """The transfer that it belongs to; empty where there is none."""
    value: Decimal = ZERO
    """What it counts as a result, in reporting currency as risk valued it; only with ``fee`` and ``unexplained``."""
    day: int | None = None
    """Number of the trading day that the result belongs to; None: the UTC day of ``at_ms``."""


class TransferAnnounced(_Event, frozen=True, kw_only=True):
    """Records that a person moves money or coins. Until the amount leaves its source, nothing else may spend it
    there.
    """

    transfer_id: str
    source: str
    target: str
    currency: str
    amount: Decimal
    fee: Decimal
    price: Decimal
    reason: str
    """These fields mean the same as those of ``model.transfer.Transfer``."""


class TransferEnded(_Event, frozen=True, kw_only=True):
    """Records that nothing more is expected of a transfer."""

    transfer_id: str
    currency: str
    how: TransferEnd
    fee: Decimal = ZERO
    """The part that has not arrived because it was paid for the transfer."""
    lost: Decimal = ZERO
    """The part that has not arrived and was lost without anything in return."""
    value: Decimal = ZERO
    """What both count as a result, in reporting currency; never above 0."""
    day: int | None = None
    """The same as in ``Deposited``."""


class IntentApproved(_Event, frozen=True, kw_only=True):
    """Records that both orders of the intent may be sent."""

    intent: Intent
    holds: tuple[Hold, ...]


class IntentRefused(_Event, frozen=True, kw_only=True):
    """Records that nothing of the intent may be sent."""

    intent_id: str
    pair: str
    intent_kind: IntentKind
    reason: Refusal
    detail: str
    decided_ns: int = 0
    """Monotonic time of the decision; 0 without ``paper.record_times``."""
    seen_ns: tuple[int, int, int] = (0, 0, 0)
    """Monotonic times of receipt of the books (home, away, FX) that the decision used; 0 for none."""


class OrderExtended(_Event, frozen=True, kw_only=True):
    """Records that a hedge or unwind is about to be sent."""

    intent_id: str
    pair: str
    order: Order
    hold: Hold


class OrderReported(_Event, frozen=True, kw_only=True):
    """Records the state of an order. ``fills`` are only those that no earlier event holds."""

    intent_id: str
    pair: str
    client_id: str
    state: OrderState
    detail: str
    decision_price: Decimal
    fills: tuple[Fill, ...]
    fault: OrderFault = ""
    """Why the venue did not accept the order; empty for an accepted order, and in ledgers of older programs."""
    matched_ns: int = 0
    """Monotonic time at which the paper venue compared the order with a book; 0 without ``paper.record_times``."""
    book_ns: int = 0
    """Monotonic time at which that book was received; 0 without one."""


class IntentConcluded(_Event, frozen=True, kw_only=True):
    """Records that the intent is over."""

    intent_id: str
    pair: str
    mark: Decimal
    """Home price of the base, which values what is left over."""
    fx: FxQuote
    done: bool
    """Whether the rest of the position cannot be traded, as the worker reports it."""
    position_id: str
    """Empty when nothing was filled."""
    position_state: PositionState | None
    """The position's state as risk decided it; None when nothing was filled."""
    day: int | None = None
    """Number of the trading day of its result (``risk.portfolio.results``); None: the UTC day of ``at_ms``."""
    other_fees: Decimal = ZERO
    """Worth of the intent's fees in other coins than base and quote, in reporting currency, as risk valued them."""


class PositionOpened(_Event, frozen=True, kw_only=True):
    """States that the conclusion before it opened this position. It is derived from fills and kept for comparison."""

    intent_id: str
    position: Position


class PositionChanged(_Event, frozen=True, kw_only=True):
    """States what the conclusion before it left open. It is derived from fills and kept for comparison."""

    intent_id: str
    position: Position


class PositionClosed(_Event, frozen=True, kw_only=True):
    """States that the conclusion before it closed this position. It is derived from fills and kept for comparison."""

    intent_id: str
    position: Position


HaltCause = Literal[
    "operator",
    "daily_loss",
    "weekly_loss",
    "lifetime_loss",
    "drawdown",
    "naked_exposure",
    "errors",
    "stale_feeds",
    "accounting",
]


class _PersonEvent(_Event, frozen=True, kw_only=True):
    by: str = ""
    """Who ordered it, and by which means; empty where a rule did, and where it was not stored."""


class Halted(_PersonEvent, frozen=True, kw_only=True):
    """Records the kill switch: no entries from here on, until ``Resumed``. A second one may raise the level."""

    cause: HaltCause
    reason: str
    """A sentence, for people."""
    level: HaltLevel = "reduce_only"


class Resumed(_PersonEvent, frozen=True, kw_only=True):
    """Records that a person has allowed entries again."""

    reason: str
    acknowledged: tuple[str, ...] = ()
    """The conditions that held at this moment and must not halt again: cause, trading day and limit."""
    high_water: Decimal | None = None
    """The high-water mark from here on, where the person accepted a drawdown; None: as it was."""


class ClosesOrdered(_PersonEvent, frozen=True, kw_only=True):
    """Records an order to close everything of these pairs; it is carried out for a pair when the pair is flat."""

    pairs: tuple[str, ...]
    reason: ExitReason


class PairSetApart(_Event, frozen=True, kw_only=True):
    """Records that the pair enters nothing from here on, until ``PairReleased``."""

    pair: str
    cause: ApartCause
    reason: str
    """What happened, as a sentence for people."""
    intent_id: str = ""
    """The intent concerned; empty when there is none."""


class PairReleased(_PersonEvent, frozen=True, kw_only=True):
    """Records that a person allowed a pair that was set apart to trade again."""

    pair: str
    reason: str


class CoinConfirmed(_Event, frozen=True, kw_only=True):
    """Records that a person has confirmed that both markets of a pair trade the same coin."""

    pair: str
    ratio: Decimal
    """Home price over converted away price when it was confirmed; 1 where it was unknown."""
    reason: str


class LimitsChanged(_PersonEvent, frozen=True, kw_only=True):
    """Records that a person has changed limits while risk ran."""

    symbol: str
    """The symbol whose limits change; empty for all."""
    changes: tuple[tuple[str, str], ...]
    """(key, value) as in the configuration; an empty value restores the configured one."""


class LimitsScaled(_Event, frozen=True, kw_only=True):
    """Records that a rule has tightened order and exposure limits, or loosened them again."""

    symbol: str
    """The symbol whose limits are scaled; empty for all."""
    factor: Decimal
    """The factor of the limits; 1 means as they are set."""
    cause: str


class EquityMarked(_Event, frozen=True, kw_only=True):
    """Records the result of trading, with open positions valued at the books. Amounts are in reporting currency."""

    equity: Decimal
    """Realised since the ledger began, plus ``unrealised``; rounded up to two places, as is ``high_water``."""
    unrealised: Decimal
    """What closing all that is open would bring."""
    high_water: Decimal
    """The highest equity so far."""
    day: int
    """Number of the trading day."""
    day_unrealised: Decimal
    """``unrealised`` when the trading day began."""
    week_unrealised: Decimal
    """``unrealised`` when the week began."""
    marks: tuple[tuple[str, Decimal, int], ...] = ()
    """(position, result of closing it, age in ms of the books that it was valued with; -1 when there was none)."""


class RefusalsCounted(_Event, frozen=True, kw_only=True):
    """Counts refusals that were not stored one by one: repetitions of stored ones within a short time."""

    counts: tuple[tuple[str, Refusal, int], ...]
    """(symbol, reason, number of refusals)."""


class AccountOpened(_Event, frozen=True, kw_only=True):
    """Records that a venue has stated for the first time what we own there, which the deposits before this event
    hold.
    """

    venue: str


class DifferenceFound(_Event, frozen=True, kw_only=True):
    """Records that venue and ledger state different amounts of a currency, and orders under way do not explain all
    of it.
    """

    venue: str
    currency: str
    stated: Decimal
    booked: Decimal
    low: Decimal = ZERO
    """By how much less the venue may have because of orders under way while both are right; 0 or below."""
    high: Decimal = ZERO
    """By how much more it may have; 0 or above."""


class DifferenceResolved(_Event, frozen=True, kw_only=True):
    """Records that they are equal again: by themselves, or because a person accepted (the deposit before this)."""

    venue: str
    currency: str
    how: Literal["agrees", "accepted"]


class StrayFound(_Event, frozen=True, kw_only=True):
    """Records that an order with our tag is open at a venue, and no open intent owns it."""

    venue: str
    client_id: str
    """The client order id without the tag."""
    symbol: str
    remaining: Decimal
    pair: str
    """Empty for a market that is not traded in this run."""


class StrayGone(_Event, frozen=True, kw_only=True):
    """Records that a stray order is no longer open."""

    venue: str
    client_id: str
    pair: str


VenueState = Literal["takes orders", "refuses", "unknown"]


class VenueStateChanged(_Event, frozen=True, kw_only=True):
    """Records that a venue or market began to refuse our orders, accepts them again, or is to be tried again."""

    venue: str
    symbol: str
    """The market as the venue names it; empty: the venue as a whole."""
    state: VenueState
    """``unknown``: it has refused, and an entry may show whether it still does."""
    why: str
    """The end of a sentence, for people."""
    fault: OrderFault = ""
    """The kind of the refusal; empty only when the state is no refusal."""


ReconciliationEvent = AccountOpened | DifferenceFound | DifferenceResolved | StrayFound | StrayGone
PositionStatement = PositionOpened | PositionChanged | PositionClosed
TransferEvent = TransferAnnounced | TransferEnded
Event = (
    Started
    | Stopped
    | ShardJoined
    | ShardFenced
    | LeaderBegan
    | ShardGranted
    | Deposited
    | TransferAnnounced
    | TransferEnded
    | IntentApproved
    | IntentRefused
    | OrderExtended
    | OrderReported
    | IntentConcluded
    | PositionOpened
    | PositionChanged
    | PositionClosed
    | Halted
    | Resumed
    | ClosesOrdered
    | PairSetApart
    | PairReleased
    | CoinConfirmed
    | LimitsChanged
    | LimitsScaled
    | EquityMarked
    | RefusalsCounted
    | AccountOpened
    | DifferenceFound
    | DifferenceResolved
    | StrayFound
    | StrayGone
    | VenueStateChanged
)

MOVING = (OrderReported, Deposited, TransferEnded)
"""The kinds of events that move money between accounts. All others have no postings."""

_NOT_ACCEPTED_BEFORE_5 = (
    "not sent: ",
    "not accepted: ",
    "never accepted: ",
    "approved too late",
    "DRY RUN: not sent",
)
"""Beginnings of the ``detail`` of a ``CANCELED`` order that no venue had accepted, in ledgers before version 5."""

_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> str:
    """Return the event as JSON text; amounts are strings."""
    return _encoder.encode(event).decode()


def decode_event(body: str) -> Event:
    """Return the event that the JSON text ``body`` holds. Raises ``LedgerDamaged`` when it holds no whole event."""
    try:
        event = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise LedgerDamaged(f"an event cannot be read: {error}") from error
    if isinstance(event, OrderReported) and is_not_accepted(event.state, event.detail):
        return msgspec.structs.replace(event, state="NOT_ACCEPTED")
    return event


def is_not_accepted(state: OrderState, detail: str) -> bool:
    """Return whether a program before version 5 of the events meant that no venue had accepted the order."""
    return state == "CANCELED" and detail.startswith(_NOT_ACCEPTED_BEFORE_5)


def kind_of(event: Event) -> str:
    """Return the name of the event's kind, as in the ledger's ``kind`` column."""
    return type(event).__name__


def subject_of(event: Event) -> tuple[str, str]:
    """Return the (pair, intent id) that the event is about; each is empty where there is none."""
    if isinstance(event, IntentApproved):
        return event.intent.pair, event.intent.intent_id
    if isinstance(event, IntentRefused | OrderExtended | OrderReported | IntentConcluded):
        return event.pair, event.intent_id
    if isinstance(event, PositionOpened | PositionChanged | PositionClosed):
        return event.position.pair, event.intent_id
    if isinstance(event, Deposited | StrayFound | StrayGone | PairReleased | CoinConfirmed):
        return event.pair, ""
    if isinstance(event, PairSetApart):
        return event.pair, event.intent_id
    if isinstance(event, LimitsChanged | LimitsScaled):
        return event.symbol, ""
    return "", ""
