"""Defines what workers and operators send to risk, and its answers: tagged structs in MessagePack, one union per
sender.

Workers send requests, operators (the command line) send commands. Every request carries the shard and its epoch;
risk answers ``Refused(STALE_EPOCH)`` to anything from an older incarnation. All requests are idempotent by their
ids, so a repeated one changes nothing.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import TypeVar

import msgspec

from arbshard.errors import ProtocolError
from arbshard.model.entry_terms import PairTerms
from arbshard.model.intent import ApartCause, ExitReason, FxQuote, HaltLevel, Intent, OpenIntent, Retry
from arbshard.model.money import ZERO
from arbshard.model.order import Order, OrderResult
from arbshard.model.position import Position
from arbshard.model.refusal import Refusal
from arbshard.model.warning import WalletReport
from arbshard.wire.inventory import Inventory, InventoryCommand, OpenTransfers
from arbshard.wire.reconciliation import (
    AcceptDifference,
    EndIntent,
    Reconciliation,
    ShowReconciliation,
)

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder raises. Text that is not UTF-8 and arrays a thousand deep have types of their own, and any process
that can connect can send them.
"""

Message = TypeVar("Message", bound=msgspec.Struct)

Available = tuple[tuple[str, str, Decimal], ...]
"""(venue, currency, free amount after all holds), only for the currencies that a reply concerns."""


class _Request(msgspec.Struct, frozen=True, tag=True):
    shard: int
    epoch: int


class Hello(_Request, frozen=True):
    """Is the first message of a worker. Answer: ``Welcome``."""

    pid: int
    pairs: tuple[str, ...]


class Fund(_Request, frozen=True):
    """Asks whether the pair may be traded. On paper this opens its inventory at this price, once for ever.

    Answer: ``Funded``; live, as long as its venues have not stated what we own there, ``Refused(NO_STATEMENT)``, and
    the worker asks again.
    """

    pair: str
    home_price: Decimal
    """Home quote per base."""


class Submit(_Request, frozen=True):
    """Asks for approval of an intent. Answer: ``Approved`` (in the ledger, balances held) or ``Refused``."""

    intent: Intent


class Extend(_Request, frozen=True):
    """Records a hedge or unwind order before it is sent. Answer: ``Approved``, whatever the limits are."""

    intent_id: str
    order: Order


class Report(_Request, frozen=True):
    """Reports the state of an order of an intent; its fills are booked once each. Answer: ``Noted``."""

    intent_id: str
    result: OrderResult


class Conclude(_Request, frozen=True):
    """Reports that all orders of the intent are final: risk releases its holds and settles. Answer: ``Settled``."""

    intent_id: str
    mark: Decimal
    """Home price of the base now, for left-over base."""
    fx: FxQuote
    done: bool
    """Whether what is left of the position cannot be traded: below the venues' minimum, or nothing."""


class Instructions(_Request, frozen=True):
    """Asks what is to be done beside trading. Answer: ``Instructed``."""


class ReadTerms(_Request, frozen=True):
    """Asks what entries the shard's pairs may make, as far as it has changed since ``serial``. Answer:
    ``EntryTerms``.
    """

    serial: int
    """Serial of the newest answer; 0 for none, and then the answer is complete."""


class Adopt(_Request, frozen=True):
    """Asks what there is to continue for pairs that have come to this shard while it runs.

    Answer: ``Welcome`` of these pairs alone, or ``Refused(NOT_OWNER)``, and the worker asks again.
    """

    pairs: tuple[str, ...]


class SetApart(_Request, frozen=True):
    """Asks to set a pair apart: it enters nothing until a person releases it. Answer: ``Noted``."""

    pair: str
    cause: ApartCause
    reason: str
    """What happened, as a sentence for people."""
    intent_id: str
    """The intent concerned; empty when there is none."""


Request = Hello | Fund | Submit | Extend | Report | Conclude | Instructions | ReadTerms | Adopt | SetApart


class _Reply(msgspec.Struct, frozen=True, tag=True):
    pass


Closings = tuple[tuple[str, ExitReason], ...]
"""(pair, reason): pairs to be closed until risk reports them as flat."""


class Welcome(_Reply, frozen=True):
    """Answers with all that a worker must know to continue."""

    session: int
    """Number of risk's starts with this ledger; part of every intent id."""
    positions: tuple[Position, ...]
    intents: tuple[OpenIntent, ...]
    funded: tuple[str, ...]
    """Pairs whose inventory exists: on paper it was opened, live both venues have stated it."""
    available: Available
    halted: bool = False
    """Whether there may be no entries."""
    closing: Closings = ()
    serial: int = 0
    """The same as in ``Instructed``."""
    residues: tuple[tuple[str, Decimal], ...] = ()
    """(pair, residue) of the worker's pairs that have one, as in ``Settled``."""
    tag: str = ""
    """Five characters of ``[a-z0-9]`` that the ledger keeps for ever: a venue knows an order as ``<tag>-<client
    id>``.
    """
    retries: tuple[tuple[str, Retry], ...] = ()
    """(pair, how its next trade of a kind may be made) after trades that achieved nothing."""
    strangers: tuple[str, ...] = ()
    """Pairs of the ``Hello`` that do not belong to the shard, as risk knows it: one of both has an older universe."""
    apart: tuple[str, ...] = ()
    """All pairs that are set apart: they enter nothing."""
    stopped: bool = False
    """The same as in ``Instructed``."""


