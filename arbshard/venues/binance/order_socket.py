"""Encodes calls about orders for Binance's WebSocket API, and reads its answers as those of REST. Pure.

Both have the same parameters, states and error codes. An Ed25519 key logs the connection on, and its calls are not
signed; with a shared secret each call is signed.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType, field

from arbshard.config import VenueConfig
from arbshard.errors import FrameError
from arbshard.secret import Secret, encode_revealed
from arbshard.venues.base.client import Answer
from arbshard.venues.base.order_socket import SocketAnswer, SocketLeaving, SocketLogonLost
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.signing import SigningMoment
from arbshard.venues.binance.account import BinanceAccount
from arbshard.venues.binance.signing import sign
from arbshard.venues.frame import clipped, reader
from arbshard.venues.keys import Keys

_METHODS: Final[Mapping[tuple[str, str], str]] = {
    ("POST", "/api/v3/order"): "order.place",
    ("GET", "/api/v3/order"): "order.status",
    ("DELETE", "/api/v3/order"): "order.cancel",
    ("POST", "/api/v3/order/test"): "order.test",
    ("GET", "/api/v3/myTrades"): "myTrades",
}
"""Method of the WebSocket API for each call of REST."""
_INTEGERS = frozenset({"orderId", "limit"})
"""Parameters that the WebSocket API takes as JSON integers."""
_MISSING = -1102
"""Code for a parameter that was not sent."""
_CREDENTIALS = ("'apiKey'", "'signature'")
"""Parameters that a call needs only without a logon, as the text of ``_MISSING`` names them."""
_KEY_REFUSED = frozenset({-1022, -2008, -2014, -2015})
"""Codes for a signature, a key, its address or its rights."""
_HEADERS: Final[Mapping[tuple[str, str, int], str]] = {
    ("REQUEST_WEIGHT", "MINUTE", 1): "x-mbx-used-weight-1m",
    ("ORDERS", "SECOND", 10): "x-mbx-order-count-10s",
    ("ORDERS", "DAY", 1): "x-mbx-order-count-1d",
}
"""Header of REST for each rate limit that an answer lists."""


class _Limit(msgspec.Struct, rename="camel"):
    rate_limit_type: str
    interval: str
    interval_num: int
    count: int


class _Wait(msgspec.Struct, rename="camel"):
    server_time: int = 0
    retry_after: int = 0


class _Failure(msgspec.Struct):
    code: int = 0
    msg: str = ""
    data: _Wait | None = None


class _Kind(msgspec.Struct):
    kind: str = field(name="e", default="")


class _Message(msgspec.Struct, rename="camel"):
    id: str | int | None = None
    status: int = 0
    result: msgspec.Raw | UnsetType = UNSET
    error: msgspec.Raw | UnsetType = UNSET
    rate_limits: list[_Limit] = []
    event: _Kind | None = None


_message = reader(msgspec.json.Decoder(_Message).decode)
_failure = reader(msgspec.json.Decoder(_Failure).decode)


class BinanceOrderSocket:
    """Implements ``base.order_socket.OrderSocket``."""

    ping_interval_s = 30.0
    life_s = 23 * 3600.0
    """The venue ends a connection after 24 hours."""

    def address(self, config: VenueConfig) -> str:
        """Return the address of the WebSocket API, which the private stream uses too."""
        return BinanceAccount().address(config)

    def carries(self, request: VenueRequest) -> bool:
        """Return whether the WebSocket API has a method for it."""
        return (request.method, request.path) in _METHODS

    def logon(self, keys: Keys, moment: SigningMoment) -> Secret | None:
        """Return ``session.logon``, which the venue has for Ed25519 keys only."""
        if not keys.is_ed25519:
            return None
        return _encode("session.logon", _signed({}, keys, moment), moment)

    def encode(self, request: VenueRequest, keys: Keys, moment: SigningMoment) -> Secret:
        """Return the message, with the same parameters as over REST."""
        params: dict[str, str | int | Secret] = {
            name: int(value) if name in _INTEGERS else value for name, value in request.params.items()
        }
        params = params | _times(moment) if keys.is_ed25519 else _signed(params, keys, moment)
        return _encode(_METHODS[request.method, request.path], params, moment)

    def needs_logon(self, answer: Answer) -> bool:
        """Look for the code for a missing parameter, where that is the key or the signature."""
        failure = _failure_of(answer)
        return failure.code == _MISSING and any(name in failure.msg for name in _CREDENTIALS)

    def refuses_key(self, answer: Answer) -> bool:
        """Look for the codes of REST."""
        return _failure_of(answer).code in _KEY_REFUSED

    def read(self, frame: bytes) -> SocketAnswer | SocketLeaving | SocketLogonLost | None:
        """Decode an answer into status, body and headers of REST.

        The venue ends a logon with an error that has the id null ("API key revocation" in its documentation).
        """
        message = _message(frame)
        if message.event is not None:
            return SocketLeaving() if message.event.kind == "serverShutdown" else None
        if not isinstance(message.id, str):
            failure = _failure(message.error) if message.error is not UNSET else _Failure()
            is_lost = message.id is None and failure.code in _KEY_REFUSED
            return SocketLogonLost(clipped(f"{failure.code}: {failure.msg}")) if is_lost else None
        content = message.result if message.error is UNSET else message.error
        body = b"" if content is UNSET else bytes(content)
        return SocketAnswer(message.id, Answer(message.status, body, dict(_headers(message))))


def _failure_of(answer: Answer) -> _Failure:
    if 200 <= answer.status < 300:
        return _Failure()
    try:
        return _failure(answer.body)
    except FrameError:  # a page of a firewall, which says nothing of the logon
        return _Failure()


def _headers(message: _Message) -> Iterator[tuple[str, str]]:
    for limit in message.rate_limits:
        name = _HEADERS.get((limit.rate_limit_type, limit.interval, limit.interval_num))
        if name is not None:
            yield name, str(limit.count)
    if message.error is not UNSET:
        wait = _failure(message.error).data
        if wait is not None and wait.retry_after > 0:
            left_ms = max(wait.retry_after - wait.server_time, 0)
            yield "retry-after", str(-(-left_ms // 1000))


def _times(moment: SigningMoment) -> dict[str, str | int | Secret]:
    return {"recvWindow": moment.window_ms, "timestamp": moment.now_ms}


def _signed(
    params: Mapping[str, str | int | Secret], keys: Keys, moment: SigningMoment
) -> dict[str, str | int | Secret]:
    """Return ``params`` with key, time and signature. What is signed are all of them in the order of their names."""
    signed = {**params, "apiKey": keys.key, **_times(moment)}
    parts: list[str | Secret] = []
    for name in sorted(signed):
        value = signed[name]
        parts += (f"&{name}=" if parts else f"{name}=", value if isinstance(value, Secret) else str(value))
    signed["signature"] = sign(keys, Secret.join(*parts))
    return signed


def _encode(method: str, params: Mapping[str, str | int | Secret], moment: SigningMoment) -> Secret:
    return Secret(encode_revealed({"id": moment.nonce, "method": method, "params": params}).decode())
