"""Decodes Binance's spot books (USDT markets), and has the venue's subscriptions, listing and trading rules.

A partial-depth frame carries neither symbol nor time: the symbol is in the stream's name, in the wrapper that
connections to ``/stream`` put around each event. A book that ``diff`` has kept carries the time of its last event,
and one that ``fusion`` has joined carries the newer touch under ``touch``, behind ``data``. It is reached through
``registry``; ``base.market.Venue`` says what each method promises.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from arbshard import native
from arbshard.model.book import BookTop, OrderBookSnapshot
from arbshard.model.market import FeeSchedule, Market
from arbshard.venues.base.fusion import with_touch
from arbshard.venues.base.market import (
    ConnectionRules,
    ControlFrame,
    FrameKind,
    ListedMarket,
    RateLimit,
    SilenceRules,
)
from arbshard.venues.binance.limits import FEED_CONNECTS
from arbshard.venues.binance.rules import market_rules
from arbshard.venues.frame import (
    UNREADABLE,
    Level,
    checked_book,
    clipped,
    number_after,
    refusal,
    refusal_of,
    sound_top,
    top_reader,
    unreadable_body,
)

DEPTHS = (5, 10, 20)
"""Numbers of levels per side that a subscription may ask for."""
STREAMS_PER_MESSAGE = 100
"""This many keep a SUBSCRIBE message near 3 KB."""
CHANGE_IDS_FROM = 1001
"""First request number of a connection that is subscribed already."""
_QUOTE = "USDT"
_MARKETS_PATH = "/api/v3/exchangeInfo"

# The usual first and last bytes of an order-book frame: neither a cut frame nor an answer has both.
_HEAD = b'{"stream":"'
_NAME = len(_HEAD)
_TAIL = b"]}}"
_TOUCH_TAIL = b'"}}'
TOUCH = b',"touch":'
"""Bytes between the levels of a book and its newer touch."""
_TOUCH_ID = b'"u":'
_TOUCH_BYTES_MAX = 400
"""Most bytes of a touch."""
_LAST_ID = b'"lastUpdateId":'
_TOP_STEPS = (b'*"bids":[*["', b'","', b'"]*"asks":[*["', b'","', b'"]')
"""What stands around the numbers of each side's first level: best bid and its size, best ask and its size."""
_TOP_ORDER = (0, 1, 2, 3)
_EVENT_TIME = b'"E":'

# Symbols may hold letters of any script.
_PARTIAL_DEPTH = re.compile(r"([\w.-]{1,50})@depth(?:5|10|20)(?:@100ms|@1000ms)?")


class _PartialDepth(msgspec.Struct, gc=False):
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    event_ms: int | None = msgspec.field(default=None, name="E")


class _Touch(msgspec.Struct, gc=False):
    bid: float = msgspec.field(name="b")
    bid_size: float = msgspec.field(name="B")
    ask: float = msgspec.field(name="a")
    ask_size: float = msgspec.field(name="A")


class _Combined(msgspec.Struct, gc=False):
    stream: str
    data: _PartialDepth
    touch: _Touch | None = None


class _Fault(msgspec.Struct):
    code: int
    msg: str = ""


class _Event(msgspec.Struct):
    e: str | UnsetType = UNSET


class _Header(msgspec.Struct):
    """Holds the keys that show what a frame is, with or without the wrapper."""

    stream: str | UnsetType = UNSET
    e: str | UnsetType = UNSET
    event: _Event | UnsetType = UNSET
    result: msgspec.Raw | UnsetType = UNSET
    id: int | str | None = None
    error: _Fault | UnsetType = UNSET
    code: int | UnsetType = UNSET
    msg: str = ""


class _SymbolRow(msgspec.Struct):
    symbol: str
    status: str
    base: str = msgspec.field(name="baseAsset")
    quote: str = msgspec.field(name="quoteAsset")
    filters: msgspec.Raw
    """They are read for our quote only, because the full listing has some 15 MB."""
    spot: bool = msgspec.field(name="isSpotTradingAllowed", default=True)
    permission_sets: object = msgspec.field(name="permissionSets", default=())
    """Lists of alternatives, of which an account must have one each. An unknown form is ignored."""


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_SymbolRow]


# Prices and sizes are strings. strict=False makes floats of them, "nan" and "inf" too: checked_book refuses those.
_decode_touch = msgspec.json.Decoder(_Touch, strict=False).decode
_decode_combined = msgspec.json.Decoder(_Combined, strict=False).decode
_decode_header = msgspec.json.Decoder(_Header).decode
_decode_info = msgspec.json.Decoder(_ExchangeInfo).decode


