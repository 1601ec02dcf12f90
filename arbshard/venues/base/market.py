"""Defines ``Venue``: what the engine needs to know of an exchange, and the small structs that it uses.

The module ``market`` of a venue's folder implements the Protocol; ``registry`` finds it by the venue's name. The
supervisor's feeds call the methods for connections (addresses, subscriptions, ``route``, ``classify``), workers
call ``decode``, and the code that sets up a run calls the methods for the listing. Nothing here opens a socket or
reads a clock.
"""

from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from typing import Protocol

import msgspec

from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.model.market import FeeSchedule, Market, MarketRules
from arbshard.model.warning import MarketWarningKind


class RateLimit(msgspec.Struct, frozen=True):
    """Allows at most ``count`` in any ``window_s`` seconds."""

    count: int
    window_s: float


class SilenceRules(msgspec.Struct, frozen=True):
    """Bounds how long a silence may be before it counts as a stall. What is usual is learned, within these bounds."""

    connection_min_s: float = 3.0
    connection_max_s: float = 30.0
    """Bounds, in seconds, for everything that one connection carries."""
    symbol_min_s: float = 10.0
    symbol_max_s: float = 120.0
    """Bounds, in seconds, for one market while others of its connection continue."""


class ConnectionRules(msgspec.Struct, frozen=True):
    """Describes how a venue's WebSocket may be used."""

    symbols_max: int
    """Most markets that one connection may carry."""
    connects: RateLimit
    """Limit of connection attempts per address, less what private connections may use (``limits``)."""
    messages: tuple[RateLimit, ...]
    """Limits of the messages sent on one connection.

    Keep-alives may count too: ``message_gap_s`` leaves room for them.
    """
    ping_interval_s: float
    """Seconds without a message of ours after which a keep-alive is sent."""
    ping_text: str | None
    """The keep-alive as a text message, or None for a WebSocket ping frame."""
    life_max_s: float | None
    """Age in seconds at which the venue ends a connection; None where it documents no such limit."""
    silence: SilenceRules = SilenceRules()
    """Bounds beyond which silence of this venue is unusual."""

    @property
    def message_gap_s(self) -> float:
        """Return the pause in seconds between two messages.

        It keeps within every limit and leaves room for a keep-alive.
        """
        return max(limit.window_s / (limit.count - 1) for limit in self.messages)


class FrameKind(Enum):
    """Is the kind of a frame that is not an order book."""

    ACK = "ack"
    """The frame answers a request of ours."""
    ERROR = "error"
    """The venue refused something."""
    STATUS = "status"
    """The frame answers a keep-alive."""
    SHUTDOWN = "shutdown"
    """The server is about to close: reconnect at once."""
    OTHER = "other"
    """The frame belongs to a stream that is known and not used: trade, ticker, differential depth and so on."""
    GARBAGE = "garbage"
    """The frame is cut, not JSON, or of a form that the venue does not document."""


class ControlFrame(msgspec.Struct, frozen=True):
    """Is a frame that does not hold a book."""

    kind: FrameKind
    detail: str = ""
    """The request answered, the venue's own text, the stream's name, or what is wrong; at most 200 characters."""


class ListedMarket(msgspec.Struct, frozen=True):
    """Is a market as its venue lists it."""

    market: Market
    rules: MarketRules
    tradable: bool = True
    """False while the venue accepts no orders on it."""
    note: str = ""
    """Why it is not tradable, in the venue's own terms; empty otherwise."""
    warnings: tuple[tuple[MarketWarningKind, str], ...] = ()
    """The kinds of the venue's warnings, each with the venue's own name of it where the kind is not specific."""
    coin_name: str = ""
    """The coin's full name at the venue; empty where the listing has no such names."""


class Venue(Protocol):
    """Decodes the frames of an exchange's order books, and has its subscriptions, listing and fees. Pure."""

    @property
    def name(self) -> str:
        """Return the venue's name in configuration, markets and the ledger."""
        ...

    @property
    def buy_fee_in_base(self) -> bool:
        """Return whether a buyer's fee is taken from the coin received."""
        ...

    @property
    def is_streamed(self) -> bool:
        """Return whether its order books come by WebSocket; those of other venues are polled."""
        ...

    @property
    def connection_rules(self) -> ConnectionRules:
        """Return how its WebSocket may be used."""
        ...

    def ws_address(self, ws_url: str) -> str:
        """Return the address to connect to, given the configured ``ws_url``."""
        ...

    def subscribe_messages(self, symbols: Sequence[str], depth: int, ticket: str) -> list[str]:
        """Return the text messages that subscribe a new connection to the books of ``symbols``, in sending order.

        ``depth`` is the number of levels per side; it is rounded up to one that the venue offers, or is the venue's
        most. ``ticket`` names the request where the venue requires a unique name. Without symbols there is no
        message.
        """
        ...

    def change_messages(
        self, symbols: Sequence[str], added: Sequence[str], removed: Sequence[str], depth: int, ticket: str
    ) -> list[str]:
        """Return the text messages that change a connection's subscription to the books of ``symbols``, without a
        pause.

        ``symbols`` are all that are wanted from now on and not empty; ``added`` and ``removed`` are the difference
        from before. A symbol among ``added`` that was subscribed already is subscribed anew.
        """
        ...

    def sequence_number(self, frame: bytes) -> int | None:
        """Return a number in an order-book frame that grows as the book changes: of two, the larger is newer.

        It is found by a search for bytes and comparable between connections. None if there is none. Never raises.
        """
        ...

    def sent_ms(self, frame: bytes) -> int | None:
        """Return when the venue sent an order-book frame, in wall milliseconds of its clock; None if the frame does
        not say.

        It is found by a search for bytes; ``decode`` gives the same for a book. Never raises.
        """
        ...

    def route(self, frame: bytes) -> str | None:
        """Return the market's symbol of an order-book frame, found without decoding the book; None for any other
        frame.

        Never raises. A cut frame gives None.
        """
        ...

    def classify(self, frame: bytes) -> ControlFrame:
        """Return the kind of a frame for which ``route`` returned None. Never raises."""
        ...

    def top_of_book(self, frame: bytes, received_ns: int) -> BookTop:
        """Return the top of a frame's book, found without decoding the rest of it, which ``decode`` may still
        refuse.

        It is never crossed, and every number is finite and positive. Raises ``FrameError`` as ``decode`` does.
        """
        ...

    def decode(self, frame: bytes, received_ns: int) -> OrderBookSnapshot:
        """Return the book of a frame that was received at ``received_ns`` (monotonic).

        It is never empty, crossed or unsorted, and every number is finite and positive. Raises ``FrameError`` with
        one of ``frame.FRAME_REASONS``.
        """
        ...

    def listing_paths(self) -> tuple[str, ...]:
        """Return the REST paths to fetch for ``listing``, in the order of its argument."""
        ...

    def listing(self, bodies: Sequence[bytes]) -> dict[str, ListedMarket]:
        """Return all markets in the quote that is traded, by symbol.

        Raises ``VenueError`` for a body that cannot be read.
        """
        ...

    def fee_schedule(self, buy_bps: Decimal, sell_bps: Decimal) -> FeeSchedule:
        """Return the taker fees of this venue, given its configured rates in basis points."""
        ...
