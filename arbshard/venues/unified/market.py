"""Decodes order books as ``data.ccxt_client`` writes them, and the listing.

A book is ``{"book":"BTC/USDT","at_ms":1,"bids":[[1.5,2]],"asks":[...]}``. There is no WebSocket: the books of such
a venue are polled, so what concerns connections is empty.
"""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.model.market import FeeSchedule, Market
from arbshard.venues.base.market import ConnectionRules, ControlFrame, FrameKind, ListedMarket, RateLimit
from arbshard.venues.frame import (
    UNREADABLE,
    Level,
    checked_book,
    number_after,
    refusal_of,
    unreadable_body,
)
from arbshard.venues.unified import calls
from arbshard.venues.unified.rules import OrderSizeLimits, Precision, market_rules

_HEAD, _TAIL = b'{"book":"', b"]]}"
_QUOTE = "USDT"
"""The base of the FX market."""


class _Book(msgspec.Struct, gc=False):
    book: str
    at_ms: int | None
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class _Row(msgspec.Struct):
    symbol: str
    base: str
    quote: str
    precision: Precision
    limits: OrderSizeLimits
    active: bool | None = None


_book = msgspec.json.Decoder(_Book).decode
_rows = msgspec.json.Decoder(list[_Row], strict=False).decode


class UnifiedMarket:
    """Implements ``Venue``."""

    buy_fee_in_base = False
    """The configuration may set another value, and ``data.listings`` reads it."""
    is_streamed = False
    connection_rules = ConnectionRules(
        symbols_max=1,
        connects=RateLimit(1, 1.0),
        messages=(RateLimit(2, 1.0),),
        ping_interval_s=60.0,
        ping_text=None,
        life_max_s=None,
    )

    def __init__(self, name: str) -> None:
        self.name = name

    def ws_address(self, ws_url: str) -> str:
        """Return the configured address, which nothing connects to."""
        return ws_url

    def subscribe_messages(self, symbols: Sequence[str], depth: int, ticket: str) -> list[str]:
        """Return none: there is no connection."""
        del symbols, depth, ticket
        return []

    def change_messages(
        self, symbols: Sequence[str], added: Sequence[str], removed: Sequence[str], depth: int, ticket: str
    ) -> list[str]:
        """Return none: there is no connection."""
        del symbols, added, removed, depth, ticket
        return []

    def sequence_number(self, frame: bytes) -> int | None:
        """Return the venue's time of the book, where it states one."""
        return number_after(frame, b'"at_ms":')

    def sent_ms(self, frame: bytes) -> int | None:
        """Return None: books are asked for, and may carry the time of their last change."""
        del frame
        return None

    def route(self, frame: bytes) -> str | None:
        """Find the market between the first bytes."""
        if frame.startswith(_HEAD) and frame.endswith(_TAIL):
            return frame[len(_HEAD) : frame.find(b'"', len(_HEAD))].decode("utf-8", "replace")
        return None

    def classify(self, frame: bytes) -> ControlFrame:
        """Return that the frame is invalid, because only books have ccxt's form."""
        return ControlFrame(FrameKind.GARBAGE, frame[:100].decode(errors="replace"))

    def top_of_book(self, frame: bytes, received_ns: int) -> BookTop:
        """Decode all of it: polled books are few."""
        return self.decode(frame, received_ns).top

    def decode(self, frame: bytes, received_ns: int) -> OrderBookSnapshot:
        """Decode the whole book."""
        try:
            book = _book(frame)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        return checked_book(self.name, book.book, book.bids, book.asks, book.at_ms, received_ns)

    def listing_paths(self) -> tuple[str, ...]:
        """Return the one call for all markets."""
        return (calls.MARKETS,)

    def listing(self, bodies: Sequence[bytes]) -> dict[str, ListedMarket]:
        """Read the spot markets that are quoted in USDT."""
        (body,) = bodies
        try:
            rows = _rows(body)
        except UNREADABLE as error:
            raise unreadable_body(f"{self.name} {calls.MARKETS}", error, body) from error
        found: dict[str, ListedMarket] = {}
        for row in rows:
            rules = market_rules(row.precision, row.limits) if row.quote == _QUOTE else None
            if rules is not None:
                market = Market(self.name, row.symbol, row.base, row.quote)
                found[row.symbol] = ListedMarket(market, rules, row.active is not False)
        return found

    def fee_schedule(self, buy_bps: Decimal, sell_bps: Decimal) -> FeeSchedule:
        """Return the schedule in which both sides pay their fee in the quote currency."""
        return FeeSchedule(buy_bps, sell_bps, buy_fee_in_base=self.buy_fee_in_base)
