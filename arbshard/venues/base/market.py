"""``Venue``: what the engine needs to know of an exchange, and the small structs it speaks in.

The room ``market`` of a venue's folder implements the Protocol; ``registry`` finds it by the venue's name. The
supervisor's feeds call the connection side (addresses, subscriptions, ``route``, ``classify``), workers call
``decode``, and whoever sets up a run calls the listing side. Nothing here opens a socket or looks at a clock.
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
    """At most ``count`` in any ``window_s`` seconds."""

    count: int
    window_s: float


class SilenceRules(msgspec.Struct, frozen=True):
    """How long a silence may be before it is taken for a stall: what is usual is learned, within these bounds."""

    connection_min_s: float = 3.0
    connection_max_s: float = 30.0
    """Of everything that one connection carries."""
    symbol_min_s: float = 10.0
    symbol_max_s: float = 120.0
    """Of one market while others of its connection go on."""


class ConnectionRules(msgspec.Struct, frozen=True):
    """How a venue wants its WebSocket to be used."""

    symbols_max: int
    """Most markets one connection may carry."""
    connects: RateLimit
    """Connection attempts per address."""
    messages: tuple[RateLimit, ...]
    """Messages we may send on one connection. Keep-alives may count too, so stay below: ``message_gap_s``."""
    ping_interval_s: float
    """Send a keep-alive after this long without sending anything."""
    ping_text: str | None
    """The keep-alive as a text message, or None for a WebSocket ping frame."""
    life_max_s: float | None
    """The venue ends a connection of this age; None where it documents no such limit."""
    silence: SilenceRules = SilenceRules()
    """What silence of this venue is unusual."""

    @property
    def message_gap_s(self) -> float:
        """Pause between two messages that keeps inside every limit and leaves one in hand for a keep-alive."""
        return max(limit.window_s / (limit.count - 1) for limit in self.messages)


class FrameKind(Enum):
    """What a frame is that is not an order book."""

    ACK = "ack"
    """Answer to a request of ours."""
    ERROR = "error"
    """The venue refused something."""
    STATUS = "status"
    """Answer to a keep-alive."""
    SHUTDOWN = "shutdown"
    """The server is about to go: connect anew at once."""
    OTHER = "other"
    """A stream we know but do not use: trade, ticker, differential depth …"""
    GARBAGE = "garbage"
    """Cut, not JSON, or of a form the venue does not document."""


class ControlFrame(msgspec.Struct, frozen=True):
    """A frame without a book in it."""

    kind: FrameKind
    detail: str = ""
    """The request answered, the venue's own words, the stream's name, or what is wrong; at most 200 characters."""


class ListedMarket(msgspec.Struct, frozen=True):
    """A market as its venue lists it."""

    market: Market
    rules: MarketRules
    tradable: bool = True
    """False while the venue accepts no orders on it."""
    note: str = ""
    """Why it is not tradable, in the venue's words; empty otherwise."""
    warnings: tuple[tuple[MarketWarningKind, str], ...] = ()
    """What the venue warns of, and the venue's own name of it where the kind is not specific."""
    coin_name: str = ""
    """What the venue calls the coin in full; empty where the listing has no such names."""


class Venue(Protocol):
    """An exchange: pure codec and rules."""

    @property
    def name(self) -> str:
        """Its name in configuration, markets and the ledger."""
        ...

    @property
    def buy_fee_in_base(self) -> bool:
        """Whether a buyer's fee is taken from the coin received."""
        ...

    @property
    def is_streamed(self) -> bool:
        """Whether its order books come by WebSocket; those of other venues are polled."""
        ...

    @property
    def connection_rules(self) -> ConnectionRules:
        """How its WebSocket wants to be used."""
        ...

    def ws_address(self, ws_url: str) -> str:
        """The address to connect to, given the configured ``ws_url``."""
        ...

    def subscribe_messages(self, symbols: Sequence[str], depth: int, ticket: str) -> list[str]:
        """Text messages that subscribe a new connection to the books of ``symbols``, in sending order.

        ``depth`` levels per side, rounded up to what the venue offers, or its most. ``ticket`` names the
        request where the venue wants a unique name. No symbols, no message.
        """
        ...

    def change_messages(
        self, symbols: Sequence[str], added: Sequence[str], removed: Sequence[str], depth: int, ticket: str
    ) -> list[str]:
        """Text messages that bring a subscribed connection to the books of ``symbols``, others going on meanwhile.

        ``symbols`` are all that are wanted from now on and not empty; ``added`` and ``removed`` are the
        difference to before. A symbol among ``added`` that was subscribed already is subscribed anew.
        """
        ...

    def sequence_number(self, frame: bytes) -> int | None:
        """A number in an order-book frame that grows as the book goes on: of two, the larger is newer.

        Found by a search for bytes; comparable between connections. None where there is none. Never raises.
        """
        ...

    def sent_ms(self, frame: bytes) -> int | None:
        """When the venue sent an order-book frame, in wall milliseconds of its clock; None where that is not said.

        Found by a search for bytes; ``decode`` gives the same of a book. Never raises.
        """
        ...

    def route(self, frame: bytes) -> str | None:
        """The market symbol of an order-book frame, found without decoding the book; None for any other frame.

        Never raises. A cut frame is None.
        """
        ...

    def classify(self, frame: bytes) -> ControlFrame:
        """What a frame is that ``route`` refused. Never raises."""
        ...

    def top_of_book(self, frame: bytes, received_ns: int) -> BookTop:
        """The top of a frame's book, found without decoding the rest of it: ``decode`` may still refuse that.

        Never crossed, every number finite and positive. Raises ``FrameError`` as ``decode`` does.
        """
        ...

    def decode(self, frame: bytes, received_ns: int) -> OrderBookSnapshot:
        """The book of a frame received at ``received_ns`` (monotonic).

        It is never empty, crossed or unsorted, and every number is finite and positive. Raises ``FrameError``
        with one of ``frame.FRAME_REASONS``.
        """
        ...

    def listing_paths(self) -> tuple[str, ...]:
        """REST paths to fetch for ``listing``, in the order of its argument."""
        ...

    def listing(self, bodies: Sequence[bytes]) -> dict[str, ListedMarket]:
        """All markets in the quote we trade, by symbol. Raises ``VenueError`` for a body it cannot read."""
        ...

    def fee_schedule(self, buy_bps: Decimal, sell_bps: Decimal) -> FeeSchedule:
        """Taker fees of this venue, given its configured rates in basis points."""
        ...
