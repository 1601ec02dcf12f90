"""Parses one message of Binance's WebSocket API into id, method and parameters as text. It is pure.

``wsapi`` uses it.
"""

import json
from typing import NamedTuple

import msgspec

from arbshard.exchanges.binance.params import BinanceParams
from arbshard.exchanges.binance.refusals import BinanceRefusal, missing

Id = int | str | None
_decoder = msgspec.json.Decoder(float_hook=str)
"""Keeps decimals as they were written, because a signature covers their text."""


class WsRequest(NamedTuple):
    """Holds a request."""

    method: str
    values: dict[str, str]
    """All parameters, as the signature covers them."""
    params: BinanceParams
    now_ms: int


def parse(text: str) -> dict[str, object]:
    """Return the JSON object. Raises ``BinanceRefusal`` for anything else."""
    try:
        message: object = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise BinanceRefusal(-1135, "Invalid JSON Request") from None
    if not isinstance(message, dict):
        raise BinanceRefusal(-1135, "Invalid JSON Request")
    return message


def id_of(message: dict[str, object]) -> Id:
    """Return the request's id, which is echoed. Raises ``BinanceRefusal`` for an invalid one."""
    value = message.get("id")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    raise BinanceRefusal(-1135, "JSON sent for parameter 'id' is not valid")


def request_of(message: dict[str, object], now_ms: int) -> WsRequest:
    """Return the request. Raises ``BinanceRefusal`` for an invalid one."""
    method, sent = message.get("method"), message.get("params")
    if not isinstance(method, str):
        raise missing("method")
    if sent is None:
        sent = {}
    elif not isinstance(sent, dict):
        raise BinanceRefusal(-1135, "JSON sent for parameter 'params' is not valid")
    values = {name: _text(value) for name, value in sent.items() if value is not None}
    return WsRequest(method.removeprefix("v3/"), values, BinanceParams(values), now_ms)


def _text(value: object) -> str:
    """Return a parameter as text; lists stay JSON, as they are in a query."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
