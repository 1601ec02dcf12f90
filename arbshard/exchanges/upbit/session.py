"""Implements Upbit's WebSocket protocol, one session per client: an array of objects in, replies and snapshots out.

``private_session`` is the same protocol on the private endpoint and overrides what differs.

A subscription replaces the one before and is not acknowledged: data is the answer. Where the venue does not document
what it does (which error a wrong code gets, whether it closes after one), the session sends the error, keeps the
present subscription and stays open.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import (
    SECOND_NS,
    ClientJson,
    CloseClient,
    Cut,
    MessageWindow,
    SendData,
    SessionAction,
    SharedStream,
)
from arbshard.exchanges.upbit import frames

IDLE_NS = 120 * SECOND_NS
UP_EVERY_NS = 10 * SECOND_NS
_UP = b'{"status":"UP"}'
_PUBLIC = ("orderbook", "trade", "ticker")
_PRIVATE = ("myOrder", "myAsset")
_FALSE = (None, False)

ClientJsonObject = dict[str, ClientJson]


class UpbitErrorFrame(Exception):
    """Is raised for a message that is answered by an error frame."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.frame = msgspec.json.encode({"error": {"name": name, "message": message}})


class Wanted(NamedTuple):
    """Holds one type object of a subscription."""

    kind: str
    codes: tuple[str, ...]
    """Empty where the type has no codes, or where all are meant."""
    level: int = 0
    snapshot: bool = False
    realtime: bool = True


class UpbitSession:
    """Implements ``session.ClientSession`` on the public endpoint."""

    def __init__(self, markets: Mapping[str, SimMarket]) -> None:
        self.markets = markets
        self.wanted: tuple[Wanted, ...] = ()
        self.form = "DEFAULT"
        self._per_second = MessageWindow(5, 1)
        self._per_minute = MessageWindow(100, 60)
        self._next_up_ns: int | None = None
        self.streams: frozenset[SharedStream] = frozenset()

    def on_open(self, now_ms: int) -> Sequence[SessionAction]:  # noqa: ARG002 - the protocol's shape
        """Return no actions: Upbit waits for the subscription."""
        return ()

    def on_text(self, text: str, now_ns: int, now_ms: int) -> Sequence[SessionAction]:
        """Handle a subscription, a method or PING."""
        if text == "PING":
            self._next_up_ns = now_ns + UP_EVERY_NS
            return (SendData(_UP),)
        if not self._per_second.admit(now_ns) or not self._per_minute.admit(now_ns):
            return (CloseClient(1008, "too many messages"),)
        try:
            return [SendData(payload) for payload in self._handle(text, now_ms)]
        except UpbitErrorFrame as refused:
            return (SendData(refused.frame),)

    def on_ping(self, now_ns: int) -> Sequence[SessionAction]:  # noqa: ARG002
        """Return no actions: pings are not counted."""
        return ()

    def on_pong(self, payload: bytes, now_ns: int) -> Sequence[SessionAction]:  # noqa: ARG002
        """Return no actions: Upbit sends no pings, so a pong means nothing."""
        return ()

    def on_time(self, now_ns: int, quiet_ns: int) -> Sequence[SessionAction]:
        """Repeat the status for a client that has asked for it; cut a connection on which nothing passes."""
        if quiet_ns >= IDLE_NS:
            return (Cut("idle"),)
        if self._next_up_ns is not None and now_ns >= self._next_up_ns:
            self._next_up_ns += UP_EVERY_NS
            return (SendData(_UP),)
        return ()

    def _handle(self, text: str, now_ms: int) -> list[bytes]:
        objects = _objects_of(text)
        ticket = next((entry["ticket"] for entry in objects if "ticket" in entry), None)
        if not isinstance(ticket, str) or not ticket:
            raise UpbitErrorFrame("NO_TICKET", "Ticket is missing.")
        form = self._format_of(objects)
        method = next((entry["method"] for entry in objects if "method" in entry), None)
        if method is not None:
            if method != "LIST_SUBSCRIPTIONS":
                raise UpbitErrorFrame("WRONG_FORMAT", "Unknown method.")
            self._adopt(self.wanted, form)
            return [self._list(ticket)]
        if "ticket" not in objects[0]:
            raise UpbitErrorFrame("NO_TICKET", "The first element must be the ticket.")
        types = [entry for entry in objects[1:] if "ticket" not in entry and set(entry) != {"format"}]
        if not types:
            raise UpbitErrorFrame("NO_TYPE", "Type is missing.")
        self._adopt(tuple(self.wanted_of(entry) for entry in types), form)
        return self._snapshots(now_ms)

    def _format_of(self, objects: list[ClientJsonObject]) -> str:
        form = next((entry["format"] for entry in objects if "format" in entry), None)
        if form is None:
            # A subscription without a format is DEFAULT; a method without one leaves it as it is.
            return self.form if any("method" in entry for entry in objects) else "DEFAULT"
        if not isinstance(form, str) or form not in frames.FORMATS:
            raise UpbitErrorFrame("INVALID_PARAM", "Format is not valid.")
        return form

    def wanted_of(self, entry: ClientJsonObject) -> Wanted:
        """Return a checked type object. Raises ``UpbitErrorFrame``."""
        kind = kind_of(entry)
        if kind in _PRIVATE:
            raise UpbitErrorFrame("INVALID_AUTH", "This type needs the private endpoint.")
        if kind not in _PUBLIC and kind not in frames.CANDLES:
            raise UpbitErrorFrame("INVALID_PARAM", "Type is not valid.")
        given = entry.get("codes")
        if not isinstance(given, list) or not given:
            raise UpbitErrorFrame("NO_CODES", "Codes are missing.")
        codes = texts_of(given)
        if not all(self._is_listed(self._symbol(kind, code)) for code in codes):
            raise UpbitErrorFrame("INVALID_PARAM", "Code is not valid.")
        level = entry.get("level", 0)
        if not isinstance(level, int | float) or level < 0:
            raise UpbitErrorFrame("INVALID_PARAM", "Level is not valid.")
        only_snapshot = _flag(entry, "is_only_snapshot", "isOnlySnapshot")
        only_realtime = _flag(entry, "is_only_realtime", "isOnlyRealtime")
        return Wanted(
            kind,
            codes,
            int(level),
            snapshot=only_snapshot or not only_realtime,
            realtime=only_realtime or not only_snapshot,
        )

    def _is_listed(self, symbol: str) -> bool:
        market = self.markets.get(symbol)
        return market is not None and market.state != "delisted"

    @staticmethod
    def _symbol(kind: str, code: str) -> str:
        return code.partition(".")[0] if kind == "orderbook" else code

    def _adopt(self, wanted: tuple[Wanted, ...], form: str) -> None:
        self.wanted, self.form = wanted, form
        self.streams = frozenset(
            stream for entry in wanted if entry.realtime for stream in self._streams_of(entry)
        )

    def _streams_of(self, entry: Wanted) -> list[SharedStream]:
        if entry.level:
            return []  # a level that is not supported is accepted and silent, as on the venue
        return [
            SharedStream(
                self._symbol(entry.kind, code),
                entry.kind,
                _depth(code) if entry.kind == "orderbook" else 0,
                slow=False,
                form=self.form,
                name=code,
            )
            for code in entry.codes
        ]

    def _snapshots(self, now_ms: int) -> list[bytes]:
        streams = dict.fromkeys(
            stream for entry in self.wanted if entry.snapshot for stream in self._streams_of(entry)
        )
        made = (frames.snapshot(self.markets[stream.symbol], stream, now_ms) for stream in streams)
        return [payload for payload in made if payload is not None]

    def _list(self, ticket: str) -> bytes:
        short = frames.is_short(self.form)
        type_key, codes_key, level_key = ("ty", "cds", "lv") if short else ("type", "codes", "level")
        result: list[ClientJsonObject] = []
        for entry in self.wanted:
            item: ClientJsonObject = {type_key: entry.kind}
            if entry.codes:
                item[codes_key] = list(entry.codes)
            if entry.kind == "orderbook":
                item[level_key] = entry.level
            result.append(item)
        method_key, result_key, ticket_key = (
            ("mthd", "rslt", "tckt") if short else ("method", "result", "ticket")
        )
        payload = {method_key: "LIST_SUBSCRIPTIONS", result_key: result, ticket_key: ticket}
        return frames.in_list(self.form, msgspec.json.encode(payload))


