"""Decodes Upbit's books (KRW markets) in SIMPLE and DEFAULT format, and has its subscriptions, listing and rules.

Upbit sends whole top-N books as JSON in binary frames; a new subscription replaces the old one of the connection.
It is reached through ``registry``; ``base.market.Venue`` says what each method promises.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from arbshard import native
from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.model.market import FeeSchedule, Market
from arbshard.model.warning import MarketWarningKind
from arbshard.venues.base.market import ConnectionRules, ControlFrame, FrameKind, ListedMarket, RateLimit
from arbshard.venues.frame import (
    UNREADABLE,
    checked_book,
    clipped,
    number_after,
    refusal,
    refusal_of,
    top_reader,
    unpadded,
    unreadable_body,
)
from arbshard.venues.upbit.rules import KRW_RULES

DEPTHS = (1, 5, 15, 30)
"""Numbers of levels per side that a subscription may ask for."""

_QUOTE = "KRW"
_MARKETS_PATH = "/v1/market/all?is_details=true"

# The usual first and last bytes of an order-book frame. A frame with both is whole, as neither end occurs inside.
_SIMPLE_HEAD = b'{"ty":"orderbook","cd":"'
_DEFAULT_HEAD = b'{"type":"orderbook","code":"'
_SIMPLE_TIME = b'"tms":'
_DEFAULT_TIME = b'"timestamp":'
_SIMPLE_CODE = len(_SIMPLE_HEAD)
_DEFAULT_CODE = len(_DEFAULT_HEAD)
_SENT_NOW = b'"REALTIME"'
"""A change has it. The time of a snapshot may be that of the last change."""
_TAILS = (b'"lv":0}', b'"level":0}', b'"REALTIME"}', b'"SNAPSHOT"}')

_TOP_STEPS = (b'*"obu":[*{"ap":', b',"bp":', b',"as":', b',"bs":', b"}")
"""What stands around the numbers of a SIMPLE book's first unit: best ask, best bid, and their sizes."""
_TOP_ORDER = (1, 3, 0, 2)

_CAUTIONS: Final[Mapping[str, MarketWarningKind]] = {
    "PRICE_FLUCTUATIONS": "price_fluctuations",
    "TRADING_VOLUME_SOARING": "trading_volume_soaring",
    "DEPOSIT_AMOUNT_SOARING": "deposit_amount_soaring",
    "GLOBAL_PRICE_DIFFERENCES": "global_price_differences",
    "CONCENTRATION_OF_SMALL_ACCOUNTS": "concentration_of_small_accounts",
}
_KNOWN_EVENTS = frozenset(("warning", "caution"))

_CODE = re.compile(r"[A-Z0-9]{1,12}-[A-Z0-9]{1,24}", re.ASCII)


class _Unit(msgspec.Struct, gc=False):
    """Is one rank of a DEFAULT book."""

    ask_price: float
    bid_price: float
    ask_size: float
    bid_size: float


class _SimpleUnit(
    msgspec.Struct,
    gc=False,
    rename={"ask_price": "ap", "bid_price": "bp", "ask_size": "as", "bid_size": "bs"},
):
    """Is one rank of a SIMPLE book."""

    ask_price: float
    bid_price: float
    ask_size: float
    bid_size: float


class _DefaultBook(msgspec.Struct, gc=False):
    type: Literal["orderbook"]
    code: str
    timestamp: int
    orderbook_units: list[_Unit]


class _SimpleBook(
    msgspec.Struct,
    gc=False,
    rename={"type": "ty", "code": "cd", "timestamp": "tms", "orderbook_units": "obu"},
):
    type: Literal["orderbook"]
    code: str
    timestamp: int
    orderbook_units: list[_SimpleUnit]


class _Fault(msgspec.Struct):
    name: str | int = ""
    message: str = ""


class _Header(msgspec.Struct):
    """Holds the keys that show what a frame is, in either format."""

    type: str | UnsetType = UNSET
    ty: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    cd: str | UnsetType = UNSET
    error: _Fault | UnsetType = UNSET
    status: str | UnsetType = UNSET
    method: str | UnsetType = UNSET
    mthd: str | UnsetType = UNSET


class _MarketRow(msgspec.Struct):
    """Is one market of the listing. Only ``market`` is required; an unknown form of another field is ignored."""

    market: str
    english_name: object = ""
    market_event: object = None


