"""Reads the parameters of one request one by one. As on the venue, what was sent and is never read is refused.

Values are text, whether from a query string, a form body or the JSON of the WebSocket API. Every file that carries
out a request uses it.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from urllib.parse import parse_qsl

from arbshard.exchanges.binance.refusals import BinanceRefusal, illegal, missing, too_precise

_DECIMAL = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
_INTEGER = r"^[0-9]{1,20}$"
_SYMBOL = r"^[A-Z0-9-_.]{1,20}$"
_CLIENT_ID = r"^[a-zA-Z0-9-_]{1,36}$"
_FLAG = r"^(true|false)$"
_COMPILED = {
    pattern: re.compile(pattern[:-1] + r"\Z") for pattern in (_DECIMAL, _INTEGER, _SYMBOL, _CLIENT_ID, _FLAG)
}
_PRECISION = 8
"""Decimals of every asset here."""
_LONG_MAX = 2**63 - 1


class BinanceParams:
    """Holds values by name. Each reading method marks its parameter as read."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._read: set[str] = set()

    def peek(self, name: str) -> str | None:
        """Return the value as it was sent, without marking it; None when it was not sent."""
        return self._values.get(name)

    def skip(self, *names: str) -> None:
        """Mark ``names`` as read."""
        self._read.update(names)

    def text(self, name: str) -> str | None:
        """Return the value; None when it was not sent. Raises ``BinanceRefusal`` for an empty one."""
        self._read.add(name)
        value = self._values.get(name)
        if value == "":
            raise BinanceRefusal(-1105, f"Parameter '{name}' was empty.")
        return value

    def need(self, name: str) -> str:
        """Return the value. Raises ``BinanceRefusal`` when it is missing."""
        self._read.add(name)
        value = self._values.get(name)
        if not value:
            raise missing(name)
        return value

    def symbol(self) -> str:
        """Return the symbol, in a valid form. Raises ``BinanceRefusal`` when it is missing."""
        self.need("symbol")
        return self.symbol_if_any() or ""

    def symbol_if_any(self) -> str | None:
        """Return the symbol, in a valid form; None when none was sent."""
        return self._formed("symbol", _SYMBOL)

    def client_id(self, name: str) -> str | None:
        """Return a client order id, in a valid form; None when none was sent."""
        return self._formed(name, _CLIENT_ID)

    def decimal(self, name: str) -> Decimal | None:
        """Return an amount of at most 8 decimals. Raises ``BinanceRefusal`` for more, or for an invalid amount."""
        value = self._formed(name, _DECIMAL)
        if value is None:
            return None
        _, _, decimals = value.partition(".")
        if len(decimals.rstrip("0")) > _PRECISION:
            raise too_precise(name)
        return Decimal(value)

    def integer(self, name: str) -> int | None:
        """Return a whole number that is not negative; None when none was sent."""
        value = self._formed(name, _INTEGER)
        if value is None:
            return None
        if int(value) > _LONG_MAX:
            raise BinanceRefusal(-1108, f"Parameter '{name}' overflowed.")
        return int(value)

    def flag(self, name: str) -> bool:
        """Return whether ``name`` is true; False when it was not sent."""
        return self._formed(name, _FLAG, fold=True) == "true"

    def one_of(self, name: str, allowed: Iterable[str], refusal: BinanceRefusal | None = None) -> str | None:
        """Return one of ``allowed``. Raises ``refusal`` (by default: illegal characters) for anything else."""
        value = self.text(name)
        if value is None or value in allowed:
            return value
        raise refusal or illegal(name, "|".join(allowed))

    def finish(self) -> None:
        """Raise ``BinanceRefusal`` when more was sent than the call has read."""
        sent = len(self._values)
        unread = len(self._values.keys() - self._read)
        if unread:
            raise BinanceRefusal(
                -1104,
                f"Not all sent parameters were read; read '{sent - unread}' parameter(s) "
                f"but was sent '{sent}'.",
            )

    def _formed(self, name: str, form: str, *, fold: bool = False) -> str | None:
        value = self.text(name)
        if value is None:
            return None
        value = value.lower() if fold else value
        if _COMPILED[form].match(value) is None:
            raise illegal(name, form)
        return value


def from_request(raw_query: str, raw_body: str) -> BinanceParams:
    """Return the parameters of a REST request: of the query and of the form body; the query takes precedence.

    Raises ``BinanceRefusal`` for a name that comes twice in one of them.
    """
    return BinanceParams(_pairs(raw_body) | _pairs(raw_query))


def _pairs(text: str) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True)
    values = dict(pairs)
    if len(values) != len(pairs):
        raise BinanceRefusal(-1101, "Duplicate values for a parameter detected.")
    return values