def kind_of(entry: ClientJsonObject) -> str:
    """Return the type of a type object. Raises ``UpbitErrorFrame``."""
    kind = entry.get("type")
    if not isinstance(kind, str) or not kind:
        raise UpbitErrorFrame("NO_TYPE", "Type is missing.")
    return kind


def texts_of(codes: list[ClientJson]) -> tuple[str, ...]:
    """Return ``codes`` when all are text. Raises ``UpbitErrorFrame``."""
    texts = tuple(code for code in codes if isinstance(code, str))
    if len(texts) < len(codes):
        raise UpbitErrorFrame("INVALID_PARAM", "Code is not valid.")
    return texts


def _objects_of(text: str) -> list[ClientJsonObject]:
    """Return the objects of a request, at least one. Raises ``UpbitErrorFrame``."""
    try:
        parsed: ClientJson = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise UpbitErrorFrame("WRONG_FORMAT", "Format is wrong.") from None
    objects = [entry for entry in parsed if isinstance(entry, dict)] if isinstance(parsed, list) else []
    if not objects or not isinstance(parsed, list) or len(objects) != len(parsed):
        raise UpbitErrorFrame("WRONG_FORMAT", "Format is wrong.")
    return objects


def _flag(entry: ClientJsonObject, *names: str) -> bool:
    return any(entry.get(name) not in _FALSE for name in names)


def _depth(code: str) -> int:
    suffix = code.partition(".")[2]
    depth = int(suffix) if suffix.isascii() and suffix.isdigit() and len(suffix) < 4 else 0
    return depth if depth in frames.DEPTHS else 30