class Funded(_Reply, frozen=True):
    """Answers that the inventory exists (also when it did before)."""

    available: Available


class Approved(_Reply, frozen=True):
    """Answers that it may be sent: the ledger has it."""

    intent_id: str
    available: Available


class Refused(_Reply, frozen=True):
    """Answers that it must not be sent."""

    reason: Refusal
    detail: str
    available: Available = ()
    exit_retry: Retry | None = None
    """How the exit may be made instead."""


class Noted(_Reply, frozen=True):
    """Answers that what was reported, or that the pair is set apart, is in the ledger."""

    intent_id: str


class Settled(_Reply, frozen=True):
    """Answers that the intent is over. ``position`` is None when nothing was filled."""

    intent_id: str
    position: Position | None
    available: Available
    residue: Decimal = ZERO
    """Base that closed positions of the pair have left over (negative: are short of), on both venues."""
    exit_retry: Retry | None = None
    """How the pair's next exit may be made, after exits that achieved nothing."""
    entry_retry: Retry | None = None


class Instructed(_Reply, frozen=True):
    """Answers with the instructions that are in force now."""

    serial: int
    """Changes with every change of what follows; also the word ``instructions`` on risk's page."""
    halted: bool
    closing: Closings
    apart: tuple[str, ...] = ()
    """All pairs that are set apart: they enter nothing."""
    stopped: bool = False
    """Whether exits are stopped too, except those that a person orders."""


class EntryTerms(_Reply, frozen=True):
    """Answers with the terms of entry, for the pairs and balances for which they have changed."""

    serial: int
    """Changes with every change; also the word ``terms`` on risk's page."""
    pairs: tuple[PairTerms, ...]
    available: Available
    """What entries may spend, after all holds."""


Reply = Welcome | Funded | Approved | Refused | Noted | Settled | Instructed | EntryTerms


