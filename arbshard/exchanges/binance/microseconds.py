"""Converts times to microseconds for clients that ask for them (``X-MBX-TIME-UNIT``, ``timeUnit``). It is pure.

Everything here is kept in milliseconds; replies and events are rewritten by the names of the fields that hold times.
"""

import msgspec

from arbshard.exchanges.binance.refusals import Json

_REPLY_TIMES = frozenset((
    "serverTime", "time", "updateTime", "workingTime", "transactTime", "openTime", "closeTime", "createTime", "T",
    "authorizedSince", "connectedSince", "insertTime",
))  # fmt: skip
_EVENT_TIMES = frozenset(("E", "T", "O", "C", "W"))
_KLINE_TIMES = (0, 6)


def reply_in_microseconds(body: bytes) -> bytes:
    """Return the JSON of a reply with its times in microseconds."""
    parsed: Json = msgspec.json.decode(body)
    return msgspec.json.encode(_reply(parsed))


def event_in_microseconds(payload: str) -> str:
    """Return the JSON of a stream's event with its times in microseconds."""
    parsed: Json = msgspec.json.decode(payload)
    return msgspec.json.encode(event_times(parsed)).decode()


def event_times(value: Json) -> Json:
    """Return ``value``, an event or a list of them, with its times in microseconds."""
    if isinstance(value, list):
        return [event_times(one) for one in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("e")
    if kind is None and value.keys() >= {"bids", "asks"}:
        return value
    changed: dict[str, Json] = {}
    for name, one in value.items():
        if name == "k" and isinstance(one, dict):
            changed[name] = {key: _scaled(time) if key in ("t", "T") else time for key, time in one.items()}
        elif name in _EVENT_TIMES or (name == "u" and kind == "outboundAccountPosition"):
            changed[name] = _scaled(one)
        else:
            changed[name] = one
    return changed


def _reply(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _scaled(one) if name in _REPLY_TIMES else _reply(one) for name, one in value.items()}
    if isinstance(value, list):
        if len(value) == 12 and isinstance(value[0], int):
            return [_scaled(one) if index in _KLINE_TIMES else one for index, one in enumerate(value)]
        return [_reply(one) for one in value]
    return value


def _scaled(time: Json) -> Json:
    """Return milliseconds as microseconds. A value that is no time (0, -1, None, a client's text) stays as it is."""
    return time * 1000 if isinstance(time, int) and not isinstance(time, bool) and time > 0 else _reply(time)
