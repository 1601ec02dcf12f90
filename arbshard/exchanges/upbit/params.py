"""A request's parameters, wherever they were sent: query, form body or JSON body. Pure; used by ``private``.

Lists come as ``name[]`` several times, or as ``name`` several times; both are read as ``name``.
"""

import json
from urllib.parse import parse_qsl

from arbshard.exchanges.session import Query
from arbshard.exchanges.upbit.refusals import UpbitRefusal, invalid, missing


class UpbitParams:
    """Names and texts, in the order of sending. An empty text counts as not sent."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = [(name.removesuffix("[]"), value) for name, value in pairs if value]

    def get(self, *names: str) -> str | None:
        """The first parameter that has one of ``names``."""
        return next((value for name, value in self._pairs if name in names), None)

    def need(self, name: str) -> str:
        """The parameter. Raises ``UpbitRefusal`` where it is missing."""
        value = self.get(name)
        if value is None:
            raise missing(name)
        return value

    def all(self, *names: str) -> list[str]:
        """Every value of ``names``."""
        return [value for name, value in self._pairs if name in names]

    def listed(self, *names: str) -> list[str]:
        """Every value of ``names``, those joined by commas taken apart."""
        return [part.strip() for value in self.all(*names) for part in value.split(",") if part.strip()]

    def one_of(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """A word out of ``allowed``. Raises ``UpbitRefusal`` for any other."""
        value = self.get(name) or default
        if value not in allowed:
            raise invalid(name)
        return value

    def count(self, name: str, default: int, largest: int) -> int:
        """A number from 1 to ``largest``; larger ones are cut. Raises ``UpbitRefusal`` for anything else."""
        value = self.get(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or len(value) > 9 or int(value) < 1:
            raise invalid(name)
        return min(int(value), largest)


def params_of(query: Query) -> UpbitParams:
    """What ``query`` carries. Raises ``UpbitRefusal`` for a body that cannot be read.

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
