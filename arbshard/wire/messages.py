"""What workers and operators say to risk, and its answers: tagged structs in MessagePack, one union per speaker.

Workers put requests, operators (the command line) give commands. Every request carries the shard and its epoch;
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
"""What a decoder raises. Text that is no UTF-8 and arrays a thousand deep have types of their own, and whoever can
connect can send them."""

Message = TypeVar("Message", bound=msgspec.Struct)

Available = tuple[tuple[str, str, Decimal], ...]
"""(venue, currency, free amount): what is left after all holds. Only the currencies a reply concerns."""


class _Request(msgspec.Struct, frozen=True, tag=True):
    shard: int
    epoch: int


class Hello(_Request, frozen=True):
    """The first word of a worker. Answer: ``Welcome``."""

    pid: int
    pairs: tuple[str, ...]


class Fund(_Request, frozen=True):
    """May the pair be traded? On paper: open its inventory at this price, once for ever. Answer: ``Funded``; live, as
    long as its venues have not stated what we own there, ``Refused(NO_STATEMENT)``: to be asked again.
    """

    pair: str
    home_price: Decimal
    """Home quote per base."""


class Submit(_Request, frozen=True):
    """Ask for approval of an intent. Answer: ``Approved`` (in the ledger, balances held) or ``Refused``."""

    intent: Intent


class Extend(_Request, frozen=True):
    """Record a hedge or unwind order before it is sent. Answer: ``Approved``, limits or not."""

    intent_id: str
    order: Order


class Report(_Request, frozen=True):
    """How an order of an intent stands; its fills are booked once each. Answer: ``Noted``."""

    intent_id: str
    result: OrderResult


class Conclude(_Request, frozen=True):
    """All orders of the intent are final: release its holds, settle. Answer: ``Settled``."""

    intent_id: str
    mark: Decimal
    """Home price of the base now, for left-over base."""
    fx: FxQuote
    done: bool
    """True when what is left of the position cannot be traded: below the venues' minimum, or nothing."""


class Instructions(_Request, frozen=True):
    """What is to be done beside trading? Answer: ``Instructed``."""


class ReadTerms(_Request, frozen=True):
    """What entries may the shard's pairs make, as far as it has changed since ``serial``? Answer: ``EntryTerms``."""

    serial: int
    """Of the newest answer; 0 for none: then everything is told."""


class Adopt(_Request, frozen=True):
    """These pairs have come to this shard while it runs: what is there to carry on with? Answer: ``Welcome`` of them
    alone, or ``Refused(NOT_OWNER)``, to be asked again.
    """

    pairs: tuple[str, ...]


class SetApart(_Request, frozen=True):
    """Have a pair set apart: it enters nothing until a person releases it. Answer: ``Noted``."""

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
"""(pair, reason): pairs to be closed until risk says they are flat."""


class Welcome(_Reply, frozen=True):
    """All that a worker must know to carry on."""

    session: int
    """Number of risk's starts with this ledger; part of every intent id."""
    positions: tuple[Position, ...]
    intents: tuple[OpenIntent, ...]
    funded: tuple[str, ...]
    """Pairs whose inventory exists: on paper it was opened, live both venues have stated it."""
    available: Available
    halted: bool = False
    """No entries."""
    closing: Closings = ()
    serial: int = 0
    """See ``Instructed``."""
    residues: tuple[tuple[str, Decimal], ...] = ()
    """(pair, residue) of the worker's pairs that have one: see ``Settled``."""
    tag: str = ""
    """Five characters of ``[a-z0-9]``, the ledger's own for ever: a venue knows an order as ``<tag>-<client id>``."""
    retries: tuple[tuple[str, Retry], ...] = ()
    """(pair, how its next trade of a kind may be made) after trades that achieved nothing."""
    strangers: tuple[str, ...] = ()
    """Pairs of the ``Hello`` that are not the shard's, as risk has it: one of both has an older universe."""
    apart: tuple[str, ...] = ()
    """All pairs that are set apart: they enter nothing."""
    stopped: bool = False
    """See ``Instructed``."""