_decode_simple = msgspec.json.Decoder(_SimpleBook).decode
_decode_default = msgspec.json.Decoder(_DefaultBook).decode
_decode_header = msgspec.json.Decoder(_Header).decode
_decode_markets = msgspec.json.Decoder(list[_MarketRow]).decode


class Upbit:
    """Implements ``base.market.Venue``."""

    name = "upbit"
    buy_fee_in_base = False
    is_streamed = True
    connection_rules = ConnectionRules(
        symbols_max=500,  # our own bound: Upbit documents none
        connects=RateLimit(5, 1.0),
        messages=(RateLimit(5, 1.0), RateLimit(100, 60.0)),
        ping_interval_s=60.0,  # it cuts after 120 s of silence
        ping_text="PING",
        life_max_s=None,
    )

    def ws_address(self, ws_url: str) -> str:
        """Return ``ws_url`` as it is."""
        return ws_url

    def subscribe_messages(self, symbols: Sequence[str], depth: int, ticket: str) -> list[str]:
        """Return one message with the full set, because each message replaces the one before."""
        levels = next((offered for offered in DEPTHS if offered >= depth), DEPTHS[-1])
        codes = [f"{symbol}.{levels}" for symbol in dict.fromkeys(symbols)]
        if not codes:
            return []
        request = [{"ticket": ticket}, {"type": "orderbook", "codes": codes}, {"format": "SIMPLE"}]
        return [msgspec.json.encode(request).decode()]

    def change_messages(
        self, symbols: Sequence[str], added: Sequence[str], removed: Sequence[str], depth: int, ticket: str
    ) -> list[str]:
        """Return the full set again: it takes the place of the one before, and every book is sent once more."""
        del added, removed
        return self.subscribe_messages(symbols, depth, ticket)

    def sequence_number(self, frame: bytes) -> int | None:
        """Return the exchange's time of the book."""
        found = number_after(frame, _SIMPLE_TIME)
        return number_after(frame, _DEFAULT_TIME) if found is None else found

    def sent_ms(self, frame: bytes) -> int | None:
        """Return the time in a change; a snapshot does not say when it was sent."""
        return self.sequence_number(frame) if _SENT_NOW in frame else None

    def route(self, frame: bytes) -> str | None:
        """Find the market by the frame's first and last bytes, or by its keys if those are in another order."""
        symbol = _usual_symbol(frame)
        if symbol is not None:
            return symbol
        if frame.startswith(_DEFAULT_HEAD) and frame.endswith(_TAILS):
            return _symbol(frame[_DEFAULT_CODE : frame.find(b'"', _DEFAULT_CODE)])
        return _route_by_keys(frame)

    def classify(self, frame: bytes) -> ControlFrame:
        """Recognise errors, ``{"status":"UP"}``, lists of subscriptions and streams other than orderbook."""
        try:
            header = _decode_header(frame)
        except UNREADABLE as error:
            return ControlFrame(FrameKind.GARBAGE, str(refusal_of(error)))
        if header.error is not UNSET:
            return ControlFrame(FrameKind.ERROR, clipped(f"{header.error.name}: {header.error.message}"))
        if header.status is not UNSET:
            return ControlFrame(FrameKind.STATUS, clipped(header.status))
        method = header.method or header.mthd
        if method:
            return ControlFrame(FrameKind.ACK, clipped(method))
        stream = header.type or header.ty
        if stream and stream != "orderbook":
            return ControlFrame(FrameKind.OTHER, clipped(stream))
        return ControlFrame(FrameKind.GARBAGE, "shape: no order book, stream, error or status in it")

    def top_of_book(self, frame: bytes, received_ns: int) -> BookTop:
        """Read the first unit of a SIMPLE book as the venue writes it; decode any other frame."""
        top = _usual_top(frame, received_ns)
        # ``decode`` can read what is unusual, or raises the reason.
        return top if top is not None else self.decode(frame, received_ns).top

    def decode(self, frame: bytes, received_ns: int) -> OrderBookSnapshot:
        """Decode either format, distinguished by its longest key.

        Zero-size units at the end of a thin side are padding.
        """
        book: _DefaultBook | _SimpleBook
        try:
            book = _decode_default(frame) if b'"orderbook_units"' in frame else _decode_simple(frame)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        if not _is_code(book.code):
            raise refusal("shape", f"market {book.code!r}")
        units = book.orderbook_units
        bids = [(unit.bid_price, unit.bid_size) for unit in units]
        asks = [(unit.ask_price, unit.ask_size) for unit in units]
        sent_ms = book.timestamp if _SENT_NOW in frame else None
        return checked_book(
            self.name, book.code, unpadded(bids), unpadded(asks), book.timestamp, received_ns, sent_ms
        )

    def listing_paths(self) -> tuple[str, ...]:
        """Return the one path that lists all markets."""
        return (_MARKETS_PATH,)

    def listing(self, bodies: Sequence[bytes]) -> dict[str, ListedMarket]:
        """Return KRW markets. A market under a warning still trades."""
        (body,) = bodies
        try:
            rows = _decode_markets(body)
        except UNREADABLE as error:
            raise unreadable_body(f"{self.name} {_MARKETS_PATH}", error, body) from error
        listed: dict[str, ListedMarket] = {}
        for row in rows:
            quote, _, base = row.market.partition("-")
            if quote == _QUOTE and base:
                market = Market(venue=self.name, symbol=row.market, base=base, quote=quote)
                name = row.english_name if isinstance(row.english_name, str) else ""
                listed[row.market] = ListedMarket(
                    market, KRW_RULES, warnings=_warnings(row.market_event), coin_name=name
                )
        return listed

    def fee_schedule(self, buy_bps: Decimal, sell_bps: Decimal) -> FeeSchedule:
        """Return fees that both sides pay in KRW."""
        return FeeSchedule(buy_bps=buy_bps, sell_bps=sell_bps, buy_fee_in_base=self.buy_fee_in_base)


