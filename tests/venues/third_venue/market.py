"""Order books by WebSocket: ``{"book":"BTC-USDT","n":5,"bids":[[59999,1]],"asks":[[60001,2]]}``; and the listing."""

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
from third_venue.rules import market_rules

_HEAD, _TAIL = b'{"book":"', b"]]}"
_PATH = "/v2/markets"


class _Book(msgspec.Struct, gc=False):
    book: str
    n: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class _Control(msgspec.Struct):
    subscribed: int | None = None
    error: str = ""


class _Row(msgspec.Struct):
    market: str
    open: bool
    tick: Decimal
    lot: Decimal
    least: Decimal


_book = msgspec.json.Decoder(_Book).decode
_control = msgspec.json.Decoder(_Control).decode
_rows = msgspec.json.Decoder(list[_Row]).decode


class Third:
    """Implements ``Venue``."""

    name = "third"
    buy_fee_in_base = False
    is_streamed = True
    connection_rules = ConnectionRules(
        symbols_max=50,
        connects=RateLimit(5, 1.0),
        messages=(RateLimit(10, 1.0),),
        ping_interval_s=20.0,
        ping_text=None,
        life_max_s=None,
    )

    def ws_address(self, ws_url: str) -> str:
        """One for all."""
        return f"{ws_url}/books"

    def subscribe_messages(self, symbols: Sequence[str], depth: int, ticket: str) -> list[str]:
        """One message."""
        del depth, ticket
        return [msgspec.json.encode({"subscribe": list(symbols)}).decode()] if symbols else []

    def change_messages(
        self, symbols: Sequence[str], added: Sequence[str], removed: Sequence[str], depth: int, ticket: str
    ) -> list[str]:
        """The full set again."""
        del added, removed
        return self.subscribe_messages(symbols, depth, ticket)

    def sequence_number(self, frame: bytes) -> int | None:
        """The book's number."""
        return number_after(frame, b'"n":')

    def sent_ms(self, frame: bytes) -> int | None:
        """A frame carries no time."""
        del frame
        return None

    def route(self, frame: bytes) -> str | None:
        """By the first and last bytes."""
        if frame.startswith(_HEAD) and frame.endswith(_TAIL):
            return frame[len(_HEAD) : frame.find(b'"', len(_HEAD))].decode("ascii", "replace")
        return None

    def classify(self, frame: bytes) -> ControlFrame:
        """An acknowledgement or an error."""
        try:
            said = _control(frame)
        except UNREADABLE as error:
            return ControlFrame(FrameKind.GARBAGE, str(refusal_of(error)))
        if said.error:
            return ControlFrame(FrameKind.ERROR, said.error)
        return ControlFrame(FrameKind.GARBAGE if said.subscribed is None else FrameKind.ACK)

    def top_of_book(self, frame: bytes, received_ns: int) -> BookTop:
        """No shorter way than all of it."""
        return self.decode(frame, received_ns).top

    def decode(self, frame: bytes, received_ns: int) -> OrderBookSnapshot:
        """The whole book."""
        try:
            book = _book(frame)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        return checked_book(self.name, book.book, book.bids, book.asks, None, received_ns)

    def listing_paths(self) -> tuple[str, ...]:
        """One call."""
        return (_PATH,)

    def listing(self, bodies: Sequence[bytes]) -> dict[str, ListedMarket]:
        """USDT markets."""
        (body,) = bodies
        try:
            rows = _rows(body)
        except UNREADABLE as error:
            raise unreadable_body(f"{self.name} {_PATH}", error, body) from error
        found: dict[str, ListedMarket] = {}
        for row in rows:
            base, _, quote = row.market.partition("-")
            if quote == "USDT":
                market = Market(self.name, row.market, base, quote)
                rules = market_rules(row.tick, row.lot, row.least)
                found[row.market] = ListedMarket(market, rules, row.open)
        return found

    def fee_schedule(self, buy_bps: Decimal, sell_bps: Decimal) -> FeeSchedule:
        """Both sides pay in USDT."""
        return FeeSchedule(buy_bps, sell_bps, buy_fee_in_base=False)