class Funded(_Reply, frozen=True):
    """The inventory exists (also when it did before)."""

    available: Available


class Approved(_Reply, frozen=True):
    """Send it: the ledger has it."""

    intent_id: str
    available: Available


class Refused(_Reply, frozen=True):
    """Do not send it."""

    reason: Refusal
    detail: str
    available: Available = ()
    exit_retry: Retry | None = None
    """How the exit may be made instead."""


class Noted(_Reply, frozen=True):
    """What was reported, or that the pair is set apart, is in the ledger."""

    intent_id: str


class Settled(_Reply, frozen=True):
    """The intent is over. ``position`` is None when nothing was filled."""

    intent_id: str
    position: Position | None
    available: Available
    residue: Decimal = ZERO
    """Base that closed positions of the pair have left over (negative: are short of), on both venues."""
    exit_retry: Retry | None = None
    """How the pair's next exit may be made, after exits that achieved nothing."""
    entry_retry: Retry | None = None


class Instructed(_Reply, frozen=True):
    """What stands now."""

    serial: int
    """Changes with every change of what follows; also the word ``instructions`` on risk's page."""
    halted: bool
    closing: Closings
    apart: tuple[str, ...] = ()
    """All pairs that are set apart: they enter nothing."""
    stopped: bool = False
    """Exits are stopped too, except those that a person orders."""


class EntryTerms(_Reply, frozen=True):
    """What entries may be made, of the pairs and balances for which that has changed."""

    serial: int
    """Changes with every change; also the word ``terms`` on risk's page."""
    pairs: tuple[PairTerms, ...]
    available: Available
    """What entries may spend, after all holds."""


Reply = Welcome | Funded | Approved | Refused | Noted | Settled | Instructed | EntryTerms


class Halt(msgspec.Struct, frozen=True, tag=True):
    """The kill switch, by hand. Answer: ``Done``."""

    reason: str
    flatten: bool
    level: HaltLevel = "reduce_only"


class Resume(msgspec.Struct, frozen=True, tag=True):
    """Allow entries again. Answer: ``Done`` or ``Denied``."""

    reason: str
    symbols: tuple[str, ...] = ()
    """Pairs that were set apart, by base or either market's name; empty: end the halt."""


class ConfirmCoin(msgspec.Struct, frozen=True, tag=True):
    """Both markets of a pair trade the same coin, says a person. Answer: ``Done`` or ``Denied``."""

    symbol: str
    """Of the pair, by base or either market's name."""
    reason: str


class Close(msgspec.Struct, frozen=True, tag=True):
    """Close all that is open of these pairs (by base or either market's name). Answer: ``Done`` or ``Denied``."""

    symbols: tuple[str, ...]
    """Empty: of every pair."""
    one_leg: bool = False
    """Where one venue of a pair cannot be used, close the leg on the other one alone, which leaves it naked."""


class SetLimits(msgspec.Struct, frozen=True, tag=True):
    """Change limits. Answer: ``Done`` or ``Denied``."""

    changes: tuple[tuple[str, str], ...]
    """(key, value) as in the configuration; an empty value goes back to it."""
    symbol: str = ""
    """Empty: for all."""


class ShowLimits(msgspec.Struct, frozen=True, tag=True):
    """What limits are in force? Answer: ``Limits`` or ``Denied``."""

    symbol: str = ""


class ShowPositions(msgspec.Struct, frozen=True, tag=True):
    """What is open? Answer: ``Positions``."""


class AccountFees(msgspec.Struct, frozen=True):
    """What our account pays as a taker, as the venue states it, in basis points."""

    symbol: str
    """The market that was asked about."""
    buy_bps: Decimal
    sell_bps: Decimal
    paid_in: str = ""
    """A coin of the venue's own in which fees are paid with a discount; empty: none."""