class _PersonCommand(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    by: str = ""
    """Who gives it, and by which means, for the ledger."""


class Halt(_PersonCommand, frozen=True):
    """Asks to turn on the kill switch, by hand. Answer: ``Done``."""

    reason: str
    flatten: bool
    level: HaltLevel = "reduce_only"


class Resume(_PersonCommand, frozen=True):
    """Allows entries again. Answer: ``Done`` or ``Denied``."""

    reason: str
    symbols: tuple[str, ...] = ()
    """Pairs that were set apart, by base or either market's name; empty: end the halt."""


class ConfirmCoin(msgspec.Struct, frozen=True, tag=True):
    """Says that a person has confirmed that both markets of a pair trade the same coin. Answer: ``Done`` or
    ``Denied``.
    """

    symbol: str
    """The pair, by base or either market's name."""
    reason: str


class Close(_PersonCommand, frozen=True):
    """Orders to close all that is open of these pairs. Answer: ``Done`` or ``Denied``."""

    symbols: tuple[str, ...]
    """Pairs by base or either market's name; empty: every pair."""
    one_leg: bool = False
    """Whether to close one leg alone where the other venue of a pair cannot be used, which leaves the other leg
    naked.
    """


class SetLimits(_PersonCommand, frozen=True):
    """Asks to change limits. Answer: ``Done`` or ``Denied``."""

    changes: tuple[tuple[str, str], ...]
    """(key, value) as in the configuration; an empty value restores the configured one."""
    symbol: str = ""
    """The symbol whose limits change; empty for all."""


class ShowLimits(msgspec.Struct, frozen=True, tag=True):
    """Asks what limits are in force. Answer: ``Limits`` or ``Denied``."""

    symbol: str = ""


class ShowPositions(msgspec.Struct, frozen=True, tag=True):
    """Asks what is open. Answer: ``Positions``."""


class AccountFees(msgspec.Struct, frozen=True):
    """Holds what our account pays as a taker, as the venue states it, in basis points."""

    symbol: str
    """The market that was asked about."""
    buy_bps: Decimal
    sell_bps: Decimal
    paid_in: str = ""
    """A coin of the venue's own in which fees are paid with a discount; empty: none."""


class Statement(msgspec.Struct, frozen=True, tag=True):
    """Reports what a venue states of our account. The accounts process sends it, live only. Answer: ``Done`` or
    ``Denied``.
    """

    venue: str
    at_ms: int
    """Wall time in ms just before the balances were requested."""
    balances: tuple[tuple[str, Decimal, Decimal], ...]
    """(currency, free, locked in open orders). Every currency that is not zero; one that is missing is zero."""
    open_orders: tuple[tuple[str, str, Decimal], ...]
    """(client id as the venue has it, with its tag; market as the venue names it; remaining base). An order without
    a client id has an empty one.
    """
    settled: bool
    """Whether no order of ours changed between two readings, so that balances and orders are of one instant."""
    read_ns: int
    """Monotonic time in ns just before the balances were requested. The wall clock may be set back in between."""
    wallets: WalletReport | None = None
    """Which deposits and withdrawals are not open; None where the venue is not asked."""
    fees: AccountFees | None = None
    """Our account's fees; None before the venue has stated them."""


Command = (
    Halt
    | Resume
    | Close
    | ConfirmCoin
    | SetLimits
    | ShowLimits
    | ShowPositions
    | Statement
    | ShowReconciliation
    | AcceptDifference
    | EndIntent
    | InventoryCommand
)


class Done(msgspec.Struct, frozen=True, tag=True):
    """Answers that it is in the ledger. ``text`` is for the person who asked."""

    text: str
    pairs: tuple[str, ...] = ()
    """Pairs that are being closed."""


class Denied(msgspec.Struct, frozen=True, tag=True):
    """Answers that it is not done, and why."""

    why: str


class LimitLine(msgspec.Struct, frozen=True):
    """Is one limit."""

    key: str
    value: str
    """The value in force, before any tightening."""
    configured: str
    """The value in the configuration file."""
    factor: str
    """The factor by which a rule multiplies it now; ``1`` for none."""
    used: str
    """How much of it is used now; empty where that is not a single number."""


class Limits(msgspec.Struct, frozen=True, tag=True):
    """Is the answer with all limits, or those of a symbol."""

    symbol: str
    lines: tuple[LimitLine, ...]
    day: str
    """The trading day, as its date."""
    day_ends_ms: int
    halted: str
    """Why nothing may be entered; empty when it may."""
    tightened: tuple[tuple[str, str, str], ...]
    """(symbol, factor, cause); an empty symbol means all."""


class ValuedPosition(msgspec.Struct, frozen=True):
    """Holds what closing a position now would bring, in reporting currency."""

    position_id: str
    pnl: Decimal
    """Result of the whole round trip: flows and fees so far, and the fees of closing."""
    books_ms: int
    """Wall time in ms of the books that this was computed with; 0: there was no book yet."""
    is_whole: bool
    """Whether both books are deep enough for all of it."""


class Positions(msgspec.Struct, frozen=True, tag=True):
    """Is the answer with all open positions."""

    positions: tuple[Position, ...]
    closing: Closings
    values: tuple[ValuedPosition, ...] = ()


CommandReply = Done | Denied | Limits | Positions | Reconciliation | OpenTransfers | Inventory

_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_command_replies: msgspec.msgpack.Decoder[CommandReply] = msgspec.msgpack.Decoder(CommandReply)


def encode(message: Request | Reply | Command | CommandReply) -> bytes:
    """Return the message as MessagePack."""
    return _encoder.encode(message)


def decode_request(payload: bytes) -> Request:
    """Return the request. Raises ``ProtocolError`` for anything that is not a whole, well-typed one."""
    try:
        return comparable(payload, _requests.decode(payload))
    except UNREADABLE as error:
        raise ProtocolError(f"bad request: {error}") from error


def decode_reply(payload: bytes) -> Reply:
    """Return the reply. Raises ``ProtocolError`` for anything that is not a whole, well-typed one."""
    try:
        return comparable(payload, _replies.decode(payload))
    except UNREADABLE as error:
        raise ProtocolError(f"bad reply: {error}") from error


def decode_command(payload: bytes) -> Command:
    """Return the operator's command. Raises ``ProtocolError`` for anything that is not a whole, well-typed one."""
    try:
        return comparable(payload, _commands.decode(payload))
    except UNREADABLE as error:
        raise ProtocolError(f"bad command: {error}") from error


def decode_command_reply(payload: bytes) -> CommandReply:
    """Return the reply to a command. Raises ``ProtocolError`` for anything that is not a whole, well-typed one."""
    try:
        return comparable(payload, _command_replies.decode(payload))
    except UNREADABLE as error:
        raise ProtocolError(f"bad reply: {error}") from error


def comparable(payload: bytes, message: Message) -> Message:
    """Return ``message``, decoded from ``payload``, if all its amounts can be compared.

    A signalling NaN reads as a decimal, but each comparison with it, even the one that recognises a repeated
    request, raises an exception. Raises ``ProtocolError``.
    """
    if b"snan" in payload.lower():  # a coin may be called so, too
        plain = msgspec.to_builtins(message, builtin_types=(Decimal,))
        if any(one.is_snan() for one in _amounts(plain)):
            raise ProtocolError("an amount that signals")
    return message


def _amounts(value: object) -> Iterable[Decimal]:
    if isinstance(value, Decimal):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _amounts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _amounts(item)