class Binance:
    """Implements ``base.market.Venue``."""

    name = "binance"
    buy_fee_in_base = True
    is_streamed = True
    connection_rules = ConnectionRules(
        symbols_max=1024,
        connects=FEED_CONNECTS,
        messages=(RateLimit(5, 1.0),),
        ping_interval_s=60.0,  # it pings every 20 s itself; ours finds a dead line sooner
        ping_text=None,
        life_max_s=24 * 3600.0,
        silence=SilenceRules(symbol_min_s=5.0, symbol_max_s=60.0),  # it sends each change within 100 ms
    )

    def ws_address(self, ws_url: str) -> str:
        """Return the endpoint of combined streams, because only their wrapper names the symbol."""
        return ws_url.rstrip("/") + "/stream"

    def subscribe_messages(self, symbols: Sequence[str], depth: int, ticket: str) -> list[str]:
        """Return one or more messages whose subscriptions add up, numbered from 1; ``ticket`` is not needed."""
        del ticket
        return _requests("SUBSCRIBE", self.streams_of(symbols, depth), 1)

    def change_messages(
        self, symbols: Sequence[str], added: Sequence[str], removed: Sequence[str], depth: int, ticket: str
    ) -> list[str]:
        """Return messages with only what changes; other streams continue. The venue accepts a repeated one."""
        del symbols, ticket
        leave = _requests("UNSUBSCRIBE", self.streams_of(removed, depth), CHANGE_IDS_FROM)
        return leave + _requests("SUBSCRIBE", self.streams_of(added, depth), CHANGE_IDS_FROM + len(leave))

    def streams_of(self, symbols: Sequence[str], depth: int) -> list[str]:
        """Return the names of the streams that carry the books of ``symbols``."""
        levels = next((offered for offered in DEPTHS if offered >= depth), DEPTHS[-1])
        return [f"{symbol.lower()}@depth{levels}@100ms" for symbol in dict.fromkeys(symbols)]

    def sequence_number(self, frame: bytes) -> int | None:
        """Return the book's last update id, which is the same sequence on every connection and over REST.

        A book that carries a newer touch has the id of that touch.
        """
        joint = touch_at(frame)
        if joint < 0:
            return number_after(frame, _LAST_ID)
        return number_after(frame[joint:], _TOUCH_ID)

    def sent_ms(self, frame: bytes) -> int | None:
        """Return the time of the last event in a book that ``diff`` has kept; a partial-depth frame has none."""
        return number_after(frame, _EVENT_TIME)

    def route(self, frame: bytes) -> str | None:
        """Find the market by the stream's name at the front, or by the keys if those are in another order."""
        symbol = _usual_symbol(frame)
        return symbol if symbol is not None else _route_by_keys(frame)

    def classify(self, frame: bytes) -> ControlFrame:
        """Recognise answers, errors (nested or bare), ``serverShutdown`` and streams other than partial depth."""
        try:
            header = _decode_header(frame)
        except UNREADABLE as error:
            return ControlFrame(FrameKind.GARBAGE, str(refusal_of(error)))
        if header.error is not UNSET:
            return _error(header.error.code, header.error.msg, header.id)
        if header.code is not UNSET:
            return _error(header.code, header.msg, header.id)
        if header.result is not UNSET:
            return ControlFrame(FrameKind.ACK, clipped(str(header.id)))
        inner = header.event.e if header.event is not UNSET else UNSET
        name = header.stream or header.e or inner
        if not name or _partial_depth_symbol(name) is not None:
            return ControlFrame(FrameKind.GARBAGE, "shape: no order book, event, error or result in it")
        if name.lstrip("!") == "serverShutdown":
            return ControlFrame(FrameKind.SHUTDOWN, "serverShutdown")
        return ControlFrame(FrameKind.OTHER, clipped(name))

    def top_of_book(self, frame: bytes, received_ns: int) -> BookTop:
        """Read the first level of each side, or the newer touch, from a usual frame; decode any other."""
        top = _usual_top(frame, received_ns)
        if top is None and (joint := touch_at(frame)) >= 0:
            try:
                touch = _decode_touch(frame[joint + len(TOUCH) : -1])
            except UNREADABLE:
                return self.decode(frame, received_ns).top
            top = sound_top(touch.bid, touch.bid_size, touch.ask, touch.ask_size, received_ns)
        # ``decode`` can read what is unusual, or raises the reason.
        return top if top is not None else self.decode(frame, received_ns).top

    def decode(self, frame: bytes, received_ns: int) -> OrderBookSnapshot:
        """Decode wrapped partial depth, with the newer touch if there is one.

        Without a time, ``exchange_ms`` is None.
        """
        try:
            combined = _decode_combined(frame)
        except UNREADABLE as error:
            raise refusal_of(error) from error
        symbol = _partial_depth_symbol(combined.stream)
        if symbol is None:
            raise refusal("shape", f"stream {combined.stream!r}")
        data, touch = combined.data, combined.touch
        bids, asks, at_ms = data.bids, data.asks, data.event_ms
        if touch is not None:
            bids, asks = with_touch(bids, asks, (touch.bid, touch.bid_size), (touch.ask, touch.ask_size))
        return checked_book(self.name, symbol, bids, asks, at_ms, received_ns, at_ms)

    def listing_paths(self) -> tuple[str, ...]:
        """Return the one path that lists all markets with their filters."""
        return (_MARKETS_PATH,)

    def listing(self, bodies: Sequence[bytes]) -> dict[str, ListedMarket]:
        """Return USDT markets. Tradable means spot and ``TRADING``; otherwise the note is the venue's status."""
        (body,) = bodies
        try:
            rows = _decode_info(body).symbols
        except UNREADABLE as error:
            raise unreadable_body(f"{self.name} {_MARKETS_PATH}", error, body) from error
        return {row.symbol: self._listed(row) for row in rows if row.quote == _QUOTE}

    def _listed(self, row: _SymbolRow) -> ListedMarket:
        market = Market(venue=self.name, symbol=row.symbol, base=row.base, quote=row.quote)
        rules = market_rules(row.filters, f"{self.name} {_MARKETS_PATH}: {row.symbol}")
        if row.status != "TRADING":
            return ListedMarket(market, rules, False, row.status, (("not_trading", row.status),))
        if not row.spot or not _is_for_spot(row.permission_sets):
            return ListedMarket(
                market, rules, False, "no spot trading", (("not_permitted", "no spot trading"),)
            )
        return ListedMarket(market, rules)

    def fee_schedule(self, buy_bps: Decimal, sell_bps: Decimal) -> FeeSchedule:
        """Return fees that a buyer pays in the coin received and a seller in USDT."""
        return FeeSchedule(buy_bps=buy_bps, sell_bps=sell_bps, buy_fee_in_base=self.buy_fee_in_base)