class Statement(msgspec.Struct, frozen=True, tag=True):
    """What a venue says of our account, by the accounts process, live only. Answer: ``Done`` or ``Denied``."""

    venue: str
    at_ms: int
    """Wall time just before the balances were asked for."""
    balances: tuple[tuple[str, Decimal, Decimal], ...]
    """(currency, free, locked in open orders). Every currency that is not zero; one that is missing is zero."""
    open_orders: tuple[tuple[str, str, Decimal], ...]
    """(client id as the venue has it, with its tag; market as the venue names it; remaining base). An order that has
    no client id has an empty one."""
    settled: bool
    """Whether no order of ours changed between two readings, so that balances and orders are of one instant."""
    read_ns: int
    """Monotonic time just before the balances were asked for. The wall clock may be set back in between."""
    wallets: WalletReport | None = None
    """Which deposits and withdrawals are not open; None where the venue is not asked."""
    fees: AccountFees | None = None
    """None before the venue has stated them."""


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
    """It is in the ledger. ``text`` is for the person who asked."""

    text: str
    pairs: tuple[str, ...] = ()
    """Pairs that are being closed."""


class Denied(msgspec.Struct, frozen=True, tag=True):
    """It is not done, and why."""

    why: str


class LimitLine(msgspec.Struct, frozen=True):
    """One limit."""

    key: str
    value: str
    """In force, before any tightening."""
    configured: str
    """By the file."""
    factor: str
    """What a rule multiplies it with now; ``1`` for none."""
    used: str
    """How much of it is taken now; empty where that is no single number."""


class Limits(msgspec.Struct, frozen=True, tag=True):
    """All limits, or those of a symbol."""

    symbol: str
    lines: tuple[LimitLine, ...]
    day: str
    """The trading day, as its date."""
    day_ends_ms: int
    halted: str
    """Why nothing may be entered; empty when it may."""
    tightened: tuple[tuple[str, str, str], ...]
    """(symbol or empty for all, factor, cause)."""


class ValuedPosition(msgspec.Struct, frozen=True):
    """What closing a position now would bring, in reporting currency."""

    position_id: str
    pnl: Decimal
    """Of the whole round trip: flows and fees so far, and the fees of closing."""
    books_ms: int
    """Wall time of the books that say so; 0: no book was there yet."""
    is_whole: bool
    """Whether both books are deep enough for all of it."""


class Positions(msgspec.Struct, frozen=True, tag=True):
    """All open positions."""

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
    """The message as MessagePack."""
    return _encoder.encode(message)


def decode_request(payload: bytes) -> Request:
    """Raises ``ProtocolError`` for anything that is not a whole, well-typed request."""
    try:
        return comparable(payload, _requests.decode(payload))
    except UNREADABLE as error:
        raise ProtocolError(f"bad request: {error}") from error


def decode_reply(payload: bytes) -> Reply:
    """Raises ``ProtocolError`` for anything that is not a whole, well-typed reply."""
    try:
        return comparable(payload, _replies.decode(payload))
    except UNREADABLE as error:
        raise ProtocolError(f"bad reply: {error}") from error


def decode_command(payload: bytes) -> Command:
    """An operator's message. Raises ``ProtocolError`` for anything that is not a whole, well-typed one."""
    try:
        return comparable(payload, _commands.decode(payload))
    except UNREADABLE as error:
        raise ProtocolError(f"bad command: {error}") from error


def decode_command_reply(payload: bytes) -> CommandReply:
    """Raises ``ProtocolError`` likewise."""
    try:
        return comparable(payload, _command_replies.decode(payload))
    except UNREADABLE as error:
        raise ProtocolError(f"bad reply: {error}") from error


def comparable(payload: bytes, message: Message) -> Message:
    """``message``, decoded from ``payload``, if all its amounts can be compared.

    A signalling NaN reads as a decimal, and whoever compares it, were it to see whether a request is a repeated one,
    is thrown an exception. Raises ``ProtocolError``.
    """
    if b"snan" in payload.lower():  # a coin may be called so, too
        told = msgspec.to_builtins(message, builtin_types=(Decimal,))
        if any(one.is_snan() for one in _amounts(told)):
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
