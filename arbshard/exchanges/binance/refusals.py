"""How the simulated Binance says no: one exception with the venue's code, words and HTTP status.

Raised by every file that reads or carries out a request; ``rest`` and ``wsapi`` turn it into their error bodies.
"""

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]
"""What an answer is made of. Amounts are texts."""


class BinanceRefusal(Exception):
    """A request that is not carried out."""

    def __init__(
        self, code: int, message: str, status: int = 400, data: dict[str, Json] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = data
        """More about it, where the venue says more."""
        self.retry_after_s = 0
        """Whole seconds to wait; 0 where waiting does not help."""
        self.retry_at_ms = 0
        """Wall time when waiting is over; 0 likewise."""

    def body(self) -> dict[str, Json]:
        """As the venue prints it."""
        body: dict[str, Json] = {"code": self.code, "msg": self.message}
        return body if self.data is None else {**body, "data": self.data}


def missing(name: str) -> BinanceRefusal:
    """A mandatory parameter is not there."""
    return BinanceRefusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def missing_both(one: str, other: str) -> BinanceRefusal:
    """One of two parameters is needed."""
    return BinanceRefusal(-1102, f"Param '{one}' or '{other}' must be sent, but both were empty/null!")


def illegal(name: str, legal: str) -> BinanceRefusal:
    """A parameter is not of its form; ``legal`` is the form as a regular expression."""
    return BinanceRefusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def not_required(name: str) -> BinanceRefusal:
    """A parameter that does not go with the others."""
    return BinanceRefusal(-1106, f"Parameter '{name}' sent when not required.")


def not_valid(name: str) -> BinanceRefusal:
    """A parameter of the right form whose value makes no sense."""
    return BinanceRefusal(-1130, f"Data sent for parameter '{name}' is not valid.")


def too_precise(name: str) -> BinanceRefusal:
    """More decimals than the asset has."""
    return BinanceRefusal(-1111, f"Parameter '{name}' has too much precision.")


def filter_failure(name: str) -> BinanceRefusal:
    """An order breaks the filter of this name."""
    return BinanceRefusal(-1013, f"Filter failure: {name}")


def rejected(message: str) -> BinanceRefusal:
    """The matching engine does not take an order."""
    return BinanceRefusal(-2010, message)


def invalid_symbol() -> BinanceRefusal:
    """There is no such symbol."""
    return BinanceRefusal(-1121, "Invalid symbol.")


def market_closed() -> BinanceRefusal:
    """The symbol does not trade at present."""
    return rejected("Market is closed.")


def unknown_order() -> BinanceRefusal:
    """There is no open order to cancel."""
    return BinanceRefusal(-2011, "Unknown order sent.")


def no_such_order() -> BinanceRefusal:
    """There is no order to tell about."""
    return BinanceRefusal(-2013, "Order does not exist.")


def bad_signature() -> BinanceRefusal:
    """The signature is not that of the request."""
    return BinanceRefusal(-1022, "Signature for this request is not valid.")


def bad_key() -> BinanceRefusal:
    """No account has this key, or the key may not do this."""
    return BinanceRefusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def bad_key_format() -> BinanceRefusal:
    """The key is missing or no key at all."""
    return BinanceRefusal(-2014, "API-key format invalid.", 401)