def _requests(method: str, streams: Sequence[str], first_id: int) -> list[str]:
    chunks = [
        streams[start : start + STREAMS_PER_MESSAGE] for start in range(0, len(streams), STREAMS_PER_MESSAGE)
    ]
    return [
        msgspec.json.encode({"method": method, "params": chunk, "id": number}).decode()
        for number, chunk in enumerate(chunks, start=first_id)
    ]


def _is_for_spot(permission_sets: object) -> bool:
    """Return whether an account with the permission of spot trading alone may trade."""
    if not isinstance(permission_sets, list):
        return True
    return all("SPOT" in one for one in permission_sets if isinstance(one, list) and one)


@lru_cache(maxsize=8192)
def _partial_depth_symbol(stream: str) -> str | None:
    match = _PARTIAL_DEPTH.fullmatch(stream)
    return match[1].upper() if match else None


@lru_cache(maxsize=8192)
def _symbol(wire: bytes) -> str | None:
    """Return one string object per market, so that the hot path neither decodes nor allocates."""
    return _partial_depth_symbol(wire.decode("utf-8", "replace"))


def touch_at(frame: bytes) -> int:
    """Return where a newer touch begins in a frame that ``fusion`` has joined; -1 for other frames."""
    return frame.rfind(TOUCH, -_TOUCH_BYTES_MAX) if frame.endswith(_TOUCH_TAIL) else -1


def _route_by_ends(frame: bytes) -> str | None:
    """Return the market of a frame with the usual first and last bytes."""
    if frame.startswith(_HEAD) and (frame.endswith(_TAIL) or frame.endswith(_TOUCH_TAIL)):  # noqa: PIE810 - faster
        return _symbol(frame[_NAME : frame.find(b'"', _NAME)])
    return None


_usual_symbol = (
    native.Router(_HEAD, (_TAIL, _TOUCH_TAIL), _symbol).route if native.IS_BUILT else _route_by_ends
)
_TOP: Final = (_HEAD, (_TAIL,), _TOP_STEPS, _TOP_ORDER)
_usual_top = top_reader(*_TOP)


def _route_by_keys(frame: bytes) -> str | None:
    """Read the whole frame, so that keys may come in any order and a cut frame is refused. It is slower."""
    try:
        header = _decode_header(frame)
    except UNREADABLE:
        return None
    return _partial_depth_symbol(header.stream) if header.stream is not UNSET else None


def _error(code: int, message: str, request: int | str | None) -> ControlFrame:
    return ControlFrame(FrameKind.ERROR, clipped(f"{code}: {message} (request {request})"))
