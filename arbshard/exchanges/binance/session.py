"""Implements Binance's stream protocol, one session per client: control messages in, replies out, streams as state.

Errors are nested below ``error``, as on the wire. A stream of a known kind but an unknown symbol is accepted and
sends nothing, as on the venue. A kind that is not served here is refused, so that a client does not wait in vain.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from arbshard.exchanges.binance.frames import COMBINED, MICROSECONDS, RAW, REAL_TIME
from arbshard.exchanges.binance.keepalive import KeepAlive
from arbshard.exchanges.binance.statistics import INTERVALS, WINDOW_STREAMS
from arbshard.exchanges.market import SimMarket
from arbshard.exchanges.session import (
    ClientJson,
    CloseClient,
    MessageWindow,
    RestReply,
    SendData,
    SessionAction,
    SharedStream,
)

STREAMS_MAX = 1024

_KLINE = rf"kline_(?:{'|'.join(INTERVALS)})(?:@\+08:00)?"
_WINDOW = rf"ticker_(?:{'|'.join(WINDOW_STREAMS)})"
_NAME = re.compile(
    r"(?P<symbol>[A-Za-z0-9]{2,40})@(?P<kind>depth(?P<levels>5|10|20)?(?P<speed>@100ms|@1000ms)?|bookTicker|trade"
    rf"|aggTrade|miniTicker|ticker|avgPrice|{_KLINE}|{_WINDOW})"
)
_ALL = re.compile(rf"!(?P<kind>(?:miniTicker|{_WINDOW})@arr)")
"""Names of streams of all markets."""
_ID = re.compile(r"[A-Za-z0-9_-]{0,36}")
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")

Id = int | str | None


class _Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def opening_streams(path: str, streams_param: str | None) -> tuple[bool, tuple[str, ...]]:
    """Return whether the connection is combined, and the stream names that its URL asks for.

    Any tail of ``/ws`` and ``/stream`` is accepted; parts that are not stream names (clients number their
    connections there) ask for nothing.
    """
    combined = path.startswith("/stream")
    names = [*path.split("/")[2:], *(streams_param or "").split("/")]
    return combined, tuple(name for name in names if "@" in name)


def unknown_streams(names: Iterable[str]) -> RestReply | None:
    """Return the answer to a handshake whose URL asks for streams that are not served; None when all are served.

    The venue does not document what it does then. A client that is accepted would wait in vain.
    """
    unknown = [name for name in names if not is_name(name)]
    if not unknown:
        return None
    error = {"error": {"code": 2, "msg": f"Invalid request: invalid stream {unknown[0]}"}}
    return RestReply(400, {}, msgspec.json.encode(error))


class BinanceSession:
    """Implements ``session.ForewarningSession`` for streams."""

    def __init__(
        self,
        symbols: Mapping[str, SimMarket],
        *,
        combined: bool,
        names: Iterable[str],
        now_ns: int,
        in_microseconds: bool = False,
    ) -> None:
        """Subscribe to ``names``; ``symbols`` has the markets by symbol in lower case.

        The feed of the first market sends the streams of all markets.
        """
        self._symbols = symbols
        self._unit = MICROSECONDS if in_microseconds else ""
        self._combined = combined
        self._names: dict[str, None] = {}
        self._messages = MessageWindow(5, 1)
        self._keep_alive = KeepAlive(now_ns)
        self.streams: frozenset[SharedStream] = frozenset()
        for name in names:
            if is_name(name) and len(self._names) < STREAMS_MAX:
                self._names[name] = None
        self._renew()

    def on_open(self, now_ms: int) -> Sequence[SessionAction]:  # noqa: ARG002 - the protocol's shape
        """Return no actions: streams begin with the next update."""
        return ()

    def on_text(self, text: str, now_ns: int, now_ms: int) -> Sequence[SessionAction]:  # noqa: ARG002
        """Answer a control message."""
        if not self._messages.admit(now_ns):
            return (CloseClient(1008, "Too many requests"),)
        request_id: Id = None
        try:
            request = _parse(text)
            request_id = _id_of(request)
            reply: dict[str, ClientJson] = {"result": self._result(request), "id": request_id}
        except _Refused as refused:
            reply = {"error": {"code": refused.code, "msg": str(refused)}, "id": request_id}
        return (SendData(msgspec.json.encode(reply)),)

    def on_ping(self, now_ns: int) -> Sequence[SessionAction]:
        """Count the ping as a message."""
        return () if self._messages.admit(now_ns) else (CloseClient(1008, "Too many requests"),)

    def on_pong(self, payload: bytes, now_ns: int) -> Sequence[SessionAction]:
        """Accept a pong; each counts as a message."""
        self._keep_alive.on_pong(payload)
        return () if self._messages.admit(now_ns) else (CloseClient(1008, "Too many requests"),)

    def on_time(self, now_ns: int, quiet_ns: int) -> Sequence[SessionAction]:  # noqa: ARG002
        """Ping every 20 s; close a client that has not answered one for 60 s."""
        return self._keep_alive.on_time(now_ns)

    def on_shutdown(self, now_ms: int) -> Sequence[SessionAction]:
        """Announce the shutdown with ``serverShutdown``, wrapped on a combined connection."""
        payload = f'{{"e":"serverShutdown","E":{now_ms * 1000 if self._unit else now_ms}}}'
        if self._combined:
            payload = f'{{"stream":"!serverShutdown","data":{payload}}}'
        return (SendData(payload.encode()),)

    def _result(self, request: dict[str, ClientJson]) -> ClientJson:
        method = _method_of(request)
        params = request.get("params")
        if method == "LIST_SUBSCRIPTIONS":
            return list(self._names)
        if method == "SUBSCRIBE":
            self._subscribe(_names_in(params))
        elif method == "UNSUBSCRIBE":
            for name in _names_in(params):
                self._names.pop(name, None)
            self._renew()
        elif method == "SET_PROPERTY":
            self._set_property(params)
        elif method == "GET_PROPERTY":
            if params != ["combined"]:
                raise _Refused(0, "Unknown property")
            return self._combined
        return None

    def _subscribe(self, names: list[str]) -> None:
        wanted = self._names | dict.fromkeys(names)
        if not all(map(is_name, names)):
            raise _Refused(2, "Invalid request: invalid stream")
        if len(wanted) > STREAMS_MAX:
            raise _Refused(2, f"Invalid request: more than {STREAMS_MAX} streams")
        self._names = wanted
        self._renew()

    def _set_property(self, params: ClientJson) -> None:
        if not isinstance(params, list) or len(params) != 2:
            raise _Refused(2, "Invalid request: SET_PROPERTY takes a name and a value")
        if params[0] != "combined":
            raise _Refused(0, "Unknown property")
        if not isinstance(params[1], bool):
            raise _Refused(1, "Invalid value type: expected Boolean")
        self._combined = params[1]
        self._renew()

    def _renew(self) -> None:
        form = (COMBINED if self._combined else RAW) + self._unit
        found = (self._stream(name, form) for name in self._names)
        self.streams = frozenset(stream for stream in found if stream is not None)

    def _stream(self, name: str, form: str) -> SharedStream | None:
        of_all = _ALL.fullmatch(name)
        if of_all is not None:
            symbol = next(iter(self._symbols.values())).symbol
            return SharedStream(symbol, of_all["kind"], 0, True, form, name)
        match = _NAME.fullmatch(name)
        if match is None or match["symbol"] not in self._symbols:
            return None
        kind, levels = match["kind"], match["levels"]
        slow = kind not in REAL_TIME and match["speed"] != "@100ms"
        if kind.startswith("depth"):
            kind = "depth" if levels else "diff"
        symbol = self._symbols[match["symbol"]].symbol
        return SharedStream(symbol, kind, int(levels or 0), slow, form, name)


def is_name(name: str) -> bool:
    """Return whether ``name`` is that of a stream that is served."""
    return bool(_NAME.fullmatch(name) or _ALL.fullmatch(name))


def _parse(text: str) -> dict[str, ClientJson]:
    try:
        parsed: ClientJson = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Refused(3, f"Invalid JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise _Refused(2, "Invalid request: expected an object")
    return parsed


def _id_of(request: dict[str, ClientJson]) -> Id:
    value = request.get("id")
    if value is None or (isinstance(value, str) and _ID.fullmatch(value)):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    raise _Refused(2, "Invalid request: request ID must be an integer, an alphanumeric string or null")


def _method_of(request: dict[str, ClientJson]) -> str:
    method = request.get("method")
    if method is None:
        raise _Refused(2, "Invalid request: missing field `method`")
    if not isinstance(method, str) or method not in _METHODS:
        known = ", ".join(f"`{name}`" for name in _METHODS)
        raise _Refused(2, f"Invalid request: unknown variant `{method}`, expected one of {known}")
    return method


def _names_in(params: ClientJson) -> list[str]:
    if not isinstance(params, list):
        raise _Refused(2, "Invalid request: missing field `params`")
    names = [name for name in params if isinstance(name, str)]
    if len(names) != len(params):
        raise _Refused(2, "Invalid request: invalid type, expected a string")
    return names