@lru_cache(maxsize=4096)
def _is_code(code: str) -> bool:
    return _CODE.fullmatch(code) is not None


@lru_cache(maxsize=4096)
def _symbol(wire: bytes) -> str | None:
    """Return one string object per market, so that the hot path neither decodes nor allocates."""
    code = wire.decode("ascii", "replace")
    return code if _is_code(code) else None


def _route_by_ends(frame: bytes) -> str | None:
    """Return the market of a frame with the usual first and last bytes of a SIMPLE book."""
    if frame.startswith(_SIMPLE_HEAD) and frame.endswith(_TAILS):
        return _symbol(frame[_SIMPLE_CODE : frame.find(b'"', _SIMPLE_CODE)])
    return None


_usual_symbol = native.Router(_SIMPLE_HEAD, _TAILS, _symbol).route if native.IS_BUILT else _route_by_ends
_TOP: Final = (_SIMPLE_HEAD, _TAILS, _TOP_STEPS, _TOP_ORDER)
_usual_top = top_reader(*_TOP)


def _route_by_keys(frame: bytes) -> str | None:
    """Read the whole frame, so that keys may come in any order and a cut frame is refused. It is slower."""
    try:
        header = _decode_header(frame)
    except UNREADABLE:
        return None
    code = header.cd if header.ty == "orderbook" else header.code if header.type == "orderbook" else UNSET
    return code if code is not UNSET and _is_code(code) else None


def _warnings(event: object) -> tuple[tuple[MarketWarningKind, str], ...]:
    """Read ``market_event``. A warning whose form is unknown counts as a caution of an unknown kind."""
    if event is None:
        return ()
    if not isinstance(event, dict):
        return (("other_caution", "market_event"),)
    raised = [
        name for name, value in event.items() if name not in _KNOWN_EVENTS and value not in (False, None)
    ]
    found: list[tuple[MarketWarningKind, str]] = [
        ("other_caution", clipped(str(name))) for name in sorted(raised)
    ]
    if event.get("warning", False) not in (False, None):
        found.insert(0, ("warning", ""))
    cautions = event.get("caution", {})
    if isinstance(cautions, dict):
        names = sorted(str(name) for name, value in cautions.items() if value not in (False, None))
        found += [
            (_CAUTIONS[name], "") if name in _CAUTIONS else ("other_caution", clipped(name)) for name in names
        ]
    elif cautions not in (False, None):
        found.append(("other_caution", "caution"))
    return tuple(found)
