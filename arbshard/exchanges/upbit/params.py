"""Reads a request's parameters, wherever they were sent: query, form body or JSON body. It is pure.

Lists come as ``name[]`` several times, or as ``name`` several times; both are read as ``name``. ``private`` uses it.
"""

import json
from urllib.parse import parse_qsl

from arbshard.exchanges.session import Query
from arbshard.exchanges.upbit.refusals import UpbitRefusal, invalid, missing


class UpbitParams:
    """Holds names and values, in the order of sending. An empty value counts as not sent."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = [(name.removesuffix("[]"), value) for name, value in pairs if value]

    def get(self, *names: str) -> str | None:
        """Return the first parameter that has one of ``names``; None when there is none."""
        return next((value for name, value in self._pairs if name in names), None)

    def need(self, name: str) -> str:
        """Return the parameter. Raises ``UpbitRefusal`` when it is missing."""
        value = self.get(name)
        if value is None:
            raise missing(name)
        return value

    def all(self, *names: str) -> list[str]:
        """Return every value of ``names``."""
        return [value for name, value in self._pairs if name in names]

    def listed(self, *names: str) -> list[str]:
        """Return every value of ``names``, with those that are joined by commas split."""
        return [part.strip() for value in self.all(*names) for part in value.split(",") if part.strip()]

    def one_of(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """Return a value that is one of ``allowed``. Raises ``UpbitRefusal`` for any other."""
        value = self.get(name) or default
        if value not in allowed:
            raise invalid(name)
        return value

    def count(self, name: str, default: int, largest: int) -> int:
        """Return a number from 1 to ``largest``, to which larger ones are cut. Raises ``UpbitRefusal`` for anything
        else.
        """
        value = self.get(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or len(value) > 9 or int(value) < 1:
            raise invalid(name)
        return min(int(value), largest)


def params_of(query: Query) -> UpbitParams:
    """Return the parameters of ``query``. Raises ``UpbitRefusal`` for an unreadable body.

    POST takes JSON only. GET and DELETE are read from the query; older clients send them a form or JSON as a body.
    """
    body = query.body.decode(errors="replace")
    if query.method == "POST":
        return UpbitParams(_json_pairs(body))
    pairs = list(query.params)
    if body.lstrip().startswith("{"):
        pairs += _json_pairs(body)
    elif body:
        pairs += parse_qsl(body)
    return UpbitParams(pairs)


def _json_pairs(body: str) -> list[tuple[str, str]]:
    try:
        parsed = json.loads(body or "{}", parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise UpbitRefusal(400, "validation_error", "The body is not a JSON object.")
    pairs: list[tuple[str, str]] = []
    for name, value in parsed.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                pairs.append((name, one))
            elif one is not None:
                pairs.append((name, json.dumps(one)))
    return pairs
